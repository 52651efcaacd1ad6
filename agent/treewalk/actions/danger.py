"""Words of commands that say what they would do. Long rather than clever: a word too many refuses a harmless command,
which a human sees when it is reviewed; a word too few lets a harmful one through."""

from __future__ import annotations

import re

from treewalk.model.acting import ChangeClass


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHELLS = _set(
    "sh bash rbash dash ash zsh ksh mksh yash fish csh tcsh busybox toybox pwsh powershell cmd env xargs parallel eval"
)
"""Programs that run what their arguments say, wherever they stand."""

INTERPRETERS = _set(
    "python python2 python3 pypy perl ruby node nodejs deno bun php lua luajit awk gawk mawk nawk tclsh"
    " wish expect gdb lldb java jshell groovy scala rscript irb ghci vi vim nvim view ex ed emacs nano"
    " less more man script watch at batch crontab chroot unshare nsenter ssh scp sftp socat nc ncat netcat"
    " telnet rlogin docker podman nerdctl crictl ctr kubectl oc helm ansible salt start-stop-daemon"
    " systemd-run runuser setpriv capsh strace ltrace make"
)
"""Programs that run code from an argument or a file, or another program somewhere else, where a program stands."""

WRAPPERS = _set("timeout nice ionice nohup setsid stdbuf time taskset chrt numactl flock find fd command exec")
"""Programs that run another one, named among their arguments."""

UNCLEAR = _set("env cmd init node at su dd more view script watch")
"""Names of programs that are also words of ordinary text: only a whole argument counts."""

_STOPPING = _set("shutdown reboot halt poweroff init telinit kexec killall5")
_GRANTING = _set(
    "chmod chown chgrp chattr setfacl usermod useradd adduser groupadd groupmod gpasswd chpasswd passwd"
    " visudo sudo su doas pkexec setcap createuser dropuser htpasswd ssh-copy-id newgrp"
)
_DELETING = _set(
    "rm rmdir unlink shred truncate dd wipefs wipe srm fdisk sfdisk cfdisk sgdisk gdisk parted mkswap"
    " mke2fs blkdiscard lvremove vgremove pvremove dropdb pg_resetwal"
)
_SCHEMA = _set("alembic flyway liquibase")
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

BY_WORD = (
    (
        _set(
            "flushall flushdb rm rmr rb expunge uninstall deleteall del unlink hdel xdel xtrim ltrim getdel srem"
            " lrem zrem zremrangebyscore zremrangebyrank remove"
        ),
        ChangeClass.DELETES_DATA,
    ),
    (_set("alter migrate"), ChangeClass.ALTERS_SCHEMA),
    (_set("grant revoke acl"), ChangeClass.GRANTS_RIGHTS),
    (
        _set(
            "cluster failover replicaof slaveof forget_cluster_node join_cluster change_cluster_node_type"
            " force_reset stop_app decommission removenode assassinate"
        ),
        ChangeClass.CLUSTER_OPERATION,
    ),
    (
        _set("shutdown segfault terminate-instances stop-instances reboot-instances sysrq-trigger"),
        ChangeClass.STOPS_HOST,
    ),
    (_set("eval evalsha exec execdir fcall"), ChangeClass.RUNS_SHELL),
)

BY_PART = ((_set("delete drop purge destroy truncate prune wipe"), ChangeClass.DELETES_DATA),)
"""Verbs that count also as a part of a name: delete_queue, dropDatabase, --delete-topic."""


def _phrases(*texts: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(text.split()) for text in texts)


PHRASES = (
    (
        _phrases(
            *(f"create {what}" for what in _set("table index schema database view type extension function trigger"))
        ),
        ChangeClass.ALTERS_SCHEMA,
    ),
    (_phrases("create role", "create user", "config requirepass", "config masterauth"), ChangeClass.GRANTS_RIGHTS),
    (_phrases("module load", "config dir", "config dbfilename", "copy program"), ChangeClass.RUNS_SHELL),
    (_phrases("git clean", "git reset"), ChangeClass.DELETES_DATA),
)
"""Words that mean something together, in any order."""
