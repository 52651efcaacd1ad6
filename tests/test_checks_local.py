"""Healthchecks against what a test can start by itself: http, tls_expiry, file_age, sql, log_recency."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from treewalk.content.checks import builtin_checks
from treewalk.model.series import LogLine
from treewalk.model.tree import BaselineSpec, CheckSpec, LogSpec, Node
from treewalk.model.verdict import Status, Verdict
from treewalk.sdk import Probe
from treewalk.stages.checkrun import run_check

from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import HERE

CHECKS = builtin_checks()


async def run(
    method: str, *, fields: dict[str, Any] | None = None, logs: TableLogs | None = None, **params: Any
) -> Verdict:
    node = Node("n", HERE, fields=fields or {}, logs=LogSpec('{a="b"}') if logs else None)
    source, metrics = logs or TableLogs(), TableMetrics()
    probe = Probe(node, time.time(), 300.0, 20.0, lambda name: metrics, lambda name: source, baseline=BaselineSpec())
    return await run_check(CHECKS[method], probe, CheckSpec(method, params, HERE), 25.0)


@asynccontextmanager
async def answering(
    status: str = "200 OK", body: bytes = b"ready", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_http_judges_status_body_and_speed() -> None:
    async with answering() as port:
        url = f"http://127.0.0.1:{port}/"
        assert (await run("http", url=url)).status is Status.HEALTHY
        assert (await run("http", url=url, body_contains="ready")).status is Status.HEALTHY
        assert (await run("http", url=url, body_contains="steady")).status is Status.UNHEALTHY
        assert (await run("http", url=url, status=204)).status is Status.UNHEALTHY
        assert (await run("http", url=url, max_latency="0s")).status is Status.DEGRADED
    assert (await run("http", url=url)).status is Status.UNHEALTHY


async def test_http_without_an_address_is_unknown_and_a_server_error_is_unhealthy() -> None:
    assert (await run("http")).status is Status.UNKNOWN
    async with answering("503 Service Unavailable") as port:
        verdict = await run("http", fields={"url": f"http://user:hidden@127.0.0.1:{port}/"})
    assert verdict.status is Status.UNHEALTHY
    assert "hidden" not in verdict.reason


async def test_tls_expiry_tells_soon_from_late_and_refuses_what_it_does_not_trust(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for days, wanted in ((60, Status.HEALTHY), (10, Status.DEGRADED), (1, Status.UNHEALTHY)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        until = datetime.now(UTC) + timedelta(days=days)
        authority.issue_cert("localhost", not_after=until).configure_cert(context)
        async with answering(tls=context) as port:
            address = {"address": f"127.0.0.1:{port}", "server_name": "localhost"}
            verdict = await run("tls_expiry", ca_file=str(tmp_path / "ca.pem"), **address)
            assert verdict.status is wanted, verdict
            assert (await run("tls_expiry", **address)).status is Status.UNHEALTHY


async def test_file_age_takes_the_newest_of_a_glob(tmp_path: Path) -> None:
    for name, age in (("old.csv", 9000), ("new.csv", 10)):
        (tmp_path / name).write_text("x" * 10)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    path = str(tmp_path / "*.csv")
    assert (await run("file_age", path=path, max_age="1m")).status is Status.HEALTHY
    assert (await run("file_age", path=path, max_age="5s")).status is Status.UNHEALTHY
    assert (await run("file_age", path=path, max_age="1m", min_size="1kB")).status is Status.UNHEALTHY
    assert (await run("file_age", path=str(tmp_path / "none"), max_age="1m")).status is Status.UNHEALTHY


async def test_sql_reads_one_value_and_cannot_write(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "x.db") as made:
        made.execute("CREATE TABLE t (n INTEGER)")
        made.execute("INSERT INTO t VALUES (5)")
    url = f"sqlite:///{tmp_path / 'x.db'}"
    assert (await run("sql", url=url, query="SELECT n FROM t", threshold="> 3")).status is Status.HEALTHY
    assert (await run("sql", url=url, query="SELECT n FROM t", threshold="> 7")).status is Status.UNHEALTHY
    assert (await run("sql", url=url, query="SELECT n FROM t", expect=5)).status is Status.HEALTHY
    assert (await run("sql", url=url, query="SELECT n FROM t WHERE n > 9", expect=5)).status is Status.UNKNOWN
    assert (await run("sql", url=url, query="SELECT nothing FROM nowhere")).status is Status.UNKNOWN
    assert (await run("sql", url=url, query="DELETE FROM t")).status is not Status.HEALTHY
    assert (await run("sql", url=url, query="SELECT 1; DROP TABLE t")).status is Status.UNKNOWN
    with sqlite3.connect(tmp_path / "x.db") as made:
        assert made.execute("SELECT count(*) FROM t").fetchone() == (1,)


@pytest.mark.parametrize(("age", "wanted"), [(5.0, Status.HEALTHY), (60.0, Status.UNHEALTHY), (None, Status.UNHEALTHY)])
async def test_log_recency_is_the_age_of_the_newest_line(age: float | None, wanted: Status) -> None:
    lines = [LogLine(time.time() - age, "hello")] if age is not None else []
    assert (await run("log_recency", logs=TableLogs({'{a="b"}': lines}), max_age="30s")).status is wanted


async def test_tcp_connect_without_an_address_says_which_line_to_add() -> None:
    verdict = await run("tcp_connect")
    assert verdict.status is Status.UNKNOWN
    assert "address: host:port" in verdict.reason


SLOW = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 300000000) SELECT max(n) FROM t"


async def test_sql_ends_a_statement_of_sqlite_that_takes_too_long(tmp_path: Path) -> None:
    began = time.monotonic()
    verdict = await run("sql", url=f"sqlite:///{tmp_path / 'x.db'}", query=SLOW, statement_timeout="100ms")
    assert time.monotonic() - began < 10  # minutes otherwise
    assert verdict.status is Status.UNHEALTHY
    assert "not done within 100ms" in verdict.reason


@pytest.mark.parametrize(
    ("name", "maria", "wanted"),
    [
        ("mysql", False, "SET SESSION max_execution_time = 100"),
        ("mysql", True, "SET SESSION max_statement_time = 0.100"),
        ("mariadb", True, "SET SESSION max_statement_time = 0.100"),
    ],
)
def test_sql_tells_mysql_and_mariadb_each_in_its_own_words(name: str, maria: bool, wanted: str) -> None:
    module = sys.modules["treewalk_checks.sql"]
    said: list[str] = []

    class Session:
        dialect = SimpleNamespace(name=name, is_mariadb=maria)

        def execute(self, statement: Any) -> None:
            said.append(str(statement))

    module._restrain(Session(), 0.1, lambda: False)
    assert said == [wanted, "SET TRANSACTION READ ONLY"]


async def test_sql_refuses_a_time_out_that_a_database_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    engine = SimpleNamespace(dialect=SimpleNamespace(name="mssql"))
    monkeypatch.setattr(sqlalchemy, "create_engine", lambda *args, **named: engine)
    verdict = await run("sql", url="mssql+pyodbc://h/x", statement_timeout="1s")
    assert verdict.status is Status.UNKNOWN
    assert "leave it out" in verdict.reason
