"""What a check says is shown, kept and sent: never with a secret in it, by whatever road it came."""

from __future__ import annotations

from pathlib import Path

import pytest
from treewalk import shown_address
from treewalk.model.redact import short
from treewalk.model.verdict import Status

from tests.test_checks_local import run
from tests.test_cli import treewalk
from tests.test_stuck_checks import node, workspace

OWN = """
from treewalk import Probe, Verdict, check, unhealthy

@check("booms")
def booms(probe: Probe) -> Verdict:
    raise RuntimeError("x" * 150 + " cannot reach http://u:boomsekret@h/ password=crashsekret")

@check("tells")
def tells(probe: Probe) -> Verdict:
    return unhealthy("token=toldsekret1", observed="redis://:seensekret1@h:1", expected="password=wantsekret1")
"""


def test_no_secret_of_a_check_is_shown_or_remembered(tmp_path: Path) -> None:
    url = "http://admin:procsekret@127.0.0.1:1"
    workspace(
        tmp_path,
        {**node("p", "process", server=url), "supervisor_process": "x"},
        node("b", "booms"),
        node("t", "tells"),
    )
    with (tmp_path / "checks" / "own.py").open("a") as stream:
        stream.write(OWN)
    said = ""
    for format in ("text", "json", "markdown"):
        done = treewalk("diagnose", "a", "--format", format, "--record", f"{format}.bundle", cwd=tmp_path)
        said += done.stdout + done.stderr + (tmp_path / f"{format}.bundle").read_text()
        assert done.returncode == 1, done.stderr
    kept = b"".join(path.read_bytes() for path in (tmp_path / ".treewalk").glob("memory.db*"))
    assert kept
    for name in ("proc", "boom", "crash", "told", "seen", "want"):
        assert f"{name}sekret" not in said
        assert f"{name}sekret".encode() not in kept
    assert "127.0.0.1:1 is not reachable" in said
    assert "[redacted]" in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ops:hidden@db-1:6380/0", "db-1:6380"),
        ("redis://db-1", "db-1:6379"),
        ("postgresql+psycopg://u:hidden@[::1]/x?password=hidden", "[::1]:5432"),
        ("https://h/path/hidden?token=hidden#hidden", "h:443"),
        ("unix:///var/run/supervisor.sock", "/var/run/supervisor.sock"),
        ("sqlite:////srv/x.db", "/srv/x.db"),
        ("sqlite://", "SQLite in memory"),
        ("redis://ops:hid/den@db-1:6380/0", "an address that cannot be read"),
        ("redis://ops:12/hidden@db-1:6380/0", "an address that cannot be read"),
        ("hidden", "an address that cannot be read"),
        ("http://[hidden", "an address that cannot be read"),
    ],
)
def test_an_address_is_shown_without_what_opens_it(url: str, shown: str) -> None:
    assert shown_address(url) == shown


def test_a_text_is_redacted_before_it_is_cut() -> None:
    text = "x" * 180 + " http://user:hiddenword@host/"
    assert "hidden" not in short(text, 200)


async def test_a_root_cause_says_where() -> None:
    redis, streams = "redis://:hidden@127.0.0.1:1", {"redis_url": "redis://:hidden@127.0.0.1:1", "stream": "s"}
    for method, parameters in (
        ("redis", {"url": redis}),
        ("http", {"url": "http://me:hidden@127.0.0.1:1/x"}),
        ("sql", {"url": "postgresql+psycopg://me:hidden@127.0.0.1:1/x"}),
        ("container", {"name": "c", "base_url": "tcp://127.0.0.1:1"}),
        ("process", {"process": "p", "server": "http://127.0.0.1:1"}),
        ("topic_freshness", {**streams, "max_age": 1}),
        ("consumer_lag", {**streams, "consumer_group": "g"}),
    ):
        verdict = await run(method, **parameters)
        assert verdict.status in (Status.UNHEALTHY, Status.UNKNOWN)
        assert "127.0.0.1:1" in verdict.reason, method
        assert "hidden" not in verdict.reason
        assert "Error" not in verdict.reason or method in ("process", "topic_freshness", "consumer_lag")


async def test_a_redis_that_nobody_named_is_unknown_and_not_that_of_this_machine() -> None:
    verdict = await run("redis")
    assert verdict.status is Status.UNKNOWN
    assert "give the healthcheck `url:" in verdict.reason
    verdict = await run("redis", fields={"host": "127.0.0.1", "port": 1})
    assert verdict.status is Status.UNHEALTHY
