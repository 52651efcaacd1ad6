"""What was begun before work on an incident began again: nothing runs twice, and what nobody knows reaches a human."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from treewalk.app import App
from treewalk.model.acting import ActionFacts, Autonomy, PlannedStep
from treewalk.operations.incidents import Operations

from tests.crash.target import write_workspace
from tests.support.acting import FAILURES, KINDS, MendParameters, Scene
from tests.test_pipeline import life_of, told
from tests.test_rate import FoundFlows

EARLIER = "a" * 64


def begun(
    scene: Scene, kind: str = "mend", name: str = "do:0", digest: str = EARLIER, **params: str
) -> tuple[int, str]:
    """An incident in which a process that died had begun a step of an earlier plan; its number and the run's key."""
    number = scene.cases.open(scene.sla, "a test", scene.clock.now())
    opened = int(scene.cases.life(number)["opened"])
    action = KINDS[kind](scene.world)
    given = MendParameters(**params)
    step = PlannedStep(0, kind, "store", given.model_dump(mode="json"), facts=action.facts(given))
    key = f"{number}@{opened}:{digest[:12]}:{name}"
    scene.ledger.intend(key, number, step, digest, "dead-worker", scene.clock.now())
    return number, key


def outcomes(scene: Scene, number: int) -> list[str]:
    return sorted(row["outcome"] for row in scene.ledger.of(number))


@pytest.mark.parametrize("broken", [True, False])
async def test_an_outcome_that_nobody_knows_reaches_a_human_whatever_the_plan_is_now(
    tmp_path: Path, broken: bool
) -> None:
    """Also where the SLA is met by now: that it is says nothing of what was begun."""
    scene = Scene(tmp_path)
    number, _ = begun(scene)
    scene.world.broken = broken
    ending, life = await life_of(scene, number)
    assert (ending, scene.world.did) == ("escalated", [])
    assert "mend at store was begun by dead-worker" in life["why"]
    assert outcomes(scene, number) == ["unknown"]


async def test_an_outcome_that_was_written_down_as_unknown_is_not_forgotten(tmp_path: Path) -> None:
    """The process died between writing it down and asking a human."""
    scene = Scene(tmp_path)
    number, key = begun(scene)
    scene.ledger.settle(key, "unknown", "it broke off", {}, "dead-worker", scene.clock.now())
    scene.world.broken = False
    ending, life = await life_of(scene, number)
    assert (ending, "it broke off" in life["why"]) == ("escalated", True)


async def test_a_plan_that_reads_otherwise_runs_nothing_that_an_earlier_one_did(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend"}, {"action": "mend", "how": "harder"})
    number, key = begun(scene)
    scene.ledger.settle(key, "done", "did mend gently", {"undo": None}, "dead-worker", scene.clock.now())
    ending, _ = await life_of(scene, number)
    assert ending == "resolved"
    assert [params["how"] for _, params in scene.world.did] == ["harder"]
    assert "mend at store was done under an earlier plan and is not done again" in told(scene, number)


async def test_what_an_earlier_plan_did_is_taken_back_as_well(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number, key = begun(scene)
    undo = {"action": "unmend", "how": "back"}
    scene.ledger.settle(key, "done", "did mend gently", {"undo": undo}, "dead-worker", scene.clock.now())
    ending, life = await life_of(scene, number)
    assert (ending, "did not hold" in life["why"]) == ("escalated", True)
    assert [kind for kind, _ in scene.world.did] == ["unmend"]


async def test_the_same_action_with_other_values_is_another_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend", "how": "harder"})
    number, key = begun(scene)
    scene.ledger.settle(key, "done", "did mend gently", {"undo": None}, "dead-worker", scene.clock.now())
    assert (await life_of(scene, number))[0] == "resolved"
    assert [params["how"] for _, params in scene.world.did] == ["harder"]


async def test_what_was_mended_before_work_began_again_is_not_called_no_fault(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number, key = begun(scene)
    scene.ledger.settle(key, "done", "did mend gently", {"undo": None}, "dead-worker", scene.clock.now())
    scene.world.broken = False
    ending, life = await life_of(scene, number)
    assert (ending, scene.world.did) == ("resolved", [])
    assert "mend at store" in life["why"]


async def test_what_may_run_twice_goes_on_under_the_name_that_it_had(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend_twice"})
    number, key = begun(scene, "mend_twice")
    assert (await life_of(scene, number))[0] == "resolved"
    assert [kind for kind, _ in scene.world.did] == ["mend_twice"]
    assert [(row["key"], row["outcome"]) for row in scene.ledger.of(number)] == [(key, "done")]


async def test_no_run_stays_open_when_the_incident_is_over(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number, _ = begun(scene, "mend_twice")
    assert (await life_of(scene, number))[0] == "resolved"
    assert [kind for kind, _ in scene.world.did] == ["mend"]
    assert outcomes(scene, number) == ["done", "unknown"]


async def test_an_incident_that_another_one_would_take_in_does_not_hide_what_nobody_knows(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number, _ = begun(scene)
    other = scene.cases.open("another", "a test", scene.clock.now())
    with scene.database.writing() as db:
        db.execute("UPDATE incidents SET state = 'acting', root_node = 'store' WHERE number = ?", [other])
    assert (await life_of(scene, number))[0] == "escalated"


async def test_work_that_breaks_off_again_and_again_ends_with_what_nobody_knows(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path, "http://127.0.0.1:9", ["x"])
    async with App.open(workspace) as app:
        operations = Operations(app)
        number = operations.open("fresh_x", "a test")
        step = PlannedStep(0, "mend", "store_x", facts=ActionFacts("mend", Autonomy.FULL, False, False))
        operations.ledger.intend("k", number, step, EARLIER, "dead-worker", app.clock.now())
        await operations.crew._again(number, 99, None)
        life = operations.cases.life(number)
        assert life["ending"] == "escalated"
        assert "mend at store_x was begun by dead-worker" in life["why"]
        assert [row["outcome"] for row in operations.ledger.of(number)] == ["unknown"]


async def test_an_undo_of_unknown_outcome_is_told_with_why_it_was_tried(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.mends = False

    class Broken(KINDS["unmend"]):  # type: ignore[misc]
        async def run(self, params: Any, hands: Any) -> Any:
            raise FAILURES["unknown"]

    scene.actions["unmend"] = Broken
    ending, life = await life_of(scene)
    assert ending == "escalated"
    assert life["why"].startswith("nobody knows; the fix did not hold")


async def test_an_outcome_that_could_not_be_written_down_holds_no_node_once_nothing_runs(tmp_path: Path) -> None:
    """Its incident was cancelled while it ran, so that nobody goes on with it; the process lives on."""
    workspace = write_workspace(tmp_path, "http://127.0.0.1:9", ["x"])
    async with App.open(workspace) as app:
        operations, flows = Operations(app), FoundFlows({})
        cases, now = operations.cases, app.clock.now
        operations.workers.register(operations.worker, now())
        number, other = cases.open("fresh_x", "a test", now()), cases.open("another", "a test", now())
        assert cases.claim(number, ["store_x"], now()) is None
        step = PlannedStep(0, "mend", "store_x", facts=ActionFacts("mend", Autonomy.FULL, False, False))
        operations.ledger.intend("k", number, step, EARLIER, operations.worker, now())
        operations.ledger.intend("living", other, step, EARLIER, operations.worker, now())
        assert operations.cancel(number, "ann")
        async with operations.underway:  # it may be this very action
            await operations.crew.take_over(flows)
            assert cases.claim(other, ["store_x"], now()) == number
        await operations.crew.take_over(flows)
        assert [row["outcome"] for row in operations.ledger.of(number)] == ["unknown"]
        assert "could not be written down" in cases.timeline(number)[-1]["text"]
        assert not cases.at_work(number)
        assert cases.claim(other, ["store_x"], now()) is None
        assert [row["outcome"] for row in operations.ledger.of(other)] == [None]  # its own work settles that
