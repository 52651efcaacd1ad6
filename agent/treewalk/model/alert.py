"""What another system says is wrong: one alert, and what one message of alerts was read as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

AlertStatus = Literal["firing", "resolved"]
_GRAVITY: Mapping[str, int] = {
    "emergency": 4, "fatal": 4, "critical": 4, "crit": 4, "page": 4, "p1": 4, "sev1": 4,
    "error": 3, "major": 3, "high": 3, "p2": 3, "sev2": 3,
    "warning": 2, "warn": 2, "medium": 2, "minor": 2, "p3": 2, "sev3": 2,
    "info": 1, "low": 1, "none": 1, "p4": 1, "sev4": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as its sender told it. Every text is a stranger's: shown, stored redacted, never run.

    `fingerprint` names the alert within its source; `starts_at` and `ends_at` are Unix seconds, None where the sender
    does not say (Gatus never does, and a firing alert has no end).
    """

    source: str
    fingerprint: str
    status: AlertStatus
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    starts_at: float | None = None
    ends_at: float | None = None
    summary: str = ""

    @property
    def title(self) -> str:
        """The name, and the summary where it says more."""
        return f"{self.name}: {self.summary}" if self.summary and self.summary != self.name else self.name


def gravity(labels: Mapping[str, str]) -> int:
    """How grave an alert calls itself by its label `severity` or `priority`: 4 gravest, 1 least, 0 where it does not
    say. Only ever compared with that of other alerts of one incident: how grave an incident is, triage says."""
    return max(_GRAVITY.get(labels.get(key, "").strip().lower(), 0) for key in ("severity", "priority"))


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a message was read as. `problems` are what was not understood, each said in one sentence, but not
    without end; `lost` counts alerts that could not be read, `truncated` those that the sender or a bound left out."""

    alerts: tuple[Alert, ...]
    problems: tuple[str, ...] = ()
    truncated: int = 0
    lost: int = 0
