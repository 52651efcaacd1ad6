"""Words of commands that say what they would do. Long rather than clever: a word too many refuses a harmless command,
which a human sees when it is reviewed; a word too few lets a harmful one through."""

from __future__ import annotations

import re

from treewalk.actions.options import names
from treewalk.model.acting import ChangeClass

_SHELLS = names(
    "sh bash rbash dash ash zsh ksh mksh yash fish csh tcsh busybox toybox pwsh powershell cmd env xargs parallel eval"
    " ksh93 pdksh lksh posh sash xonsh elvish osh ysh"
)
"""Programs that run what their arguments say, wherever they stand."""

INTERPRETERS = names(
    "python python2 python3 pypy perl ruby node nodejs deno bun php lua luajit awk gawk mawk nawk tclsh wish expect"
    " gdb lldb java jshell groovy scala rscript irb ghci vi vim nvim view ex ed emacs nano less more man script"
    " watch at batch crontab chroot unshare nsenter ssh scp sftp socat nc ncat netcat telnet rlogin docker podman"
    " nerdctl crictl ctr kubectl oc helm ansible salt start-stop-daemon systemd-run runuser setpriv capsh strace"
    " ltrace make cmake ninja just ipython pypy3 micropython jython julia erl iex elixir swipl sbcl guile racket"
    " ocaml runghc osascript r dotnet mono go cargo npm npx yarn pnpm pip pip3 pipx uv uvx poetry pdm hatch bundle"
    " gradle mvn ftp lftp tmux screen m4 dc gnuplot octave mail mailx mutt lua5 qjs apt apt-get apk yum dnf rpm dpkg"
    " snap entr run-parts daemonize"
)
"""Programs that run code from an argument or a file, or another program somewhere else, where a program stands."""

WRAPPERS = names(
    "timeout gtimeout nice ionice nohup setsid stdbuf unbuffer time taskset chrt numactl flock find fd command exec"
    " builtin gosu su-exec tini dumb-init catatonit chronic setarch linux32 linux64 prlimit choom cgexec fakeroot"
    " proot firejail bwrap faketime rlwrap torsocks proxychains proxychains4 sshpass with-contenv s6-setuidgid"
    " s6-softlimit chpst softlimit envdir setuidgid setlock systemd-cat systemd-inhibit dotenv direnv sem ts"
    " annotate-output retry wait-for-it"
)
"""Programs that run another one, named among their arguments."""

NAMING = names(
    "systemctl service supervisorctl rc-service sv initctl monit pm2 pgrep pidof pkill killall which whereis ls cat"
    " tail head grep egrep fgrep zgrep ps du df stat wc md5sum sha256sum test file readlink realpath getent id lsof"
    " ss echo printf logger journalctl"
)
"""Programs that run no other one: the names among their arguments are of files, services and processes."""

UNCLEAR = names("env cmd init node at su dd more view script watch")
"""Names of programs that are also words of ordinary text: only a whole argument counts."""

_STOPPING = names("shutdown reboot halt poweroff init telinit kexec killall5")
_GRANTING = names(
    "chmod chown chgrp chattr setfacl usermod useradd adduser groupadd groupmod gpasswd chpasswd passwd"
    " visudo sudo su doas pkexec setcap createuser dropuser htpasswd ssh-copy-id newgrp"
)
_DELETING = names(
    "rm rmdir unlink shred truncate dd wipefs wipe srm fdisk sfdisk cfdisk sgdisk gdisk parted mkswap"
    " mke2fs blkdiscard lvremove vgremove pvremove dropdb pg_resetwal"
)
_SCHEMA = names("alembic flyway liquibase")
BY_PROGRAM = (
    (_SHELLS, ChangeClass.RUNS_SHELL),
    (_STOPPING, ChangeClass.STOPS_HOST),
    (_GRANTING, ChangeClass.GRANTS_RIGHTS),
    (_DELETING, ChangeClass.DELETES_DATA),
    (_SCHEMA, ChangeClass.ALTERS_SCHEMA),
)

CLUSTER_PROGRAM = re.compile(
    r"(kafka-(topics|reassign-partitions|configs|acls|delete-records|storage|leader-election|features|cluster"
    r"|preferred-replica-election|metadata-quorum|server-stop)|zookeeper-shell|zkcli|rpk|nodetool)(\.sh)?"
)

_VACUUMS = frozenset(
    option[:end] for option in ("vacuum-size", "vacuum-time", "vacuum-files") for end in range(8, len(option) + 1)
)
"""What journalctl deletes logs by; its options may be shortened. A database's VACUUM alone takes nothing away."""

BY_WORD = (
    (
        names(
            "flushall flushdb rm rmr rb expunge uninstall deleteall del unlink hdel xdel xtrim ltrim getdel srem"
            " lrem zrem zremrangebyscore zremrangebyrank remove lpop rpop lmpop spop zpopmin zpopmax zmpop blpop brpop"
            " bzpopmin bzpopmax rpoplpush swapdb renamenx pexpire pexpireat expireat maxlen minid clean_tombstones"
        ),
        ChangeClass.DELETES_DATA,
    ),
    (_VACUUMS, ChangeClass.DELETES_DATA),
    (names("alter migrate"), ChangeClass.ALTERS_SCHEMA),
    (names("grant revoke acl"), ChangeClass.GRANTS_RIGHTS),
    (
        names(
            "cluster failover replicaof slaveof forget_cluster_node join_cluster change_cluster_node_type"
            " force_reset stop_app decommission removenode assassinate"
        ),
        ChangeClass.CLUSTER_OPERATION,
    ),
    (
        names("shutdown segfault terminate-instances stop-instances reboot-instances sysrq-trigger"),
        ChangeClass.STOPS_HOST,
    ),
    (names("eval evalsha exec execdir fcall"), ChangeClass.RUNS_SHELL),
)

BY_PART = (
    (
        names("delete drop purge destroy truncate prune wipe erase expunge overwrite nuke shred"),
        ChangeClass.DELETES_DATA,
    ),
)
"""Verbs that count also as a part of a name: delete_queue, dropDatabase, --delete-topic."""


def _phrases(*texts: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(text.split()) for text in texts)


_LOGS = ("pm2 flush", "supervisorctl clear")  # they empty log files, which are evidence

PHRASES = (
    (
        _phrases(
            *(f"create {what}" for what in names("table index schema database view type extension function trigger"))
        ),
        ChangeClass.ALTERS_SCHEMA,
    ),
    (_phrases("create role", "create user", "config requirepass", "config masterauth"), ChangeClass.GRANTS_RIGHTS),
    (_phrases("module load", "config dir", "config dbfilename", "copy program"), ChangeClass.RUNS_SHELL),
    (_phrases("git clean", "git reset", "db reset", "db clean", "db downgrade", *_LOGS), ChangeClass.DELETES_DATA),
    (
        _phrases(
            *(
                f"systemctl {what}"
                for what in names(
                    "isolate rescue emergency suspend hibernate hybrid-sleep switch-root soft-reboot reboot poweroff"
                    " halt"
                )
            )
        ),
        ChangeClass.STOPS_HOST,
    ),
    (_phrases("reset-offsets execute"), ChangeClass.CLUSTER_OPERATION),
)
"""Words that mean something together, in any order."""
