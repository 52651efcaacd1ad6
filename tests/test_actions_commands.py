"""What a command has to look like, and what is told from its words."""

from __future__ import annotations

import posixpath
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.actions.commands import classes_of, matches
from treewalk.model.acting import NEVER_CLASSES, ChangeClass

from tests.support.hostile import HOSTILE

_DELETES, _CLUSTER, _SCHEMA = ChangeClass.DELETES_DATA, ChangeClass.CLUSTER_OPERATION, ChangeClass.ALTERS_SCHEMA
_SHELL, _RIGHTS, _STOPS = ChangeClass.RUNS_SHELL, ChangeClass.GRANTS_RIGHTS, ChangeClass.STOPS_HOST

DESTRUCTIVE = {
    "rm -rf /var/lib/redis": _DELETES,
    "/usr/bin/rm x": _DELETES,
    "/bin/../bin/rm x": _DELETES,
    "RM x": _DELETES,
    "rmdir /data": _DELETES,
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
}
HARMLESS = [
    "redis-cli PING",
    "redis-cli INFO memory",
    "redis-cli CLIENT KILL ID 7",
    "redis-cli CLIENT KILL AGE 300",
    "redis-cli CLIENT LIST",
    "redis-cli CONFIG SET activedefrag yes",
    "redis-cli CONFIG SET maxmemory 2gb",
    "redis-cli CONFIG SET maxmemory-policy allkeys-lru",
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


@pytest.mark.parametrize("command", DESTRUCTIVE)
def test_a_program_that_runs_another_does_not_hide_it(command: str) -> None:
    for wrapper in (["timeout", "5"], ["nice"], ["nohup"], ["setsid", "--wait"]):
        assert classes_of([*wrapper, *shlex.split(command)]) & NEVER_CLASSES


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
