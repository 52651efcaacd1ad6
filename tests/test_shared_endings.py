"""However an incident ends: what a human closed stays closed, and no SLA that came in with its cause is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from treewalk.errors import UsageError
from treewalk.model.alert import Alert
from treewalk.model.diagnosis import Diagnosis
from treewalk.pipeline import live
from treewalk.stages.route import Route
from treewalk.store.inbox import Inbox
from treewalk.workflow.desk import Desk

from tests.support.acting import Plainly, Scene

OTHER = "consumer_lag"


async def life_of(desk: Desk, number: int) -> str:
    return await asyncio.wait_for(live(number, desk, Plainly()), 20)


def merged(scene: Scene, into: int) -> int:
    """An incident of the other SLA that has become a part of this one."""
    number = scene.cases.open(OTHER, "two", scene.clock.now())
    assert scene.cases.merge(number, into, "the same cause", scene.clock.now())
    return number


async def test_what_is_cancelled_while_it_is_looked_at_stays_closed(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number = scene.cases.open(scene.sla, "one", scene.clock.now())

    async def look(sla: str, incident: int) -> Diagnosis:
        scene.cases.close(number, "cancelled", "cancelled by ann", scene.clock.now(), {})
        return await scene.look(sla, incident)

    assert await life_of(replace(scene.desk(), look=look), number) == "cancelled"
    assert scene.world.did == []
    assert scene.cases.life(number)["state"] == "closed"


@pytest.mark.parametrize("other_is_met", [True, False])
async def test_one_that_recovers_by_itself_does_not_take_other_slas_with_it(tmp_path: Path, other_is_met: bool) -> None:
    scene = Scene(tmp_path, {"action": "mend_later"})
    scene.world.else_broken = set() if other_is_met else {OTHER}
    first = scene.cases.open(scene.sla, "one", scene.clock.now())
    task = asyncio.create_task(life_of(scene.desk(), first))
    while scene.cases.life(first)["state"] != "waiting":
        await asyncio.sleep(0)
    merged(scene, first)
    scene.world.broken = False
    assert await task == "resolved"
    assert scene.world.did == []
    kinds = [row["kind"] for row in scene.cases.timeline(first)]
    if other_is_met:
        assert scene.cases.living(OTHER) == []
        assert "verified" in kinds
    else:
        assert [row["state"] for row in scene.cases.living(OTHER)] == ["open"]
        assert scene.cases.slas(first) == (scene.sla,)


async def test_one_that_waited_for_another_does_not_take_other_slas_with_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.else_broken = {OTHER}
    busy = scene.cases.open("a third", "three", scene.clock.now())
    scene.cases.claim(busy, ["store"], scene.clock.now())
    first = scene.cases.open(scene.sla, "one", scene.clock.now())
    task = asyncio.create_task(life_of(scene.desk(), first))
    while scene.cases.life(first)["state"] != "waiting":
        await asyncio.sleep(0)
    merged(scene, first)
    scene.world.broken = False
    scene.cases.close(busy, "resolved", "done", scene.clock.now(), {})
    assert await task == "resolved"
    assert [row["state"] for row in scene.cases.living(OTHER)] == ["open"]


async def test_an_sla_that_this_content_does_not_know_goes_on_by_itself(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first = scene.cases.open(scene.sla, "one", scene.clock.now())

    def meanwhile() -> None:
        merged(scene, first)

    scene.world.before_run = meanwhile

    async def measure(sla: str) -> Any:
        if sla == OTHER:
            raise UsageError(f"no SLA named {sla!r}")
        return await scene.measure(sla)

    assert await life_of(replace(scene.desk(), measure=measure), first) == "resolved"
    assert [row["state"] for row in scene.cases.living(OTHER)] == ["open"]


def test_one_that_has_to_wait_for_a_node_holds_none_itself(tmp_path: Path) -> None:
    """Begun again, it may want other nodes than those it has: two that wait for each other would wait for ever."""
    scene = Scene(tmp_path)
    now = scene.clock.now()
    first, second = scene.cases.open(scene.sla, "one", now), scene.cases.open(OTHER, "two", now)
    assert scene.cases.claim(first, ["a"], now) is None
    assert scene.cases.claim(second, ["b"], now) is None
    assert scene.cases.claim(first, ["b"], now) == second
    assert scene.cases.claim(second, ["a"], now) is None


async def test_one_that_looks_again_holds_no_node(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    now = scene.clock.now()
    first = scene.cases.open(scene.sla, "one", now)
    scene.cases.claim(first, ["reader"], now)
    held: list[int | None] = []

    async def look(sla: str, number: int) -> Diagnosis:
        held.append(scene.cases.claim(99, ["reader"], now))
        return await scene.look(sla, number)

    assert await life_of(replace(scene.desk(), look=look), first) == "resolved"
    assert held == [None]


@pytest.mark.parametrize("when", ["before the proof", "after the proof"])
async def test_an_alert_that_comes_after_the_proof_is_not_closed_with_it(tmp_path: Path, when: str) -> None:
    """It was accepted: somebody has to look at what it says, which the proof has not seen."""
    scene = Scene(tmp_path)
    first = scene.cases.open(scene.sla, "one", scene.clock.now())
    sent: list[Sequence[int]] = []

    def send() -> None:
        if not sent:
            alert = Alert("generic", "stale", "firing", "stale again", starts_at=scene.clock.now())
            found = Inbox(scene.database).accept([[alert]], lambda one: Route((scene.sla,), ""), scene.clock.now())
            sent.append(found[0].joined)

    def meanwhile() -> None:
        merged(scene, first)
        if when == "before the proof":
            send()

    async def measure(sla: str) -> Any:
        if sla == OTHER:
            send()
        return await scene.measure(sla)

    scene.world.before_run = meanwhile
    assert await life_of(replace(scene.desk(), measure=measure), first) == "resolved"
    assert sent == [[first]]
    late = when == "after the proof"
    assert {row["sla"] for row in scene.cases.living()} == ({scene.sla, OTHER} if late else set())
    if late:
        again = scene.cases.living(scene.sla)[0]["number"]
        assert "stale again" in str(scene.cases.life(again)["cause"])
        assert await life_of(scene.desk(), again) == "no_fault_found"
