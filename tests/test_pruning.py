"""What is old goes, what counts stays: whatever the table held before."""

import asyncio
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as configure
from hypothesis import strategies as st
from treewalk.errors import StoreError
from treewalk.integrations.durable import Workflows, own_file
from treewalk.model.alert import Alert
from treewalk.server.tidying import prune
from treewalk.settings import StoreSettings
from treewalk.stages.route import Route
from treewalk.store import pruning
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, SqliteDatabase
from treewalk.store.inbox import Inbox
from treewalk.store.memory import MemoryStore
from treewalk.store.pruning import Pruned, Pruner

from tests.crash.target import running_target, write_workspace
from tests.support.serving import serving
from tests.test_cli_acting import run
from tests.test_serve import ENVIRON, TOKEN, alertmanager, until, with_server

KEEP = 100.0


def filled(database: Database, ages: list[tuple[float, bool]], loose: list[float]) -> None:
    """Incidents with an alert each, so many seconds old, closed or not; and alerts of no SLA."""
    cases, inbox = Casebook(database), Inbox(database)
    for k, (age, over) in enumerate(ages):
        at = 1000.0 - age
        alert = Alert("generic", f"a{k}", "firing", f"A{k}", starts_at=at)
        inbox.accept([[alert]], lambda one, k=k: Route((f"s{k}",), ""), at)  # type: ignore[misc]
        with database.writing() as db:
            db.execute("UPDATE incidents SET document = '{}', plan = '{}' WHERE number = ?", [k + 1])
        if over:
            cases.close(k + 1, "resolved", "well", at, {})
    for k, age in enumerate(loose):
        alert = Alert("generic", f"n{k}", "firing", f"N{k}", starts_at=1000.0 - age)
        inbox.accept([[alert]], lambda one: Route((), "none"), 1000.0 - age)


ages = st.lists(st.tuples(st.sampled_from([0.0, 50.0, 99.0, 101.0, 500.0]), st.booleans()), max_size=8)


@configure(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages, st.lists(st.sampled_from([0.0, 99.0, 101.0, 500.0]), max_size=5))
async def test_only_what_is_old_and_over_goes(
    tmp_path_factory: pytest.TempPathFactory, ages: list[tuple[float, bool]], loose: list[float]
) -> None:
    database = SqliteDatabase(tmp_path_factory.mktemp("m") / "memory.db")
    filled(database, ages, loose)
    before = {t: database.query(f"SELECT * FROM {t}") for t in ("audit", "ledger", "fixes", "learned")}
    old = [k + 1 for k, (age, over) in enumerate(ages) if over and age > KEEP]
    gone = sum(age > KEEP for age in loose) + len(old)
    wanted = Pruned(len(old), gone, 0)
    pruner = Pruner(database, KEEP)
    assert pruner.would(1000.0) == wanted
    assert await prune(pruner, 1000.0) == wanted
    assert pruner.would(1000.0) == Pruned()
    assert {t: database.query(f"SELECT * FROM {t}") for t in before} == before
    assert Audit(database).verify()[1] == []
    assert [row["number"] for row in MemoryStore(database).incidents(100)] == list(range(len(ages), 0, -1))
    for number in range(1, len(ages) + 1):
        found = MemoryStore(database).incident(number)
        kinds = [row["kind"] for row in Casebook(database).timeline(number)]
        assert (found["life"]["plan"] is None) is (number in old)
        assert (kinds == ["pruned"]) is (number in old)
    linked = {row["alert"] for row in database.query("SELECT alert FROM alert_incidents")}
    assert linked <= {row["id"] for row in database.query("SELECT id FROM alerts")}
    database.close()


async def test_alerts_of_no_sla_are_bounded_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "UNMAPPED", 3)
    database = SqliteDatabase(tmp_path / "memory.db")
    filled(database, [], [50.0 - k for k in range(8)])
    assert (await prune(Pruner(database, KEEP), 1000.0)).alerts == 5
    assert [row["name"] for row in Inbox(database).unmapped(10)] == ["N7", "N6", "N5"]


async def test_deliveries_that_are_done_go_and_marks_stay(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "memory.db")
    filled(database, [(500.0, True), (500.0, False)], [])
    rows = [
        ("a", "mark", None, "sent"),
        ("a", "1", 1, "sent"),
        ("a", "2", 2, "sent"),
        ("a", "3", 1, "due"),
        ("a", "d", None, "failed"),
    ]
    with database.writing() as db:
        for channel, key, incident, state in rows:
            db.execute(
                "INSERT INTO deliveries (channel, key, incident, state, digest, attempts, due, created, updated,"
                " document) VALUES (?, ?, ?, ?, '', 1, 0, 0, 0, '{}')",
                [channel, key, incident, state],
            )
    assert (await prune(Pruner(database, KEEP), 1000.0)).deliveries == 2
    assert {row["key"] for row in database.query("SELECT key FROM deliveries")} == {"mark", "2", "3"}


def test_how_long_things_stay() -> None:
    assert StoreSettings().keep == 400 * 86400.0
    assert StoreSettings.model_validate({"keep": "90d"}).keep == 90 * 86400.0
    assert StoreSettings.model_validate({"keep": None}).keep is None


def test_a_server_removes_what_is_old_and_the_command_too(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = with_server(
            write_workspace(tmp_path / "w", target.url, ["one"]), "server: {token: '${TREEWALK_TOKEN}'}\n"
        )

        def life(client: httpx.Client) -> Any:
            return client.get("/api/incidents/1").json()["life"]

        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            client.post("/webhooks/alertmanager", json=alertmanager("one")).raise_for_status()
            until(lambda: life(client)["ending"] == "resolved", "its end")
            rights = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (workspace / ".treewalk").glob("*.db*")}
            assert set(rights.values()) == {0o600}, rights
            assert "workflows.db" in rights
            assert served.stop() == 0
        code, out, _ = run(workspace, "memory", "prune", "--keep", "100ms", "--dry-run")
        assert (code, "documents of 1 incidents, 1 alerts" in out) == (0, True)
        with_server(workspace, "store: {keep: 100ms}\n")
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            until(lambda: any("documents of 1 incidents" in line for line in served.said), "the tidying")
            assert any(line.endswith(", 1 workflows") for line in served.said)
            assert life(client)["plan"] is None
            assert client.get("/api/incidents/1/timeline").json()["timeline"][0]["kind"] == "pruned"
            assert served.stop() == 0
        assert run(workspace, "memory", "prune")[1].startswith("removed: documents of 0 incidents")
        assert run(workspace, "alerts")[1].strip() == "no alerts"


async def test_a_broken_database_of_workflows_is_named_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "workflows.db"
    path.write_text("this is no database, " * 100)
    with pytest.raises(StoreError, match=r"workflows\.db cannot be used: .*move it away"):
        await Workflows(f"sqlite:///{path}", "w", None).launch()  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"store\.url") as told:
        await Workflows("postgresql://u:hunter22@127.0.0.1:9/x", "w", None).launch()  # type: ignore[arg-type]
    assert "hunter22" not in str(told.value)


def test_the_alerts_that_mean_no_sla_are_listed_with_the_line_to_add(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    inbox = Inbox(SqliteDatabase(workspace / ".treewalk" / "memory.db"))
    inbox.accept(
        [[Alert("generic", "x", "firing", "DiskFull")]], lambda a: Route((), "no SLA", 'alerts: ["DiskFull"]'), 1.0
    )
    command = [sys.executable, "-m", "treewalk", "--workspace", str(workspace), "alerts", "--unmapped"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 'add: alerts: ["DiskFull"]' in done.stdout


async def test_what_a_living_incident_began_with_is_not_forgotten(tmp_path: Path) -> None:
    """Its attempts are counted from the first one on: without that, it would be begun a second time while it lives."""
    began = asyncio.Event()

    async def live(number: int, durable: Any) -> str:
        if number == 1 and not began.is_set():
            began.set()
            raise ValueError("it broke off")
        if number == 1:
            await asyncio.sleep(3600)
        return "resolved"

    flows = Workflows(own_file(tmp_path / "workflows.db"), "w", live)
    await flows.launch()
    try:
        for number in (1, 2):
            await flows.start(number)
            while not (await flows.state(number)).ended:
                await asyncio.sleep(0.02)
        await flows.start(1, 1)
        assert await flows.forget(time.time() + 60, [1]) == 1
        assert (await flows.state(2)).status is None
        assert (await flows.state(1)).attempt == 1
        assert await flows.forget(time.time() + 60, []) == 1
    finally:
        await flows.close()
