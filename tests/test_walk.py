import asyncio

import pytest
from treewalk.errors import SourceUnreachable
from treewalk.model.condition import parse_condition
from treewalk.model.series import Sample
from treewalk.model.tree import BaselineSpec
from treewalk.model.verdict import Status, healthy, unhealthy
from treewalk.sdk import Probe, check
from treewalk.stages.checkrun import NodeChecker
from treewalk.stages.walk import walk

from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import checked, make_tree


@check("fine")
async def fine(probe: Probe, *, note: str = "") -> object:
    return healthy("all good")


@check("broken")
def broken(probe: Probe, *, reason: str = "it is down") -> object:
    return unhealthy(reason)


@check("crashes")
async def crashes(probe: Probe) -> object:
    raise KeyError("oops")


@check("hangs")
async def hangs(probe: Probe) -> object:
    await asyncio.Event().wait()


@check("lies")
async def lies(probe: Probe) -> object:
    return True


@check("present", live=True)
async def present(probe: Probe) -> object:
    return healthy("it is there")


CHECKS = {f.__treewalk_check__.name: f.__treewalk_check__ for f in (fine, broken, crashes, hangs, lies, present)}


def checker(metrics: TableMetrics | None = None, **changes: object) -> NodeChecker:
    source, logs = metrics or TableMetrics(), TableLogs()
    options = {
        "checks": CHECKS,
        "metrics": lambda name: source,
        "logs": lambda name: logs,
        "at": 1000.0,
        "window": 300.0,
        "timeout": 0.2,
        "baseline": BaselineSpec(),
    }
    return NodeChecker(**{**options, **changes})


async def judge(node_fields: dict, **changes: object):
    tree = make_tree({"a": []}, a=node_fields)
    return await checker(**changes)(tree.nodes["a"])


async def test_a_check_that_crashes_gives_unknown_with_the_reason():
    verdict = await judge(checked("crashes"))
    assert verdict.status is Status.UNKNOWN
    assert "KeyError" in verdict.reason


async def test_a_check_that_hangs_gives_unknown_within_its_timeout():
    verdict = await judge(checked("hangs"))
    assert verdict.status is Status.UNKNOWN
    assert "200ms" in verdict.reason


async def test_a_check_that_returns_a_bool_is_not_believed():
    verdict = await judge(checked("lies"))
    assert verdict.status is Status.UNKNOWN
    assert "not a Verdict" in verdict.reason


async def test_a_sync_check_runs_and_keeps_its_reason():
    verdict = await judge(checked("broken", reason="disk gone"))
    assert (verdict.status, verdict.reason, verdict.when) == (Status.UNHEALTHY, "disk gone", 1000.0)


async def test_a_look_at_the_present_says_nothing_about_the_past():
    assert (await judge(checked("present"))).status is Status.HEALTHY
    assert (await judge(checked("present"), live=False)).status is Status.UNKNOWN


async def test_a_node_with_nothing_to_look_at_is_unknown_not_healthy():
    assert (await judge({})).status is Status.UNKNOWN


async def test_a_condition_that_holds_degrades_a_node_whose_healthcheck_passes():
    source = TableMetrics(samples={"redis_connected_clients": [Sample({}, 0, 298)]})
    fields = {**checked("fine"), "conditions": (parse_condition("redis_connected_clients > 280"),)}
    verdict = await judge(fields, metrics=source)
    assert verdict.status is Status.DEGRADED
    assert verdict.observed == "298"


async def test_a_condition_without_data_is_unknown_even_if_the_healthcheck_passes():
    fields = {**checked("fine"), "conditions": (parse_condition("redis_connected_clients > 280"),)}
    assert (await judge(fields)).status is Status.UNKNOWN


async def test_a_dead_metric_source_is_unknown_with_its_reason():
    source = TableMetrics(error=SourceUnreachable("prometheus refused the connection"))
    verdict = await judge({"metrics": ("up",)}, metrics=source)
    assert verdict.status is Status.UNKNOWN


async def test_an_unusual_metric_without_a_healthcheck_degrades_and_is_marked_as_not_declared():
    points = [(float(t), 100.0 + t % 7) for t in range(0, 100_000, 60)]
    points = [(t, v + (500 if t > 99_500 else 0)) for t, v in points]
    from treewalk.content.checks import builtin_checks

    verdict = await judge(
        {"metrics": ("m",)}, metrics=TableMetrics({"m": points}), at=100_000.0, checks=builtin_checks()
    )
    assert (verdict.status, verdict.origin) == (Status.DEGRADED, "baseline")
    assert verdict.onset == pytest.approx(99_500, abs=240)


async def test_sweep_looks_at_every_node_once_and_keeps_the_order():
    tree = make_tree({"a": ["b", "c"], "b": ["d"], "c": ["d"]}, d=checked("fine"))
    seen: list[str] = []

    async def look(node):
        seen.append(node.name)
        return healthy("ok")

    verdicts = await walk(tree, look, deadline=5, concurrency=2)
    assert list(verdicts) == list(tree.nodes)
    assert sorted(seen) == ["a", "b", "c", "d"]


async def test_frontier_descends_only_below_trouble_and_says_so():
    tree = make_tree({"a": ["b"], "c": ["d"], "d": ["e"]})

    async def look(node):
        return unhealthy("x") if node.name in ("c", "d") else healthy("ok")

    verdicts = await walk(tree, look, deadline=5, concurrency=2, strategy="frontier")
    assert verdicts["b"].status is Status.UNKNOWN
    assert "nothing above it" in verdicts["b"].reason
    assert verdicts["e"].status is Status.HEALTHY


async def test_what_is_not_judged_by_the_deadline_is_unknown():
    tree = make_tree({"a": [], "b": []})

    async def look(node):
        if node.name == "b":
            await asyncio.Event().wait()
        return healthy("ok")

    verdicts = await walk(tree, look, deadline=0.05, concurrency=8)
    assert verdicts["a"].status is Status.HEALTHY
    assert verdicts["b"].status is Status.UNKNOWN
    assert "deadline" in verdicts["b"].reason


async def test_no_more_than_the_bound_run_at_once():
    tree = make_tree({f"n{i}": [] for i in range(20)})
    running = most = 0

    async def look(node):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return healthy("ok")

    await walk(tree, look, deadline=5, concurrency=3)
    assert most == 3


async def test_cancelling_a_walk_leaves_nothing_running():
    tree = make_tree({"a": [], "b": []})
    ended: list[str] = []

    async def look(node):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(node.name)

    task = asyncio.create_task(walk(tree, look, deadline=60, concurrency=8))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a", "b"]
