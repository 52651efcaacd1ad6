"""What a command has to look like, and what is told from its words."""

from __future__ import annotations

import posixpath
import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.actions.clients import ORDINARY
from treewalk.actions.commands import classes_of, matches
from treewalk.actions.danger import INTERPRETERS
from treewalk.model.acting import NEVER_CLASSES, ChangeClass

from tests.support.hostile import HOSTILE

_DELETES, _CLUSTER, _SCHEMA = ChangeClass.DELETES_DATA, ChangeClass.CLUSTER_OPERATION, ChangeClass.ALTERS_SCHEMA
_UNPROVEN = ChangeClass.UNPROVEN
_SHELL, _RIGHTS, _STOPS = ChangeClass.RUNS_SHELL, ChangeClass.GRANTS_RIGHTS, ChangeClass.STOPS_HOST

DESTRUCTIVE = {
    "rm -rf /var/lib/redis": _DELETES,
    "/usr/bin/rm x": _DELETES,
    "/bin/../bin/rm x": _DELETES,
    "RM x": _DELETES,
    "rmdir /data": _DELETES,
    "journalctl --vacuum-size=1M": _DELETES,
    "journalctl --vacuum-time 1s": _DELETES,
    "journalctl --rotate --vacuum-f=1": _DELETES,
    "pm2 flush": _DELETES,
    "pm2 -s flush orders": _DELETES,
    "supervisorctl clear consumer": _DELETES,
    "supervisorctl -c /etc/s.conf clear all": _DELETES,
    "unlink /data/x": _DELETES,
    "shred -u /data/x": _DELETES,
    "truncate -s 0 /data/x": _DELETES,
    "dd if=/dev/zero of=/dev/sda": _DELETES,
    "mkfs.ext4 /dev/sda1": _DELETES,
    "mkfs -t xfs /dev/sda1": _DELETES,
    "wipefs -a /dev/sda": _DELETES,
    "find /data -delete": _DELETES,
    "find /data -exec rm {} +": _DELETES,
    "find /data -exec cat {} +": _SHELL,
    "rsync -a --delete-after /empty/ /data/": _DELETES,
    "redis-cli FLUSHALL": _DELETES,
    "redis-cli -n 1 flushdb ASYNC": _DELETES,
    "redis-cli DEL key": _DELETES,
    "redis-cli UNLINK key": _DELETES,
    "redis-cli XTRIM stream MAXLEN 0": _DELETES,
    "redis-cli XGROUP DESTROY stream group": _DELETES,
    "redis-cli SHUTDOWN NOSAVE": _STOPS,
    "redis-cli DEBUG SEGFAULT": _STOPS,
    "redis-cli REPLICAOF NO ONE": _CLUSTER,
    "redis-cli CLUSTER RESET": _CLUSTER,
    "redis-cli --cluster reshard 127.0.0.1:7000": _CLUSTER,
    "redis-cli EVAL 'return 1' 0": _SHELL,
    "redis-cli --eval x.lua": _SHELL,
    "redis-cli MODULE LOAD /tmp/x.so": _SHELL,
    "redis-cli CONFIG SET dir /etc/cron.d": _SHELL,
    "redis-cli ACL SETUSER x on": _RIGHTS,
    "redis-cli CONFIG SET requirepass x": _RIGHTS,
    "kafka-topics --delete --topic t": _CLUSTER,
    "/opt/kafka/bin/kafka-topics.sh --bootstrap-server b:9092 --alter --topic t": _CLUSTER,
    "kafka-reassign-partitions.sh --execute": _CLUSTER,
    "kafka-configs --alter": _CLUSTER,
    "kafka-delete-records.sh --offset-json-file x": _CLUSTER,
    "kafka-consumer-groups --delete --group g": _DELETES,
    "kafka-consumer-groups --delete-offsets --group g": _DELETES,
    "rabbitmqctl delete_queue q": _DELETES,
    "rabbitmqctl purge_queue q": _DELETES,
    "rabbitmqctl forget_cluster_node n": _CLUSTER,
    "psql -c 'DROP TABLE users'": _DELETES,
    "psql -c 'delete from users'": _DELETES,
    "psql --command='TRUNCATE users'": _DELETES,
    "psql -c 'ALTER TABLE users ADD x int'": _SCHEMA,
    "psql -c 'CREATE INDEX ON users (x)'": _SCHEMA,
    "psql -c 'GRANT ALL ON users TO x'": _RIGHTS,
    "psql -c 'REVOKE ALL ON users FROM x'": _RIGHTS,
    "psql -c 'CREATE ROLE x SUPERUSER'": _RIGHTS,
    r"psql -c '\! id'": _SHELL,
    "psql -c \"COPY t FROM PROGRAM 'id'\"": _SHELL,
    "dropdb users": _DELETES,
    "mysql -e 'drop database x'": _DELETES,
    "mongosh --eval 'db.dropDatabase()'": _DELETES,
    "hdfs dfs -rm -r /data": _DELETES,
    "aws s3 rm s3://bucket --recursive": _DELETES,
    "docker system prune -f": _DELETES,
    "terraform destroy": _DELETES,
    "curl -X DELETE http://es:9200/index": _DELETES,
    "git reset --hard": _DELETES,
    "alembic upgrade head": _SCHEMA,
    "python manage.py migrate": _SCHEMA,
    "sh -c id": _SHELL,
    "/bin/sh /tmp/x": _SHELL,
    "bash -lc id": _SHELL,
    "env sh": _SHELL,
    "env PATH=/tmp ls": _SHELL,
    "busybox sh": _SHELL,
    "/bin/busybox.static id": _SHELL,
    "xargs -a file ls": _SHELL,
    "timeout 5 sh -c id": _SHELL,
    "timeout 5 python3.11 -c 'print(1)'": _SHELL,
    "nice -n 5 perl -e 1": _SHELL,
    "python3 -c 'print(1)'": _SHELL,
    "python3.11 x.py": _SHELL,
    "perl -e 1": _SHELL,
    "awk 'BEGIN{system(\"id\")}'": _SHELL,
    "vim -c ':!id'": _SHELL,
    "tar xf x --checkpoint-action=exec=sh": _SHELL,
    "ssh host id": _SHELL,
    "nsenter -t 1 id": _SHELL,
    "chroot / id": _SHELL,
    "chmod 777 /etc/passwd": _RIGHTS,
    "chown nobody /etc": _RIGHTS,
    "setfacl -m u:x:rwx /etc": _RIGHTS,
    "usermod -aG sudo x": _RIGHTS,
    "sudo id": _RIGHTS,
    "passwd root": _RIGHTS,
    "shutdown -h now": _STOPS,
    "systemctl reboot": _STOPS,
    "poweroff": _STOPS,
    "init 0": _STOPS,
    "kill -9 -1": _STOPS,
    "kill -HUP -1": _STOPS,
    "kill 1": _STOPS,
    "kill -s KILL 1": _STOPS,
    "tee /proc/sysrq-trigger": _STOPS,
    "systemctl isolate rescue.target": _STOPS,
    "systemctl start reboot.target": _STOPS,
    **dict.fromkeys(
        [
            "cp /dev/null /var/lib/redis/dump.rdb",
            "mv /data/a /data/b",
            "tee /data/a",
            "ln -sf /dev/null /data/a",
            "install /dev/null /data/a",
            "rsync -a /empty/ /data/",
            "sed -i d /data/a",
            "gzip /data/a",
            "tar xf /tmp/x -C /",
            "sort -o /data/a /dev/null",
            "sort --compress-program=/tmp/x a",
            "find /data -fprint /data/a",
            "find /data -ok cat {} +",
            "cryptsetup erase /dev/sda",
            "nvme format /dev/nvme0n1",
            "curl -o /data/a http://127.0.0.1/x",
            "curl -T /etc/hosts http://127.0.0.1/x",
            "curl -w '%output{/data/a}' http://127.0.0.1/x",
            "curl gopher://127.0.0.1:6379/_SET",
            "curl dict.example:6379/SET",
            "curl -K /tmp/x",
            "wget -O /data/a http://127.0.0.1/x",
            "wget http://127.0.0.1/x",
            "redis-cli EXPIRE orders 0",
            "redis-cli expire orders 0",
            "redis-cli -n 1 PEXPIREAT orders 1",
            "redis-cli CONFIG SET maxmemory 1",
            "redis-cli CONFIG SET maxmemory 2gb",
            "redis-cli CONFIG SET maxmemory-policy allkeys-lru",
            "redis-cli CONFIG SET activedefrag yes maxmemory 1",
            "redis-cli CONFIG SET",
            "redis-cli CONFIG REWRITE",
            "redis-cli LPOP q 100000",
            "redis-cli SPOP s 10",
            "redis-cli XADD s MAXLEN 0 '*' a b",
            "redis-cli XGROUP SETID s g 0",
            "redis-cli XAUTOCLAIM s g c 0 0",
            "redis-cli SWAPDB 0 1",
            "redis-cli RENAME a b",
            "redis-cli SET a b",
            "redis-cli RESTORE a 0 x REPLACE",
            "redis-cli SORT a STORE b",
            "redis-cli BGSAVE",
            "redis-cli CLIENT KILL TYPE replica",
            "redis-cli DEBUG RELOAD",
            "redis-cli -r 10 SET a b",
            "redis-cli --pipe",
            "redis-cli -x SET a",
            "redis-cli --rdb /data/a",
            "redis-cli --functions-rdb /data/a",
            "redis-cli --lru-test 1000",
            "redis-cli --user PING SET a b",
            "redis-cli",
            "redis-cli -h 10.0.0.1",
            "redis-cli-6.2 SET a b",
            "valkey-cli SET a b",
            "/opt/redis/bin/REDIS-CLI SET a b",
            "redis-benchmark -t set",
            "redis-check-aof --fix /data/a",
            "psql -f /x.sql",
            "psql",
            "psql -d orders",
            "psql -c 'SELECT 1' -f /x.sql",
            "psql -tAf /x.sql",
            "psql -o /data/a -c 'SELECT 1'",
            "psql -c 'SELECT lo_unlink(1)'",
            "psql -c 'SELECT public.count(1)'",
            "psql -c 'SELECT \"f\"(1)'",
            "psql -c 'SELECT 1 INTO t'",
            "psql -c 'SELECT 1; UPDATE t SET a = 1'",
            "psql -c 'WITH a AS (UPDATE t SET a = 1 RETURNING 1) SELECT 1'",
            "psql -c 'UPDATE t SET a = 1'",
            "psql -c 'EXPLAIN ANALYZE UPDATE t SET a = 1'",
            "psql -c 'VACUUM FULL t'",
            "psql -c 'DO $$ BEGIN END $$'",
            "psql -c 'CALL p()'",
            "psql -c 'SELECT 1 /* a */'",
            r"psql -c '\i /x.sql'",
            "psql-14 -f /x.sql",
            "pg_restore -c x",
            "pg_ctl stop",
            "mysql",
            "mysql -e 'source /x.sql'",
            "mysql -e 'SELECT 1 /*! INTO OUTFILE a */'",
            "mysql -e 'RESET MASTER'",
            "mysql --init-command=x -e 'SELECT 1'",
            "mysql --defaults-file=/x -e 'SELECT 1'",
            "mysqladmin flush-logs",
            "mongosh /x.js",
            "mongosh --eval 'db.serverStatus()' /x.js",
            "mongosh --eval 'db.a.updateMany({}, {})'",
            "mongorestore /x",
            "sqlite3 /data/a",
            "etcdutl snapshot restore x",
            "aws s3 cp a s3://b",
            "hdfs dfs -mv a b",
        ],
        _UNPROVEN,
    ),
    **dict.fromkeys(
        [
            "rabbitmqctl reset",
            "rabbitmqctl --node a reset",
            "rabbitmqctl eval 'a().'",
            "rabbitmqctl import_definitions /x",
            "rabbitmq-queues rebalance all",
            "rabbitmqadmin get queue=q ackmode=ack_requeue_false",
            "zkServer.sh stop",
            "zkServer stop",
            "zkCleanup.sh -n 3",
            "kafka-consumer-groups --group g --reset-offsets --to-latest --all-topics --execute",
            "kafka-consumer-groups.sh --group g --del",
            "kafka-console-producer.sh --topic t",
            "kafka-run-class.sh kafka.admin.X",
            "kafka-server-start.sh x",
            "kcat -b b -t t",
            "kcat -b b -P -t t",
            "etcdctl put a b",
            "etcdctl defrag",
            "etcdctl member remove x",
            "consul leave",
        ],
        _CLUSTER,
    ),
}
HARMLESS = [
    "redis-cli PING",
    "redis-cli INFO memory",
    "redis-cli CLIENT KILL ID 7",
    "redis-cli CLIENT KILL AGE 300",
    "redis-cli CLIENT LIST",
    "redis-cli CONFIG SET activedefrag yes",
    "redis-cli CONFIG SET lazyfree-lazy-user-del yes",
    "redis-cli -h 10.0.0.5 -p 6379 CONFIG GET maxclients",
    "redis-cli XACK stream group 1-0",
    "redis-cli MEMORY DOCTOR",
    "nginx -s reload",
    "nginx -t",
    "kill -HUP 1",
    "kill -s USR1 1",
    "kill -TERM 4711",
    "supervisorctl restart consumer",
    "supervisorctl status",
    "supervisorctl tail consumer",
    "journalctl -u nginx --since -1h",
    "journalctl --disk-usage",
    "pm2 restart orders",
    "pm2 logs orders",
    "systemctl reload haproxy",
    "rabbitmqctl list_queues name messages",
    "kafka-consumer-groups.sh --bootstrap-server b:9092 --describe --group g",
    "psql -c 'SELECT pg_cancel_backend(4711)'",
    "psql -c 'VACUUM ANALYZE events'",
    "pg_isready -h 127.0.0.1",
    "curl -fsS -X POST http://127.0.0.1:8080/-/reload",
    "cat /var/log/app/current.log",
    "ls -l /var/lib/app",
    "df -h",
    "timeout 5 redis-cli PING",
    "date +%Y-%m-%d",
    "celery -A app inspect ping",
    "redis-cli CONFIG SET active-defrag-threshold-lower 5",
    "redis-cli --no-auth-warning -a x CLIENT KILL TYPE normal",
    "redis-cli --bigkeys",
    "valkey-cli PING",
    "psql -XtAc 'SELECT count(*) FROM pg_stat_activity' orders",
    "psql -U postgres -c \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle' AND pid <> 1\"",
    "psql -c 'SHOW max_connections' -c 'EXPLAIN SELECT 1'",
    "mysql -uroot -psecret -e 'SHOW PROCESSLIST'",
    "mysql -e 'KILL 4711'",
    "mysqladmin -psecret ping",
    "rabbitmqctl close_connection '<a.b.1.2>' slow",
    "rabbitmq-diagnostics -q check_running",
    "kafka-broker-api-versions --bootstrap-server b:9092",
    "zkServer.sh status",
    "etcdctl endpoint health",
    "curl -fsS -o /dev/null -w '%{http_code}' https://app.example/-/reload",
    "wget -qO- http://127.0.0.1:8080/-/reload",
    "find /var/log/app -name '*.log' -mtime -5",
    "gosu app redis-cli PING",
    "systemctl restart mysql",
    "supervisorctl restart redis-cli-exporter",
    "ls -l /usr/bin/redis-cli",
    "airflow dags trigger orders",
    "myctl install plugin",
]


def test_there_are_enough_commands_to_say_something() -> None:
    assert len(DESTRUCTIVE) >= 40
    assert len(HARMLESS) >= 20


@pytest.mark.parametrize("command", DESTRUCTIVE)
def test_a_destructive_command_is_of_the_never_tier(command: str) -> None:
    found = classes_of(shlex.split(command))
    assert DESTRUCTIVE[command] in found
    assert found <= NEVER_CLASSES


@pytest.mark.parametrize("command", HARMLESS)
def test_a_harmless_command_is_not(command: str) -> None:
    assert classes_of(shlex.split(command)) == frozenset()


_WRAPPERS = (
    "timeout 5", "timeout -k 5 --signal=KILL 5", "nice", "nice -n 5", "ionice -c 3", "nohup", "setsid --wait",
    "stdbuf -oL", "time", "taskset 1", "chrt 1", "flock /tmp/lock", "env", "env -i A=b", "busybox", "toybox", "xargs",
    "xargs -n 1",
    "find /tmp -exec", "fd x -x", "sudo", "su-exec redis", "gosu redis", "tini --", "dumb-init", "chroot /", "unshare",
    "nsenter -t 2", "systemd-run", "watch", "/usr/bin/timeout 5", "./nice", "TIMEOUT 5", "exec", "command --",
    "sshpass -p x",
    "rlwrap", "/lib64/ld-linux-x86-64.so.2", "unknown-wrapper-of-a-user",
)  # fmt: skip
_SHELLS = ("sh -c", "bash -lc", "/bin/sh -ec", "su -c", "python3 -c", "perl -e", "flock /x -c", "ssh host", "watch -x")
_PATHS = ("", "/usr/bin/", "/opt/x/../bin/", "./")
_CASES = (str, str.upper, str.capitalize)


@st.composite
def _wrapped(draw: st.DrawFn) -> list[str]:
    """A destructive command by another road: behind wrappers, by a path, in capitals, as the text of a shell."""
    program, *args = shlex.split(draw(st.sampled_from(sorted(DESTRUCTIVE))))
    program = draw(st.sampled_from(_CASES))(program)
    if "/" not in program:
        program = draw(st.sampled_from(_PATHS)) + program
    argv = [program, *args]
    if draw(st.booleans()) and not draw(st.booleans()):
        return [*draw(st.sampled_from(_SHELLS)).split(), shlex.join(argv)]
    for wrapper in draw(st.lists(st.sampled_from(_WRAPPERS), max_size=3)):
        argv = [*wrapper.split(), *argv]
    return argv


@settings(max_examples=3000, deadline=None)
@given(_wrapped())
def test_no_wrapper_path_or_spelling_hides_what_is_of_the_never_tier(argv: list[str]) -> None:
    if not any("unknown-wrapper" in word for word in argv) or not _is_ordinary(argv):
        assert classes_of(argv) & NEVER_CLASSES


def _is_ordinary(argv: list[str]) -> bool:
    """A name that is also a word, or an interpreter, behind a program that nobody knows: the shape bounds it."""
    names = [posixpath.basename(word).lower() for word in argv]
    return any(name in ORDINARY or re.sub(r"[\d.]+$", "", name) in INTERPRETERS or name == "kill" for name in names)


def test_no_words_are_of_no_class() -> None:
    assert classes_of([]) == classes_of([""]) == frozenset()


_ANY = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from(["<int>", "<word>", "a", "redis-cli", "PING"])), max_size=6
)


@given(_ANY, _ANY)
def test_a_shape_never_matches_more_or_fewer_words(argv: list[str], shape: list[str]) -> None:
    if len(argv) != len(shape):
        assert not matches(argv, shape)
    assert not matches([*argv, "x"], argv)
    assert not matches(argv, [*argv, "<word>"])


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="<>"), max_size=12), max_size=6), st.integers(0, 5))
def test_what_is_written_literally_matches_itself_and_nothing_else(words: list[str], at: int) -> None:
    assert matches(words, words)
    if at < len(words):
        other = [*words[:at], words[at] + "x", *words[at + 1 :]]
        assert not matches(other, words)


_SLOTS = st.sampled_from(
    ["<int>", "<word>", "<duration>", "<path:/var/log/>", "<path:/>", "<PING|INFO>", "<>", "<what>"]
)
_BAD = " \t\n\r;|&$`<>(){}[]*?!#~'\"\\^%\0\x1b\x7f\u202e\u2028\u00a0\ud800\uff0e\u0661"
_WORDS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="/var/log.-a1" + _BAD, max_size=20),
    st.text(alphabet="ab/.-" + _BAD, max_size=12).map(lambda text: "/var/log/" + text),
    st.sampled_from(HOSTILE),
)


@given(_WORDS, _SLOTS)
def test_no_slot_takes_what_a_shell_or_a_path_would_act_on(word: str, slot: str) -> None:
    if matches([word], [slot]):
        assert word.isascii()
        assert word
        assert ".." not in word
        assert not word.startswith("-")
        assert not set(word) & set(_BAD)
        if slot.startswith("<path:"):
            assert posixpath.normpath(word) == word
            assert word.startswith("/var/log/" if "log" in slot else "/")


@given(st.text(alphabet="/var/log.-a1", max_size=20), st.text(alphabet="abc019._-", min_size=1, max_size=20))
def test_a_path_stays_below_its_folder(detour: str, name: str) -> None:
    path = "/var/log/" + detour
    if matches([path], ["<path:/var/log>"]):
        assert posixpath.realpath("/nowhere" + path).startswith("/nowhere/var/log/")
    plain = name.strip(".")
    if plain and ".." not in plain:
        assert matches([f"/var/log/{plain}"], ["<path:/var/log/>"])
    assert not matches([f"/var/logs/{name}"], ["<path:/var/log>"])


@pytest.mark.parametrize(
    ("slot", "fits", "does_not"),
    [
        ("<int>", ["0", "42", "9" * 18], ["", "-1", "1.5", "9" * 19, "٣", "²", "1 "]),
        ("<word>", ["a", "redis-1", "a.b", "a:b", "me@host", "1"], ["", "-a", ".a", "a..b", "a b", "a/b", "é", "a\n"]),
        ("<duration>", ["5", "5s", "250ms", "1h"], ["", "s", "5 s", "-5s", "٣s", "5y"]),
        ("<path:/var/log/>", ["/var/log/a", "/var/log/a/b.log"],
         ["/var/log", "/var/log/", "/var/logs/a", "/var/log//a", "/var/log/./a", "/var/log/../a", "//var/log/a", "a"]),
        ("<a|b>", ["a", "b"], ["", "a|b", "c", "ab"]),
        ("<a||b>", ["a"], [""]),
        ("<a>", [], ["a", "<a>"]),
        ("x<int>", ["x<int>"], ["x1"]),
    ],
)  # fmt: skip
def test_what_slots_take(slot: str, fits: list[str], does_not: list[str]) -> None:
    assert [word for word in fits if not matches([word], [slot])] == []
    assert [word for word in does_not if matches([word], [slot])] == []
