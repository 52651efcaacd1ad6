"""A period read back from what was written down. On both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from treewalk.model.acting import ActionFacts, Autonomy, PlannedStep
from treewalk.model.acting import TriedFix as Tried
from treewalk.model.alert import Alert
from treewalk.stages.route import Route
from treewalk.store import periods
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, PostgresDatabase, SqliteDatabase
from treewalk.store.inbox import Inbox
from treewalk.store.ledger import Ledger
from treewalk.store.lessons import Lessons
from treewalk.store.periods import Periods

from tests.support.postgres import running_postgres

NOW = 1_700_000_000.0
DAY = 86400.0
STEP = PlannedStep(0, "mend", "store", {}, facts=ActionFacts("mend", Autonomy.FULL, False, False, cost=2.0))


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("periods")) as url:
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


def found_out(database: Database, number: int, onset: float | None, **columns: Any) -> None:
    """What a diagnosis writes, as far as a period reads it."""
    document = json.dumps({"status": "violated", "onset": onset, "in_window": True})
    values = {"status": "violated", "document": document, **columns}
    with database.writing() as db:
        names = ", ".join(f"{name} = ?" for name in values)
        db.execute(f"UPDATE incidents SET {names} WHERE number = ?", [*values.values(), number])


def alert(starts: float | None, sla: str, name: str) -> tuple[Alert, Route]:
    return Alert("prometheus", name, "firing", name, starts_at=starts), Route((sla,), "so")


def test_a_period_holds_what_was_written_down_in_it(database: Database) -> None:
    cases = Casebook(database)
    told = [alert(NOW - 60, "fresh", "Stale"), alert(None, "lag", "Lag")]
    routes = {one.name: route for one, route in told}
    Inbox(database).accept([[one for one, _ in told]], lambda one: routes[one.name], NOW)
    one, two = (int(row["number"]) for row in cases.living())
    found_out(database, one, NOW - 30, root_node="store", known_error="ke-1", severity="P1")
    found_out(database, two, NOW - 90, root_node="store")
    cases.ask(one, "d", "may I?", NOW + 5, NOW + 50)
    cases.answer(one, "d", "ann", True, "cli", NOW + 9)
    for ruling in ("ask", "proceed"):
        Audit(database).add(NOW + 9, "decision", "treewalk", {"tier": "ask", "ruling": ruling}, one)
    ledger = Ledger(database)
    ledger.intend("k", one, STEP, "d", "w", NOW + 10)
    ledger.settle("k", "done", "did it", {}, "w", NOW + 11)
    assert cases.enter(one, "acting", "acts", NOW + 10)
    assert cases.merge(two, one, "the same node", NOW + 12)
    fix = Tried(sla="fresh", node="store", known_error="ke-1", playbook=None)
    Lessons(database).tried(fix, one, "won", 20.0, NOW + 30)
    cases.close(one, "resolved", "it held", NOW + 30, {})
    three = cases.open("fresh", "again", NOW + 500)
    Lessons(database).returned(fix, three, NOW)

    facts = Periods(database).period(NOW - DAY, NOW + DAY, NOW + 600)
    assert [(c.number, c.severity) for c in facts.opened] == [(three, None), (two, None), (one, "P1")]
    assert facts.endings == {"merged": 1, "resolved": 1}
    assert (facts.detect.known, facts.detect.unknown, facts.detect.p90) == (2, 1, 90)
    assert (facts.resolve.known, facts.resolve.median) == (1, 30)
    assert (facts.known, facts.diagnosed) == (1, 2)
    assert facts.decisions == {("ask", "ask"): 1, ("ask", "proceed"): 1}
    assert facts.actions == {("mend", "done"): 1}
    assert {x.sla: (x.seconds, x.unknown) for x in facts.losses} == {"lag": (120, 0), "fresh": (60, 1)}
    assert (facts.questions.asked, facts.questions.approved) == (1, 1)
    assert [(f.name, f.result) for f in facts.returned] == [("ke-1", "returned")]
    assert [(n.sla, n.incidents, n.alerts) for n in facts.noisiest] == [("fresh", 2, 2), ("lag", 1, 0)]
    assert (facts.alerts, facts.unmapped, facts.model.asked, facts.left_out) == (2, 0, 0, 0)
    assert [c.number for c in facts.living] == [three]
    assert facts.opened[2].slas == ("fresh", "lag")


def test_what_lies_outside_of_a_period_is_not_in_it(database: Database) -> None:
    cases = Casebook(database)
    old, new = cases.open("a", "x", NOW - 2 * DAY), cases.open("b", "x", NOW + 60)
    cases.close(old, "resolved", "y", NOW - DAY, {})
    found_out(database, new, NOW - 60)
    with database.writing() as db:
        db.execute(
            "INSERT INTO incidents (opened, sla, status, document, words, state) VALUES (?, 'c', 'met', '', '', ?)",
            [NOW - 60, "diagnosed"],  # somebody only looked
        )
    facts = Periods(database).period(NOW - 600, NOW, NOW + DAY)
    assert (facts.opened, facts.closed, facts.living) == ((), (), ())
    assert [(x.sla, x.seconds) for x in facts.losses] == [("b", 60)]  # it began in it and was told after it


def test_more_incidents_than_are_read_are_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "MOST", 5)
    monkeypatch.setattr(periods, "_PAGE", 2)
    for k in range(8):
        Casebook(database).open(f"s{k}", "x", NOW + k)
    facts = Periods(database).period(NOW - 1, NOW + 100, NOW + 100)
    assert ([c.number for c in facts.opened], facts.left_out) == ([8, 7, 6, 5, 4], 3)


def test_prompts_in_the_audit_are_counted_with_tokens_and_cost(database: Database) -> None:
    audit = Audit(database)
    for _ in range(3):
        audit.add(NOW, "prompt", "treewalk", {"tokens_in": 100, "tokens_out": 7, "cost": 0.25})
    audit.add(NOW, "prompt", "treewalk", {})
    model = Periods(database).period(NOW - 1, NOW + 1, NOW + 1).model
    assert (model.asked, model.tokens_in, model.tokens_out, model.cost) == (4, 300, 21, 0.75)
    assert Periods(database).period(NOW - 1, NOW + 1, NOW).model.asked == 0  # now does not belong to it
