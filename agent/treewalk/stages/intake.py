"""The start of every story: the SLA's own number against its limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from treewalk.analysis.comparing import Compared, compare_series, step_for
from treewalk.errors import SourceError
from treewalk.model.diagnosis import Measurement
from treewalk.model.quantity import Threshold, format_number
from treewalk.model.series import Sample, Series
from treewalk.model.tree import BaselineSpec, Sla
from treewalk.ports import MetricSource


@dataclass(frozen=True, slots=True)
class Intake:
    """What was measured, and the SLA's own series against its past (None where there is not enough of it)."""

    measurement: Measurement
    own: Compared | None
    answered: bool  # the metric source gave an answer of some kind


async def measure(sla: Sla, source: MetricSource | None, at: float, spec: BaselineSpec) -> Intake:
    """Measure an SLA at a time (Unix seconds). A source that fails makes it unknown, with the reason."""
    in_window = sla.window is None or sla.window.contains(at)
    if sla.query is None or source is None:
        why = "no query in the tree: add sla.query" if sla.query is None else "no metric source: add sources.prometheus"
        return Intake(Measurement("unknown", why, limit=_limit(sla), in_window=in_window), None, answered=False)
    spec = sla.baseline or spec
    trouble: SourceError | None = None
    history: Sequence[Series] = ()
    try:
        history = await source.range(sla.query, at - spec.window - spec.baseline, at, step_for(spec))
    except SourceError as error:
        trouble = error
    own = _worst(compare_series(sla.name, sla.query, history, at, spec), sla)
    if sla.threshold is None:
        return Intake(_against_past(sla, own, spec, trouble, in_window), own, answered=trouble is None)
    try:
        samples = await source.instant(sla.query, at)
    except SourceError as error:
        unknown = Measurement("unknown", str(error), limit=str(sla.threshold), in_window=in_window)
        return Intake(unknown, own, answered=trouble is None)
    onset = _violation_onset(history, sla.threshold)
    return Intake(_against_limit(sla, sla.threshold, samples, onset, in_window), own, answered=True)


def _limit(sla: Sla) -> str | None:
    return str(sla.threshold) if sla.threshold else None


def _worst(compared: Sequence[Compared], sla: Sla) -> Compared | None:
    """The series that deviates most in the direction that is bad for this SLA."""

    def badness(c: Compared) -> float:
        score = c.anomaly.score
        if sla.threshold is not None:
            return -score if sla.threshold.op in (">", ">=") else score
        if sla.baseline is not None and sla.baseline.direction != "both":
            return score if sla.baseline.direction == "up" else -score
        return abs(score)

    return max(compared, key=badness, default=None)


def _against_past(
    sla: Sla, own: Compared | None, spec: BaselineSpec, trouble: SourceError | None, in_window: bool
) -> Measurement:
    if own is None:
        why = str(trouble) if trouble else f"not enough data for {sla.query} in window and baseline"
        return Measurement("unknown", why, in_window=in_window)
    found = own.anomaly
    bad = {"up": found.score, "down": -found.score, "both": abs(found.score)}[spec.direction] >= spec.threshold
    limit = f"{format_number(found.baseline)} ± {format_number(found.spread)} (its own past)"
    reason = f"{found.series} is {format_number(found.level)}, z {found.score:+.1f} against its own past"
    return Measurement(
        "violated" if bad else "met",
        reason + _closed(in_window),
        found.level,
        format_number(found.level),
        limit,
        found.onset if bad else None,
        in_window,
    )


def _against_limit(
    sla: Sla, limit: Threshold, samples: Sequence[Sample], onset: float | None, in_window: bool
) -> Measurement:
    real = [s for s in samples if not math.isnan(s.value)]
    if not real:
        why = "only NaN" if samples else "no data"
        return Measurement("unknown", f"{why} for {sla.query}", limit=str(limit), in_window=in_window)
    worst = max(real, key=lambda s: s.value if limit.op in ("<", "<=") else -s.value)
    broken = [s for s in real if not limit.holds(s.value)]
    shown = broken[0] if broken and limit.holds(worst.value) else worst
    if limit.unit == "ratio" and not sla.unit_declared and shown.value > 1.0:
        why = (
            f"the limit is a percentage and {sla.query} gave {format_number(shown.value)}: "
            "say unit: percent (0 to 100) or unit: ratio in the sla block"
        )
        return Measurement("unknown", why, shown.value, format_number(shown.value), str(limit), None, in_window)
    which = f" ({shown.name})" if len(real) > 1 else ""
    reason = f"{limit.show(shown.value)}{which} against {limit}"
    return Measurement(
        "violated" if broken else "met", reason + _closed(in_window), shown.value, limit.show(shown.value), str(limit),
        onset if broken else None, in_window,
    )  # fmt: skip


def _closed(in_window: bool) -> str:
    return "" if in_window else "; its window is closed now"


def _violation_onset(history: Sequence[Series], limit: Threshold) -> float | None:
    """When the last unbroken run of violations began, over all series; None without one at the end, and where one is
    older than what was looked at: its beginning was not seen."""
    starts = []
    for series in history:
        start, met = None, False
        for time, value in zip(series.times, series.values, strict=True):
            if math.isnan(value):
                continue
            if limit.holds(value):
                start, met = None, True
            elif start is None:
                start = time
        if start is not None and not met:
            return None
        if start is not None:
            starts.append(start)
    return min(starts, default=None)
