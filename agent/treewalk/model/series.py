"""Numbers over time and lines of text over time, as sources hand them over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series at a Unix time. `scalar` marks an answer without labels by nature."""

    labels: Mapping[str, str]
    time: float
    value: float
    scalar: bool = False

    @property
    def name(self) -> str:
        """As Prometheus prints it; empty where it has no labels at all, as a sum has none: its query says more."""
        return show_labels(self.labels) if self.labels else ""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one series; `times` (Unix seconds, rising) and `values` have the same length."""

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]

    @property
    def name(self) -> str:
        """As Prometheus prints it; empty where it has no labels at all, as a sum has none: its query says more."""
        return show_labels(self.labels) if self.labels else ""


class Answered(list[T]):
    """Samples or series with what the source said beside them.

    With `warnings` the answer may be incomplete (a store that did not reply); `infos` are hints about the query.
    """

    def __init__(self, found: Iterable[T] = (), warnings: Iterable[str] = (), infos: Iterable[str] = ()) -> None:
        super().__init__(found)
        self.warnings, self.infos = tuple(warnings), tuple(infos)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log; `time` in Unix seconds."""

    time: float
    text: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Lines newest first. `truncated` is true when there were more than the limit asked for."""

    lines: tuple[LogLine, ...]
    truncated: bool = False


def show_labels(labels: Mapping[str, str]) -> str:
    """A series' name as Prometheus prints it: `up{job="redis"}`."""
    name = labels.get("__name__", "")
    inner = ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k != "__name__")
    return f"{name}{{{inner}}}" if inner or not name else name
