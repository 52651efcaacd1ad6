"""Ten thousand messages of two hundred alerts, and the server killed twice while they come."""

import asyncio
from pathlib import Path

import pytest
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase

from tests.crash.target import running_target
from tests.support.answers import free_port
from tests.support.bursts import Sent, messages, storm, write_storm_workspace
from tests.support.serving import Served

MESSAGES, ALERTS, SLAS = 10_000, 200, 20
KILLS = (2_500, 6_000)  # accepted messages after which the process is killed
ENVIRON = {"TREEWALK_TOKEN": "s3cret-token"}


async def until_accepted(sent: Sent, count: int, sender: "asyncio.Task[None]") -> None:
    while sent.accepted < count and not sender.done():
        await asyncio.sleep(0.005)


async def storm_with_kills(workspace: Path, groups: list[tuple[int, ...]]) -> tuple[Sent, Served]:
    """Send them all while the server dies twice; what was sent, and the server that lives at the end."""
    port, sent = str(free_port()), Sent()
    served = Served(workspace, "--port", port, environ=ENVIRON)
    try:
        url = f"{await asyncio.to_thread(lambda: served.url)}/webhooks/alertmanager"
        sender = asyncio.create_task(storm(url, ENVIRON["TREEWALK_TOKEN"], groups, sent))
        for count in KILLS:
            await until_accepted(sent, count, sender)
            assert not sender.done(), "the storm was over before the kill"
            await asyncio.to_thread(served.kill)
            served = Served(workspace, "--port", port, environ=ENVIRON)
        await sender
    except BaseException:
        served.kill()
        raise
    return sent, served


@pytest.mark.alone
async def test_ten_thousand_messages_and_two_kills_lose_no_alert_and_double_none(tmp_path: Path) -> None:
    groups = messages(MESSAGES, ALERTS)
    with running_target() as target:
        workspace = write_storm_workspace(tmp_path / "w", target.url, SLAS, ALERTS)
        with (workspace / "treewalk.yaml").open("a") as file:
            file.write('server: {token: "${TREEWALK_TOKEN}"}\n')
        sent, served = await storm_with_kills(workspace, groups)
        try:
            assert await asyncio.to_thread(served.stop) == 0
        finally:
            served.kill()
        assert not target.calls, "something was done without a human"
    assert sent.accepted == MESSAGES
    assert sent.tries > MESSAGES, "the kills came too late to hit anything"
    database = SqliteDatabase(workspace / ".treewalk" / "memory.db")
    # Every alert is there once, in exactly one incident, and every accepted message has left its mark.
    alerts = database.query("SELECT id, name, seen FROM alerts")
    assert len(alerts) == len({row["name"] for row in alerts}) == ALERTS
    given = database.query("SELECT alert, count(*) AS many FROM alert_incidents GROUP BY alert")
    assert ({row["alert"] for row in given}, {row["many"] for row in given}) == ({row["id"] for row in alerts}, {1})
    counted = {int(row["name"].removeprefix("Stale")): row["seen"] for row in alerts}
    assert {number for number in range(ALERTS) if counted[number] < sent.seen[number]} == set()
    # The storm is one incident an SLA, each alert in the one of its own SLA, and each still under way.
    found = database.query(
        "SELECT DISTINCT number, sla, state, alerts.name FROM incidents"
        " JOIN alert_incidents ON incident = number JOIN alerts ON alerts.id = alert"
    )
    assert len({row["number"] for row in found}) == len(database.query("SELECT number FROM incidents")) == SLAS
    assert all(int(row["name"].removeprefix("Stale")) % SLAS == int(row["sla"][-2:]) for row in found)
    assert len(Casebook(database).living()) == SLAS
    assert Audit(database).verify()[1] == []
