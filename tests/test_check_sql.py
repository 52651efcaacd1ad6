"""The sql check against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from treewalk.model.verdict import Status

from tests.support.postgres import running_postgres
from tests.test_checks_local import run

HAVE = bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
pytestmark = pytest.mark.skipif(not HAVE, reason="needs postgresql, which this machine does not have")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as found:
        yield found


async def test_a_value_is_judged(url: str) -> None:
    query = "SELECT count(*) FROM pg_stat_activity"
    assert (await run("sql", url=url, query=query, threshold="> 0")).status is Status.HEALTHY
    assert (await run("sql", url=url, query=query, threshold="> 1000")).status is Status.UNHEALTHY


async def test_the_session_cannot_write(url: str) -> None:
    verdict = await run("sql", url=url, query="CREATE TABLE t (n int)")
    assert verdict.status is Status.UNKNOWN
    assert "read-only" in verdict.reason


async def test_a_statement_that_takes_too_long_is_ended(url: str) -> None:
    verdict = await run("sql", url=url, query="SELECT pg_sleep(30)", statement_timeout="200ms")
    assert verdict.status is Status.UNHEALTHY
    assert "timeout" in verdict.reason


async def test_a_wrong_password_is_unknown_and_never_shown(url: str) -> None:
    verdict = await run("sql", url=url.replace("made-up", "quite-wrong"))
    assert verdict.status is Status.UNKNOWN
    assert "quite-wrong" not in verdict.reason


async def test_a_database_that_is_not_there_is_unhealthy() -> None:
    verdict = await run("sql", url="postgresql+psycopg://ops:made-up@127.0.0.1:9/x")
    assert verdict.status is Status.UNHEALTHY
    assert "made-up" not in verdict.reason
