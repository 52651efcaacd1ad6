"""Senders are slowed down, and incidents begun in turn; nothing is lost by either."""

import asyncio
import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.app import App
from treewalk.integrations.durable import State
from treewalk.operations.incidents import Operations
from treewalk.server.rate import Bucket, Rate, take
from treewalk.server.starting import Starter

from tests.crash.target import running_target, write_workspace
from tests.support.serving import serving
from tests.test_serve import (
    ALERTMANAGER,
    ENVIRON,
    TOKEN,
    alertmanager,
    asked,
    running_alertmanager,
    until,
    with_server,
)


@given(
    st.lists(st.floats(0, 20, allow_nan=False), max_size=200),
    st.floats(0.1, 50),
    st.integers(1, 30),
)
def test_never_more_than_the_burst_and_what_was_filled_in_since(
    gaps: list[float], per_second: float, burst: int
) -> None:
    now, passed = 0.0, list[float]()
    bucket = Bucket(float(burst), 0.0)
    for gap in gaps:
        now += gap
        bucket, wait = take(bucket, now, per_second, burst)
        assert wait >= 0
        if not wait:
            passed.append(now)
    for i, start in enumerate(passed):
        for j in range(i, len(passed)):
            assert j - i + 1 <= burst + (passed[j] - start) * per_second + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 30))
def test_who_waits_as_long_as_told_is_let_through(per_second: float, burst: int) -> None:
    clock = [100.0]
    rate = Rate(per_second, burst, lambda: clock[0])
    assert [rate.wait("a", "x") for _ in range(burst)] == [0] * burst
    wait = rate.wait("a", "x")
    assert wait == math.ceil(1 / per_second)
    assert rate.wait("a", "y") == rate.wait("b", "x") == 0
    clock[0] += wait
    assert rate.wait("a", "x") == 0


async def test_too_many_messages_are_told_when_to_come_again(tmp_path: Path) -> None:
    text = "server: {token: '${TREEWALK_TOKEN}', rate: {per_second: 0.5, burst: 2}}\n"
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]), text)
    async with asked(workspace) as client:
        for _ in range(3):  # who may not speak takes nothing from those who may
            assert (await client.post("/webhooks/generic", json={"name": "x"})).status_code == 401
        client.headers.update(TOKEN)
        found = [await client.post("/webhooks/generic", json={"name": f"x{k}"}) for k in range(3)]
        assert [one.status_code for one in found] == [200, 200, 429]
        assert found[2].headers["retry-after"] == "2"
        sent = [await client.post("/webhooks/alertmanager", json=alertmanager("one")) for _ in range(3)]
        assert [one.status_code for one in sent] == [200, 200, 503]
        refused = (await client.get("/metrics")).text
        assert 'treewalk_webhooks_refused_total{source="generic",why="too many"} 1.0' in refused


@pytest.mark.needs("prometheus-alertmanager")
def test_a_real_alertmanager_that_is_slowed_down_sends_again_at_once(tmp_path: Path) -> None:
    text = (
        "server: {token: '${TREEWALK_TOKEN}', webhooks: {alertmanager: {token: am-token}},"
        " rate: {per_second: 1, burst: 1}}\n"
    )
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]), text)
    patient = ALERTMANAGER.replace("group_by: [team]", "group_by: [n]").replace("_interval: 1s", "_interval: 5m")
    with (
        serving(workspace, environ=ENVIRON) as served,
        running_alertmanager(tmp_path / "am", served.url, patient) as sender,
        httpx.Client(base_url=served.url, headers=TOKEN) as client,
    ):
        alerts = [{"labels": {"alertname": f"A{k}", "n": str(k)}} for k in range(4)]
        httpx.post(f"{sender}/api/v2/alerts", json=alerts).raise_for_status()
        until(lambda: len(client.get("/api/alerts").json()["alerts"]) == 4, "all of them", 60)
        assert 'source="alertmanager",why="too many"' in client.get("/metrics").text


class FakeFlows:
    """Workflows that only say what was begun; those in `broken` fail once, in a way that nobody foresaw."""

    def __init__(self, broken: set[int]) -> None:
        self.begun: list[int] = []
        self.broken = broken

    async def start(self, number: int) -> None:
        if number in self.broken:
            self.broken.discard(number)
            raise ZeroDivisionError("locked")
        self.begun.append(number)


async def test_incidents_are_begun_oldest_first_and_so_many_at_a_time(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with App.open(workspace, environ={}) as app:
        operations, said = Operations(app), list[str]()
        for k in range(5):
            operations.cases.open(f"s{k}", "test", 1.0)
        flows = FakeFlows({2})
        starter = Starter(operations, 2, said.append)
        task = asyncio.create_task(starter.run(flows))

        async def begun(many: int) -> None:
            async with asyncio.timeout(20):
                while len(flows.begun) < many:
                    await asyncio.sleep(0.01)

        await begun(2)
        assert set(flows.begun) == {1, 2} or flows.begun == [1, 3]  # 2 could not be begun at first
        first, second = flows.begun
        operations.cases.enter(first, "asking", "a human is asked", 2.0)
        await begun(3)
        operations.cases.close(second, "resolved", "", 3.0, {})
        await begun(4)
        assert sorted(flows.begun) == [1, 2, 3, 4]
        await asyncio.sleep(0.5)
        assert len(flows.begun) == 4
        task.cancel()
        assert "incident 2 waits: locked" in said


async def test_a_connection_that_cannot_be_closed_keeps_no_incident_from_being_begun(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with App.open(workspace, environ={}) as app:
        operations, said, flows = Operations(app), list[str](), FakeFlows(set())

        async def retire(*, all: bool = False) -> None:
            raise RuntimeError("the connection is gone")

        operations.retire = retire  # type: ignore[method-assign]
        starter = Starter(operations, 2, said.append)
        task = asyncio.create_task(starter.run(flows))
        async with asyncio.timeout(20):
            while not said:
                await asyncio.sleep(0.01)
            operations.cases.open("s0", "test", 1.0)
            starter.opened([1])
            while not flows.begun:
                assert not task.done(), "nobody begins incidents any more"
                await asyncio.sleep(0.01)
        task.cancel()


class FoundFlows(FakeFlows):
    """Workflows of which it is told how they are."""

    def __init__(self, states: dict[int, State]) -> None:
        super().__init__(set())
        self.states = states
        self.again: list[tuple[int, int]] = []

    async def state(self, number: int) -> State:
        return self.states.get(number, State(None, 0, ""))

    async def start(self, number: int, attempt: int = 0) -> None:
        self.again.append((number, attempt))


async def test_what_broke_off_at_once_is_begun_again_and_what_waits_in_the_queue_is_left(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with App.open(workspace, environ={}) as app:
        operations = Operations(app)
        for k in range(4):
            operations.cases.open(f"s{k}", "test", 1.0)
        operations.cases.enter(4, "diagnosing", "looking", 1.0)
        flows = FoundFlows({1: State("ERROR", 0, "w"), 3: State("ERROR", 0, "w")})
        operations.crew.queued = 2
        await operations.crew.take_over(flows)
        assert flows.again == [(1, 1), (4, 0)]
        operations.crew.queued, flows.again = 0, []
        await operations.crew.take_over(flows)
        assert flows.again == [(1, 1), (2, 0), (3, 1), (4, 0)]


def test_with_one_place_all_incidents_are_worked_on_in_turn_also_after_a_kill(tmp_path: Path) -> None:
    stores = ["a", "b", "c", "d"]
    with running_target() as target:
        workspace = write_workspace(tmp_path / "w", target.url, stores)
        with_server(workspace, "server: {token: '${TREEWALK_TOKEN}', concurrency: 1}\n")
        with serving(workspace, environ=ENVIRON) as served:
            message = alertmanager(*stores)
            assert (
                len(httpx.post(f"{served.url}/webhooks/alertmanager", json=message, headers=TOKEN).json()["opened"])
                == 4
            )
            served.kill()
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:

            def closed() -> Any:
                found = client.get("/api/incidents").json()["incidents"]
                return found if {one["state"] for one in found} == {"closed"} else None

            found = until(closed, "all ends", 60)
            assert {one["ending"] for one in found} == {"resolved"}
            assert served.stop() == 0
        assert all(target.calls[f"/mend/{store}/{part}"] == 1 for store in stores for part in "ab")


async def test_a_mistake_on_the_way_ends_neither_the_signs_of_life_nor_the_beginning_of_incidents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without signs of life, others would take over what is under way here."""
    monkeypatch.setattr("treewalk.operations.crew._HEARTBEAT", 0.0)
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with App.open(workspace, environ={}) as app:
        operations, flows = Operations(app), FakeFlows(set())

        async def broken(*given: object) -> None:
            raise RuntimeError("whatever it is")

        monkeypatch.setattr(operations.crew, "take_over", broken)
        monkeypatch.setattr(operations, "retire", broken)
        keeper = asyncio.create_task(operations.crew._keep_working(flows))
        starter = asyncio.create_task(Starter(operations, 2, lambda line: None).run(flows))
        await asyncio.sleep(1.2)
        assert (keeper.done(), starter.done()) == (False, False)
        for task in (keeper, starter):
            task.cancel()
        await asyncio.gather(keeper, starter, return_exceptions=True)
