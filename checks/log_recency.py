"""A log that has to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treewalk import LogQL, Node, Probe, Seconds, Verdict, check, format_duration, healthy, unhealthy, unknown


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    return None if params["query"] or node.logs else "no log to look at: give the node `logs: {loki_query: …}`"


@check("log_recency", needs=_needs)
async def log_recency(probe: Probe, *, max_age: Seconds, query: LogQL | None = None) -> Verdict:
    """The newest line of the log is not older than max_age.

    max_age  how old the newest line may be
    query    LogQL; default: that of the node's logs
    """
    asked = query or (probe.node.logs.query if probe.node.logs else None)
    if asked is None:
        return unknown("no log to look at: give the node `logs: {loki_query: …}`")
    span = max(probe.window, 4 * max_age)
    batch = await probe.log_lines(asked, span, limit=1)
    expected = f"< {format_duration(max_age)}"
    if not batch.lines:
        return unhealthy(
            f"no line in the last {format_duration(span)}", observed=f"> {format_duration(span)}", expected=expected
        )
    age = max(0.0, probe.at - batch.lines[0].time)
    reason = f"the newest line is {format_duration(age)} old"
    if age > max_age:
        return unhealthy(reason, observed=format_duration(age), expected=expected, onset=batch.lines[0].time + max_age)
    return healthy(reason, observed=format_duration(age), expected=expected)
