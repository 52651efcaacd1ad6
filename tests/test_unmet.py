"""Who has an incident is not told of it anew: what comes in while its SLA is unmet is a line there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from treewalk.model.alert import Alert, AlertStatus, gravity
from treewalk.pipeline import live
from treewalk.stages.route import Route
from treewalk.store.acknowledging import acknowledge
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, PostgresDatabase, SqliteDatabase
from treewalk.store.inbox import UNMET, Accepted, Inbox

from tests.support.acting import Plainly, Scene
from tests.support.messengers import Memo
from tests.support.postgres import running_postgres
from tests.test_courier import Office, settled

NOW = 1_700_000_000.0
OTHER = "consumer_lag"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("unmet")) as url:
        yield url.replace("+psycopg", "")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("/usr/lib/postgresql"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        yield SqliteDatabase(tmp_path / "memory.db")
        return
    found = PostgresDatabase(request.getfixturevalue("postgres"))
    with found.writing() as db:
        db.execute("DROP SCHEMA public CASCADE")
        db.execute("CREATE SCHEMA public")
    found.close()
    yield found
    found.close()


def alert(name: str = "a", status: AlertStatus = "firing", starts: float | None = NOW, **labels: str) -> Alert:
    return Alert("alertmanager", name, status, name, {"sla": "orders"} | labels, {}, starts)


def take(inbox: Inbox, *alerts: Alert, at: float = NOW) -> Accepted:
    return inbox.accept([alerts], lambda one: Route((one.labels["sla"],), ""), at)[0]


def escalated(database: Database, *alerts: Alert, ending: str = "escalated") -> tuple[Inbox, Casebook, int]:
    """An incident that alerts have opened, and that a human has now."""
    inbox, cases = Inbox(database), Casebook(database)
    number = take(inbox, *(alerts or (alert(),))).opened[0]
    cases.close(number, ending, "no remedy", NOW + 1, {})
    return inbox, cases, number


@pytest.mark.parametrize("ending", ["escalated", "refused", "not_resolved"])
def test_a_storm_is_one_incident_though_it_has_ended_before_the_rest_comes(database: Database, ending: str) -> None:
    inbox, cases, number = escalated(database, ending=ending)
    for k in range(12):
        found = take(inbox, alert(f"more {k}"), at=NOW + 2 + 2 * k)
        assert (found.opened, found.joined) == ([], [number])
        assert take(inbox, alert(f"more {k}"), at=NOW + 3 + 2 * k) == Accepted(repeated=1)
    assert cases.living() == []
    assert [row["text"] for row in cases.timeline(number) if row["kind"] == "alert"][-1] == "alertmanager: more 11"
    given = database.query("SELECT incident, count(*) AS many FROM alert_incidents GROUP BY incident")
    assert given == [{"incident": number, "many": 13}]


def test_other_slas_are_not_swallowed(database: Database) -> None:
    inbox, _, number = escalated(database)
    assert take(inbox, alert("b", sla="stock")).opened == [number + 1]


def test_an_alert_that_was_resolved_and_fires_again_is_a_new_incident(database: Database) -> None:
    inbox, cases, number = escalated(database)
    take(inbox, alert(status="resolved"), at=NOW + 60)
    assert [row["kind"] for row in cases.timeline(number)][-2:] == ["alert resolved", "calm"]
    assert take(inbox, alert(starts=NOW + 90), at=NOW + 91).opened == [number + 1]


def test_one_alert_of_many_that_is_resolved_does_not_end_the_storm(database: Database) -> None:
    inbox, _, number = escalated(database, alert("a"), alert("b"))
    take(inbox, alert("a", "resolved"), at=NOW + 60)
    assert take(inbox, alert("a", starts=NOW + 90), at=NOW + 91).joined == [number]
    take(inbox, alert("b", "resolved"), alert("a", "resolved", starts=NOW + 90), at=NOW + 99)
    assert take(inbox, alert("c"), at=NOW + 100).opened == [number + 1]


def test_alerts_that_were_all_resolved_before_it_ended_leave_nothing_unmet(database: Database) -> None:
    inbox, cases = Inbox(database), Casebook(database)
    number = take(inbox, alert()).opened[0]
    take(inbox, alert(status="resolved"))
    cases.close(number, "escalated", "no remedy", NOW + 1, {})
    assert take(inbox, alert(starts=NOW + 9), at=NOW + 10).opened == [number + 1]


def test_a_measurement_that_is_met_ends_it(database: Database) -> None:
    inbox, _, number = escalated(database)
    inbox.met("orders", NOW)  # before it ended
    assert take(inbox, alert("b"), at=NOW + 5).joined == [number]
    inbox.met("orders", NOW + 10)
    assert take(inbox, alert("c"), at=NOW + 11).opened == [number + 1]


@pytest.mark.parametrize("ending", ["resolved", "no_fault_found"])
def test_a_later_incident_that_found_it_met_ends_it(database: Database, ending: str) -> None:
    inbox, cases, _ = escalated(database)
    by_hand = cases.open("orders", "by hand", NOW + 5)
    cases.close(by_hand, ending, "it is met", NOW + 6, {})
    assert take(inbox, alert("c"), at=NOW + 11).opened == [by_hand + 1]


def test_after_the_bound_somebody_is_told_anew(database: Database) -> None:
    inbox, _, number = escalated(database)
    assert take(inbox, alert("b"), at=NOW + UNMET).joined == [number]
    assert take(inbox, alert("c"), at=NOW + UNMET + 2).opened == [number + 1]
    assert take(Inbox(database, lambda: 0.0), alert("d"), at=NOW + UNMET + 3).joined == [number + 1]  # it lives


def test_a_bound_of_nothing_is_off(database: Database) -> None:
    _, _, number = escalated(database)
    assert take(Inbox(database, lambda: 0.0), alert("b"), at=NOW + 2).opened == [number + 1]


def test_what_nothing_would_tell_the_end_of_takes_no_alerts(database: Database) -> None:
    cases = Casebook(database)
    cases.close(cases.open("orders", "by hand", NOW), "escalated", "no remedy", NOW + 1, {})
    assert take(Inbox(database), alert(), at=NOW + 3600).opened == [2]


@pytest.mark.parametrize("ending", ["resolved", "cancelled"])
def test_what_ended_well_or_by_a_human_takes_no_alerts(database: Database, ending: str) -> None:
    inbox, _, number = escalated(database, ending=ending)
    assert take(inbox, alert("b"), at=NOW + 2).opened == [number + 1]


def test_a_repetition_without_a_time_of_its_own_stays_one_while_its_sla_is_unmet(database: Database) -> None:
    inbox, _, number = escalated(database, alert(starts=None))
    assert take(inbox, alert(starts=None), at=NOW + 3600) == Accepted(repeated=1)
    take(inbox, alert(status="resolved", starts=None), at=NOW + 3700)
    assert take(inbox, alert(starts=None), at=NOW + 3701).opened == [number + 1]


@pytest.mark.parametrize("switch", ["kill", "read_only"])
def test_what_was_refused_stays_so_when_a_switch_is_turned_off(database: Database, switch: str) -> None:
    inbox, cases, number = escalated(
        database, ending="refused"
    )  # by policy or a human: a switch holds, and ends nothing
    cases.switch_on(switch, "ann", "a storm", NOW)
    assert take(inbox, alert("b"), at=NOW + 2).joined == [number]
    assert cases.switch_off(switch, "ann", NOW + 3)
    assert take(inbox, alert("c"), at=NOW + 4).joined == [number]


def test_a_graver_alert_is_told_once(database: Database) -> None:
    inbox, cases, number = escalated(database, alert(severity="warning"))
    for name, severity in (("b", "info"), ("c", "critical"), ("d", "page"), ("e", "warning")):
        take(inbox, alert(name, severity=severity), at=NOW + 5)
    worse = [row["text"] for row in cases.timeline(number) if row["kind"] == "worse"]
    assert worse == ["alertmanager: c: graver than what was told before"]


def test_how_grave_an_alert_calls_itself() -> None:
    ranks = [gravity({"severity": one}) for one in ("Critical", "error", "warning", "info", "pink")]
    assert ranks == [4, 3, 2, 1, 0]
    assert gravity({"severity": "info", "priority": "P1"}) == 4
    assert gravity({}) == 0


async def test_a_storm_after_an_escalation_is_one_message_and_a_graver_alert_another(tmp_path: Path) -> None:
    office, memo = Office(tmp_path), Memo("mail", edits=False)
    courier, inbox = office.courier(memo), Inbox(office.database)
    now = office.clock.now()
    number = take(inbox, alert(severity="warning"), at=now).opened[0]
    office.close(number, "escalated")
    await settled(courier)
    for k in range(12):
        take(inbox, alert(f"more {k}", severity="warning"), at=now + 2 + k)
        await settled(courier)
    assert len(memo.sent) == 1
    acknowledge(office.database, office.cases, number, "ann", "cli", now + 20)
    await settled(courier)
    take(inbox, alert("grave", severity="critical"), at=now + 30)
    await settled(courier)
    assert len(memo.sent) == 2
    assert acknowledge(office.database, office.cases, number, "ann", "cli", now + 40)  # it waits for her again


async def life_of(scene: Scene, number: int) -> str:
    return await asyncio.wait_for(live(number, scene.desk(), Plainly()), 20)


def in_trouble(scene: Scene) -> int:
    """An incident with a cause that nobody may mend, escalated a minute ago."""
    scene.error = None
    number = scene.cases.open(scene.sla, "one", scene.clock.now())
    return number


async def test_twelve_alerts_two_seconds_apart_at_a_node_without_a_remedy_are_one_incident(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.error, inbox = None, Inbox(scene.database)
    for k in range(12):
        for number in take(inbox, alert(f"a{k}", sla=scene.sla), at=scene.clock.now()).opened:
            assert await life_of(scene, number) == "escalated"
        scene.clock.at += 2
    assert scene.database.query("SELECT number, ending FROM incidents") == [{"number": 1, "ending": "escalated"}]
    assert len(inbox.of(1)) == 12


async def test_a_cause_that_a_human_has_is_told_once_for_all_slas_above_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first = in_trouble(scene)
    assert await life_of(scene, first) == "escalated"
    scene.clock.at += 3600
    second = scene.cases.open(OTHER, "an hour later", scene.clock.now())
    assert await life_of(scene, second) == "merged"
    assert scene.cases.merged_into(second) == first
    scene.clock.at += scene.policy.unmet - 3600
    third = scene.cases.open("a third", "when the bound is over", scene.clock.now())
    assert await life_of(scene, third) == "escalated"


async def test_a_cause_that_was_mended_in_between_is_a_new_incident(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first = in_trouble(scene)
    assert await life_of(scene, first) == "escalated"
    scene.clock.at += 60
    scene.world.else_broken, look = {OTHER}, scene.look
    scene.world.broken = False  # nobody has said so

    async def still(sla: str, number: int) -> Any:
        scene.world.broken = True
        found = await look(sla, number)
        scene.world.broken = False
        return found

    scene.look = still  # type: ignore[method-assign]
    second = scene.cases.open(OTHER, "the same node again", scene.clock.now())
    assert await life_of(scene, second) == "escalated"
    assert scene.cases.same_cause(second, "store", 0.0) is None
