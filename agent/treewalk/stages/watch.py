"""What a row of measurements of one SLA amounts to: violated, met again, not measurable. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from treewalk.model.diagnosis import Measurement, SlaStatus

ChangeKind = Literal["violated", "met", "unmeasurable", "measurable", "window closed"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a row of measurements counts: at least `times` of them running that say the same, over at least `lasting`
    seconds from the first to the last. After `silent` seconds without a measurement that is said."""

    times: int = 2
    lasting: float = 0.0
    silent: float = 600.0


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one SLA. Times are Unix seconds.

    `since` is when the violation that was told began, None while none is told. `same` measurements running, from
    `first` on, said `last`. `blind` is when it could not be measured any more; `told_blind`
    whether that was said, and with which reason in `why`.
    """

    since: float | None = None
    last: SlaStatus | None = None
    same: int = 0
    first: float = 0.0
    blind: float | None = None
    told_blind: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What is worth telling: the SLA, what it is now, the reason, and since when (Unix seconds)."""

    sla: str
    kind: ChangeKind
    reason: str
    since: float
    at: float


def advance(row: Row, sla: str, found: Measurement, at: float, rule: Rule) -> tuple[Row, tuple[Change, ...]]:
    """The row after one more measurement at a time (Unix seconds), and what changed by it.

    Unknown is neither violated nor met: it breaks a row of either, and changes nothing that was told. Outside of its
    window an SLA promises nothing: what was told is forgotten, without a word that it is met.
    """
    if not found.in_window:
        return closed(row, sla, at)
    if found.status == "unknown":
        return _unknown(row, sla, found, at, rule)
    row, seen = _seen(row, sla, found, at)
    same = row.same + 1 if row.last == found.status else 1
    row = replace(row, last=found.status, same=same, first=row.first if same > 1 else at)
    if same < rule.times or at - row.first < rule.lasting:
        return row, seen
    if found.status == "violated" and row.since is None:
        row = replace(row, since=row.first)
        return row, (*seen, Change(sla, "violated", found.reason, row.first, at))
    if found.status == "met" and row.since is not None:
        change = Change(sla, "met", found.reason, row.since, at)
        return replace(row, since=None), (*seen, change)
    return row, seen


def closed(row: Row, sla: str, at: float) -> tuple[Row, tuple[Change, ...]]:
    """The row while the SLA's window is closed."""
    if row.since is None:
        return Row(), ()
    return Row(), (Change(sla, "window closed", "its window closed while it was violated", row.since, at),)


def _unknown(row: Row, sla: str, found: Measurement, at: float, rule: Rule) -> tuple[Row, tuple[Change, ...]]:
    blind = at if row.blind is None else row.blind
    row = replace(row, last="unknown", same=0, first=0.0, blind=blind)
    if row.told_blind or at - blind < rule.silent:
        return row, ()
    return replace(row, told_blind=True, why=found.reason), (Change(sla, "unmeasurable", found.reason, blind, at),)


def _seen(row: Row, sla: str, found: Measurement, at: float) -> tuple[Row, tuple[Change, ...]]:
    """The row of an SLA that can be measured (again)."""
    told = (Change(sla, "measurable", found.reason, row.blind or at, at),) if row.told_blind else ()
    return replace(row, blind=None, told_blind=False, why=""), told
