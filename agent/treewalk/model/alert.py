"""What another system says is wrong: one alert, and what one message of alerts was read as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

AlertStatus = Literal["firing", "resolved"]


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


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a message was read as. `problems` are what was not understood, each said in one sentence, but not
    without end; `lost` counts alerts that could not be read, `truncated` those that the sender or a bound left out."""

    alerts: tuple[Alert, ...]
    problems: tuple[str, ...] = ()
    truncated: int = 0
    lost: int = 0
