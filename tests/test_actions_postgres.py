"""Ending queries of a real PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from treewalk.actions import action
from treewalk.actions.postgres import _tight, fingerprint
from treewalk.errors import ActionFailed, SourceError, SourceRejected, SourceTimeout, SourceUnreachable

from tests.support.actions import hands, preview, run
from tests.support.hostile import HOSTILE
from tests.support.postgres import running_postgres
from tests.support.redis import free_port

pytestmark = pytest.mark.needs("pg_lsclusters")
KIND = "postgres_terminate"
SLEEP = "/* report 7 */ SELECT pg_sleep( 30 ) AS \"Nap\", 'a--b' -- of the night"
PRINT = 'select pg_sleep(?) as "nap", ?'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as found:
        address = found.replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as admin:
            admin.execute("CREATE DATABASE other")
            for role in ("worker", "watcher", "nobody"):
                admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'made-up'")
            admin.execute("GRANT pg_read_all_stats TO watcher")
        yield found


class Held(NamedTuple):
    """A session that is at a query."""

    connection: psycopg.Connection
    pid: int

    @property
    def gone(self) -> bool:
        return self.connection.closed or self.connection.broken


@contextmanager
def session(url: str, query: str, **changes: str) -> Iterator[Held]:
    """A session that is at a query in a thread, until somebody ends it or the block is left."""
    connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True, **changes)

    def ask() -> None:
        with suppress(psycopg.Error):
            connection.execute(query)

    thread = Thread(target=ask)
    thread.start()
    time.sleep(0.15)
    try:
        yield Held(connection, connection.info.backend_pid)
    finally:
        if thread.is_alive():
            connection.cancel()
        thread.join(timeout=10)
        connection.close()


@contextmanager
def old(url: str, *queries: str, seconds: float = 1.1, **changes: str) -> Iterator[list[Held]]:
    with ExitStack() as stack:
        found = [stack.enter_context(session(url, query, **changes)) for query in queries]
        time.sleep(seconds)
        yield found


def ended(held: Held) -> bool:
    for _ in range(40):
        if held.gone:
            return True
        time.sleep(0.05)
    return False


async def test_a_query_of_the_fingerprint_is_ended_after_its_age_and_others_stay(url: str) -> None:
    with old(url, SLEEP, "SELECT pg_sleep(30), 1", "SELECT 1 + pg_sleep(30)::text::int") as (known, *others):
        params = {"url": url, "fingerprint": PRINT, "age": "1s"}
        assert f"would terminate session {known.pid} of ops" in await preview(KIND, **params)
        assert not known.gone
        with session(url, SLEEP) as young:
            result = await run(KIND, at_most=9, **params)
            assert result.data == {"ended": [known.pid], "found": 1}
            assert ended(known)
            assert not any(one.gone for one in (*others, young))
        assert "none runs such a query" in (await run(KIND, **params)).summary


async def test_cancelling_ends_the_query_and_leaves_the_session(url: str) -> None:
    with old(url, SLEEP) as (known,):
        result = await run(KIND, url=url, fingerprint=PRINT, age="1s", how="cancel")
        assert result.data["ended"] == [known.pid]
        time.sleep(0.3)
        row = known.connection.execute("SELECT 1").fetchone()
        assert row == (1,)


async def test_the_oldest_goes_first_and_no_more_than_allowed(url: str) -> None:
    with old(url, SLEEP, SLEEP, SLEEP) as (first, second, third):
        params = {"url": url, "fingerprint": SLEEP, "age": "1s", "at_most": 2}
        assert "and 1 more" in await preview(KIND, **params)
        assert (await run(KIND, **params)).data["ended"] == [c.pid for c in (first, second)]
        assert not third.gone


async def test_only_the_user_and_the_database_that_are_named(url: str) -> None:
    with old(url, SLEEP, user="worker") as (workers,), old(url, SLEEP, dbname="other") as (others,):
        params = {"url": url, "fingerprint": PRINT, "age": "1s", "at_most": 9}
        assert (await run(KIND, user="nobody", **params)).data["ended"] == []
        assert (await run(KIND, user="worker", database="other", **params)).data["ended"] == []
        assert (await run(KIND, user="worker", **params)).data["ended"] == [workers.pid]
        assert (await run(KIND, database="other", **params)).data["ended"] == [others.pid]


async def test_a_session_that_holds_its_transaction_open_is_ended(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as held:
        held.execute("SELECT 40 + 2")
        time.sleep(1.1)
        params = {"url": url, "fingerprint": "select ? + ?", "age": "1s"}
        assert (await run(KIND, **params)).data["ended"] == []
        result = await run(KIND, state="idle in transaction", **params)
        assert result.data["ended"] == [held.info.backend_pid]
        with pytest.raises(psycopg.OperationalError):
            held.execute("SELECT 1")


async def test_a_percent_sign_stands_for_the_rest(url: str) -> None:
    with old(url, SLEEP) as (known,):
        params = {"url": url, "age": "1s"}
        assert (await run(KIND, fingerprint="select pg_sleep(?), %", **params)).data["ended"] == []
        assert (await run(KIND, fingerprint="select pg_sleep", **params)).data["ended"] == []
        result = await run(KIND, fingerprint="SELECT pg_sleep(%", **params)
        assert result.data["ended"] == [known.pid]


async def test_who_may_not_end_it_or_may_not_see_it_fails(url: str) -> None:
    with old(url, SLEEP) as (known,):
        for role, why in (("watcher", "does not allow it"), ("worker", "hides the queries of .* GRANT pg_monitor")):
            address = url.replace("ops:", f"{role}:")
            params = {"url": address, "fingerprint": PRINT, "age": "1s"}
            with pytest.raises(ActionFailed, match=why):
                await run(KIND, **params)
        with pytest.raises(SourceRejected, match="hides the queries"):
            await preview(KIND, **params)
        assert not known.gone


async def test_a_user_ends_its_own_without_further_rights(url: str) -> None:
    address = url.replace("ops:", "worker:")
    params = {"url": address, "fingerprint": PRINT, "age": "1s", "user": "worker"}
    assert (await run(KIND, **params)).data["ended"] == []
    with old(url, SLEEP, user="worker") as (known,):
        assert (await run(KIND, **params)).data["ended"] == [known.pid]


async def test_a_server_that_is_gone_or_refuses_was_not_changed(url: str) -> None:
    params = {"fingerprint": PRINT, "age": "1s"}
    gone = f"postgresql://ops:made-up@127.0.0.1:{free_port()}/postgres"
    wrong = url.replace(":made-up@", ":guessed-word@")
    for address in (gone, wrong):
        for go in (preview, run):
            with pytest.raises(SourceUnreachable) as caught:
                await go(KIND, url=address, **params)
            assert "made-up" not in str(caught.value)
            assert "guessed-word" not in str(caught.value)
    for address in (
        "guessed-word and nonsense",
        "postgresql://h/x?nonsense=guessed-word",
        "postgresql://h:guessed-word",
    ):
        with pytest.raises((SourceRejected, SourceUnreachable)) as caught:
            await run(KIND, hands(timeout=1), url="${PG}", **params)
        with pytest.raises((SourceRejected, SourceUnreachable)) as caught:
            await run(KIND, hands(timeout=1, **{"${PG}": address}), url="${PG}", **params)
        assert "guessed-word" not in str(caught.value)


async def test_a_session_that_does_not_end_is_a_failure(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from treewalk.actions import postgres

    whole = postgres._sessions
    with old(url, SLEEP) as (known,):

        def deaf(database: Any, params: Any) -> Any:
            found = whole(database, params)
            database.execute("CREATE SCHEMA IF NOT EXISTS deaf")
            name = "deaf.pg_terminate_backend(integer)"
            database.execute(f"CREATE OR REPLACE FUNCTION {name} RETURNS boolean LANGUAGE sql AS 'SELECT true'")
            database.execute("SET search_path = deaf, pg_catalog")
            return found

        monkeypatch.setattr(postgres, "_sessions", deaf)
        monkeypatch.setattr(postgres, "_PATIENCE", 0.3)
        with pytest.raises(ActionFailed, match=f"session {known.pid} was told to end and still runs"):
            await run(KIND, url=url, fingerprint=PRINT, age="1s")
        assert not known.gone


async def test_a_server_that_dies_on_the_way_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from treewalk.actions import postgres

    with running_postgres(tmp_path) as address:
        whole = postgres._sessions

        def killed(database: Any, params: Any) -> Any:
            found = whole(database, params)
            pid = database.info.backend_pid
            with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
            time.sleep(0.2)
            return found

        monkeypatch.setattr(postgres, "_sessions", killed)
        with old(address, SLEEP), pytest.raises(SourceTimeout, match="not known"):
            await run(KIND, url=address, fingerprint=PRINT, age="1s")


@pytest.mark.parametrize(
    "wrong",
    [{"fingerprint": "%"}, {"fingerprint": "????"}, {"fingerprint": "select %"}, {"fingerprint": "-- select"},
     {"fingerprint": "with%"}, {"age": "0s"}, {"age": "-5s"}, {"at_most": 0}, {"state": "idle"}, {"how": "kill"},
     {"how": "cancel", "state": "idle in transaction"}, {"where": "true"}],
)  # fmt: skip
def test_what_would_match_everything_or_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        action(KIND).parameters.model_validate({"url": "x", "fingerprint": PRINT, "age": "1s", **wrong})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT * FROM t WHERE id = 7", "select *\n from t where id=8".replace("=", " = "), True),
        ("select 'a--b' from t", "select 'c' from t", True),
        ("select 'a--b' from t", "select 'a--b' from u", False),
        ("select '/*' from t -- '*/", "select 'x' from t", True),
        ("select 'it''s' from t", "select 'x' from t", True),
        (r"select E'it\'s -- ' from t", "select 'x' from t", True),
        ("select $$ it's $$ from t", "select 'x' from t", True),
        ("select $a$ $b$ $a$ from t", "select 'x' from t", True),
        ("select $1 from t", "select 7 from t", True),
        ('select "it\'s" from t', 'select "it\'s" from t', True),
        ('select "a" from t', "select 'a' from t", False),
        ("select t1.x from t1", "select t2.x from t2", False),
        ("select 1.5e10", "select 2", True),
        ("select 'cut off at 1024 char", "select 'whole'", True),
        ("select /* ' */ 1", "select 2", True),
        ("select count( * ) from t where a=1", "SELECT count(*) FROM t WHERE a = 2", True),
        ("select a b", "select ab", False),
        ("select 1;", "SELECT 1", True),
        ("drop table t", "select 1", False),
    ],
)
def test_values_comments_case_and_spaces_make_no_difference(one: str, other: str, same: bool) -> None:
    assert (_tight(one) == _tight(other)) is same


@given(st.text(alphabet="select 'ab\"$1-*/\\E%\n", max_size=40))
def test_a_fingerprint_of_a_fingerprint_is_the_same_where_no_value_was_in_it(text: str) -> None:
    once = fingerprint(text)
    if "?" not in once and '"' not in once:
        assert fingerprint(once) == once


def test_a_hostile_query_is_read_in_linear_time() -> None:
    for piece in ("'", "''", "\\'", "E'", "$a$", "$", "/*", "--", '"', "1.", "1e", "$$", "a"):
        fingerprint(piece * 20_000)


async def test_hostile_texts_stay_texts(url: str) -> None:
    whole = {"url": url, "fingerprint": PRINT, "age": "1s"}
    with old(url, SLEEP) as (known,):
        for text in HOSTILE:
            for name in ("url", "fingerprint", "user", "database", "state", "how"):
                try:
                    done = await run(KIND, hands(timeout=2), **{**whole, name: text})
                except (ValidationError, ActionFailed, SourceError):
                    continue
                assert done.data["ended"] == []
        assert not known.gone


async def test_sessions_are_not_ended_again_by_itself_after_a_crash(url: str) -> None:
    """Run again it ends the next one, so that it is not the same as once."""
    params = {"url": url, "fingerprint": PRINT, "age": 1}
    with session(url, SLEEP), session(url, SLEEP):
        time.sleep(1.1)
        ended = [(await run(KIND, **params)).data["ended"] for _ in range(2)]
    assert [len(one) for one in ended] == [1, 1]
    assert ended[0] != ended[1]
    one = action(KIND)
    assert not one.facts(one.parameters.model_validate(params)).idempotent
