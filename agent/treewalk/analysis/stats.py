"""A series against its own past: robust z-score and onset. Pure.

Median and MAD instead of mean and standard deviation, because baselines hold old trouble too (Iglewicz and
Hoaglin, "How to Detect and Handle Outliers", 1993: 1.4826 · MAD estimates the standard deviation of a normal
sample). Window and baseline are compared as short running means of the same length, so that one odd sample is
not an anomaly and autocorrelation is in the spread. With more than a day of baseline the value of the day before
may be subtracted first; that is done where it makes the baseline clearly quieter, so that morning is not news.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treewalk.model.tree import BaselineSpec

Array = NDArray[np.float64]
Numbers = Sequence[float] | Array

_DAY = 86400.0
_MAD = 1.4826
_MIN_BASELINE = 8  # fewer values than this say nothing about what is normal
_LONGEST_BEAT = 8  # points
_COUNTER_SUFFIXES = ("_total", "_count", "_sum", "_bucket")


@dataclass(frozen=True, slots=True)
class Deviation:
    """One series judged.

    `score` is signed and in robust standard deviations; `level` and `center` are in the series' own unit;
    `onset` is Unix seconds or None, `lasting` how much of it is left at the end (0 to 1); `times` and `z` are the
    standardised series (baseline and window) on its grid; `points` counts values in window and baseline.
    """

    score: float
    level: float
    center: float
    spread: float
    onset: float | None
    lasting: float
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
    residual, shift = _steadied(t, x, inside, spec)
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
    total = np.concatenate([[0.0], np.cumsum(np.where(steps >= 0, steps, x[1:]))])
    over = _beat(t, total)
    rate = (total[over:] - total[:-over]) / np.maximum(t[over:] - t[:-over], 1e-9)
    return t[over:], _without_odd_points(rate) if over == 1 and len(rate) > 3 else rate


def _without_odd_points(rate: Array) -> Array:
    """A rate without the one odd point in ten or so that a slow beat makes; the total increase stays what it was."""
    middle = np.median(np.stack([rate[:-2], rate[1:-1], rate[2:]]), axis=0)
    even = np.concatenate([rate[:1], middle, rate[-1:]])
    odd = int((np.abs(rate - even) > 0.5 * np.abs(even)).sum())
    if odd < 4 or _roughness(even) * 6.0 > _roughness(rate):
        return rate
    smooth: Array = even * (rate.mean() / max(float(even.mean()), 1e-12))
    return smooth


def _roughness(x: Array) -> float:
    return float(np.mean(np.abs(np.diff(x)))) if len(x) > 1 else 0.0


def _beat(t: Array, total: Array) -> int:
    """Over how many points a counter's rate is to be taken: 1, or more where that makes it very much quieter.

    A counter that is asked for on another grid than it is sampled on grows by one sample here and by two there; over
    one beat of the two grids that evens out. Plain noise falls with the root of the number of points only.
    """
    best, chosen = math.inf, 1
    for points in range(1, min(_LONGEST_BEAT, len(t) // 4) + 1):
        rate = (total[points:] - total[:-points]) / np.maximum(t[points:] - t[:-points], 1e-9)
        rough = _roughness(rate) * points * (1.0 if points == 1 else 2.0)
        if rough < best:
            best, chosen = rough, points
    return chosen


def thinned(times: Numbers, values: Numbers) -> tuple[Array, Array]:
    """A series without the repetitions that come of asking more often than it is sampled.

    Where values mostly stand still for several points and then change, one point a run of equals is kept (and one
    in `stride` of a longer run). A constant series, and one that changes at every point, stay as they are.
    """
    t, x = _clean(times, values)
    if len(x) < 3 * _MIN_BASELINE:
        return t, x
    changes = np.flatnonzero(np.diff(x) != 0) + 1
    if len(changes) < _MIN_BASELINE:
        return t, x
    stride = int(np.median(np.diff(changes))) if len(changes) > 1 else 1
    if stride < 2:
        return t, x
    starts = np.concatenate([[0], changes])
    run = np.searchsorted(changes, np.arange(len(x)), side="right")
    since = np.arange(len(x)) - starts[run]
    length = np.diff(np.concatenate([starts, [len(x)]]))[run]
    keep = (since == 0) | ((since % stride == 0) & (length >= 2 * stride))
    return t[keep], x[keep]


def _clean(times: Numbers, values: Numbers) -> tuple[Array, Array]:
    t = np.asarray(times, dtype=np.float64)
    x = np.asarray(values, dtype=np.float64)
    real = np.isfinite(x)
    return t[real], x[real]


def _steadied(t: Array, x: Array, inside: NDArray[np.bool_], spec: BaselineSpec) -> tuple[Array, float]:
    """The series as it is, or its difference to a reference that makes the baseline clearly quieter.

    The references: the value a day before (where there is more than a day and a half), and the median of the two
    windows before the last one (which a slow swing or drift hardly leaves, and a sudden change does).
    """
    loud, center = _spread(x[~inside]), float(np.median(x[~inside]))
    best, chosen, shift = 0.7 * loud, x, 0.0
    for residual in (_minus_yesterday(t, x), _minus_before(t, x, spec.window)):
        known = np.isfinite(residual) & ~inside
        if int(known.sum()) < 4 * _MIN_BASELINE or not np.isfinite(residual[inside]).any():
            continue
        quiet = _spread(residual[known])
        if quiet < best:
            best, chosen, shift = quiet, residual, center
    return chosen, shift


def _minus_yesterday(t: Array, x: Array) -> Array:
    nothing = np.full(len(x), np.nan)
    if t[-1] - t[0] < 1.5 * _DAY:
        return nothing
    step = float(np.median(np.diff(t)))
    width = max(3, round(1800 / max(step, 1e-9)) | 1)
    smooth = np.convolve(np.pad(x, width // 2, mode="edge"), np.ones(width) / width, "valid")[: len(x)]
    before = t - _DAY
    return np.where(before >= t[0], x - np.interp(before, t, smooth), nothing)


def _minus_before(t: Array, x: Array, window: float) -> Array:
    """Each value less the median of the two windows that end a window before it."""
    step = float(np.median(np.diff(t)))
    lag, length = max(1, round(window / max(step, 1e-9))), max(3, round(2 * window / max(step, 1e-9)))
    residual = np.full(len(x), np.nan)
    if len(x) <= lag + length:
        return residual
    medians = np.median(np.lib.stride_tricks.sliding_window_view(x, length), axis=1)
    first = lag + length - 1
    residual[first:] = x[first:] - medians[: len(x) - first]
    return residual


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
    begin = float(t[-1]) - 5 * spec.window
    onset = _onset(t, z, score, begin)
    counts = (int(inside.sum()), int((~inside).sum()))
    lasting = _lasting(rolled[inside] / spread - center / spread, score)
    return Deviation(score, level + shift, center + shift, spread, onset, lasting, t, z, counts)


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


def _onset(t: Array, z: Array, score: float, start: float) -> float | None:
    """Where one step explains the end of the series best (least squares), looked for from `start` on.

    Values are clipped to the size of the deviation, so that a single spike does not decide.
    """
    if abs(score) < 2.5:
        return None
    recent = t >= start
    x, when = np.clip(z[recent], -abs(score), abs(score)), t[recent]
    n = len(x)
    if n < 4:
        return float(when[0]) if n else None
    left = np.cumsum(x)[:-1]
    counts = np.arange(1, n)
    gap = (x.sum() - left) / (n - counts) - left / counts
    gain = counts * (n - counts) / n * np.square(gap)
    gain[np.sign(gap) != np.sign(score)] = 0.0
    return float(when[int(np.argmax(gain)) + 1])


def _lasting(z: Array, score: float) -> float:
    """How much of a deviation is left at the end of its window, 0 to 1."""
    tail = z[-max(1, len(z) // 5) :]
    return float(np.clip(np.median(tail) / score, 0.0, 1.0)) if score else 0.0
