"""The baseline check: a metric against its own past."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from treewalk.content.checks import builtin_checks
from treewalk.errors import SourceUnreachable
from treewalk.model.tree import BaselineSpec, CheckSpec, Node
from treewalk.model.verdict import Status, Verdict
from treewalk.sdk import Probe
from treewalk.stages.checkrun import NodeChecker, run_check

from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import HERE

AT = 1_700_000_000.0
SPEC = BaselineSpec(window=600, baseline=7200, direction="both", threshold=5)
NOISE = np.random.default_rng(7).normal(100, 5, 1000)


def points(value: Callable[[int], float], past: float = 7800, step: float = 20) -> list[tuple[float, float]]:
    """A point every `step` seconds of the last `past` seconds; `value` is told how many seconds before now it is."""
    return [(AT - ago, value(int(ago))) for ago in np.arange(past, -1, -step)]


def noisy(shift: float = 0.0) -> Callable[[int], float]:
    """Noise around 100 that is shifted for the last five minutes."""
    return lambda ago: float(NOISE[ago // 20]) + (shift if ago < 300 else 0.0)


async def judge(series: dict[str, list[tuple[float, float]]] | TableMetrics, **params: Any) -> Verdict:
    metrics = series if isinstance(series, TableMetrics) else TableMetrics(series)
    node = Node("n", HERE, metrics=params.pop("of_the_node", ("m",)))
    probe = Probe(node, AT, 300.0, 20.0, lambda _: metrics, lambda _: TableLogs(), baseline=SPEC)
    return await run_check(builtin_checks()["baseline"], probe, CheckSpec("baseline", params, HERE), 25.0)


async def test_noise_is_healthy_and_a_step_unhealthy_since_it_began() -> None:
    assert (await judge({"m": points(noisy())})).status is Status.HEALTHY
    verdict = await judge({"m": points(noisy(+60))})
    assert verdict.status is Status.UNHEALTHY
    assert verdict.onset == pytest.approx(AT - 300, abs=60)
    assert "limit 5" in verdict.reason
    assert verdict.size is not None
    assert verdict.size > 5


@pytest.mark.parametrize(
    ("direction", "shift", "wanted"),
    [
        ("up", +60, Status.UNHEALTHY),
        ("up", -60, Status.HEALTHY),
        ("down", -60, Status.UNHEALTHY),
        ("down", +60, Status.HEALTHY),
        ("both", +60, Status.UNHEALTHY),
        ("both", -60, Status.UNHEALTHY),
    ],
)
async def test_only_a_change_in_the_direction_given_is_bad(direction: str, shift: float, wanted: Status) -> None:
    assert (await judge({"m": points(noisy(shift))}, direction=direction)).status is wanted


@pytest.mark.parametrize(("direction", "shift"), [("up", -60), ("down", +60)])
async def test_a_good_change_that_fills_the_whole_window_is_healthy_too(direction: str, shift: float) -> None:
    series = {"m": points(lambda ago: float(NOISE[ago // 20]) + (shift if ago < 700 else 0.0))}
    assert (await judge(series, direction=direction)).status is Status.HEALTHY


async def test_a_good_change_of_one_series_does_not_hide_the_bad_one_of_another() -> None:
    better = points(lambda ago: float(NOISE[ago // 20]) - (90 if ago < 700 else 0.0))
    series = {"better": better, "worse": points(noisy(+60))}
    verdict = await judge(series, of_the_node=("better", "worse"), direction="up")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason.startswith("worse")


async def test_too_short_a_history_is_unknown_not_healthy() -> None:
    verdict = await judge({"m": points(noisy(+60), past=700)})
    assert verdict.status is Status.UNKNOWN
    assert "no usable data for m" in verdict.reason


async def test_a_metric_that_ended_is_unknown_not_healthy() -> None:
    assert (await judge({"m": [p for p in points(noisy()) if p[0] < AT - 900]})).status is Status.UNKNOWN
    assert (await judge({})).status is Status.UNKNOWN
    assert (await judge({"m": points(lambda ago: math.nan)})).status is Status.UNKNOWN


async def test_one_metric_without_data_is_said_beside_another_that_is_fine() -> None:
    verdict = await judge({"m": points(noisy())}, of_the_node=("m", "gone"))
    assert verdict.status is Status.HEALTHY
    assert "no usable data for gone" in verdict.reason


async def test_a_source_that_does_not_answer_is_unknown() -> None:
    metrics = TableMetrics({"m": points(noisy())}, error=SourceUnreachable("refused"))
    assert (await judge(metrics)).status is Status.UNKNOWN


async def test_a_constant_past_makes_a_small_change_small_and_a_large_one_bad() -> None:
    assert (await judge({"m": points(lambda ago: 100.0)})).status is Status.HEALTHY
    assert (await judge({"m": points(lambda ago: 0.0)})).status is Status.HEALTHY
    assert (await judge({"m": points(lambda ago: 101.0 if ago < 300 else 100.0)})).status is Status.HEALTHY
    verdict = await judge({"m": points(lambda ago: 300.0 if ago < 300 else 100.0)})
    assert verdict.status is Status.UNHEALTHY
    assert verdict.size is not None
    assert verdict.size <= 20


async def test_the_parameters_of_the_check_win_over_those_of_the_workspace() -> None:
    series = {"m": points(noisy(+30))}
    assert (await judge(series, threshold=3)).status is Status.UNHEALTHY
    assert (await judge(series, threshold=50)).status is Status.HEALTHY
    assert (await judge(series, baseline="100s")).status is Status.UNKNOWN
    assert (await judge({"other": points(noisy(+60))}, query="other")).status is Status.UNHEALTHY


async def test_a_node_with_nothing_to_compare_says_what_to_add() -> None:
    verdict = await judge({}, of_the_node=())
    assert verdict.status is Status.UNKNOWN
    assert "give the healthcheck a query" in verdict.reason


async def test_a_node_with_metrics_alone_is_at_worst_degraded() -> None:
    metrics = TableMetrics({"m": points(noisy(+60))})
    checker = NodeChecker(builtin_checks(), lambda _: metrics, lambda _: TableLogs(), AT, 300.0, 20.0, SPEC)
    verdict = await checker(Node("n", HERE, metrics=("m",)))
    assert (verdict.status, verdict.origin) == (Status.DEGRADED, "baseline")
