"""Errors met before: what they look like, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from treewalk.model.condition import Condition
from treewalk.model.place import Place

Signal = Literal["log_pattern", "node", "metric_condition"]
FixType = Literal["automated", "wait_and_verify", "escalate"]
Trust = Literal["candidate", "trusted", "suspended", "retired"]


@dataclass(frozen=True, slots=True)
class Signature:
    """Signals that have to hold all at once. `node` is a name, a glob, or `type:kafka_topic`; patterns are RE2.

    `only_in_trouble`: it holds only while the known error's root node (the node itself, where none is named) is not
    healthy. What treewalk learns by itself is so, as the series that moved may be those of another node.
    """

    log_pattern: str | None = None
    node: str | None = None
    metric_condition: Condition | None = None
    only_in_trouble: bool = False

    @property
    def specificity(self) -> int:
        """How much it asks for: more signals, and an exact node over a glob over a type."""
        exact = 0
        if self.node is not None:
            exact = 1 if any(c in self.node for c in "*?[") or self.node.startswith("type:") else 2
        return 4 * sum(s is not None for s in (self.log_pattern, self.node, self.metric_condition)) + exact


@dataclass(frozen=True, slots=True)
class FixStep:
    """One step of a fix as written: its action (`docker_exec`, `verify`, `wait`, …) and that action's parameters."""

    action: str
    params: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class Fix:
    """What to do: inline steps, or a playbook with its parameters."""

    type: FixType
    steps: tuple[FixStep, ...] = ()
    playbook: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownError:
    """An error that was met, named, and reviewed by a human (or is a candidate that waits for it)."""

    id: str
    signature: Signature
    root_cause: str
    fix: Fix | None
    place: Place
    root_node: str | None = None
    category: str = ""
    severity: str = "medium"
    trust: Trust = "trusted"
    description: str = ""
    first_seen: str | None = None
    last_seen: str | None = None
    occurrence_count: int = 0
    resolution_time_avg: float | None = None  # seconds
    learned: bool = False  # by treewalk itself or taken from another team, and not (yet) written in a file here


@dataclass(frozen=True, slots=True)
class SignalOutcome:
    """How one signal of a signature stood. `evidence` cites what showed it, by evidence id."""

    signal: Signal
    state: Literal["holds", "not", "unknown"]
    reason: str
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A known error against what was gathered at one node: every signal with its outcome."""

    error: KnownError
    node: str
    signals: tuple[SignalOutcome, ...]

    @property
    def complete(self) -> bool:
        """All signals hold."""
        return all(s.state == "holds" for s in self.signals)

    @property
    def held(self) -> int:
        return sum(s.state == "holds" for s in self.signals)

    def __str__(self) -> str:
        missing = [s for s in self.signals if s.state != "holds"]
        head = f"{self.error.id} at {self.node}: {self.held} of {len(self.signals)} signals"
        return head + (": " + "; ".join(s.reason for s in missing) if missing else "")
