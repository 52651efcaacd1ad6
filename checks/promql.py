"""A PromQL condition or value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from treewalk import (
    Condition,
    Node,
    Probe,
    PromQL,
    Threshold,
    Verdict,
    check,
    format_number,
    healthy,
    parse_threshold,
    unhealthy,
    unknown,
)


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    if params["condition"] is None and (params["threshold"] is None or not (params["query"] or node.metrics)):
        return "nothing to ask: give it a condition, or a threshold and a query (or the node metrics)"
    return None


@check("promql", needs=_needs)
async def promql(
    probe: Probe,
    *,
    condition: Condition | None = None,
    query: PromQL | None = None,
    threshold: Threshold | None = None,
    unit: Literal["ratio", "percent"] = "ratio",
) -> Verdict:
    """A PromQL condition holds, or a value keeps a threshold. No data is unknown.

    condition  what is true while the node is healthy, such as 'up == 1' or 'errors_total rate < 5'
    query      PromQL of a value; default: the node's first metric
    threshold  the limit it has to keep: "60s", "< 60s", "> 80%"; every series has to
    unit       whether a percentage runs from 0 to 1 (ratio) or to 100 (percent)
    """
    if condition is not None:
        answer = await probe.condition(condition)
        if answer.state == "unknown":
            return unknown(answer.reason)
        observed = format_number(answer.sample.value) if answer.sample else None
        if answer.state == "holds":
            return healthy(f"{condition}: {answer.reason}", observed=observed, expected=condition)
        return unhealthy(f"{condition} does not hold: {answer.reason}", observed=observed, expected=condition)
    asked = query or next(iter(probe.node.metrics), None)
    if asked is None or threshold is None:
        return unknown("nothing to ask: give the healthcheck a condition, or a query and a threshold")
    limit = parse_threshold(threshold, unit)
    samples = await probe.instant(asked)
    real = [s for s in samples if not math.isnan(s.value)]
    if not real:
        return unknown(f"{'only NaN' if samples else 'no data'} for {asked}")
    broken = [s for s in real if not limit.holds(s.value)]
    shown = broken[0] if broken else real[0]
    reason = f"{shown.name or asked} is {limit.show(shown.value)}"
    if broken:
        more = f" ({len(broken)} of {len(real)} series)" if len(real) > 1 else ""
        return unhealthy(reason + more, observed=limit.show(shown.value), expected=str(limit))
    return healthy(reason, observed=limit.show(shown.value), expected=str(limit))
