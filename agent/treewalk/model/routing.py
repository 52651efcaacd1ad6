"""Who is told what, and when: routes, quiet hours, the chain that a message climbs when nobody answers. Pure.

Times are Unix seconds, spans seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from treewalk.model.message import SEVERITIES, Message, Severity
from treewalk.model.window import Window

RESPOND: Mapping[Severity, float] = {"P1": 300.0, "P2": 900.0, "P3": 3600.0, "P4": 86400.0}
_ANSWERS = ("acknowledged", "answer")
_GOES_ON = ("goes on", "diagnosing", "planned", "acting", "verifying")


@dataclass(frozen=True, slots=True)
class Route:
    """Messages of these severities, SLAs (names or globs) and tags go to these channels. What is empty fits all."""

    to: tuple[str, ...]
    severities: frozenset[Severity] = frozenset()
    slas: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def fits(self, message: Message) -> bool:
        """Whether a message takes this route; one of its SLAs is enough, all tags are needed."""
        if self.severities and message.severity not in self.severities:
            return False
        if self.slas and not any(fnmatchcase(sla, glob) for sla in message.slas for glob in self.slas):
            return False
        return all((key, value) in message.tags for key, value in self.tags.items())


@dataclass(frozen=True, slots=True)
class Quiet:
    """While the window is open, messages of these severities wait."""

    window: Window
    severities: frozenset[Severity]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Channels in order, and how long each has to be answered in, by severity."""

    chain: tuple[str, ...] = ()
    respond: Mapping[Severity, float] = field(default_factory=lambda: dict(RESPOND))


@dataclass(frozen=True, slots=True)
class Notify:
    """Everything about who is told."""

    routes: tuple[Route, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    escalation: Escalation = field(default_factory=Escalation)


def routed(message: Message, notify: Notify, channels: Sequence[str]) -> tuple[str, ...]:
    """The channels that a message goes to from the beginning, in the order of `channels`; never none.

    Every route that fits adds its channels. Where none fits: all channels, but those that only wait in the chain.
    """
    fitting = [route for route in notify.routes if route.fits(message)]
    wanted = {name for route in fitting for name in route.to}
    found = tuple(name for name in channels if name in wanted)
    if found:
        return found
    later = set(notify.escalation.chain[1:])
    return tuple(name for name in channels if name not in later) or tuple(channels)


def held(severity: Severity, at: float, quiet: Iterable[Quiet]) -> Quiet | None:
    """The quiet hours that hold back a message of this severity now, or None."""
    return next((q for q in quiet if severity in q.severities and q.window.contains(at)), None)


def unanswered_since(timeline: Iterable[Mapping[str, Any]], ending: str | None) -> float | None:
    """Since when an incident has waited for a human who has not answered; None when it does not.

    It waits while it asks, while a switch holds it, and after it ended without its SLA being met, until somebody
    answers or acknowledges; and again when a graver alert comes after that. Who has seen it is not called again because
    it is held.
    """
    rows = list(timeline)
    since: float | None = None
    seen = False
    for row in rows:
        kind = row["kind"]
        held = kind == "waiting" and row.get("data", {}).get("held") and not seen
        if kind == "asking" or held or (kind in ("closed", "worse") and left_to_a_human(ending, rows)):
            since = row["at"] if since is None else since
        elif kind in (*_ANSWERS, *_GOES_ON, "closed"):
            since = None
        if kind in ("acknowledged", "asking", "closed", "worse"):
            seen = kind == "acknowledged"
    return since


def left_to_a_human(ending: str | None, timeline: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an incident ended with its SLA not met and nobody knowing of it yet: escalated, or refused by a rule and
    not by a human."""
    if ending == "refused":
        return not any(row["kind"] == "answer" and row.get("data", {}).get("granted") is False for row in timeline)
    return ending == "escalated"


def climbed(severity: Severity, since: float | None, at: float, escalation: Escalation) -> tuple[str, ...]:
    """The channels of the chain that an incident has reached which waits since then; the first at once."""
    if since is None or not escalation.chain:
        return ()
    span = escalation.respond.get(severity, RESPOND[severity])
    passed, most = max(0.0, at - since), len(escalation.chain)
    level = int(passed // span) if span * most > passed else most
    return escalation.chain[: min(level, most - 1) + 1]


def backoff(attempt: int, dice: float, *, first: float = 5.0, most: float = 600.0) -> float:
    """Seconds to wait after a number of failed tries (from 1), with jitter: half of it is by the dice (0 to 1)."""
    whole = min(most, first * 2.0 ** min(max(0, attempt - 1), 60))
    return whole * (0.5 + 0.5 * dice)


def severities(written: Iterable[Severity]) -> frozenset[Severity]:
    """Severities as a set; none written means all."""
    return frozenset(written) or frozenset(SEVERITIES)
