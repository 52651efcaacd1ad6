"""Alerts are taken in once each, into exactly one incident an SLA, and none is lost."""

import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from treewalk.errors import StoreError
from treewalk.model.alert import Alert, AlertStatus
from treewalk.model.tree import Sla
from treewalk.stages.route import Router
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, PostgresDatabase, SqliteDatabase
from treewalk.store.inbox import Accepted, Inbox
from treewalk.store.schema import SQLITE_STEPS, VERSION

from tests.support.postgres import running_postgres
from tests.support.trees import HERE

SLAS = [f"sla_{k}" for k in range(10)]
ROUTER = Router(Sla(name, None, None, None, None, (), HERE) for name in SLAS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL."""
    with running_postgres(tmp_path_factory.mktemp("shared")) as url:
        yield url.replace("postgresql+psycopg", "postgresql")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("/usr/lib/postgresql"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        yield SqliteDatabase(tmp_path / "memory.db")
        return
    found = PostgresDatabase(request.getfixturevalue("shared"))
    with found.writing() as db:
        db.execute("DROP SCHEMA public CASCADE")
        db.execute("CREATE SCHEMA public")
    found.close()
    yield found
    found.close()


def alert(
    fingerprint: str = "f1",
    status: AlertStatus = "firing",
    starts: float | None = 100.0,
    sla: str = "sla_0",
    source: str = "alertmanager",
) -> Alert:
    return Alert(source, fingerprint, status, f"Name{fingerprint}", {"sla": sla}, {}, starts)


def take(inbox: Inbox, *alerts: Alert, at: float = 1000.0) -> Accepted:
    return inbox.accept([alerts], ROUTER.route, at)[0]


def test_an_alert_opens_an_incident_and_the_next_one_joins_it(database: Database) -> None:
    inbox, cases = Inbox(database), Casebook(database)
    first = take(inbox, alert("f1"), alert("f2"))
    assert (first.new, len(first.opened), first.joined) == (2, 1, [])
    number = first.opened[0]
    second = take(inbox, alert("f3"))
    assert (second.opened, second.joined) == ([], [number])
    assert [a["fingerprint"] for a in inbox.of(number)] == ["f1", "f2", "f3"]
    assert inbox.of(number)[0]["labels"] == {"sla": "sla_0"}
    assert [row["kind"] for row in cases.timeline(number)] == ["open", "alert", "alert"]
    assert cases.life(number)["cause"].startswith("alertmanager: Namef1")
    assert inbox.waiting() == [number]
    assert Audit(database).verify()[1] == []


def test_the_same_event_again_makes_nothing_new_even_when_its_incident_is_closed(database: Database) -> None:
    inbox, cases = Inbox(database), Casebook(database)
    number = take(inbox, alert()).opened[0]
    assert take(inbox, alert(), alert()) == Accepted(repeated=2)
    cases.close(number, "escalated", "a human has it", 1100.0, {})
    assert take(inbox, alert(), at=20_000.0) == Accepted(repeated=1)
    assert inbox.of(number)[0]["seen"] == 4
    assert take(inbox, alert(starts=19_000.0), at=20_000.0).opened == [number + 1]  # it fired anew


def test_a_resolved_alert_is_a_line_at_its_incident_and_opens_nothing(database: Database) -> None:
    inbox, cases = Inbox(database), Casebook(database)
    number = take(inbox, alert()).opened[0]
    cases.close(number, "resolved", "fixed", 1100.0, {})
    assert take(inbox, alert(status="resolved")).opened == []
    assert cases.timeline(number)[-1]["kind"] == "alert resolved"
    assert take(inbox, alert("f9", "resolved", sla="sla_1")) == Accepted(new=1)
    assert cases.living() == []


def test_an_alert_that_its_end_has_overtaken_opens_nothing(database: Database) -> None:
    inbox = Inbox(database)
    take(inbox, alert(status="resolved"))
    assert take(inbox, alert()) == Accepted(new=1)
    assert inbox.waiting() == []


def test_an_alert_of_no_sla_is_kept_with_the_line_to_add(database: Database) -> None:
    inbox = Inbox(database)
    assert take(inbox, alert(sla="nothing")) == Accepted(new=1, unmapped=1)
    kept = inbox.unmapped(10)[0]
    assert (kept["hint"], kept["mapped"]) == ('alerts: ["Namef1"]', False)
    assert "no SLA for this alert" in kept["because"]


def test_alerts_without_a_time_of_their_own_have_episodes(database: Database) -> None:
    inbox, cases = Inbox(database), Casebook(database)
    fires, ends = alert(starts=None, source="gatus"), alert(status="resolved", starts=None, source="gatus")
    number = take(inbox, fires, at=1000.0).opened[0]
    assert take(inbox, fires, at=1030.0).repeated == 1
    assert take(inbox, fires, at=90_000.0).repeated == 1  # its incident lives
    assert take(inbox, ends, at=90_001.0).new == 1
    assert take(inbox, ends, at=90_002.0).repeated == 1
    again = take(inbox, fires, at=90_003.0)
    assert (again.new, again.joined) == (1, [number])
    cases.close(number, "resolved", "fixed", 90_004.0, {})
    assert take(inbox, fires, at=90_100.0).repeated == 1  # sent again a moment later
    assert take(inbox, fires, at=99_000.0).opened == [number + 1]  # "resolved" was never sent


def test_secrets_in_alerts_are_not_kept(database: Database) -> None:
    inbox = Inbox(database)
    told = Alert("generic", "f", "firing", "Login", {"sla": "sla_0"}, {"d": "password=hunter22x"}, 1.0, None, "x")
    number = take(inbox, told).opened[0]
    assert "hunter22x" not in str(database.query("SELECT * FROM alerts")) + str(inbox.of(number))


def storm(seed: int, size: int) -> list[list[Alert]]:
    """`size` repetitions of 200 distinct alerts, in messages as a group would come."""
    chance = random.Random(seed)
    every = [alert(f"f{k}", sla=f"sla_{k % 10}", starts=float(100 + k)) for k in range(200)]
    sent = [every[k % 200] for k in range(size)]
    chance.shuffle(sent)
    return [sent[k : k + 25] for k in range(0, size, 25)]


def check_storm(database: Database) -> None:
    rows = database.query("SELECT alert, count(*) AS many FROM alert_incidents GROUP BY alert")
    assert len(rows) == 200
    assert {row["many"] for row in rows} == {1}
    assert database.query("SELECT sum(seen) AS total FROM alerts")[0]["total"] == 10_000
    assert len(Casebook(database).living()) == 10
    assert Audit(database).verify()[1] == []


def test_ten_thousand_repeats_of_two_hundred_alerts_are_in_one_incident_each(database: Database) -> None:
    inbox = Inbox(database)
    messages = storm(1, 10_000)
    for k in range(0, len(messages), 8):
        inbox.accept(messages[k : k + 8], ROUTER.route, 1000.0 + k)
    check_storm(database)


def _send(path: str, seed: int) -> int:
    inbox = Inbox(SqliteDatabase(Path(path)))
    return sum(found.new for message in storm(seed, 5000) for found in inbox.accept([message], ROUTER.route, 1000.0))


def test_two_processes_that_take_in_the_same_storm_keep_each_alert_once(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with ProcessPoolExecutor(2) as pool:
        assert sum(pool.map(_send, [str(path)] * 2, [1, 2])) == 200
    check_storm(SqliteDatabase(path))


def test_a_message_is_taken_in_whole_or_not_at_all(tmp_path: Path) -> None:
    inbox = Inbox(SqliteDatabase(tmp_path / "memory.db"))
    take(inbox, alert("f0"))

    def fails(told: Alert) -> None:
        if told.fingerprint == "f2":
            raise StoreError("the disk is full")

    def route(told: Alert) -> object:
        fails(told)
        return ROUTER.route(told)

    with pytest.raises(StoreError):
        inbox.accept([[alert("f1", sla="sla_1"), alert("f2")]], route, 1000.0)  # type: ignore[arg-type]
    assert [row["fingerprint"] for row in inbox.database.query("SELECT fingerprint FROM alerts")] == ["f0"]
    assert len(inbox.waiting()) == 1


def test_a_memory_of_the_version_before_gets_the_table_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    connection = sqlite3.connect(path)
    for step in SQLITE_STEPS[:2]:
        for statement in step:
            connection.execute(statement)
    connection.execute("INSERT INTO incidents (opened, sla, status, document, words) VALUES (1, 'old', 'met', '', '')")
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()
    database = SqliteDatabase(path)
    assert take(Inbox(database), alert()).opened == [2]
    assert database.query("PRAGMA user_version")[0]["user_version"] == VERSION
    assert Casebook(database).life(1)["sla"] == "old"
