"""Sources that write down what they are asked, and sources that answer from what was written (docs/bundles.md)."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from treewalk import errors
from treewalk.errors import SourceError, SourceRejected, was_answered
from treewalk.model.redact import redact
from treewalk.model.series import Answered, LogBatch, LogLine, Sample, Series
from treewalk.ports import LogSource, MetricSource

Json = dict[str, Any]
T = TypeVar("T")

LOOKBACK = 300.0  # seconds for which the last point of a series stands, as in Prometheus
_ERRORS = {c.__name__: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SourceError)}


def number_out(value: float) -> float | str:
    """A number as strict JSON has it; what it does not have as text, which `float` reads again."""
    return value if math.isfinite(value) else str(value)


@dataclass
class Notebook:
    """What was asked and answered, in the order of asking."""

    entries: list[Json] = field(default_factory=list)

    def done(self) -> list[Json]:
        """The entries without those that were broken off, in an order of their own."""
        kept = [e for e in self.entries if "answer" in e or "error" in e]
        return sorted(kept, key=lambda e: (e["kind"], e["source"], e["query"], e["span"]))

    def asked(self) -> tuple[int, int]:
        """How many questions were answered, and how many by nobody; those that were broken off among them."""
        ended = [_ended(entry) for entry in self.entries]
        return ended.count(True), ended.count(False)

    async def note(
        self, kind: str, source: str, query: str, span: list[float], ask: Awaitable[T], encode: Callable[[T], Any]
    ) -> T:
        """Ask, and keep the answer or the SourceError."""
        entry: Json = {"kind": kind, "source": source, "query": query, "span": span}
        self.entries.append(entry)
        try:
            found = await ask
        except SourceError as error:
            entry["error"] = [type(error).__name__, str(error)]
            raise
        entry["answer"] = encode(found)
        if isinstance(found, Answered) and (found.warnings or found.infos):
            entry["told"] = [list(found.warnings), list(found.infos)]
        return found


class ListenedMetrics:
    """A metric source that is listened to. `source` is the name by which a node asks for it."""

    def __init__(self, source: str | None, inner: Callable[[], MetricSource], notebook: Notebook) -> None:
        self.name, self._inner, self._notebook = source or "default", inner, notebook

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        async def ask() -> Sequence[Sample]:
            return await self._inner().instant(query, at)

        return await self._notebook.note("instant", self.name, query, [at], ask(), _samples_out)

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        async def ask() -> Sequence[Series]:
            return await self._inner().range(query, start, end, step)

        return await self._notebook.note("range", self.name, query, [start, end, step], ask(), _series_out)


class ListenedLogs:
    """A log source that is listened to."""

    def __init__(self, source: str | None, inner: Callable[[], LogSource], notebook: Notebook) -> None:
        self.name, self._inner, self._notebook = source or "default", inner, notebook

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        async def ask() -> LogBatch:
            return await self._inner().lines(query, start, end, limit)

        return await self._notebook.note("lines", self.name, query, [start, end, limit], ask(), _lines_out)


class Recorded:
    """The answers of a bundle, by question; and, in bundles made from other data, whole series and logs by query.

    All of it is read when it is made. Raises KeyError, TypeError, ValueError or AttributeError on foreign data.
    """

    def __init__(self, bundle: Mapping[str, Any]) -> None:
        self._answers = {
            _key(e["kind"], e["source"], e["query"], e["span"]): _read(e) for e in bundle.get("answers", ())
        }
        self.told = [
            (str(e["source"]), str(e["query"]), Answered[Any]((), *_told(e)))
            for e in bundle.get("answers", ())
            if "told" in e
        ]
        self.asked = _asked_in(bundle)
        self._series: dict[tuple[str, str], list[Series]] = {}
        self._lines: dict[tuple[str, str], list[LogLine]] = {}
        self.lookback = float(bundle["options"].get("lookback", LOOKBACK))
        for entry in bundle.get("series", ()):
            found = _series_in(entry["series"])
            self._series[entry.get("source", "default"), redact(entry["query"])] = found
        for entry in bundle.get("logs", ()):
            lines = sorted(_lines_in(entry["lines"]), key=lambda line: -line.time)
            self._lines[entry.get("source", "default"), redact(entry["query"])] = lines

    def answer(self, kind: str, source: str, query: str, *span: float) -> Any:
        """The answer to exactly this question, or None. Raises the SourceError that was recorded."""
        found = self._answers.get(_key(kind, source, query, span))
        if isinstance(found, SourceError):
            raise found
        return found

    def series(self, source: str, query: str) -> Sequence[Series]:
        """Whole series. Raises SourceRejected when the bundle does not hold them."""
        return _held(self._series, source, query)

    def log(self, source: str, query: str) -> Sequence[LogLine]:
        """Whole logs, newest first. Raises SourceRejected when the bundle does not hold them."""
        return _held(self._lines, source, query)


class ReplayedMetrics:
    """A metric source that answers from a bundle and nothing else."""

    def __init__(self, source: str | None, recorded: Recorded) -> None:
        self.name, self._recorded = source or "default", recorded

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        answer: Sequence[Sample] | None = self._recorded.answer("instant", self.name, query, at)
        if answer is not None:
            return answer
        found = ((s.labels, self._value(s, at)) for s in self._recorded.series(self.name, query))
        return [Sample(labels, at, value) for labels, value in found if value is not None]

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        answer: Sequence[Series] | None = self._recorded.answer("range", self.name, query, start, end, step)
        if answer is not None:
            return answer
        grid = [start + i * step for i in range(math.floor((end - start) / step + 1e-9) + 1)]
        cut = (self._cut(s, grid) for s in self._recorded.series(self.name, query))
        return [s for s in cut if s.times]

    def _cut(self, series: Series, grid: Sequence[float]) -> Series:
        found = [(t, value) for t in grid if (value := self._value(series, t)) is not None]
        return Series(series.labels, array("d", [t for t, _ in found]), array("d", [v for _, v in found]))

    def _value(self, series: Series, at: float) -> float | None:
        last = bisect_right(series.times, at) - 1
        return series.values[last] if last >= 0 and series.times[last] > at - self._recorded.lookback else None


class ReplayedLogs:
    """A log source that answers from a bundle and nothing else."""

    def __init__(self, source: str | None, recorded: Recorded) -> None:
        self.name, self._recorded = source or "default", recorded

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        answer: LogBatch | None = self._recorded.answer("lines", self.name, query, start, end, limit)
        if answer is not None:
            return answer
        found = [line for line in self._recorded.log(self.name, query) if start <= line.time < end]
        return LogBatch(tuple(found[:limit]), truncated=len(found) > limit)


def _key(kind: str, source: str, query: str, span: Sequence[float]) -> tuple[Any, ...]:
    """Questions are found by their redacted text, as that is what the file holds; times to the millisecond."""
    return (kind, source, redact(query), *(round(float(x), 3) for x in span))


def _read(entry: Mapping[str, Any]) -> Any:
    if "error" in entry:
        name, message = entry["error"]
        return _ERRORS.get(name, SourceError)(message)
    answer = entry["answer"]
    match entry["kind"]:
        case "instant":
            samples = (Sample(dict(labels), float(t), float(v), bool(scalar)) for labels, t, v, scalar in answer)
            return Answered(samples, *_told(entry))
        case "range":
            return Answered(_series_in(answer), *_told(entry))
        case "lines":
            return LogBatch(tuple(_lines_in(answer["lines"])), bool(answer["truncated"]))
    raise ValueError(entry["kind"])


def _ended(entry: Mapping[str, Any]) -> bool | None:
    """Whether a question was answered; None where nobody was asked."""
    if "error" in entry:
        name, message = entry["error"]
        return was_answered(_ERRORS.get(name, SourceError)(message))
    return "answer" in entry


def _asked_in(bundle: Mapping[str, Any]) -> tuple[int, int] | None:
    if "asked" in bundle:
        answered, failed = bundle["asked"]
        return int(answered), int(failed)
    ended = [_ended(entry) for entry in bundle.get("answers", ())]
    return (ended.count(True), ended.count(False)) if ended else None


def _told(entry: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    warnings, infos = entry.get("told", ((), ()))
    return [str(text) for text in warnings], [str(text) for text in infos]


def _held(table: Mapping[tuple[str, str], Sequence[T]], source: str, query: str) -> Sequence[T]:
    found = table.get((source, redact(query)))
    if found is None:
        raise SourceRejected(f"the recording holds no answer to {redact(query)}")
    return found


def _samples_out(found: Sequence[Sample]) -> list[Any]:
    return [[dict(s.labels), s.time, number_out(s.value), s.scalar] for s in found]


def _series_out(found: Sequence[Series]) -> list[Any]:
    return [[dict(s.labels), [float(t) for t in s.times], [number_out(float(v)) for v in s.values]] for s in found]


def _series_in(data: Any) -> list[Series]:
    return [
        Series(dict(labels), array("d", [float(t) for t in times]), array("d", [float(v) for v in values]))
        for labels, times, values in data
    ]


def _lines_out(found: LogBatch) -> Json:
    return {"lines": [[x.time, x.text, dict(x.labels)] for x in found.lines], "truncated": found.truncated}


def _lines_in(data: Any) -> list[LogLine]:
    return [LogLine(float(t), str(text), dict(labels)) for t, text, labels in data]
