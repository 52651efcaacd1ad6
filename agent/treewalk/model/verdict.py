"""What was found when a node was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The four answers. `unknown` is neither good nor bad: the node could not be looked at."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"

    @property
    def troubled(self) -> bool:
        """Seen to be wrong; unknown is not."""
        return self in (Status.DEGRADED, Status.UNHEALTHY)


_BADNESS = {Status.HEALTHY: 0, Status.UNKNOWN: 1, Status.DEGRADED: 2, Status.UNHEALTHY: 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement of one node, with its reason as data.

    `observed` and `expected` are short texts for people ("298", "< 280"); `when` is the Unix time of the
    look; `onset` the Unix time at which the trouble is seen to begin, where a series tells it; `size` how far
    from normal it is, in robust standard deviations, where that is known.
    """

    status: Status
    reason: str
    observed: str | None = None
    expected: str | None = None
    when: float | None = None
    onset: float | None = None
    size: float | None = None
    origin: str = "healthcheck"  # healthcheck | condition | none: what said so


def healthy(reason: str, *, observed: str | None = None, expected: str | None = None) -> Verdict:
    """The node was looked at and is fine."""
    return Verdict(Status.HEALTHY, reason, observed, expected)


def degraded(
    reason: str, *, observed: str | None = None, expected: str | None = None, onset: float | None = None
) -> Verdict:
    """The node works, but close to or over a limit that somebody declared."""
    return Verdict(Status.DEGRADED, reason, observed, expected, onset=onset)


def unhealthy(
    reason: str,
    *,
    observed: str | None = None,
    expected: str | None = None,
    onset: float | None = None,
    size: float | None = None,
) -> Verdict:
    """The node was looked at and is broken."""
    return Verdict(Status.UNHEALTHY, reason, observed, expected, onset=onset, size=size)


def unknown(reason: str) -> Verdict:
    """The node could not be looked at; the reason says why and what would help."""
    return Verdict(Status.UNKNOWN, reason)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts on one node; the first of equals. Unknown outweighs healthy only.

    Raises ValueError when there is none.
    """
    return max(verdicts, key=lambda v: _BADNESS[v.status])
