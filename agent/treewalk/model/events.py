"""What happens during a walk, for whoever watches: the live tree of the CLI, a log, a page."""

from __future__ import annotations

from dataclasses import dataclass

from treewalk.model.diagnosis import Measurement
from treewalk.model.tree import Tree
from treewalk.model.verdict import Verdict


@dataclass(frozen=True, slots=True)
class TreeOpened:
    """The tree that is about to be walked."""

    tree: Tree


@dataclass(frozen=True, slots=True)
class Measured:
    """The SLA's own number."""

    measurement: Measurement


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node is being looked at."""

    node: str


@dataclass(frozen=True, slots=True)
class NodeJudged:
    """A node has its verdict."""

    node: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage of the pipeline begins: measure, walk, gather, match, rank."""

    name: str


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage has ended after so many seconds."""

    name: str
    seconds: float


Event = TreeOpened | Measured | NodeStarted | NodeJudged | StageStarted | StageDone
