"""When digests are due: daily at a time of day, weekly on a day of the week. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from treewalk.model.window import DAYS

LATE = 6 * 3600.0  # seconds after its time in which a digest is still worth sending


@dataclass(frozen=True, slots=True)
class Schedule:
    """A digest: every day at `at`, or every week on `day` (0 is Monday), in a time zone."""

    kind: Literal["daily", "weekly"]
    at: time
    timezone: str = "UTC"
    day: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A digest to send: its key (once), when it was due, and the stretch that it tells of (Unix seconds)."""

    key: str
    kind: Literal["daily", "weekly"]
    at: float
    start: float
    end: float


def parse_schedule(text: str, kind: Literal["daily", "weekly"], timezone: str) -> Schedule:
    """`08:00`, or `mon 08:00` for a weekly one. Raises ValueError."""
    words = text.lower().split()
    how = '"08:00"' if kind == "daily" else '"mon 08:00"'
    if len(words) != (1 if kind == "daily" else 2) or (kind == "weekly" and words[0][:3] not in DAYS):
        raise ValueError(f"{text!r} is not a {kind} time; write it like {how}")
    try:
        hour, minute = words[-1].split(":")
        at = time(int(hour), int(minute))
    except ValueError:
        raise ValueError(f"{text!r} is not a {kind} time; write it like {how}") from None
    return Schedule(kind, at, timezone, DAYS.index(words[0][:3]) if kind == "weekly" else None)


def due(schedule: Schedule, now: float) -> Due | None:
    """The digest whose time has come and is not long past, or None."""
    zone = ZoneInfo(schedule.timezone)
    today = datetime.fromtimestamp(now, zone).date()
    for day in (today, today - timedelta(days=1)):
        if schedule.day is not None and day.weekday() != schedule.day:
            continue
        moment = _moment(day, schedule.at, zone)
        if moment <= now < moment + LATE:
            back = timedelta(days=1 if schedule.kind == "daily" else 7)
            return Due(f"{schedule.kind}:{day}", schedule.kind, moment, _moment(day - back, schedule.at, zone), moment)
    return None


def _moment(day: date, at: time, zone: ZoneInfo) -> float:
    return datetime.combine(day, at, zone).timestamp()
