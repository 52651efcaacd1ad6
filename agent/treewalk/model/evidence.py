"""What was fetched, and what could not be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EvidenceKind = Literal["sla", "check", "condition", "metric", "log", "alert"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that was fetched and can be cited by its id.

    `window` is (start, end) in Unix seconds. `samples` are short, redacted texts for people; `count` says how
    many there were in all and `truncated` whether the source itself cut the answer. `data` holds the numbers of
    the claim (value, baseline, z, onset, first, last …) for programs.
    """

    id: str
    node: str | None
    kind: EvidenceKind
    source: str
    query: str
    window: tuple[float, float]
    summary: str
    samples: tuple[str, ...] = ()
    count: int = 0
    truncated: bool = False
    data: Mapping[str, float | str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """What could not be looked at, and why. Never an empty list in its place."""

    node: str | None
    source: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class LogGroup:
    """Error lines of one node that say the same: their template, how many, since when, and one redacted sample.

    `first` and `last` are Unix seconds. `onset_ratio` compares the rate in the window with that before it
    (None where the time before was not looked at): 1.0 is "as ever".
    """

    node: str
    template: str
    sample: str
    count: int
    first: float
    last: float
    onset_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One series in a window against its own baseline.

    `score` is the robust z-score (signed) of the window against the baseline's median and MAD; `onset` the Unix
    time at which the deviation begins, or None. `relative` is the change of the level relative to the baseline's
    median. `points` counts values in window and baseline.
    """

    node: str
    query: str
    series: str
    score: float
    level: float
    baseline: float
    spread: float
    relative: float
    onset: float | None
    points: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mention:
    """The log of `by` names another node `of` (by its name, container, host or an `aka`) in an error line."""

    by: str
    of: str
    word: str
    count: int
    sample: str
