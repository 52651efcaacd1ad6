"""How grave an incident is: P1 to P4 by the rules of a workspace. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from treewalk.model.expression import Expression, Facts, Kind, Names
from treewalk.model.message import Severity
from treewalk.model.quantity import Threshold

REPEATS_WITHIN = 86400.0  # seconds in which earlier incidents of an SLA count as repeats
_PLAIN: dict[str, Kind] = {
    "sla": "text",
    "measured": "number",
    "threshold": "number",
    "remaining": "number",
    "status": "text",
    "blast": "number",
    "slas": "number",
    "repeats": "number",
    "known": "text",
    "category": "text",
    "node": "text",
    "state": "text",
    "ending": "text",
    "in_window": "truth",
    "hour": "number",
    "day": "text",
}
"""Facts by name and kind; docs/notify.md says what each means."""


def names(windows: Iterable[str]) -> Names:
    """The facts that rules may speak of, where these windows are defined."""
    return Names(_PLAIN, {"tags": ("label", None), "window": ("truth", tuple(sorted(windows)))})


@dataclass(frozen=True, slots=True)
class TriageRule:
    """An incident of which this holds is so grave."""

    when: Expression
    severity: Severity


@dataclass(frozen=True, slots=True)
class Triage:
    """The rules in order; the first that certainly holds decides."""

    rules: tuple[TriageRule, ...] = ()
    default: Severity = "P3"


@dataclass(frozen=True, slots=True)
class Graded:
    """How grave, and by which rule (None: by default)."""

    severity: Severity
    rule: str | None


def severity(triage: Triage, facts: Facts) -> Graded:
    """How grave an incident with these facts is. A rule about what is not known does not hold."""
    for rule in triage.rules:
        if rule.when.holds(facts) is True:
            return Graded(rule.severity, rule.when.text)
    return Graded(triage.default, None)


def remaining(measured: float | None, threshold: Threshold | None) -> float | None:
    """How far a value is from its threshold, as a ratio of it: 0.2 is a fifth left, -0.5 half as much too far.

    None where it is not known: no value, no threshold, a threshold of 0, or one that asks for equality.
    """
    if measured is None or threshold is None or not math.isfinite(measured) or not math.isfinite(threshold.limit):
        return None
    room = threshold.limit - measured if threshold.op in ("<", "<=") else measured - threshold.limit
    if threshold.limit == 0 or threshold.op not in ("<", "<=", ">", ">="):
        return None
    found = room / abs(threshold.limit)
    return found if math.isfinite(found) else None
