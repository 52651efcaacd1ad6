"""A node's metrics against their own past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from treewalk import (
    Node,
    Probe,
    PromQL,
    Seconds,
    SourceRejected,
    Verdict,
    check,
    format_number,
    healthy,
    unhealthy,
    unknown,
)


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    if not params["query"] and not node.metrics:
        return "no metric to compare: give the healthcheck a query, or the node metrics"
    window, past = params["window"], params["baseline"]
    if window is not None and past is not None and window > past:
        return "the window is longer than the baseline that it is compared with"
    return None


@check("baseline", needs=_needs)
async def baseline(
    probe: Probe,
    *,
    query: PromQL | None = None,
    window: Seconds | None = None,
    baseline: Seconds | None = None,
    direction: Literal["up", "down", "both"] | None = None,
    threshold: float | None = None,
) -> Verdict:
    """The last stretch of a metric against its own past (robust z-score on median and MAD).

    query      PromQL of the series; without it the node's own `metrics`
    window     how long the stretch is (default: that of the SLA or of treewalk.yaml)
    baseline   how long the past before it is
    direction  up, down or both: which change is bad
    threshold  the robust z-score from which it is unhealthy
    """
    spec = probe.baseline_spec(window=window, baseline=baseline, direction=direction, threshold=threshold)
    queries = (query,) if query else probe.node.metrics
    if not queries:
        return unknown("no metric to compare: give the healthcheck a query, or the node metrics")
    deviations = await probe.deviations(queries, spec)
    judged = [d for d in deviations if d.points[0]]
    if not judged:
        raise SourceRejected(f"no usable data for {', '.join(queries)} in window and baseline")
    # Where only a rise is bad, the least of falls still has a score: a large one below zero, and is no trouble.
    toward = {"up": lambda score: score, "down": lambda score: -score, "both": abs}[spec.direction]
    worst = max(judged, key=lambda d: toward(d.score))
    observed = format_number(worst.level)
    expected = f"{format_number(worst.baseline)} ± {format_number(worst.spread)}"
    what = f"{worst.series}: z {worst.score:+.1f} (limit {spec.threshold:g})"
    absent = [q for q in queries if q not in {d.query for d in judged}]
    if absent:
        what += f"; no usable data for {', '.join(absent)}"
    if toward(worst.score) >= spec.threshold:
        return unhealthy(what, observed=observed, expected=expected, onset=worst.onset, size=abs(worst.score))
    return healthy(what, observed=observed, expected=expected)
