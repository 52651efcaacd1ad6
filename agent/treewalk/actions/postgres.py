"""Queries of a PostgreSQL: end those that run for too long and look like what was reviewed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from treewalk.actions.parameters import Address, OptionalName, looking, shown
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy
from treewalk.model.quantity import format_duration
from treewalk.model.redact import redact
from treewalk.ports import Hands
from treewalk.sdk import Seconds

_PARTS = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<literal>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|(?:\b[bBxXnN])?'(?:[^']|'')*(?:'|\Z)"""
    r"""|\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)|\$\d+|(?<![\w.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"""
    r"""|(?P<name>"(?:[^"]|"")*")""",
    re.DOTALL,
)
_DRIVER = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://")  # as SQLAlchemy writes it
_SPACES = re.compile(r"\s+")
_LOOSE = re.compile(r" ?([^\w\s\"?$%]) ?")
_NAMES = re.compile(r"[a-z_][\w.]*")
_HIDDEN = "<insufficient privilege>"  # in place of a query that the user may not see
_PATIENCE = 5.0  # seconds that a session is given to end


def fingerprint(query: str) -> str:
    """A query without comments, values, and differences of case and spacing: `select * from t where id = ?`."""
    bare = _PARTS.sub(_bare, query)
    return _SPACES.sub(" ", bare).strip().rstrip(";").strip().lower()


def _tight(query: str) -> str:
    """A fingerprint for comparing: spaces beside brackets and signs are a matter of taste."""
    return _LOOSE.sub(r"\1", fingerprint(query))


def _bare(found: re.Match[str]) -> str:
    """One pass over all kinds, so that dashes in a text are no comment and quotes in a comment no text."""
    return " " if found["comment"] else "?" if found["literal"] else found[0]


def _said(text: str) -> str:
    said = fingerprint(text)
    if not said.strip("?% ") or (said.endswith("%") and len(_NAMES.findall(said)) < 2):
        raise ValueError("a fingerprint has to say more than that: it would match nearly every query")
    return text


class TerminateParameters(BaseModel):
    """Sessions whose query has the `fingerprint` (as pg_stat_activity shows it; values and case do not matter;
    a `%` at its end stands for the rest) and which have been at it for longer than `age`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Address
    fingerprint: Annotated[str, Field(min_length=4, max_length=4000), AfterValidator(_said)]
    age: Seconds = Field(ge=1)
    user: OptionalName = None
    database: OptionalName = None
    state: Literal["active", "idle in transaction"] = "active"
    how: Literal["cancel", "terminate"] = "terminate"
    at_most: int = Field(default=1, ge=1, le=100)

    @model_validator(mode="after")
    def _makes_sense(self) -> TerminateParameters:
        if self.how == "cancel" and self.state != "active":
            raise ValueError("a session that is idle in transaction runs nothing to cancel: terminate it")
        return self


class Terminate:
    """End the oldest sessions that run a known query for too long. Their transactions are rolled back by the server."""

    kind: ClassVar[str] = "postgres_terminate"
    tier: ClassVar[Autonomy] = Autonomy.KNOWN
    idempotent: ClassVar[bool] = False  # run again, it ends the next `at_most` sessions
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = TerminateParameters

    def facts(self, params: TerminateParameters) -> ActionFacts:
        """It touches sessions of one PostgreSQL."""
        touches = (f"sessions of postgresql {shown(params.url)}",)
        return ActionFacts(self.kind, self.tier, self.idempotent, self.reversible, touches=touches)

    async def preview(self, params: TerminateParameters, hands: Hands) -> str:
        """Which sessions it would end now. Raises SourceError."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: TerminateParameters, hands: Hands) -> ActionResult:
        """End them. Raises ActionFailed when the server refuses, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: TerminateParameters, hands: Hands) -> str:
        with looking(), _connected(params, hands) as database:
            return f"would {params.how} {_described(_sessions(database, params))}"

    def _run(self, params: TerminateParameters, hands: Hands) -> ActionResult:
        function = "pg_cancel_backend" if params.how == "cancel" else "pg_terminate_backend"
        with _connected(params, hands) as database:
            found = _sessions(database, params)
            ended = []
            for session in found:
                # The start of the query is asked for again: a process id may have become another query's by now.
                row = database.execute(
                    f"SELECT {function}(pid) FROM pg_stat_activity WHERE pid = %s AND query_start = %s",  # noqa: S608
                    [session["pid"], session["query_start"]],
                ).fetchone()
                if row is not None and row[0]:
                    ended.append(session)
            stubborn = _still_there(database, ended, params, min(_PATIENCE, hands.timeout))
        if stubborn:
            pids = ", ".join(str(s["pid"]) for s in stubborn)
            raise ActionFailed(f"PostgreSQL {shown(params.url)}: session {pids} was told to end and still runs")
        verb = "cancelled" if params.how == "cancel" else "terminated"
        return ActionResult(f"{verb} {_described(ended)}", {"ended": [s["pid"] for s in ended], "found": len(found)})


def _described(sessions: list[dict[str, Any]]) -> str:
    if not sessions:
        return "no session: none runs such a query for that long"
    oldest = sessions[0]
    more = f" and {len(sessions) - 1} more" if len(sessions) > 1 else ""
    query = redact(fingerprint(oldest["query"]))[:120]
    return f"session {oldest['pid']} of {oldest['usename']}, {format_duration(oldest['age'])} at {query}{more}"


def _sessions(database: Any, params: TerminateParameters) -> list[dict[str, Any]]:
    """The sessions to end, the oldest first."""
    since = "query_start" if params.state == "active" else "xact_start"
    rows = database.execute(
        f"SELECT pid, usename, datname, query, query_start, extract(epoch FROM clock_timestamp() - {since})::float8"  # noqa: S608
        " FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        f" AND state = %s AND {since} < clock_timestamp() - make_interval(secs => %s)"
        f" ORDER BY {since}",
        [params.state, params.age],
    ).fetchall()
    names = ("pid", "usename", "datname", "query", "query_start", "age")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    chosen = [s for s in found if _chosen(s, params)][: params.at_most]
    if not chosen:
        _may_see(database, params)
    return chosen


def _may_see(database: Any, params: TerminateParameters) -> None:
    """Raises ActionFailed when queries among which to choose are hidden from this user."""
    hidden = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query = %s AND datid IS NOT NULL AND pid <> pg_backend_pid()"
        " AND (%s::text IS NULL OR usename = %s) AND (%s::text IS NULL OR datname = %s)",
        [_HIDDEN, params.user, params.user, params.database, params.database],
    ).fetchone()[0]
    if hidden:
        raise ActionFailed(
            f"PostgreSQL {shown(params.url)} hides the queries of {hidden} sessions from this user;"
            " GRANT pg_monitor shows them, GRANT pg_signal_backend lets it end them"
        )


def _still_there(
    database: Any, ended: list[dict[str, Any]], params: TerminateParameters, seconds: float
) -> list[dict[str, Any]]:
    """Those of the ended sessions that are at the same query after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        rows = database.execute(
            "SELECT pid, query_start FROM pg_stat_activity WHERE state = %s AND pid = ANY(%s)",
            [params.state, [s["pid"] for s in ended]],
        ).fetchall()
        left = [s for s in ended if (s["pid"], s["query_start"]) in rows]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _chosen(session: dict[str, Any], params: TerminateParameters) -> bool:
    wanted, seen = _tight(params.fingerprint), _tight(session["query"] or "")
    same = seen.startswith(wanted[:-1]) if wanted.endswith("%") else seen == wanted
    by_user = params.user is None or session["usename"] == params.user
    return same and by_user and (params.database is None or session["datname"] == params.database)


@contextmanager
def _connected(params: TerminateParameters, hands: Hands) -> Iterator[Any]:
    """A connection of its own. What goes wrong becomes an error that says whether something was changed."""
    import psycopg

    where = shown(params.url)
    seconds = max(1, int(hands.timeout))
    try:
        options = f"-c statement_timeout={seconds * 1000}"
        address = _DRIVER.sub("postgresql://", hands.resolve(params.url))
        connection = psycopg.connect(address, connect_timeout=seconds, autocommit=True, options=options)
    except (psycopg.ProgrammingError, ValueError):  # their texts may hold the address with its password
        message = f"{where} is not an address of a PostgreSQL; write postgresql://host:port/name or connection:NAME"
        raise SourceRejected(message) from None
    except psycopg.Error as error:
        raise SourceUnreachable(f"PostgreSQL {where} is not reachable: {_first_line(error)}") from None
    try:
        yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise ActionFailed(f"PostgreSQL {where} does not allow it: {_first_line(error)}") from None
    except psycopg.OperationalError as error:
        raise SourceTimeout(f"PostgreSQL {where} broke off: {_first_line(error)}; the outcome is not known") from None
    except psycopg.Error as error:
        raise SourceRejected(f"PostgreSQL {where} refused: {_first_line(error)}") from None
    finally:
        connection.close()


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return redact(text[0])[:200] if text else type(error).__name__
