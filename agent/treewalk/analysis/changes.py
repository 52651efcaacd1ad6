"""When did a series change, if it did: evidence for every moment of the window at once. Pure.

For each series, each moment and each shape of change (a jump, a slope, a jump that settles, erratic values) the
question is how much likelier the values are with a change of unknown size there than with none. Rival accounts are
weighed too: the series changed long before, or only for a moment and is back. What remains is as honest about *when*
as the noise allows: a loud jump is known to the sample, a faint one to half a window, and one number (an "onset")
would hide that.

The arithmetic is the textbook marginal likelihood of a linear model (normal, inverse-gamma prior: the amplitude and
the noise are integrated out, so a few wild values do not decide; Gelman et al., "Bayesian Data Analysis", ch. 14; for
change points Adams and MacKay, "Bayesian Online Changepoint Detection", 2007) on residuals of a first-order
autoregression, because neighbouring samples of real metrics are alike (Box and Tiao, "Intervention Analysis", 1975).
All series of a tree are done in a few array operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treewalk.analysis.stats import Deviation

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHAPES = ("jump", "slope", "settling", "erratic")
SHAPE_PRIOR = np.array([0.4, 0.25, 0.2, 0.15])  # how common they are
REACH = 1.3  # windows: how far back a change can be the reason of trouble now
_RECENT = 4.0  # windows: how far back older changes are looked for
_FEWEST, _MOST = 40, 160  # points of that
_AMPLITUDE = 10.0  # a change is of this many standard deviations, give or take: the prior's own deviation
_LEARNED = 480  # points at the most, from which a series' noise is learned
_DOUBT = 4.0  # points' worth of doubt whether the noise is now as it was
_RIVAL = 0.1  # how likely an old or passing change is, before looking
_LOUDEST = 60.0  # deviations; more says nothing more
_CALM = 3.5  # what a calm series' own past reaches; see `_temper`


@dataclass(frozen=True)
class Changes:
    """Evidence of change of S series. `grid` holds moments in Unix seconds, G of them, `step` seconds apart; the
    samples behind them are `sampling` seconds apart.

    `begins[s, h, g]` is the log of how much likelier series s is with a change of shape h that begins at moment g than
    with none; `otherwise[s]` the same for the rival accounts together (0: nothing happened).
    """

    grid: Array
    step: float
    sampling: float
    begins: Array
    otherwise: Array


def changes(series: Sequence[Deviation], at: float, window: float) -> Changes:
    """The evidence of every series, on a common grid over the last `REACH` windows (seconds) before `at`."""
    sampling = _sampling(series, window)
    step = max(sampling, window / 40)
    grid = at - step * np.arange(round(REACH * window / step), -1, -1.0)
    if not series:
        return Changes(grid, step, sampling, np.zeros((0, len(SHAPES), len(grid))), np.zeros(0))
    times, z, have = _stacked(series)
    noise = _Noise(times, z, have, at - window)
    size = _recent_points(times, have, at - _RECENT * window)
    rows = _Rows(noise, times[:, -size:], have[:, -size:], size)
    first = int(np.argmax((rows.times > at - REACH * window).any(axis=0)))
    temper = noise.temper((times > at - window).sum(axis=1))[:, None]
    begins = rows.begins(first) / temper[:, None]
    otherwise = rows.otherwise(rows.times <= at - REACH * window, max(2, size - first)) / temper[:, 0]
    return Changes(grid, step, sampling, _on_grid(begins, rows.times[:, first:], grid), otherwise)


def log_sum(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """log Σ exp x, without overflow."""
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return np.asarray(np.squeeze(total, axis=axis))


def _sampling(series: Sequence[Deviation], window: float) -> float:
    """Seconds between samples, as they are in most series."""
    each = [float(s.times[-1] - s.times[0]) / (len(s.times) - 1) for s in series if len(s.times) > 2]
    return max(float(np.median(each)) if each else window / 20, 1e-3)


def _stacked(series: Sequence[Deviation]) -> tuple[Array, Array, Mask]:
    """Times and values of all series as rows that end together, and which of them are there."""
    longest = min(_LEARNED, max(len(s.times) for s in series))
    times, z = np.full((len(series), longest), -np.inf), np.zeros((len(series), longest))
    for row, s in enumerate(series):
        if count := min(longest, len(s.times)):
            times[row, -count:], z[row, -count:] = s.times[-count:], s.z[-count:]
    return times, z, np.isfinite(times)


def _recent_points(times: Array, have: Mask, since: float) -> int:
    wanted = int((times > since).sum(axis=1).max())
    return min(int(times.shape[1]), max(_FEWEST, min(wanted, _MOST)))


def _quantile(x: Array, among: Mask, q: float) -> Array:
    """A quantile of each row, of those values that count; 0 where there are none."""
    ordered = np.sort(np.where(among, x, np.inf), axis=1)
    place = np.maximum(among.sum(axis=1) - 1, 0) * q
    low, high = np.floor(place).astype(int), np.ceil(place).astype(int)
    rows = np.arange(len(x))
    found = ordered[rows, low] * (1 - (place - low)) + np.where(high > low, ordered[rows, high] * (place - low), 0.0)
    return np.where(np.isfinite(found), found, 0.0)


class _Noise:
    """What each series does by itself, learned from its baseline: its level, how alike neighbouring values are
    (`phi`), how far a value strays from what the one before it leads to expect (`sigma`)."""

    def __init__(self, times: Array, z: Array, have: Mask, until: float) -> None:
        past = have & (times <= until)
        level = _quantile(z, past, 0.5)[:, None]
        x = np.where(have, z - level, 0.0)
        limit = np.maximum(4 * 1.4826 * _quantile(np.abs(x), past, 0.5), 1e-9)[:, None]
        calm = np.where(past, np.clip(x, -limit, limit), 0.0)
        power = np.maximum((calm * calm).sum(axis=1), 1e-12)
        self.phi = np.clip((calm[:, 1:] * calm[:, :-1]).sum(axis=1) / power, 0.0, 0.97)
        before = np.concatenate([np.zeros((len(x), 1)), x[:, :-1]], axis=1)
        residual = np.where(have, x - self.phi[:, None] * before, 0.0)
        residual = np.where(have, residual - _quantile(residual, past, 0.5)[:, None], 0.0)
        size = np.abs(residual)
        mean = (size * past).sum(axis=1) / np.maximum(past.sum(axis=1), 1)
        sigma = np.maximum(1.4826 * _quantile(size, past, 0.5), 0.75 * mean)
        self.sigma = np.maximum(np.maximum(sigma, 0.3 * _quantile(size, past, 0.95)), 0.3)
        self.residual = np.clip(residual, -_LOUDEST * self.sigma[:, None], _LOUDEST * self.sigma[:, None])
        self.past = past

    def temper(self, inside: NDArray[np.intp]) -> Array:
        """How much less than at face value the evidence is to be taken: 1 or more.

        A series that often jumped in its own past, beyond what its noise allows, proves little by jumping now.
        """
        e = np.where(self.past, self.residual, 0.0) / self.sigma[:, None]
        total = np.concatenate([np.zeros((len(e), 1)), np.cumsum(e, axis=1)], axis=1)
        best = np.zeros_like(e)
        typical = max(4, int(np.median(inside)))
        rest = (1 - self.phi)[:, None]
        for length in sorted({max(1, typical // 4), max(2, typical // 2)}):
            n = e.shape[1] - length + 1
            if n < 2 * typical:
                continue
            dot = e[:, :n] + rest * (total[:, length : length + n] - total[:, 1 : n + 1])
            gain = 0.5 * np.square(dot) / (1 + rest**2 * (length - 1) + 1 / _AMPLITUDE**2)
            best[:, :n] = np.maximum(best[:, :n], gain)
        return np.maximum(1.0, _quantile(best, self.past, 0.98) / _CALM)


class _Rows:
    """The last points of all series, and how well templates fit them."""

    def __init__(self, noise: _Noise, times: Array, have: Mask, size: int) -> None:
        self.times, self.have, self.size = times, have, size
        self.sigma2 = np.square(noise.sigma)[:, None]
        self.e = np.where(have, noise.residual[:, -size:], 0.0)
        self.phi = noise.phi[:, None]
        self.total = np.concatenate([np.zeros((len(self.e), 1)), np.cumsum(self.e, axis=1)], axis=1)
        self.squares = np.square(self.e).sum(axis=1, keepdims=True) + _DOUBT * self.sigma2
        self.points = (have.sum(axis=1, keepdims=True) + _DOUBT) / 2

    def _gain(self, dot: Array, norm: Array) -> Array:
        """Log of how much likelier the values are with a template of unknown amplitude than without it."""
        left = self.squares - np.square(dot) / (norm + 1 / _AMPLITUDE**2)
        likelier = self.points * np.log(self.squares / np.maximum(left, 1e-9))
        return np.asarray(likelier - 0.5 * np.log1p(_AMPLITUDE**2 * norm))

    def _jumps(self) -> Array:
        """A change at each point that stays to the end."""
        rest = 1 - self.phi
        dot = self.e + rest * (self.total[:, -1:] - self.total[:, 1:])
        norm = 1 + rest**2 * np.arange(self.size - 1, -1, -1.0)
        return self._gain(dot, norm)

    def _erratic(self) -> Array:
        """From a point on, another level and a noise of its own: the variance after it is integrated out too."""
        after = np.arange(self.size, 0, -1.0)[None, :] + np.zeros_like(self.e)
        before = np.maximum(self.have.sum(axis=1, keepdims=True) - after, 0.0)
        squares = np.square(self.e)
        s2 = squares[:, ::-1].cumsum(axis=1)[:, ::-1]
        s1 = self.total[:, -1:] - self.total[:, :-1]
        kept = squares.sum(axis=1, keepdims=True) - s2
        left = s2 - np.square(s1) / (after + 1 / _AMPLITUDE**2)
        calm, wild = _DOUBT / 2, 1.0
        own = _marginal(after, left, wild, 2 * wild * self.sigma2) - 0.5 * np.log1p(_AMPLITUDE**2 * after)
        nothing = _marginal(before + after, kept + s2, calm, calm * self.sigma2)
        return own + _marginal(before, kept, calm, calm * self.sigma2) - nothing

    def _template(self, first: int, course: Array) -> Array:
        """A given course from each point on, `course[k, j]` for a change at point first + k."""
        lagged = np.concatenate([np.zeros((len(course), 1)), course[:, :-1]], axis=1)
        dot = self.e @ course.T - self.phi * (self.e @ lagged.T)
        own, both, shifted = (
            np.einsum("kj,kj->k", a, b) for a, b in ((course, course), (course, lagged), (lagged, lagged))
        )
        norm = own - 2 * self.phi * both + self.phi**2 * shifted
        return self._gain(dot, norm)

    def begins(self, first: int) -> Array:
        """Series by shapes by points from `first` on."""
        since = np.arange(self.size)[None, :] - np.arange(first, self.size)[:, None]
        span = (self.size - np.arange(first, self.size))[:, None].astype(float)
        on = since >= 0
        slope = np.where(on, (since + 1) / span, 0.0)
        settling = np.where(on, 0.6 + 0.8 * np.exp(-np.maximum(since, 0) / np.maximum(span / 4, 1.0)), 0.0)
        gentle, quick = self._template(first, slope), self._template(first, np.minimum(2 * slope, 1.0))
        shapes = [
            self._jumps()[:, first:],
            np.logaddexp(gentle, quick) - math.log(2),
            self._template(first, settling),
            self._erratic()[:, first:],
        ]
        return np.where(self.have[:, None, first:], np.stack(shapes, axis=1), -50.0)

    def otherwise(self, old: Mask, longest: int) -> Array:
        """Nothing, or one of the rivals: a lasting change long ago, a passing one at any time."""
        old = old & self.have
        rivals = [log_sum(np.where(old, self._jumps(), -np.inf), axis=1) - np.log(np.maximum(old.sum(axis=1), 1))]
        passing, count = [], np.zeros(len(self.e))
        for length in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48):
            n = self.size - length
            if length > longest or n < 1:
                break
            rest = 1 - self.phi
            dot = self.e[:, :n] + rest * (self.total[:, length : length + n] - self.total[:, 1 : n + 1])
            dot = dot - self.phi * self.e[:, length:]
            gain = self._gain(dot, 1 + rest**2 * (length - 1) + self.phi**2)
            there = self.have[:, :n]
            passing.append(log_sum(np.where(there, gain, -np.inf), axis=1))
            count += there.sum(axis=1)
        if passing:
            rivals.append(log_sum(np.stack(passing), axis=0) - np.log(np.maximum(count, 1)))
        together = log_sum(np.stack(rivals), axis=0) - math.log(len(rivals))
        return np.asarray(np.logaddexp(math.log(1 - _RIVAL), math.log(_RIVAL) + together))


def _marginal(points: Array, squares: Array, a: float, b: Array) -> Array:
    """Log likelihood of residuals whose variance is unknown (inverse gamma a, b), up to a constant a point."""
    table = np.array([math.lgamma(a + k / 2) for k in range(int(points.max()) + 1)])
    gamma = table[points.astype(int)] - math.lgamma(a)
    return np.asarray(gamma + a * np.log(b) - (a + points / 2) * np.log(b + np.maximum(squares, 0.0) / 2))


def _on_grid(begins: Array, times: Array, grid: Array) -> Array:
    """From each series' own points to common moments: a change is seen at the first sample at or after it."""
    place = (times[:, :, None] < grid[None, None, :] - 1e-6).sum(axis=1)
    known = place < times.shape[1]
    index = np.minimum(place, times.shape[1] - 1)[:, None, :]
    found = np.take_along_axis(begins, np.broadcast_to(index, (len(begins), begins.shape[1], len(grid))), axis=2)
    return np.where(known[:, None, :], np.maximum(found, -50.0), -50.0)
