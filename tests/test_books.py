"""What is written down while treewalk acts: ledger, audit, questions, claims, trust, workers. On both databases."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from treewalk.errors import StoreError
from treewalk.model.acting import ActionFacts, Autonomy, PlannedStep, TriedFix
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, PostgresDatabase, SqliteDatabase
from treewalk.store.ledger import Ledger
from treewalk.store.lessons import Lessons
from treewalk.store.workers import Workers, started

from tests.support.postgres import running_postgres

NOW = 1_700_000_000.0
STEP = PlannedStep(
    0,
    "mend",
    "store",
    {"how": "x", "password": "hunter2hunter2"},
    facts=ActionFacts("mend", Autonomy.FULL, False, False, cost=2.0),
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("books")) as url:
        yield url.replace("+psycopg", "")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("/usr/lib/postgresql"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        found: Any = SqliteDatabase(tmp_path / "memory.db")
    else:
        found = PostgresDatabase(request.getfixturevalue("postgres"))
        with found.writing() as db:  # a clean one for each test
            db.execute("DROP SCHEMA public CASCADE")
            db.execute("CREATE SCHEMA public")
        found.close()
        found = PostgresDatabase(request.getfixturevalue("postgres"))
    yield found
    found.close()


def test_an_intent_is_written_once_whoever_tries(database: Database) -> None:
    ledger, number = Ledger(database), Casebook(database).open("sla", "x", NOW)
    first, again = (ledger.intend("k", number, STEP, "d", who, NOW) for who in ("one", "two"))
    assert first is not None
    assert again is not None
    assert first.fresh
    assert (again.fresh, again.worker, again.outcome) == (False, "one", None)
    ledger.settle("k", "done", "did it", {"n": 1}, "one", NOW + 2)
    ledger.settle("k", "failed", "no", {}, "two", NOW + 3)
    found = ledger.entry("k")
    assert found is not None
    assert (found.outcome, found.summary, found.data) == ("done", "did it", {"n": 1})
    assert [(p.kind, p.node, p.cost) for p in ledger.past(NOW)] == [("mend", "store", 2.0)]
    assert ledger.past(NOW, "k") == []
    assert ledger.entry("other") is None
    assert "hunter2hunter2" not in str(database.query("SELECT * FROM ledger"))


def test_an_intent_that_others_have_overtaken_is_not_written(database: Database) -> None:
    ledger, number = Ledger(database), Casebook(database).open("sla", "x", NOW)
    length = ledger.length()
    assert ledger.intend("others", number, STEP, "d", "one", NOW, length) is not None
    assert ledger.intend("mine", number, STEP, "d", "two", NOW, length) is None
    assert ledger.entry("mine") is None
    found = ledger.intend("others", number, STEP, "d", "two", NOW, length)
    assert found is not None  # what was begun before is found, however many have acted since
    assert not found.fresh
    assert ledger.intend("mine", number, STEP, "d", "two", NOW, ledger.length()) is not None


def test_an_audit_row_that_was_touched_is_found_and_named(database: Database) -> None:
    audit = Audit(database)
    for k in range(6):
        audit.add(NOW + k, "kind", "who", {"k": k})
    assert audit.verify() == (6, [])
    with pytest.raises((StoreError, sqlite3.Error, Exception), match="append-only"), database.writing() as db:
        db.execute("UPDATE audit SET who = 'me' WHERE seq = 2")
    _unguarded(database, "UPDATE audit SET data = '{\"k\":99}' WHERE seq = 3")
    assert [(f.seq, f.what) for f in audit.verify()[1]] == [(3, "its content was changed")]
    _unguarded(database, "DELETE FROM audit WHERE seq = 5")
    assert (5, "row 5 removed") in [(f.seq, f.what) for f in audit.verify()[1]]
    _unguarded(database, "DELETE FROM audit WHERE seq = 6")
    assert any("removed from the end" in f.what for f in audit.verify()[1])


def lived(database: Database) -> Audit:
    """An incident from its beginning to its end, with a question, an action and a lesson."""
    cases, ledger, lessons = Casebook(database), Ledger(database), Lessons(database)
    number = cases.open("freshness", "a test", NOW)
    cases.ask(number, "d" * 64, "may I?", NOW, NOW + 60)
    cases.answer(number, "d" * 64, "ann", True, "cli", NOW + 1)
    ledger.intend("k1", number, STEP, "d" * 64, "w", NOW + 2)
    ledger.settle("k1", "done", "mended", {}, "w", NOW + 3)
    lessons.keep("learned-1", {"id": "learned-1"}, number, NOW + 4, "treewalk")
    lessons.set_trust("learned-1", "trusted", "ann", "good", NOW + 5)
    lessons.set_trust("learned-1", "suspended", "ann", "bad", NOW + 6)
    cases.close(number, "resolved", "mended", NOW + 7, {})
    return Audit(database)


def cut(database: Database, last: int) -> None:
    """The last rows deleted and the head set back, so that the chain itself is whole."""
    _unguarded(database, f"DELETE FROM audit WHERE seq > {last}")
    row = database.query("SELECT hash FROM audit WHERE seq = ?", [last])
    with database.writing() as db:
        if row:
            db.execute("UPDATE audit_head SET seq = ?, hash = ?", [last, row[0]["hash"]])
        else:
            db.execute("DELETE FROM audit_head")


def test_an_audit_whose_end_was_cut_off_is_found_out_by_the_tables_beside_it(database: Database) -> None:
    audit = lived(database)
    assert audit.verify() == (9, [])
    cut(database, 7)
    assert [str(flaw) for flaw in audit.verify()[1]] == [
        "no row tells that incident 1 was closed",
        "learned-1 is suspended there, but the last row about it says trusted",
    ]
    cut(database, 4)
    assert "no row tells that k1 was done" in map(str, audit.verify()[1])
    cut(database, 0)
    told = list(map(str, audit.verify()[1]))
    assert "no row tells that incident 1 was opened" in told
    assert "no row tells that incident 1 was approved" in told
    assert "no row tells that learned-1 was learned" in told


def test_an_outcome_that_was_changed_beside_the_audit_is_found_out(database: Database) -> None:
    audit = lived(database)
    with database.writing() as db:
        db.execute("UPDATE ledger SET outcome = 'failed'")
    assert [str(flaw) for flaw in audit.verify()[1]] == ["k1 was failed there, but the last row about it says done"]


def test_a_hash_that_was_kept_elsewhere_shows_what_else_was_cut(database: Database) -> None:
    audit = Audit(database)
    for k in range(4):
        audit.add(NOW + k, "decision", "treewalk", {"k": k})
    head = audit.head()
    assert head is not None
    audit.add(NOW + 9, "decision", "treewalk", {"k": 9})
    assert audit.verify(head["hash"]) == (5, [])
    cut(database, 3)
    assert audit.verify() == (3, []), "what no other table tells of is not missed"
    assert "the audit was cut or rewritten" in str(audit.verify(head["hash"])[1][0])


def _unguarded(database: Database, sql: str) -> None:
    """What somebody with the file or the database in hand could do."""
    with database.writing() as db:
        if database.dialect == "sqlite":
            for name in ("audit_kept", "audit_whole"):
                db.execute(f"DROP TRIGGER IF EXISTS {name}")
        else:
            db.execute("ALTER TABLE audit DISABLE TRIGGER ALL")
        db.execute(sql)


def test_a_question_is_answered_once_in_time_and_for_its_own_plan(database: Database) -> None:
    cases = Casebook(database)
    number = cases.open("sla", "x", NOW)
    assert cases.answer(number, "d1", "ann", True, "cli", NOW) == "not asked"
    assert cases.ask(number, "d1", "may I?", NOW, NOW + 60) == NOW + 60
    assert cases.ask(number, "d1", "may I?", NOW + 30, NOW + 90) == NOW + 60
    assert cases.answer(number, "d2", "ann", True, "cli", NOW + 1) == "not asked"
    assert cases.answer(number, "d1", "ann", False, "cli", NOW + 1) == "recorded"
    assert cases.answer(number, "d1", "bob", True, "cli", NOW + 2) == "already"
    found = cases.approval(number, "d1")
    assert found is not None
    assert (found.who, found.granted) == ("ann", False)
    cases.ask(number, "d3", "and now?", NOW, NOW + 60)
    assert cases.answer(number, "d3", "ann", True, "cli", NOW + 60) == "expired"
    assert cases.approval(number, "d3") is None


def test_nodes_are_claimed_all_or_none_and_given_free_at_the_end(database: Database) -> None:
    cases = Casebook(database)
    one, two = cases.open("a", "x", NOW), cases.open("b", "x", NOW)
    assert cases.claim(one, ["n1", "n2"], NOW) is None
    assert cases.claim(one, ["n1", "n2"], NOW) is None
    assert cases.claim(two, ["n3", "n2"], NOW) == one
    assert cases.claim(one, ["n3"], NOW) is None  # the second took nothing
    assert cases.close(one, "resolved", "x", NOW, {})
    assert not cases.close(one, "escalated", "y", NOW, {})
    assert cases.claim(two, ["n3", "n2"], NOW) is None


def test_a_node_is_held_for_as_long_as_an_action_runs_there(database: Database) -> None:
    """Cancelling ends an incident at once; what runs at that moment runs on."""
    cases, ledger, workers = Casebook(database), Ledger(database), Workers(database)
    workers.register("one", NOW)
    first, second = cases.open("a", "x", NOW), cases.open("b", "x", NOW)
    assert cases.claim(first, ["n1"], NOW) is None
    ledger.intend("k", first, STEP, "d", "one", NOW)
    assert cases.close(first, "cancelled", "by ann", NOW, {})
    assert cases.at_work(first)
    assert cases.claim(second, ["n1"], NOW) == first
    ledger.settle("k", "done", "did it", {}, "one", NOW)
    assert not cases.at_work(first)
    assert cases.claim(second, ["n1"], NOW) is None


def test_who_died_while_acting_holds_no_node_for_ever(database: Database) -> None:
    cases, ledger, workers = Casebook(database), Ledger(database), Workers(database)
    workers.register("one", NOW)
    first, second = cases.open("a", "x", NOW), cases.open("b", "x", NOW)
    cases.claim(first, ["n1"], NOW)
    ledger.intend("k", first, STEP, "d", "one", NOW)
    assert cases.at_work(first)
    cases.close(first, "cancelled", "by ann", NOW, {})
    workers.bury("one")
    assert not cases.at_work(first)
    assert cases.claim(second, ["n1"], NOW) is None


def test_an_sla_has_one_living_incident(database: Database) -> None:
    cases = Casebook(database)
    one = cases.open_or_join("a", "x", NOW)
    assert cases.open_or_join("a", "again", NOW) == one
    assert cases.open_or_join("b", "other", NOW) != one
    cases.close(one, "resolved", "x", NOW, {})
    assert cases.open_or_join("a", "once more", NOW) not in (one,)


def test_switches_are_on_until_they_are_turned_off(database: Database) -> None:
    cases = Casebook(database)
    assert cases.switch("kill") is None
    cases.switch_on("kill", "ann", "look first", NOW)
    assert cases.switch("kill") == "ann: look first"
    assert cases.switch_off("kill", "bob", NOW)
    assert not cases.switch_off("kill", "bob", NOW)


def test_records_count_wins_and_failures_in_a_row(database: Database) -> None:
    lessons = Lessons(database)
    fix, other = TriedFix("sla", "node", "ke", "book"), TriedFix("sla", "node", "other", "another book")
    for incident, result in enumerate(["won", "failed", "won", "won"], start=1):
        lessons.tried(fix, incident, result, 10.0, NOW + incident)
        lessons.tried(fix, incident, "failed", 10.0, NOW + incident)  # once an incident
    assert lessons.returned(other, 9, NOW) == 0, "another error at the same node is not the old one come back"
    assert lessons.returned(TriedFix("sla", "node", None, "book"), 9, NOW + 3) == 2
    record = lessons.record("ke", "trusted")
    assert (record.fires, record.wins, record.failures) == (4, 1, 3)
    lessons.set_trust("ke", "suspended", "ann", "it harms", NOW)
    assert lessons.record("ke", "trusted").trust == "suspended"
    assert [row["result"] for row in lessons.history(fix, NOW)] == ["won", "failed", "returned", "returned"]


def test_the_work_of_a_dead_process_has_one_heir(database: Database) -> None:
    workers = Workers(database)
    workers.register("me", NOW)
    assert workers.dead(NOW) == []
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with database.writing() as db:
        db.execute("INSERT INTO workers SELECT 'child', host, ?, ?, beat FROM workers", [child.pid, started(child.pid)])
        db.execute("INSERT INTO workers SELECT 'reused', host, pid, 'another start', beat FROM workers WHERE id = 'me'")
        db.execute("INSERT INTO workers SELECT 'far', 'elsewhere', pid, started, beat FROM workers WHERE id = 'me'")
    assert workers.dead(NOW) == ["reused"]
    child.kill()
    child.wait()
    assert workers.dead(NOW + 31) == ["child", "far", "reused"]
    workers.beat("far", NOW + 31)
    assert workers.dead(NOW + 32) == ["child", "reused"]
    assert (workers.adopt("child", NOW + 33), workers.adopt("child", NOW + 33)) == (True, False)
    assert workers.dead(NOW + 33) == ["reused"]  # its row lives with its heir
    assert workers.adopt("nobody-knows", NOW + 33)
    workers.bury("child")
    assert workers.known() == {"me", "reused", "far", "nobody-knows"}
    workers.leave("me")
    assert os.getpid() not in [row["pid"] for row in database.query("SELECT pid FROM workers WHERE id = 'me'")]


@pytest.mark.needs("/usr/lib/postgresql")
def test_nobody_who_comes_waits_for_one_who_reads_long(postgres: str) -> None:
    """A dump of the database takes its time; who opens the memory meanwhile must not wait, and all others behind it."""
    import psycopg

    PostgresDatabase(postgres).query("SELECT 1")
    with psycopg.connect(postgres) as reader:
        reader.execute("SELECT count(*) FROM incidents")
        newcomer = PostgresDatabase(f"{postgres}?options=-c%20lock_timeout%3D3000")
        assert newcomer.query("SELECT count(*) AS many FROM incidents")
        newcomer.close()


def test_a_clock_that_is_wrong_on_another_host_kills_nobody(database: Database) -> None:
    """Whose clock is an hour behind is alive as long as its sign of life changes."""
    workers = Workers(database)
    workers.register("far", NOW - 3600)
    with database.writing() as db:
        db.execute("UPDATE workers SET host = 'elsewhere' WHERE id = 'far'")
    for second in range(0, 120, 5):
        workers.beat("far", NOW - 3600 + second)
        assert workers.dead(NOW + second) == []
    assert not workers.adopt("far", NOW + 120)
    assert workers.dead(NOW + 151) == ["far"]
    assert workers.adopt("far", NOW + 151)


def test_one_that_was_taken_for_dead_and_lives_is_known_again(database: Database) -> None:
    """A machine may stand still for a minute. What it begins afterwards must not be taken for a dead one's."""
    workers = Workers(database)
    workers.register("me", NOW)
    workers.bury("me")
    workers.beat("me", NOW + 60)
    assert workers.known() == {"me"}
    assert workers.dead(NOW + 61) == []


@pytest.mark.needs("/usr/lib/postgresql")
def test_one_that_stands_still_in_the_middle_of_writing_holds_up_nobody_for_ever(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may be paused with the lock that all writers take; its transaction is ended, and it is told so."""
    monkeypatch.setattr("treewalk.store.database._STILL", 500, raising=False)
    still, other = PostgresDatabase(postgres), PostgresDatabase(f"{postgres}?options=-c%20lock_timeout%3D5000")
    other.query("SELECT 1")
    went_on: list[bool] = []

    def stand_still() -> None:
        with still.writing() as db:
            db.execute("DELETE FROM switches WHERE name = 'none'")
            went_on.append(Casebook(other).switch_off("none", "ann", NOW))
            db.execute("DELETE FROM switches WHERE name = 'none'")

    with pytest.raises(StoreError):
        stand_still()
    assert went_on == [False]
    Casebook(still).switch_off("none", "ann", NOW)
    for one in (still, other):
        one.close()
