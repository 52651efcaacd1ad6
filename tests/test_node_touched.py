"""Whether a step may run is decided by what is known of the node that it touches, not of another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from treewalk.model.acting import Autonomy, LedgerEntry, PlannedStep
from treewalk.model.known import Signature
from treewalk.model.policy import Limits, Policy, Repeats, Scope, TierRule
from treewalk.model.verdict import Status, Verdict
from treewalk.pipeline import live
from treewalk.store.ledger import Ledger

from tests.support.acting import Plainly, Scene

QUICK = Repeats(first=0.0, most=100)
UNKNOWN = Verdict(Status.UNKNOWN, "nobody answers")


async def life_of(scene: Scene) -> tuple[str, Mapping[str, Any]]:
    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    ending = await asyncio.wait_for(live(number, scene.desk(), Plainly()), 20)
    return ending, scene.cases.life(number)


def found(status: Status, onset: float | None = None) -> Verdict:
    return Verdict(status, "as it is", onset=onset)


# evidence


@pytest.mark.parametrize("unseen", ["reader", "store"])
async def test_a_step_at_a_node_that_could_not_be_looked_at_never_runs_alone(tmp_path: Path, unseen: str) -> None:
    scene = Scene(tmp_path, {"action": "mend", "node": "reader"})
    scene.seen = {unseen: UNKNOWN}
    ending, life = await life_of(scene)
    assert (ending, scene.world.did) == ("escalated", [])  # it asked, and nobody answered
    assert "could not be looked at" in life["why"]


async def test_a_node_that_the_plan_does_not_touch_may_be_unknown(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.seen = {"reader": UNKNOWN}
    assert (await life_of(scene))[0] == "resolved"


async def test_sight_that_is_lost_while_it_waits_counts(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend_later"}, policy=Policy(after=120.0, repeats=QUICK))
    sleep = scene.clock.sleep

    async def lost(seconds: float) -> None:
        scene.seen = {"store": UNKNOWN}
        await sleep(seconds)

    scene.clock.sleep = lost  # type: ignore[method-assign]
    ending, _ = await life_of(scene)
    assert (ending, scene.world.did) == ("escalated", [])


async def test_sight_that_was_lost_while_a_step_waited_counts_for_the_next_one_too(tmp_path: Path) -> None:
    steps = {"action": "mend_later"}, {"action": "mend", "node": "reader"}
    scene = Scene(tmp_path, *steps, policy=Policy(after=120.0, repeats=QUICK))
    scene.world.mends = False
    sleep = scene.clock.sleep

    async def lost(seconds: float) -> None:
        scene.seen = {"reader": UNKNOWN}
        await sleep(seconds)

    scene.clock.sleep = lost  # type: ignore[method-assign]
    ending, life = await life_of(scene)
    assert (ending, "could not be looked at" in life["why"]) == ("escalated", True)
    assert [kind for kind, _ in scene.world.did] == ["mend_later"]


# for how long


@pytest.mark.parametrize(
    ("onset", "waits"),
    [(-600.0, 0.0), (-100.0, 20.0), (None, 120.0)],
    ids=["long ago", "a moment ago", "seen now for the first time"],
)
async def test_a_fix_waits_for_the_nodes_own_trouble(tmp_path: Path, onset: float | None, waits: float) -> None:
    """The SLA is violated for 30 s and the incident is an hour old: neither says anything of the node."""
    scene = Scene(tmp_path, {"action": "mend_later"}, policy=Policy(after=120.0, repeats=QUICK))
    began = scene.clock.now()
    scene.seen = {"store": found(Status.UNHEALTHY, None if onset is None else began + onset)}
    number = scene.cases.open(scene.sla, "long ago", began - 3600)
    did: list[float] = []
    scene.world.before_run = lambda: did.append(scene.clock.now() - began)
    assert await asyncio.wait_for(live(number, scene.desk(), Plainly()), 20) == "resolved"
    assert did == [waits]


async def test_the_trouble_of_another_node_is_not_that_of_the_one_that_is_touched(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend_later", "node": "reader"}, policy=Policy(after=5.0, repeats=QUICK))
    scene.seen = {"reader": found(Status.HEALTHY)}
    ending, life = await life_of(scene)
    assert (ending, scene.world.did) == ("escalated", [])
    assert "it is not known for how long reader has been unhealthy" in life["why"]


async def test_a_node_that_is_well_again_after_the_wait_is_not_touched_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend_later"}, policy=Policy(after=120.0, repeats=QUICK))
    sleep = scene.clock.sleep

    async def healed(seconds: float) -> None:
        scene.seen, scene.blames = {"store": found(Status.HEALTHY)}, "reader"
        scene.error = None
        await sleep(seconds)

    known = scene.known()
    desk = replace(scene.desk(), known=lambda: known)
    scene.clock.sleep = healed  # type: ignore[method-assign]
    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    assert await asyncio.wait_for(live(number, desk, Plainly()), 20) == "escalated"
    assert scene.world.did == []


# whose rules


def suffering(scene: Scene) -> Scene:
    """The reader is blamed: there the error shows itself, and its fix is one of the store."""
    assert scene.error is not None
    scene.error = replace(scene.error, signature=Signature(node="reader"))
    scene.blames = "reader"
    return scene


@pytest.mark.parametrize("node", ["store", "type:x"])
async def test_what_is_forbidden_at_the_node_that_is_fixed_is_not_done(tmp_path: Path, node: str) -> None:
    scene = suffering(Scene(tmp_path, policy=Policy(repeats=QUICK, forbid=(Scope(node=node),))))
    store = replace(scene.tree.nodes["store"], type="x")
    scene.tree = replace(scene.tree, nodes={**scene.tree.nodes, "store": store})
    ending, life = await life_of(scene)
    assert (ending, scene.world.did) == ("refused", [])
    assert "forbids any action at" in life["why"]


async def test_a_tier_of_the_suffering_node_says_nothing_of_the_one_that_is_fixed(tmp_path: Path) -> None:
    policy = Policy(repeats=QUICK, tiers=(TierRule(Scope(node="reader"), Autonomy.FULL),))
    scene = suffering(Scene(tmp_path, {"action": "mend_asked"}, policy=policy))
    assert (await life_of(scene))[0] == "escalated"
    assert scene.world.did == []


async def test_what_was_done_is_in_the_books_of_the_node_that_was_fixed(tmp_path: Path) -> None:
    scene = suffering(Scene(tmp_path))
    assert (await life_of(scene))[0] == "resolved"
    assert [row["node"] for row in scene.ledger.of(1)] == ["store"]


@pytest.mark.parametrize("where", ["external", "elsewhere"])
async def test_a_root_that_cannot_be_touched_leaves_the_fix_where_it_shows(tmp_path: Path, where: str) -> None:
    scene = suffering(Scene(tmp_path))
    store = replace(scene.tree.nodes["store"], type="external")
    if where == "external":
        scene.tree = replace(scene.tree, nodes={**scene.tree.nodes, "store": store})
    else:
        assert scene.error is not None
        scene.error = replace(scene.error, root_node="of another tree")
    assert (await life_of(scene))[0] == "resolved"
    assert [row["node"] for row in scene.ledger.of(1)] == ["reader"]


# limits


async def test_what_others_did_since_the_decision_counts_in_it(tmp_path: Path) -> None:
    """Two processes decide at the same moment that one more action is within the limits: one of them is too many."""
    scene = Scene(tmp_path, policy=Policy(repeats=QUICK, limits=Limits(9, 9, 1)))
    desk, other = scene.desk(), PlannedStep(0, "mend", "elsewhere")

    class Late(Ledger):
        def intend(self, key: str, *args: Any) -> LedgerEntry | None:
            scene.ledger.intend("another's", 99, other, "d", "worker-2", scene.clock.now())
            return super().intend(key, *args)

    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    life = live(number, replace(desk, books=Late(scene.database)), Plainly())
    assert await asyncio.wait_for(life, 20) == "escalated"
    assert scene.world.did == []
    assert "1 actions in all" in scene.cases.life(number)["why"]
