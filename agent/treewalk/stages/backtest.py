"""When would a signature have fired? Run over the past of the sources, and held against the times known to be bad."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from treewalk.errors import SourceError
from treewalk.model.condition import Condition
from treewalk.model.known import Signature
from treewalk.model.quantity import format_duration
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import readable
from treewalk.model.tree import Node
from treewalk.ports import LogSource, MetricSource

Span = tuple[float, float]
_POINTS = 40_000  # at which a condition is looked at, at the most
_LOOKS = 2000  # at which it is looked at whether there is data at all
_PAGE, _PAGES = 5000, 60  # lines of a log that are asked for at once, and how often
_PARTS = 24  # pieces of the past that a log is asked for, so that none is too long for it


@dataclass(frozen=True)
class Backtest:
    """`firings` are the spans in which every signal held at once, `false` their parts in which nothing was wrong as
    far as is known. `covered` is for how many seconds between `start` and `end` there was data to look at. `gaps`
    says what could not be looked at: without it nothing is proven."""

    start: float
    end: float
    firings: tuple[Span, ...] = ()
    false: tuple[Span, ...] = ()
    gaps: tuple[str, ...] = ()
    points: int = 0
    bad: tuple[Span, ...] = field(default=())
    covered: float = 0.0

    @property
    def told(self) -> str:
        """How much of the past it was tested on, for people."""
        return f"{format_duration(self.covered)} of the {format_duration(self.end - self.start)} before"


def step_for(start: float, end: float, window: float) -> float:
    """How far apart a condition is looked at, in seconds: so near that no line of a log falls between two looks that
    each go `window` seconds back, and at no more than 40,000 points."""
    span = end - start
    return max(min(max(1.0, span / 2000), window / 2), span / _POINTS, 0.001)


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
    """Run a signature over the past, its condition every `step` seconds, its log line by line.

    A line counts for `window` seconds. `bad` are the spans (Unix seconds) in which something was wrong; what fires up
    to `window` before or after one belongs to it. Sources that fail become gaps.
    """
    looking = _Looking(node, metrics, logs, start, end, step, window)
    on: Sequence[float] = ()
    if signature.metric_condition is not None:
        on = await looking.condition(signature.metric_condition)
    if signature.log_pattern is not None:
        if signature.metric_condition is None:
            on = await looking.pattern(signature.log_pattern, [(start - window, end)])
            looking.covered = end - max(start, looking.oldest) if looking.oldest < end else 0.0
        elif on:  # where its condition did not hold, it did not fire, whatever the log says
            if step > window / 2:
                told, wide = format_duration(step), format_duration(window)
                looking.gaps.append(f"its condition was looked at every {told} only, its log {wide} back")
            near = _few(on, max(step, window))
            seen = await looking.pattern(signature.log_pattern, [(first - window, last + step) for first, last in near])
            on = [time for time in on if _any_within(seen, time - window, time)]
    far = step if signature.metric_condition is not None else window
    well = [time for time in on if not any(begin - window <= time <= over + window for begin, over in bad)]
    return Backtest(
        start,
        end,
        tuple(spans(on, far)),
        tuple(spans(well, far)),
        tuple(dict.fromkeys(redact(gap) for gap in looking.gaps)),
        int((end - start) / step) + 1,
        tuple(bad),
        looking.covered,
    )


def spans(times: Sequence[float], step: float) -> list[Span]:
    """Points in time, put together into spans where they are neighbours. Pure."""
    found: list[Span] = []
    for time in times:
        if found and time - found[-1][1] <= step * 1.5:
            found[-1] = (found[-1][0], time)
        else:
            found.append((time, time))
    return found


def _few(times: Sequence[float], apart: float) -> list[Span]:
    """Spans that hold all these times, few enough to ask a log about each."""
    found = spans(times, apart)
    while len(found) > _PARTS:
        apart *= 2
        found = spans(times, apart)
    return found


def _any_within(times: Sequence[float], start: float, end: float) -> bool:
    return bisect_left(times, start) < bisect_right(times, end)


class _Looking:
    """What the sources told, and what they could not: `gaps`. `oldest` is the time of the oldest line that was read,
    `covered` for how many seconds there was data."""

    def __init__(
        self,
        node: Node,
        metrics: MetricSource | None,
        logs: LogSource | None,
        start: float,
        end: float,
        step: float,
        window: float,
    ) -> None:
        self.node, self.metrics, self.logs = node, metrics, logs
        self.start, self.end, self.step, self.window = start, end, step, window
        self.gaps: list[str] = []
        self.covered, self.oldest, self.pages = 0.0, math.inf, 0

    async def condition(self, condition: Condition) -> list[float]:
        """The times at which a condition held."""
        try:
            if self.metrics is None:
                raise SourceError("no metric source is configured")
            on = await self._looks(self.metrics, condition.promql, self.step)
            far = max(self.step, (self.end - self.start) / _LOOKS)
            there = {operand: await self._looks(self.metrics, operand, far) for operand in condition.operands}
        except SourceError as error:
            self.gaps.append(f"{condition.text}: {error}")
            return []
        if not on:
            self.gaps += [f"no data for {operand} in that time" for operand, looks in there.items() if not looks]
        self.covered = min(self.end - self.start, len(set.intersection(*there.values())) * far) if there else 0.0
        return [self.start + self.step * k for k in sorted(on)]

    async def _looks(self, metrics: MetricSource, query: str, step: float) -> set[int]:
        """The numbers of the looks, a step apart, at which a query had a value."""
        return {
            round((time - self.start) / step)
            for series in await metrics.range(query, self.start, self.end, step)
            for time, value in zip(series.times, series.values, strict=True)
            if not math.isnan(value)
        }

    async def pattern(self, pattern: str, where: Sequence[Span]) -> list[float]:
        """The times of the lines that have it within some spans, oldest first."""
        if self.node.logs is None or self.logs is None:
            self.gaps.append(f"{self.node.name} has no log to look through")
            return []
        import re2

        options = re2.Options()
        options.log_errors = False
        compiled = re2.compile(pattern, options)
        found: list[float] = []
        try:
            for first, last in reversed(self._parts(where)):
                found += await self._lines(self.node.logs.query, self.logs, first, last, compiled)
        except SourceError as error:
            self.gaps.append(f"the log of {self.node.name}: {error}")
        if self.oldest == math.inf:
            self.gaps.append(f"the log of {self.node.name} has no line in that time")
        return sorted(found)

    def _parts(self, where: Sequence[Span]) -> list[Span]:
        most = (self.end - self.start + self.window) / _PARTS
        found = []
        for first, last in where:
            pieces = max(1, math.ceil((last - first) / most))
            size = (last - first) / pieces
            found += [(first + k * size, first + (k + 1) * size) for k in range(pieces)]
        return found

    async def _lines(self, query: str, logs: LogSource, first: float, last: float, compiled: Any) -> list[float]:
        """The times of matching lines in one span. A full answer is followed by a question for what is older."""
        found: list[float] = []
        while True:
            self.pages += 1
            batch = await logs.lines(query, first, last, _PAGE)
            found += [line.time for line in batch.lines if _has(compiled, line)]
            oldest = min((line.time for line in batch.lines), default=math.inf)
            self.oldest = min(self.oldest, oldest)
            if not batch.truncated:
                return found
            older = oldest + 1e-6  # more of that same instant may be missing
            if older >= last or self.pages >= _PAGES:
                self.gaps.append(f"the log of {self.node.name} was cut: not all of its lines could be looked at")
                return found
            last = older


def _has(compiled: Any, line: LogLine) -> bool:
    return bool(compiled.search(readable(line.text).encode("utf-8", "replace")))
