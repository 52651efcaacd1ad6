"""Small words that every report shares: times, spans, counts, and text that no reader's device obeys."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from treewalk.model.quantity import format_duration

_SPACES = re.compile(r"\s+")


def plain(text: object) -> str:
    """One line: control characters, line breaks and marks that turn the direction of reading become spaces."""
    return _SPACES.sub(" ", "".join(c if c.isprintable() else " " for c in str(text))).strip()


def short(text: object, limit: int) -> str:
    """One line of at most `limit` characters."""
    line = plain(text)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def clock(at: float) -> str:
    """A moment: `2026-01-15 04:47:10Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def day(at: float) -> str:
    """A day: `2026-01-15`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def hour(at: float) -> str:
    """A moment within its day: `04:47:10`."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def span(seconds: float) -> str:
    """A length of time: `12s`, `1h30m`; what is under a second is told in milliseconds."""
    return format_duration(max(0.0, seconds))


def many(count: int, one: str, more: str | None = None) -> str:
    """A number of things: `1 alert`, `3 alerts`."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def word(text: object) -> str:
    """`not_resolved` as people write it."""
    return plain(text).replace("_", " ")
