"""One cause under several SLAs is one incident; what it does not explain goes on by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from treewalk.model.alert import Alert
from treewalk.pipeline import live
from treewalk.stages.route import Route
from treewalk.store.inbox import Inbox

from tests.support.acting import Plainly, Scene

OTHER = "consumer_lag"


async def life_of(scene: Scene, number: int) -> str:
    return await asyncio.wait_for(live(number, scene.desk(), Plainly()), 20)


def lines(scene: Scene, number: int) -> str:
    return "\n".join(f"{row['kind']}: {row['text']}" for row in scene.cases.timeline(number))


def begun(scene: Scene) -> tuple[int, int]:
    """Two incidents, of which the first is at work on the node."""
    first = scene.cases.open(scene.sla, "one", scene.clock.now())
    second = scene.cases.open(OTHER, "two", scene.clock.now())
    return first, second


async def test_the_second_sla_joins_the_incident_that_is_at_work(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first, second = begun(scene)
    endings: dict[int, str] = {}

    def meanwhile() -> None:
        scene.world.before_run = lambda: None
        asyncio.get_running_loop().call_soon(lambda: tasks.append(asyncio.create_task(life_of(scene, second))))

    tasks: list[Any] = []
    slow = _slow(scene)
    scene.world.before_run = meanwhile
    endings[first] = await life_of(slow, first)
    endings[second] = await tasks[0]
    assert endings == {first: "resolved", second: "merged"}
    assert scene.cases.slas(first) == (scene.sla, OTHER)
    assert scene.cases.merged_into(second) == first
    assert len([kind for kind, _ in scene.world.did if kind == "mend"]) == 1
    assert f"{OTHER} is violated by the same node (incident {second})" in lines(scene, first)
    assert f"verified: {OTHER}: it has held" in lines(scene, first)


def _slow(scene: Scene) -> Scene:
    """Its actions take long enough for others to look meanwhile."""
    world, run = scene.world, scene.desk().shelf.action("mend").__class__.run

    class Slow(scene.desk().shelf.action("mend").__class__):  # type: ignore[misc]
        async def run(self, params: Any, hands: Any) -> Any:
            world.before_run()
            for _ in range(200):
                await asyncio.sleep(0)
            return await run(self, params, hands)

    scene.actions["mend"] = Slow
    return scene


async def test_an_sla_that_the_fix_does_not_mend_goes_on_in_an_incident_of_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.else_broken = {OTHER}
    first, second = begun(scene)
    scene.world.before_run = lambda: _merge(scene, second, first)
    assert await life_of(scene, first) == "resolved"
    third = scene.cases.living(OTHER)[0]["number"]
    assert third not in (first, second)
    assert scene.cases.slas(first) == (scene.sla,)
    assert f"{OTHER} goes on in incident {third}" in lines(scene, first)
    assert f"is not met after incident {first} mended store" in lines(scene, third)


def _merge(scene: Scene, number: int, into: int) -> None:
    assert scene.cases.merge(number, into, "the same cause", scene.clock.now())


async def test_alerts_go_with_their_sla_and_later_ones_find_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    inbox = Inbox(scene.database)
    now = scene.clock.now()

    def alert(name: str) -> Alert:
        return Alert("generic", name, "firing", name, starts_at=now)

    def route(one: Alert) -> Route:
        return Route((scene.sla if one.name == "stale" else OTHER,), "", "")

    first = inbox.accept([[alert("stale")]], route, now)[0].opened[0]
    second = inbox.accept([[alert("lagging")]], route, now)[0].opened[0]
    scene.cases.enter(first, "acting", "at work", now)
    _merge(scene, second, first)
    assert [one["name"] for one in inbox.of(first)] == ["stale", "lagging"]
    assert inbox.of(second) == []
    assert inbox.accept([[alert("lagging more")]], route, now)[0].joined == [first]
    assert scene.cases.open_or_join(OTHER, "by hand", now) == first


async def test_what_is_being_proven_or_over_takes_nothing_in(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first, second = begun(scene)
    for state in ("open", "diagnosing", "verifying"):
        scene.cases.enter(first, state, "x", scene.clock.now())
        assert not scene.cases.merge(second, first, "same", scene.clock.now())
    scene.cases.close(first, "resolved", "done", scene.clock.now(), {})
    assert not scene.cases.merge(second, first, "same", scene.clock.now())
    assert await life_of(scene, second) == "resolved"
    assert len(scene.world.did) == 1


async def test_a_storm_with_a_cause_that_nobody_may_mend_is_one_escalation(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.error = None  # no known error and no remedy: nothing to plan
    first, second = begun(scene)
    assert await life_of(scene, first) == "escalated"
    assert await life_of(scene, second) == "merged"
    scene.clock.at += 60
    later = scene.cases.open(OTHER, "again, while the first is unmet still", scene.clock.now())
    assert await life_of(scene, later) == "merged"


@pytest.mark.parametrize("same", [True, False])
async def test_only_another_sla_of_the_same_node_is_joined(tmp_path: Path, same: bool) -> None:
    scene = Scene(tmp_path)
    first, second = begun(scene)
    scene.cases.enter(first, "acting", "at work", scene.clock.now())
    with scene.database.writing() as db:
        db.execute("UPDATE incidents SET root_node = ? WHERE number = ?", ["store" if same else "reader", first])
    assert scene.cases.same_cause(second, "store", 0.0) == (first if same else None)
    third = scene.cases.open(scene.sla, "of the same SLA", scene.clock.now())
    assert scene.cases.same_cause(third, "store", 0.0) is None


async def test_nobody_to_blame_while_something_beneath_is_being_mended_waits_and_looks_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first, second = begun(scene)
    scene.cases.claim(first, ["store"], scene.clock.now())
    scene.cases.enter(first, "verifying", "proving it", scene.clock.now())
    scene.blamed = False
    task = asyncio.create_task(life_of(scene, second))
    while f"incident {first} is mending a node beneath" not in lines(scene, second):
        await asyncio.sleep(0)
    scene.world.broken = False
    scene.cases.close(first, "resolved", "done", scene.clock.now(), {})
    assert await task == "resolved"
    assert f"incident {first} mended it" in scene.cases.life(second)["why"]
    assert scene.world.did == []


async def test_nobody_to_blame_and_nobody_at_work_is_a_matter_for_a_human_at_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first, second = begun(scene)
    scene.cases.claim(first, ["store"], scene.clock.now())
    scene.cases.enter(first, "asking", "a human is asked", scene.clock.now())
    scene.blamed = False
    assert await life_of(scene, second) == "escalated"


@pytest.mark.parametrize("mends", [True, False])
async def test_what_was_seen_before_another_incident_acted_at_the_node_is_looked_at_again(
    tmp_path: Path, mends: bool
) -> None:
    """The other one acts and ends between this one's look and its plan, so that nothing has to be waited for."""
    scene = Scene(tmp_path)
    scene.world.mends = mends
    first, second = begun(scene)
    ended: list[str] = []

    class Overtaken(Plainly):
        async def step(self, name: str, function: Any) -> Any:
            if name == "share" and not ended:
                ended.append(await life_of(scene, first))
            return await super().step(name, function)

    ending = await asyncio.wait_for(live(second, scene.desk(), Overtaken()), 20)
    assert [kind for kind, _ in scene.world.did if kind == "mend"] == ["mend"]
    assert (ended, ending) == ((["resolved"], "resolved") if mends else (["escalated"], "merged"))
