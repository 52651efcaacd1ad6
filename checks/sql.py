"""A value that a database query gives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from treewalk import (
    Node,
    Probe,
    Seconds,
    Threshold,
    Url,
    Verdict,
    check,
    format_duration,
    format_number,
    healthy,
    parse_threshold,
    short,
    shown_address,
    unhealthy,
    unknown,
)

_BOUNDED = ("postgresql", "sqlite", "mysql", "mariadb")  # which can be told how long a statement may run
_STEPS = 1000  # instructions of SQLite between two looks at the clock


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    if not params["url"] and not params["connection"]:
        return "no database: give the healthcheck a url or a connection"
    if ";" in params["query"].rstrip().rstrip(";"):
        return "one statement only: take the ';' out of the query"
    return None


@check("sql", live=True, extra="sql", loads=("sqlalchemy",), needs=_needs)
def sql(
    probe: Probe,
    *,
    query: str = "SELECT 1",
    url: Url | None = None,
    connection: str | None = None,
    threshold: Threshold | None = None,
    expect: str | float | None = None,
    statement_timeout: Seconds | None = None,
) -> Verdict:
    """A SQL query answers, and its single value is right. The session is read-only.

    query              one statement that gives one value
    url                SQLAlchemy URL, may hold ${ENV}; or
    connection         the name of one under `connections` in treewalk.yaml
    threshold          the limit that the value has to keep: "< 60s", "> 80%", "> 0"
    expect             the value that it has to be
    statement_timeout  how long the statement may run (default: what the check may take); of PostgreSQL, MySQL, MariaDB
                       and SQLite
    """
    from sqlalchemy import create_engine, exc, pool, text

    if not url and not connection:
        return unknown("no database: give the healthcheck a url or a connection")
    if ";" in query.rstrip().rstrip(";"):
        return unknown("one statement only: take the ';' out of the query")
    address = probe.secret(f"connection:{connection}" if connection else str(url))
    where = shown_address(address)
    limit = min(statement_timeout or probe.timeout, probe.timeout)
    try:
        engine = create_engine(address, poolclass=pool.NullPool, connect_args=_arguments(address, limit))
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        return unknown(
            f"the url is not one that can be opened: {type(error).__name__}; is the database's driver installed?"
        )
    if statement_timeout is not None and engine.dialect.name not in _BOUNDED:
        return unknown(f"{engine.dialect.name} cannot be told a statement_timeout: leave it out of the healthcheck")
    until = time.monotonic() + limit
    try:
        with engine.connect() as session:
            _restrain(session, limit, lambda: time.monotonic() > until)
            row = session.execute(text(query)).first()
        verdict = _judge(row[0] if row else None, threshold, expect)
    except exc.OperationalError as error:
        verdict = _operational(error, limit)
    except exc.DBAPIError as error:
        verdict = unknown(f"the query was refused: {_first_line(error)}")
    finally:
        engine.dispose()
    return replace(verdict, reason=f"{where}: {verdict.reason}")


def _restrain(session: Any, limit: float, late: Callable[[], bool]) -> None:
    """Let the session read only, and its statement run for `limit` seconds at the most.

    PostgreSQL was told the second when it was connected to. SQLite runs in this very process and asks `late` now and
    then. MySQL counts in milliseconds (of SELECT alone, which is all that may be sent), MariaDB in seconds.
    """
    from sqlalchemy import text

    dialect = session.dialect
    if dialect.name == "sqlite":
        session.execute(text("PRAGMA query_only = ON"))
        session.connection.driver_connection.set_progress_handler(late, _STEPS)
        return
    if dialect.name in ("mysql", "mariadb"):
        maria = dialect.name == "mariadb" or getattr(dialect, "is_mariadb", False)
        bound = f"max_statement_time = {limit:.3f}" if maria else f"max_execution_time = {max(1, int(limit * 1000))}"
        session.execute(text(f"SET SESSION {bound}"))
    if dialect.name in ("postgresql", "mysql", "mariadb"):
        session.execute(text("SET TRANSACTION READ ONLY"))


def _arguments(address: str, limit: float) -> dict[str, Any]:
    seconds = max(1, math.ceil(limit))
    if address.startswith("postgresql"):
        options = f"-c statement_timeout={int(limit * 1000)} -c default_transaction_read_only=on"
        return {"connect_timeout": seconds, "options": options}
    if address.startswith(("mysql+pymysql", "mariadb+pymysql")):
        return {"connect_timeout": seconds, "read_timeout": seconds + 1, "write_timeout": seconds + 1}
    return {"timeout": limit} if address.startswith("sqlite") else {}  # how long it waits for another's lock


def _operational(error: Any, limit: float) -> Verdict:
    said = _first_line(error)
    lowered = said.lower()
    if any(mark in lowered for mark in ("statement timeout", "canceling statement", "interrupted")):
        return unhealthy(f"the query was not done within {format_duration(limit)}: {said}")
    if any(
        mark in lowered
        for mark in ("no such table", "syntax error", "no such column", "readonly database", "read-only")
    ):
        return unknown(f"the query was refused: {said}")
    if any(mark in lowered for mark in ("authentication failed", "access denied", "no password supplied")):
        return unknown("the database refuses the user or the password")
    return unhealthy(f"the database does not answer: {said}")


def _first_line(error: Any) -> str:
    lines = str(error.orig).strip().splitlines()
    return short(lines[0]) if lines else type(error.orig).__name__


def _judge(value: Any, threshold: str | float | None, expect: str | float | None) -> Verdict:
    if value is None:
        return unknown("the query gave no value")
    if expect is not None:
        same = str(value) == str(expect) or _number(value) == _number(expect) is not None
        verdict = healthy if same else unhealthy
        return verdict(f"the query gave {value}", observed=str(value)[:100], expected=str(expect))
    if threshold is None:
        return healthy("the query was answered", observed=str(value)[:100])
    number = _number(value)
    if number is None or math.isnan(number):
        return unknown(f"the query gave {str(value)[:50]!r}, which is not a number")
    limit = parse_threshold(threshold)
    verdict = healthy if limit.holds(number) else unhealthy
    return verdict(f"the query gave {format_number(number)}", observed=limit.show(number), expected=str(limit))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
