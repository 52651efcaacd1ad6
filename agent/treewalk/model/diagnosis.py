"""The result of looking: what is claimed, on which evidence, and what stayed unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from treewalk.model.evidence import Anomaly, Evidence, Gap, LogGroup, Mention
from treewalk.model.known import Match
from treewalk.model.verdict import Status, Verdict

SlaStatus = Literal["met", "violated", "unknown"]
Basis = Literal["known", "reasoned", "undetermined"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The SLA's own number against its limit, with the reason where it could not be told.

    `measured` is in the limit's base unit; `shown` and `limit` are for people. `onset` is when the violation is
    seen to begin; `in_window` says whether the SLA's window is open now.
    """

    status: SlaStatus
    reason: str
    measured: float | None = None
    shown: str | None = None
    limit: str | None = None
    onset: float | None = None
    in_window: bool = True


@dataclass(frozen=True, slots=True)
class Suspect:
    """A node that may be the cause. `score` is the sum of `parts`; equal scores share a `rank` (from 1)."""

    node: str
    path: tuple[str, ...]
    rank: int
    score: float
    parts: Mapping[str, float]
    verdict: Verdict
    cites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RootCause:
    """The node that is blamed and why, every reason citing evidence."""

    node: str
    reason: str
    basis: Basis
    confidence: float
    category: str = ""
    cites: tuple[str, ...] = ()
    tied_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """What gathering brought home, for ranking and matching."""

    evidence: tuple[Evidence, ...] = ()
    gaps: tuple[Gap, ...] = ()
    logs: tuple[LogGroup, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds spent, by stage; `started` and `at` are Unix seconds (`at` is the moment that was diagnosed)."""

    started: float
    at: float
    total: float
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One look at one SLA, complete. With no culprit found `root_cause` is None and `help` says what would help.

    `unreachable` says that sources were asked and not one of them answered anything.
    """

    sla: str
    measurement: Measurement
    verdicts: Mapping[str, Verdict]
    suspects: tuple[Suspect, ...]
    root_cause: RootCause | None
    known_error: Match | None
    matches: tuple[Match, ...]
    near_misses: tuple[Match, ...]
    findings: Findings
    gaps: tuple[Gap, ...]
    timing: Timing
    remarks: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    unreachable: bool = False

    @property
    def unknowns(self) -> Mapping[str, str]:
        """The nodes that could not be looked at, with the reason."""
        return {name: v.reason for name, v in self.verdicts.items() if v.status is Status.UNKNOWN}
