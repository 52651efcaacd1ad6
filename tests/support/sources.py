"""Metric and log sources in memory, for units: they answer what they were told, by the query's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treewalk.errors import SourceError
from treewalk.model.series import LogBatch, LogLine, Sample, Series


class TableMetrics:
    """`series` maps a query to one list of (time, value); `samples` to instant answers; anything else is empty."""

    name = "table"

    def __init__(
        self,
        series: Mapping[str, Sequence[tuple[float, float]]] | None = None,
        samples: Mapping[str, Sequence[Sample]] | None = None,
        error: SourceError | None = None,
    ) -> None:
        self.series, self.samples, self.error = dict(series or {}), dict(samples or {}), error
        self.asked: list[str] = []

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        self.asked.append(query)
        if self.error:
            raise self.error
        if query in self.samples:
            return self.samples[query]
        points = [(t, v) for t, v in self.series.get(query, ()) if at - 300 < t <= at]
        return [Sample({"__name__": query}, points[-1][0], points[-1][1])] if points else []

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        self.asked.append(query)
        if self.error:
            raise self.error
        points = [(t, v) for t, v in self.series.get(query, ()) if start <= t <= end]
        return [Series({"__name__": query}, [t for t, _ in points], [v for _, v in points])] if points else []


class TableLogs:
    """`lines` maps a query to its lines, newest first."""

    name = "logs"

    def __init__(self, lines: Mapping[str, Sequence[LogLine]] | None = None, error: SourceError | None = None) -> None:
        self.table, self.error = dict(lines or {}), error

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        if self.error:
            raise self.error
        found = [line for line in self.table.get(query, ()) if start <= line.time < end]
        return LogBatch(tuple(found[:limit]), len(found) > limit)
