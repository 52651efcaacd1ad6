"""Business-hours windows: when an SLA counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly window in a time zone. Where `end` is before `start` it runs over midnight.

    `days` are the weekdays (0 = Monday) on which the window begins.
    """

    name: str
    days: frozenset[int]
    start: time
    end: time
    timezone: str

    def contains(self, at: float) -> bool:
        """Whether the window is open at a Unix time; the start belongs to it, the end does not."""
        local = datetime.fromtimestamp(at, ZoneInfo(self.timezone))
        clock = local.time()
        if self.start < self.end:
            return local.weekday() in self.days and self.start <= clock < self.end
        if self.start == self.end:
            return local.weekday() in self.days
        yesterday = (local.weekday() - 1) % 7
        return (local.weekday() in self.days and clock >= self.start) or (yesterday in self.days and clock < self.end)

    def __str__(self) -> str:
        days = ",".join(DAYS[d] for d in sorted(self.days))
        return f"{days} {self.start:%H:%M}-{self.end:%H:%M} {self.timezone}"


def parse_days(text: str | list[str]) -> frozenset[int]:
    """Weekdays in `mon-fri`, `sat,sun`, `daily`, or a list of them. A range may wrap: `fri-mon`. Raises ValueError."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    days: set[int] = set()
    for part in (p.strip().lower() for p in parts):
        if part in ("daily", "always", "all", "*"):
            days.update(range(7))
            continue
        first, _, last = part.partition("-")
        start = _day(first)
        end = _day(last) if last else start
        days.update((start + i) % 7 for i in range((end - start) % 7 + 1))
    if not days:
        raise ValueError("a window needs at least one day")
    return frozenset(days)


def _day(text: str) -> int:
    short = text.strip()[:3]
    if short not in DAYS:
        raise ValueError(f"{text!r} is not a weekday; use {', '.join(DAYS)} or a range such as mon-fri")
    return DAYS.index(short)


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of time, such as a change freeze over the holidays; Unix seconds, the end not included."""

    name: str
    start: float
    end: float

    def contains(self, at: float) -> bool:
        """Whether a Unix time lies in it."""
        return self.start <= at < self.end

    def __str__(self) -> str:
        first, last = (datetime.fromtimestamp(t, UTC) for t in (self.start, self.end))
        return f"{first:%Y-%m-%d %H:%M}Z to {last:%Y-%m-%d %H:%M}Z"
