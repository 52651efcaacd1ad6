"""Everything that can be plugged in, on one page.

Each Protocol has one or two methods. An implementation stands at an edge (integrations/, actions/, store/,
the workspace's checks/), is wired up in app.py and nowhere else, and raises only `SourceError`s.
Times are Unix seconds, durations seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from treewalk.model.diagnosis import Diagnosis
from treewalk.model.series import LogBatch, Sample, Series


@runtime_checkable
class Clock(Protocol):
    """Time and sleep, so that nothing below the edges reads the clock itself."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps, for measuring how long something took."""

    async def sleep(self, seconds: float) -> None: ...


@runtime_checkable
class MetricSource(Protocol):
    """A Prometheus, or something that answers like one."""

    @property
    def name(self) -> str: ...

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        """The value of every series at a time. A scalar answer is one sample with `scalar` set."""

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        """Values from start to end, both included, a step apart. Missing values are left out, NaN kept."""


@runtime_checkable
class LogSource(Protocol):
    """A Loki, or files that answer like one."""

    @property
    def name(self) -> str: ...

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        """The newest `limit` lines of a LogQL log query with start <= time < end."""


class Inspectable(Protocol):
    """A source that can tell how it is, for `treewalk doctor`."""

    async def inspect(self) -> Mapping[str, str]:
        """What could be learned: version, rights, latency. Raises SourceError when it cannot be reached."""


class Store(Protocol):
    """The memory: what was diagnosed, and how each known error has done."""

    def keep(self, diagnosis: Diagnosis, document: Mapping[str, Any]) -> int:
        """Save a diagnosis (document: its JSON form, redacted); the new incident's number."""

    def incidents(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first: number, sla, status, root_node, known_error, opened (Unix seconds)."""

    def incident(self, number: int) -> Mapping[str, Any]:
        """One incident's whole document. Raises UsageError when there is none of that number."""

    def search(self, text: str, limit: int) -> Sequence[Mapping[str, Any]]:
        """Full-text search over incidents, best first."""

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """By known error's id: occurrence_count, first_seen, last_seen (Unix seconds)."""


CheckFunction = Callable[..., Awaitable[Any] | Any]  # (probe, *, parameters) -> Verdict
