"""When would a signature have fired? Run over the past of the sources, and held against the times known to be bad."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from treewalk.errors import SourceError
from treewalk.model.known import Signature
from treewalk.model.series import LogLine
from treewalk.model.tree import Node
from treewalk.ports import LogSource, MetricSource

Span = tuple[float, float]
_LOG_CHUNKS = 24  # a log is fetched in so many parts, so that a cut answer loses little


@dataclass(frozen=True)
class Backtest:
    """`firings` are the spans in which every signal held at once, `false` their parts in which nothing was wrong as
    far as is known. `gaps` says what could not be looked at: without it nothing is proven."""

    start: float
    end: float
    firings: tuple[Span, ...] = ()
    false: tuple[Span, ...] = ()
    gaps: tuple[str, ...] = ()
    points: int = 0
    bad: tuple[Span, ...] = field(default=())


async def backtest(
    signature: Signature,
    node: Node,
    metrics: MetricSource | None,
    logs: LogSource | None,
    start: float,
    end: float,
    step: float,
    window: float,
    bad: Sequence[Span],
) -> Backtest:
    """Run a signature over the past, every `step` seconds, looking `window` seconds back for log lines.

    `bad` are the spans (Unix seconds) in which something was wrong; what fires up to `window` before or after one
    belongs to it. Sources that fail become gaps.
    """
    times = [start + step * k for k in range(int((end - start) / step) + 1)]
    gaps: list[str] = []
    holding = [True] * len(times)
    if signature.metric_condition is not None:
        held = await _condition(signature, metrics, start, end, step, times, gaps)
        holding = [a and b for a, b in zip(holding, held, strict=True)]
    if signature.log_pattern is not None:
        seen = await _pattern(signature.log_pattern, node, logs, start - window, end, gaps)
        holding = [a and _any_within(seen, t - window, t) for a, t in zip(holding, times, strict=True)]
    if signature.metric_condition is None and signature.log_pattern is None:
        holding = [False] * len(times)
    on = [time for time, held in zip(times, holding, strict=True) if held]
    well = [time for time in on if not any(begin - window <= time <= over + window for begin, over in bad)]
    return Backtest(start, end, tuple(spans(on, step)), tuple(spans(well, step)), tuple(gaps), len(times), tuple(bad))


def spans(times: Sequence[float], step: float) -> list[Span]:
    """Points in time, put together into spans where they are neighbours. Pure."""
    found: list[Span] = []
    for time in times:
        if found and time - found[-1][1] <= step * 1.5:
            found[-1] = (found[-1][0], time)
        else:
            found.append((time, time))
    return found


def _any_within(times: Sequence[float], start: float, end: float) -> bool:
    return bisect_left(times, start) < bisect_right(times, end)


async def _condition(
    signature: Signature,
    metrics: MetricSource | None,
    start: float,
    end: float,
    step: float,
    times: Sequence[float],
    gaps: list[str],
) -> list[bool]:
    condition = signature.metric_condition
    assert condition is not None
    try:
        if metrics is None:
            raise SourceError("no metric source is configured")
        answer = await metrics.range(condition.promql, start, end, step)
        if not answer:
            for operand in condition.operands:
                empty = not await metrics.range(operand, start, end, step)
                gaps.extend([f"no data for {operand} in that time"] if empty else [])
    except SourceError as error:
        gaps.append(f"{condition.text}: {error}")
        return [False] * len(times)
    on = {
        round((time - start) / step)
        for series in answer
        for time, value in zip(series.times, series.values, strict=True)
        if not math.isnan(value)
    }
    return [k in on for k in range(len(times))]


async def _pattern(
    pattern: str, node: Node, logs: LogSource | None, start: float, end: float, gaps: list[str]
) -> list[float]:
    """The times of the lines that have it, oldest first."""
    if node.logs is None or logs is None:
        gaps.append(f"{node.name} has no log to look through")
        return []
    import re2

    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern, options)
    found: list[float] = []
    size = (end - start) / _LOG_CHUNKS
    for k in range(_LOG_CHUNKS):
        part = (start + k * size, start + (k + 1) * size)
        try:
            batch = await logs.lines(node.logs.query, *part, 5000)
        except SourceError as error:
            gaps.append(f"the log of {node.name}: {error}")
            break
        if batch.truncated:
            gaps.append(f"the log of {node.name} was cut at 5000 lines in a part of that time")
        found += [line.time for line in batch.lines if _has(compiled, line)]
    return sorted(found)


def _has(compiled: object, line: LogLine) -> bool:
    return bool(compiled.search(line.text[:16_000].encode("utf-8", "replace")))  # type: ignore[attr-defined]
