"""What happened between two times: incidents, how fast they were seen and mended, what SLAs lost. Pure.

Times are Unix seconds, spans seconds. What is not known is counted as unknown; it is never left out silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from treewalk.model.message import SEVERITIES

Span = tuple[float, float]
PROVEN = ("resolved", "no_fault_found", "merged")
"""Endings at which a violation was over, or went on in another incident. At all others it may have lasted longer."""
_NOISIEST = 5


@dataclass(frozen=True, slots=True)
class Shared:
    """An SLA that an incident took over from another one, and since when. `status` is what it was measured as."""

    sla: str
    since: float
    status: str


@dataclass(frozen=True, slots=True)
class Case:
    """One incident, as far as it counts. `status` is its SLA when it was diagnosed: violated, met or unknown.

    `began` is when the trouble began by its first alert or the SLA's own series, `onset` when by the series alone.
    """

    number: int
    sla: str
    opened: float
    closed: float | None = None
    status: str = "unknown"
    state: str = "open"
    ending: str | None = None
    severity: str | None = None
    root_node: str | None = None
    known_error: str | None = None
    diagnosed: bool = False
    in_window: bool = True
    began: float | None = None
    onset: float | None = None
    shared: tuple[Shared, ...] = ()

    @property
    def slas(self) -> tuple[str, ...]:
        """Its SLAs, its own first."""
        return tuple(dict.fromkeys([self.sla, *(one.sla for one in self.shared)]))


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a human. `granted` is None while there is no answer; `closed` is the end of its incident."""

    asked: float
    expires: float
    granted: bool | None = None
    decided: float | None = None
    closed: float | None = None


@dataclass(frozen=True, slots=True)
class TriedFix:
    """How a fix did: won, failed, inconclusive, or returned (it won, and the symptom came back)."""

    incident: int
    sla: str
    node: str
    name: str
    result: str


@dataclass(frozen=True, slots=True)
class ModelUse:
    """How often a language model was asked; tokens there and back, and what it cost in the currency of its price."""

    asked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class Rows:
    """What the store knows of a period. `decisions` by (tier, ruling), `actions` by (action, outcome), `alerts` by
    SLA; `came` alerts in all, `unmapped` of them of no SLA; `left_out` incidents are more than were read."""

    cases: tuple[Case, ...] = ()
    decisions: Mapping[tuple[str, str], int] | None = None
    actions: Mapping[tuple[str, str], int] | None = None
    questions: tuple[Question, ...] = ()
    fixes: tuple[TriedFix, ...] = ()
    alerts: Mapping[str, int] | None = None
    came: int = 0
    unmapped: int = 0
    model: ModelUse = ModelUse()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """Spans of several incidents: the median and the 90th percentile (the smallest span that 9 of 10 are not longer
    than), of those that are known."""

    known: int
    unknown: int
    median: float | None
    p90: float | None


@dataclass(frozen=True, slots=True)
class Loss:
    """How long an SLA was violated. `at_least`: an incident ended unmended, or one is not measured (`unknown`)."""

    sla: str
    seconds: float
    at_least: bool
    unknown: int


@dataclass(frozen=True, slots=True)
class Noise:
    """How often an SLA called: incidents opened, and alerts that came in."""

    sla: str
    incidents: int
    alerts: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Questions of a period; `moot` are those whose incident ended before anybody had to answer."""

    asked: int
    approved: int
    denied: int
    expired: int
    moot: int
    waiting: int


@dataclass(frozen=True)
class PeriodFacts:
    """Everything that a digest tells. `until` is where the look ended: `end`, or now while the period lasts.

    `opened` are the incidents that began in it, `closed` those that ended in it, `living` those open at `until`.
    """

    start: float
    end: float
    until: float
    opened: tuple[Case, ...]
    closed: tuple[Case, ...]
    living: tuple[Case, ...]
    detect: Spread
    resolve: Spread
    diagnosed: int
    known: int
    decisions: Mapping[tuple[str, str], int]
    actions: Mapping[tuple[str, str], int]
    losses: tuple[Loss, ...]
    questions: Answers
    fixes: tuple[TriedFix, ...]
    noisiest: tuple[Noise, ...]
    alerts: int
    unmapped: int
    model: ModelUse
    left_out: int

    @property
    def endings(self) -> Mapping[str, int]:
        """How many incidents ended how, the commonest first."""
        return _counted(case.ending or "unknown" for case in self.closed)

    @property
    def severities(self) -> Mapping[str, int]:
        """How many incidents began, by severity; `-` where none was told."""
        found = Counter(case.severity or "-" for case in self.opened)
        return {name: found[name] for name in (*SEVERITIES, "-") if found[name]}

    @property
    def returned(self) -> tuple[TriedFix, ...]:
        """Fixes of this period after which the symptom came back."""
        return tuple(fix for fix in self.fixes if fix.result == "returned")

    @property
    def lost(self) -> float:
        """Seconds lost by all SLAs together."""
        return sum(loss.seconds for loss in self.losses)


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time as spans that do not overlap, in order; empty ones left out."""
    found: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def clipped(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    """What of each span lies between two times."""
    return [(max(a, start), min(b, end)) for a, b in spans if max(a, start) < min(b, end)]


def lost(spans: Iterable[Span], start: float, end: float) -> float:
    """Seconds between two times that at least one span covers."""
    return sum(b - a for a, b in union(clipped(spans, start, end)))


def violations(cases: Iterable[Case], until: float) -> dict[str, list[Span]]:
    """When each SLA was violated, as far as incidents tell; living ones until that time. Spans may overlap."""
    found: dict[str, list[Span]] = {}
    for case in cases:
        end = case.closed if case.closed is not None else until
        for sla, since, status in _parts(case):
            if status == "violated" and case.in_window:
                found.setdefault(sla, []).append((since, end))
    return found


def spread(spans: Sequence[float], unknown: int = 0) -> Spread:
    """The median and the 90th percentile (nearest rank) of spans in seconds."""
    if not spans:
        return Spread(0, unknown, None, None)
    ranked = sorted(spans)
    return Spread(len(ranked), unknown, float(median(ranked)), ranked[-(-9 * len(ranked) // 10) - 1])


def answers(questions: Iterable[Question], start: float, until: float) -> Answers:
    """What became of questions between two times."""
    found = Counter[str]()
    for one in questions:
        found["asked"] += start <= one.asked < until
        answered = one.decided if one.granted is not None else None
        if answered is not None and answered < until:
            if start <= answered:
                found["approved" if one.granted else "denied"] += 1
        elif one.closed is not None and one.closed < min(one.expires, until):
            found["moot"] += start <= one.closed
        elif one.expires < until:
            found["expired"] += start <= one.expires
        else:
            found["waiting"] += one.asked < until
    return Answers(*(found[name] for name in ("asked", "approved", "denied", "expired", "moot", "waiting")))


def counts(times: Iterable[float], edges: Sequence[float]) -> tuple[int, ...]:
    """How many of the times lie between each edge and the next."""
    kept = list(times)
    return tuple(sum(a <= at < b for at in kept) for a, b in pairwise(edges))


def period(rows: Rows, start: float, end: float, now: float) -> PeriodFacts:
    """What happened from `start` up to, not including, `end`, or up to now. Raises ValueError when it is no period."""
    if not start < end:
        raise ValueError("a period ends after it starts")
    until = max(start, min(end, now))
    alerts = rows.alerts or {}
    opened = tuple(c for c in rows.cases if start <= c.opened < until)
    closed = tuple(c for c in rows.cases if c.closed is not None and start <= c.closed < until)
    known = [c.opened - c.began for c in opened if c.began is not None and c.began <= c.opened]
    mended = [c.closed - c.opened for c in closed if c.closed is not None and c.ending == "resolved"]
    diagnosed = [c for c in opened if c.diagnosed]
    return PeriodFacts(
        start=start,
        end=end,
        until=until,
        opened=opened,
        closed=closed,
        living=tuple(c for c in rows.cases if c.opened < until and (c.closed is None or c.closed >= until)),
        detect=spread(known, len(opened) - len(known)),
        resolve=spread(mended, len(closed) - len(mended)),
        diagnosed=len(diagnosed),
        known=sum(c.known_error is not None for c in diagnosed),
        decisions=rows.decisions or {},
        actions=rows.actions or {},
        losses=losses(rows.cases, start, until),
        questions=answers(rows.questions, start, until),
        fixes=rows.fixes,
        noisiest=_noisiest(opened, alerts),
        alerts=rows.came,
        unmapped=rows.unmapped,
        model=rows.model,
        left_out=rows.left_out,
    )


def losses(cases: Iterable[Case], start: float, until: float) -> tuple[Loss, ...]:
    """What each SLA lost between two times, the most first; SLAs that lost nothing and are known are not there."""
    kept = tuple(cases)
    spans = violations(kept, until)
    unknown, open_ended = Counter[str](), set[str]()
    for case in kept:
        end = case.closed if case.closed is not None else until
        for sla, since, status in _parts(case):
            if not (since < until and end > start and case.in_window):
                continue
            unknown[sla] += status == "unknown"
            if status == "violated" and case.closed is not None and end < until and case.ending not in PROVEN:
                open_ended.add(sla)
    found = [
        Loss(sla, lost(spans.get(sla, ()), start, until), sla in open_ended or bool(unknown[sla]), unknown[sla])
        for sla in {*spans, *unknown}
    ]
    return tuple(sorted((x for x in found if x.seconds or x.unknown), key=lambda x: (-x.seconds, x.sla)))


def _parts(case: Case) -> list[tuple[str, float, str]]:
    """The SLAs of an incident: since when it stands for each, and what that was measured as."""
    own = (case.sla, case.onset if case.onset is not None else case.opened, case.status)
    return [own, *((one.sla, one.since, one.status) for one in case.shared if one.sla != case.sla)]


def _noisiest(opened: Iterable[Case], alerts: Mapping[str, int]) -> tuple[Noise, ...]:
    incidents = Counter(case.sla for case in opened)
    names = {*incidents, *alerts}
    found = [Noise(sla, incidents[sla], alerts.get(sla, 0)) for sla in names]
    return tuple(sorted(found, key=lambda n: (-n.incidents, -n.alerts, n.sla))[:_NOISIEST])


def _counted(names: Iterable[str]) -> Mapping[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda one: (-one[1], one[0])))
