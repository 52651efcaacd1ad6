"""One incident as data, whole: what reports and messages are made of. Every field has a row in the store behind it.

Times are Unix seconds, spans seconds. What is not known is None or empty, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PHASES = ("open", "diagnosing", "planned", "waiting", "asking", "acting", "verifying")
"""The states of a living incident, which are lines of its timeline too."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that belongs to the incident. `starts` is when the sender says it began, where it says so; `seen` how
    often it came."""

    name: str
    source: str
    status: str
    starts: float | None
    received: float
    seen: int
    summary: str


@dataclass(frozen=True, slots=True)
class Measured:
    """The SLA's own number when it was diagnosed; `status` is met, violated or unknown."""

    status: str
    reason: str = ""
    shown: str | None = None
    limit: str | None = None
    onset: float | None = None
    in_window: bool = True


@dataclass(frozen=True, slots=True)
class Blame:
    """The root cause. `path` are node names from below the SLA down to it, `cites` ids of evidence."""

    node: str
    reason: str
    basis: str
    confidence: float
    category: str
    path: tuple[str, ...]
    cites: tuple[str, ...]
    tied_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of a known error's signature, and whether it held."""

    name: str
    state: str
    reason: str
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Recognised:
    """A known error, recognised or nearly so."""

    id: str
    root_cause: str
    category: str
    severity: str
    trust: str
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A piece of evidence. `cited` says whether the root cause rests on it."""

    id: str
    node: str | None
    kind: str
    source: str
    query: str
    summary: str
    samples: tuple[str, ...]
    count: int
    truncated: bool
    cited: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """What could not be looked at, and why."""

    node: str | None
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A node of the tree as it was found: healthy, degraded, unhealthy, unknown, or "" when it was not looked at."""

    name: str
    status: str
    reason: str
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan; `seconds` is the length of a wait."""

    kind: str
    node: str
    purpose: str
    seconds: float
    tier: str | None


@dataclass(frozen=True, slots=True)
class Ruled:
    """What policy said of a step."""

    at: float
    step: str
    node: str
    ruling: str
    rule: str
    because: str
    tier: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a human and, where there is one, the answer that counts."""

    at: float
    expires: float
    question: str
    granted: bool | None
    who: str | None
    via: str | None
    decided: float | None


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An answer that did not count, and why: already, expired, not asked, or a refusal."""

    at: float
    who: str
    granted: bool
    via: str
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """An action that ran or may have: `outcome` is done, failed, unknown, or None while nobody knows yet."""

    action: str
    node: str
    at: float
    outcome: str | None
    ended: float | None
    summary: str


@dataclass(frozen=True, slots=True)
class Value:
    """One thing that the proof looked at, before and after; None is "not looked at"."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Proven:
    """What proving the fix showed: holds, failed or inconclusive."""

    result: str
    reason: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A pattern that was learned from this incident, and how far it is trusted now."""

    id: str
    trust: str


@dataclass(frozen=True, slots=True)
class Record:
    """How a known error's fix has done up to now, over all incidents."""

    met: int
    fires: int
    wins: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """Another incident, in one line. `result` is how its fix did: won, failed, inconclusive, returned, or None."""

    number: int
    opened: float
    sla: str
    root_node: str | None
    known_error: str | None
    ending: str | None
    result: str | None
    why: str


@dataclass(frozen=True)
class Story:
    """One incident. `state` is that of the life (closed at its end), `ending` how it ended and `why`."""

    number: int
    slas: tuple[str, ...]
    severity: str | None
    state: str
    ending: str | None
    why: str
    cause: str
    opened: float
    diagnosed: float | None
    closed: float | None
    alerts: tuple[Fired, ...] = ()
    measured: Measured | None = None
    root: Blame | None = None
    known: Recognised | None = None
    near: tuple[Recognised, ...] = ()
    evidence: tuple[Fact, ...] = ()
    gaps: tuple[Missing, ...] = ()
    spots: tuple[Spot, ...] = ()
    tops: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    plan: str | None = None
    playbook: str | None = None
    basis: str | None = None
    steps: tuple[Step, ...] = ()
    decisions: tuple[Ruled, ...] = ()
    questions: tuple[Asked, ...] = ()
    uncounted: tuple[Uncounted, ...] = ()
    actions: tuple[Done, ...] = ()
    proof: Proven | None = None
    lessons: tuple[Lesson, ...] = ()
    record: Record | None = None
    fix: str | None = None
    merged_into: int | None = None
    timeline: tuple[Moment, ...] = ()

    @property
    def sla(self) -> str:
        """The SLA that it began with."""
        return self.slas[0]

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("closed", "diagnosed")

    @property
    def pruned(self) -> bool:
        """Whether its documents grew old and were removed."""
        return any(m.kind == "pruned" for m in self.timeline)

    @property
    def question(self) -> Asked | None:
        """The question that waits for an answer."""
        waiting = [q for q in self.questions if q.granted is None]
        return waiting[-1] if self.state == "asking" and waiting else None

    @property
    def began(self) -> float | None:
        """When the trouble began as far as it was measured or told; None when nobody says."""
        told = [a.starts for a in self.alerts if a.starts is not None and a.status == "firing"]
        if self.measured is not None and self.measured.onset is not None:
            told.append(self.measured.onset)
        return min(told, default=None)

    @property
    def category(self) -> str:
        """The kind of error, where one is known: that of the known error, or of the diagnosis."""
        named = self.known.category if self.known else ""
        return named or (self.root.category if self.root else "")


@dataclass(frozen=True, slots=True)
class Span:
    """How long an incident was in one phase."""

    phase: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def phases(story: Story) -> tuple[Span, ...]:
    """The phases of an incident in order, from the timeline; those that follow one another unchanged are one.

    The last one of a living incident ends with the last line of its timeline: what is known, and no later.
    """
    turns = [m for m in story.timeline if m.kind in PHASES]
    end = story.closed if story.closed is not None else max((m.at for m in story.timeline), default=story.opened)
    spans: list[Span] = []
    for index, turn in enumerate(turns):
        until = turns[index + 1].at if index + 1 < len(turns) else max(end, turn.at)
        if spans and spans[-1].phase == turn.kind:
            spans[-1] = Span(turn.kind, spans[-1].start, until)
        else:
            spans.append(Span(turn.kind, turn.at, until))
    return tuple(span for span in spans if span.seconds > 0)


def time_in(story: Story) -> Mapping[str, float]:
    """Seconds spent in each phase altogether, in the order of first entry."""
    found: dict[str, float] = {}
    for span in phases(story):
        found[span.phase] = found.get(span.phase, 0.0) + span.seconds
    return found
