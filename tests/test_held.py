"""While a switch is on nothing is done, and nothing is given up either: what was begun goes on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from treewalk.model.policy import Policy, Repeats, Scope
from treewalk.model.routing import unanswered_since
from treewalk.pipeline import live

from tests.support.acting import Plainly, Scene

QUICK = Repeats(first=0.0, most=100)


async def life_of(scene: Scene) -> tuple[str, Mapping[str, Any]]:
    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    ending = await asyncio.wait_for(live(number, scene.desk(), Plainly()), 20)
    return ending, scene.cases.life(number)


def told(scene: Scene) -> list[str]:
    return [f"{row['kind']}: {row['text']}" for row in scene.cases.timeline(1)]


def every_second(scene: Scene, then: Callable[[float], None]) -> None:
    """Call it with the seconds that were slept, after each sleep."""
    original = scene.clock.sleep

    async def sleep(seconds: float) -> None:
        await original(seconds)
        then(sum(scene.clock.slept))

    scene.clock.sleep = sleep  # type: ignore[method-assign]


def turn(scene: Scene, switch: str, on: bool) -> None:
    if switch == "kill":
        scene.killed = "somebody: stop" if on else None
    elif switch == "read-only":
        scene.read_only = on
    else:
        scene.policy = Policy(repeats=QUICK, read_only=on)


@pytest.mark.parametrize("switch", ["kill", "read-only"])
async def test_what_a_switch_holds_goes_on_when_it_is_off_again(tmp_path: Path, switch: str) -> None:
    scene = Scene(tmp_path)
    turn(scene, switch, on=True)
    seen: list[tuple[str, int]] = []

    def later(slept: float) -> None:
        if scene.cases.life(1)["state"] == "waiting":
            seen.append((scene.cases.life(1)["state"], len(scene.world.did)))
        if slept > 7000:
            turn(scene, switch, on=False)

    every_second(scene, later)
    ending, _ = await life_of(scene)
    assert ending == "resolved"
    assert len(seen) > 5000
    assert set(seen) == {("waiting", 0)}
    assert len(scene.world.did) == 1
    assert [line for line in told(scene) if line.startswith("waiting: held: ")] != []


async def test_the_kill_switch_stops_between_two_steps(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend"}, {"action": "mend", "how": "again"})
    scene.world.mends = False
    scene.world.before_run = lambda: turn(scene, "kill", on=not scene.world.did)
    held: list[int] = []

    def later(slept: float) -> None:
        if scene.killed:
            held.append(len(scene.world.did))
        if slept > 300:
            turn(scene, "kill", on=False)
            scene.world.mends = True

    every_second(scene, later)
    assert (await life_of(scene))[0] == "resolved"
    assert set(held) == {1}
    assert len(scene.world.did) == 2


async def test_a_step_that_changes_nothing_does_not_begin_either(tmp_path: Path) -> None:
    step = {"action": "wait", "duration": "10s"}
    scene = Scene(tmp_path, {"action": "mend"}, step, {"action": "mend", "how": "again"})
    scene.world.before_run = lambda: turn(scene, "kill", on=not scene.world.did)

    def later(slept: float) -> None:
        if slept > 300:
            turn(scene, "kill", on=False)

    every_second(scene, later)
    assert (await life_of(scene))[0] == "resolved"
    lines = told(scene)
    held = next(i for i, line in enumerate(lines) if line.startswith("waiting: held"))
    assert held < next(i for i, line in enumerate(lines) if line.startswith("waiting: waiting 10s"))
    assert any(line.startswith("goes on") for line in lines[held:])


async def test_what_was_done_is_proven_while_the_switch_is_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend"}, {"action": "verify", "check": "up > 0"})
    scene.world.before_run = lambda: turn(scene, "kill", on=True)
    assert (await life_of(scene))[0] == "resolved"
    assert not any("held: " in line for line in told(scene))


async def test_what_a_switch_stopped_half_way_says_nothing_of_the_fix(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend"}, {"action": "mend", "how": "again"})
    scene.world.mends = False
    scene.world.before_run = lambda: turn(scene, "kill", on=True)
    ending, life = await life_of(scene)
    assert (ending, "nothing more could be done for 1d" in life["why"]) == ("escalated", True)
    assert scene.lessons.record("ke-1", "trusted").failures == 0
    assert scene.database.query("SELECT * FROM fixes") == []


async def test_a_hold_that_outlives_its_process_is_not_as_long_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    turn(scene, "kill", on=True)
    durable = Recorded()
    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    began = scene.clock.now()

    def dies(slept: float) -> None:
        if 40_000 < slept < 40_100 and not durable.died:
            durable.died = True
            raise ConnectionAbortedError

    every_second(scene, dies)
    with pytest.raises(ConnectionAbortedError):
        await live(number, scene.desk(), durable)
    scene.clock.at += 36_000  # nobody works on it meanwhile
    durable.at = 0
    assert await live(number, scene.desk(), durable) == "escalated"
    assert 86_400 <= scene.clock.now() - began < 86_500


class Recorded(Plainly):
    """Durable steps that are recorded, so that a life can be gone on with."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.at, self.died = 0, False

    async def step(self, name: str, function: Any) -> Any:
        if self.at == len(self.kept):
            self.kept.append(await super().step(name, function))
        self.at += 1
        return self.kept[self.at - 1]


async def test_read_only_lets_a_plan_wait_and_look(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "wait", "duration": "60s"}, {"action": "verify", "check": "up > 0"})
    turn(scene, "read-only", on=True)

    def later(slept: float) -> None:
        if slept > 30:
            scene.world.broken = False

    every_second(scene, later)
    assert (await life_of(scene))[0] == "resolved"
    assert not any("held: " in line for line in told(scene))


async def test_a_wait_and_a_proof_under_way_only_look_and_end_by_themselves(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "wait", "duration": "1m"}, {"action": "mend"})
    every_second(scene, lambda slept: turn(scene, "kill", on=10 < slept < 300))
    assert (await life_of(scene))[0] == "resolved"
    assert 300 <= sum(scene.clock.slept) < 320
    assert len(scene.world.did) == 1

    scene = Scene(tmp_path / "proof")
    scene.world.before_run = lambda: turn(scene, "kill", on=True)
    assert (await life_of(scene))[0] == "resolved"  # it was done before, and looking harms nothing


async def test_what_recovers_while_it_is_held_is_left_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    turn(scene, "kill", on=True)

    def later(slept: float) -> None:
        if slept > 100:
            scene.world.broken = False

    every_second(scene, later)
    ending, life = await life_of(scene)
    assert (ending, scene.world.did) == ("resolved", [])
    assert "by itself" in life["why"]
    assert sum(scene.clock.slept) < 200


async def test_what_is_held_for_a_day_is_a_humans(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    turn(scene, "policy", on=True)
    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    ending = await asyncio.wait_for(live(number, replace(scene.desk(), poll=600.0), Plainly()), 20)
    life = scene.cases.life(number)
    assert (ending, scene.world.did) == ("escalated", [])
    assert "nothing could be done for 1d: treewalk is set to look" in life["why"]


async def test_what_is_held_is_told_to_one_channel_after_the_other(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    turn(scene, "kill", on=True)
    waited: list[float | None] = []

    def later(slept: float) -> None:
        if slept == 50:
            waited.append(unanswered_since(scene.cases.timeline(1), None))
            turn(scene, "kill", on=False)

    began = scene.clock.now()
    every_second(scene, later)
    assert (await life_of(scene))[0] == "resolved"
    assert waited == [began]
    assert unanswered_since(scene.cases.timeline(1), "resolved") is None


async def test_what_another_rule_refuses_is_not_held(tmp_path: Path) -> None:
    scene = Scene(tmp_path, policy=Policy(repeats=QUICK, forbid=(Scope(node="store"),)))
    turn(scene, "kill", on=True)
    ending, life = await life_of(scene)
    assert ending == "refused"
    assert unanswered_since(scene.cases.timeline(1), life["ending"]) is not None  # nobody knows of it yet


async def test_cancelled_while_it_is_held_it_is_closed(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    turn(scene, "kill", on=True)

    def later(slept: float) -> None:
        if slept > 5:
            scene.cases.close(1, "cancelled", "by hand", scene.clock.now(), {})

    every_second(scene, later)
    assert (await life_of(scene))[0] == "cancelled"
    assert scene.world.did == []
