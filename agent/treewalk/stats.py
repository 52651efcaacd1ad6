"""A series against its own past: robust z-score, onset, and how two series move together. Pure.

Median and MAD instead of mean and standard deviation, because baselines hold old trouble too (Iglewicz and
Hoaglin, "How to Detect and Handle Outliers", 1993: 1.4826 · MAD estimates the standard deviation of a normal
sample). Window and baseline are compared as short running means of the same length, so that one odd sample is
not an anomaly and autocorrelation is in the spread. With more than a day of baseline the value of the day before
may be subtracted first; that is done where it makes the baseline clearly quieter, so that morning is not news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treewalk.model.tree import BaselineSpec

Array = NDArray[np.float64]
Numbers = Sequence[float] | Array

_DAY = 86400.0
_MAD = 1.4826
_MIN_BASELINE = 8  # fewer values than this say nothing about what is normal
_COUNTER_SUFFIXES = ("_total", "_count", "_sum", "_bucket")


@dataclass(frozen=True, slots=True)
class Deviation:
    """One series judged.

    `score` is signed and in robust standard deviations; `level` and `center` are in the series' own unit;
    `onset` is Unix seconds or None; `times` and `z` are the standardised series (baseline and window) on its grid,
    for comparing it with others; `points` counts values in window and baseline.
    """

    score: float
    level: float
    center: float
    spread: float
    onset: float | None
    times: Array
    z: Array
    points: tuple[int, int]

    @property
    def relative(self) -> float:
        """Change of the level relative to what is normal; bounded so that a zero baseline stays finite."""
        scale = max(abs(self.center), abs(self.level), 1e-12)
        return (self.level - self.center) / scale


def deviation(times: Numbers, values: Numbers, at: float, spec: BaselineSpec) -> Deviation | None:
    """How the last `spec.window` seconds before `at` stand against the `spec.baseline` seconds before them.

    None when there are too few values in the window (none) or in the baseline (fewer than eight) to tell.
    The sign is that of the change; `spec.direction` restricts which changes are looked for.
    """
    t, x = _clean(times, values)
    keep = (t > at - spec.window - spec.baseline - 1e-6) & (t <= at + 1e-6)
    t, x = t[keep], x[keep]
    inside = t > at - spec.window
    if not inside.any() or int((~inside).sum()) < _MIN_BASELINE:
        return None
    residual, shift = _deseasoned(t, x, inside)
    return _judge(t, residual, shift, inside, spec)


def counter_to_rate(name: str, times: Numbers, values: Numbers) -> tuple[Array, Array]:
    """A counter as increase per second; anything else as it is.

    What counts as a counter: the naming convention of Prometheus (`_total`, `_count`, `_sum`, `_bucket`), or a
    series that never falls and mostly rises. A reset counts from zero, as `rate()` does.
    """
    t, x = _clean(times, values)
    if len(x) < 3:
        return t, x
    steps = np.diff(x)
    rising = bool((steps >= 0).all()) and float((steps > 0).mean()) > 0.8 and len(x) >= 20
    if not (name.endswith(_COUNTER_SUFFIXES) or rising):
        return t, x
    gap = np.diff(t)
    grown = np.where(steps >= 0, steps, x[1:])
    return t[1:], grown / np.maximum(gap, 1e-9)


def similarity(cause: Deviation, effect: Deviation, start: float, end: float, max_lag: float) -> float:
    """How well two standardised series move together between two times, from 0 to 1.

    The largest absolute correlation over lags from 0 to `max_lag` seconds by which the cause may lead.
    """
    grid = _grid(cause.times, effect.times, start, end)
    if len(grid) < 5:
        return 0.0
    step = grid[1] - grid[0]
    y = np.clip(_at(effect, grid), -12, 12)
    best = 0.0
    for lag in np.arange(0.0, max_lag + step / 2, step)[:12]:
        x = np.clip(_at(cause, grid - lag), -12, 12)
        if x.std() < 1e-9 or y.std() < 1e-9:
            continue
        best = max(best, abs(float(np.corrcoef(x, y)[0, 1])))
    return best


def _clean(times: Numbers, values: Numbers) -> tuple[Array, Array]:
    t = np.asarray(times, dtype=np.float64)
    x = np.asarray(values, dtype=np.float64)
    real = np.isfinite(x)
    return t[real], x[real]


def _deseasoned(t: Array, x: Array, inside: NDArray[np.bool_]) -> tuple[Array, float]:
    """The series with yesterday's value subtracted where that makes the baseline clearly quieter."""
    center = float(np.median(x[~inside]))
    if t[-1] - t[0] < 1.5 * _DAY:
        return x, 0.0
    before = t - _DAY
    step = float(np.median(np.diff(t)))
    width = max(3, round(1800 / max(step, 1e-9)) | 1)
    smooth = np.convolve(np.pad(x, width // 2, mode="edge"), np.ones(width) / width, "valid")[: len(x)]
    yesterday = np.interp(before, t, smooth)
    has = before >= t[0]
    residual = np.where(has, x - yesterday, np.nan)
    quiet, loud = _spread(residual[has & ~inside]), _spread(x[~inside])
    if int((has & ~inside).sum()) < 4 * _MIN_BASELINE or quiet > 0.7 * loud:
        return x, 0.0
    return residual, center


def _judge(t: Array, x: Array, shift: float, inside: NDArray[np.bool_], spec: BaselineSpec) -> Deviation:
    have = np.isfinite(x)
    t, x, inside = t[have], x[have], inside[have]
    width = max(1, int(inside.sum()) // 4)
    rolled = _running_mean(x, width)
    base = rolled[~inside]
    center = float(np.median(base))
    window_values = rolled[inside]
    extreme = _extreme(window_values - center, spec)
    level = center + extreme
    spread = _floored(base, center, level)
    z = (x - center) / spread
    score = extreme / spread
    index = int(np.flatnonzero(inside)[int(np.argmin(np.abs(window_values - level)))])
    onset = _onset(t, (rolled - center) / spread, index, score, width)
    counts = (int(inside.sum()), int((~inside).sum()))
    return Deviation(score, level + shift, center + shift, spread, onset, t, z, counts)


def _extreme(delta: Array, spec: BaselineSpec) -> float:
    if spec.direction == "up":
        return float(delta.max())
    if spec.direction == "down":
        return float(delta.min())
    return float(delta[int(np.argmax(np.abs(delta)))])


def _running_mean(x: Array, width: int) -> Array:
    if width <= 1 or len(x) <= width:
        return x
    total = np.cumsum(np.concatenate([np.full(width, x[0]), x]))
    mean: Array = (total[width:] - total[:-width]) / width
    return mean


def _spread(x: Array) -> float:
    if not len(x):
        return 0.0
    return _MAD * float(np.median(np.abs(x - np.median(x))))


def _floored(base: Array, center: float, level: float) -> float:
    """A spread that a constant or nearly constant baseline cannot make zero.

    Half of a baseline may be one value (MAD 0) while the rest varies: then the mean absolute deviation serves.
    A wholly constant one is given 5 % of the larger of the two levels, so that no change scores over 20.
    """
    mad = _spread(base)
    mean_deviation = 1.2533 * float(np.mean(np.abs(base - center)))
    scale = max(abs(center), abs(level), 1e-12)
    if float(np.ptp(base)) <= 1e-9 * scale:
        return 0.05 * scale
    tail = float(np.quantile(np.abs(base - center), 0.95)) / 1.96
    return max(mad, 0.6 * mean_deviation, 0.6 * tail, 0.01 * abs(center), 1e-12)


def _onset(t: Array, z: Array, index: int, score: float, width: int) -> float | None:
    """Back from the extreme to where it still stood out: a third of its size and at least 2.5, bridging one gap."""
    if abs(score) < 2.5:
        return None
    limit = max(2.5, abs(score) / 3) * (1 if score > 0 else -1)
    out = z >= limit if score > 0 else z <= limit
    first, i, misses = index, index, 0
    while i > 0 and misses <= 2:
        i -= 1
        if out[i]:
            first, misses = i, 0
        else:
            misses += 1
    # A running mean of `width` values crosses late by about half of them.
    return float(t[max(0, first - width // 2)])


def _grid(a: Array, b: Array, start: float, end: float) -> Array:
    steps: list[Any] = [np.median(np.diff(s)) for s in (a, b) if len(s) > 2]
    step = float(max(steps)) if steps else 0.0
    if step <= 0 or end <= start:
        return np.empty(0)
    return np.arange(end, start - 1e-9, -step)[::-1]


def _at(series: Deviation, grid: Array) -> Array:
    return np.interp(grid, series.times, series.z)
