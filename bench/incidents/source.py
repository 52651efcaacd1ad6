"""A metric source in memory that answers plain selectors as Prometheus does: the last sample within five minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from treewalk.model.series import Sample, Series

LOOKBACK = 300.0
Array = NDArray[np.float64]


@dataclass
class MemoryMetrics:
    """`data` maps a query's text to its times and values."""

    data: Mapping[str, tuple[Array, Array]]
    name: str = "memory"
    cache: dict[tuple[str, float, float, float], list[Series]] = field(default_factory=dict)

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        found = self.data.get(query)
        if found is None:
            return []
        times, values = found
        index = int(np.searchsorted(times, at, side="right")) - 1
        if index < 0 or times[index] <= at - LOOKBACK - 1e-6:
            return []
        return [Sample(_labels(query), float(times[index]), float(values[index]))]

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        found = self.data.get(query)
        if found is None:
            return []
        times, values = found
        grid = np.arange(start, end + 1e-6, step)
        index = np.searchsorted(times, grid, side="right") - 1
        fresh = (index >= 0) & (times[np.maximum(index, 0)] > grid - LOOKBACK - 1e-6)
        if not fresh.any():
            return []
        return [Series(_labels(query), grid[fresh], values[index[fresh]])]  # type: ignore[arg-type]


def _labels(query: str) -> dict[str, str]:
    name, _, rest = query.partition("{")
    node = rest.partition('node="')[2].partition('"')[0]
    return {"__name__": name, "node": node} if node else {"__name__": name}
