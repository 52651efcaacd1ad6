"""Who did it: suspects in order, each with a score that is a sum of named parts.

Loud is not guilty. Something unrelated is nearly always more anomalous than the cause, so a node is judged by how
well it would account for everything that is seen if it were the origin (`travel`): its own trouble, the trouble on
its ways up to the SLA in the right order and of the right kind, the SLA's own, and what is starved beneath. What a
human declared (a healthcheck, a condition) and what was recognised (a known error, another node's log that names it)
counts beside that. A log that names another node is also a dependency that the tree does not hold.

Parts are natural logarithms of likelihood ratios: 0 says nothing, +1 is 2.7 times likelier, less than 0 speaks against.

Pure: same input, same output. The order of nodes in files decides nothing; equal scores share a rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from treewalk.analysis.changes import Array
from treewalk.analysis.comparing import Compared
from treewalk.analysis.symptoms import Symptoms, symptoms
from treewalk.analysis.travel import Account, Seen, Story, accounts
from treewalk.model.diagnosis import Measurement, Suspect
from treewalk.model.evidence import LogGroup, Mention
from treewalk.model.known import Match
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict


@dataclass(frozen=True, slots=True)
class Weights:
    """What is added for what series do not say, as logarithms of likelihood ratios. See docs/benchmarks.md."""

    unhealthy: float = 3.0  # a node whose healthcheck fails
    degraded: float = 2.5  # or whose declared condition holds
    passing: float = -0.7  # a node without series whose healthcheck passes: trouble rarely goes through it
    named: float = 1.5  # error lines of other troubled nodes name it
    known: float = 6.0  # a known error matched completely and points at it


@dataclass(frozen=True)
class Scene:
    """All that ranking looks at. `at` and `window` in Unix seconds and seconds."""

    tree: Tree
    measurement: Measurement
    own: Compared | None
    verdicts: Mapping[str, Verdict]
    compared: Mapping[str, Sequence[Compared]]
    at: float
    window: float
    mentions: Sequence[Mention] = ()
    logs: Sequence[LogGroup] = ()
    matches: Sequence[Match] = ()
    weights: Weights = field(default_factory=Weights)


def rank(scene: Scene) -> tuple[Suspect, ...]:
    """Suspects, the best first; equal scores share a rank. Empty when no node is in trouble that matters."""
    view = _View(scene)
    scored = []
    for name, parts in view.judged():
        scored.append((name, round(sum(parts.values()), 4), parts))
    scored.sort(key=lambda s: (-s[1], s[0]))
    suspects: list[Suspect] = []
    for position, (name, score, parts) in enumerate(scored):
        shared = bool(suspects) and suspects[-1].score == score
        place = suspects[-1].rank if shared else position + 1
        suspects.append(Suspect(name, scene.tree.path(name), place, score, parts, scene.verdicts[name]))
    return tuple(suspects)


def declared(verdict: Verdict) -> bool:
    """Whether the trouble was declared by somebody (a healthcheck, a condition), not merely unusual."""
    return verdict.status.troubled and verdict.origin != "baseline"


class _View:
    """A scene with what is derived from it once: symptoms of all nodes, who names whom."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        compared = {name: found for name, found in scene.compared.items() if found and name in scene.tree.nodes}
        self.symptoms: Symptoms = symptoms(compared, scene.own, scene.at, scene.window)
        self.seen = {name: seen for name in scene.tree.nodes if (seen := self._seen(name)) is not None}

    def judged(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Every suspect with the parts of its score."""
        names = [name for name in self.scene.tree.nodes if self._is_candidate(name)]
        found = accounts(self._story(), names)
        for name in names:
            yield name, self._parts(name, found[name])

    def _story(self) -> Story:
        known = self.symptoms
        return Story(
            below=self._below,
            tops=self.scene.tree.sla.depends_on,
            seen=self.seen,
            sla=known.sla,
            step=known.step,
            sampling=known.sampling,
            window=self.scene.window,
        )

    @cached_property
    def _below(self) -> dict[str, set[str]]:
        """What each node depends on: what the tree says, and whom its own log names where that makes no circle."""
        nodes = self.scene.tree.nodes
        below = {name: set(node.depends_on) for name, node in nodes.items()}
        for by, of in sorted({(m.by, m.of) for m in self.scene.mentions}):
            if by in nodes and of in nodes and by != of and self._is_candidate(of) and not _reaches(below, of, by):
                below[by].add(of)
        return below

    def _seen(self, name: str) -> Seen | None:
        verdict, weights = self.scene.verdicts[name], self.scene.weights
        measured = self.symptoms.nodes.get(name)
        size = max((abs(c.anomaly.score) for c in self.scene.compared.get(name, ())), default=None)
        if declared(verdict):
            told = weights.unhealthy if verdict.status is Status.UNHEALTHY else weights.degraded
            if measured is None:
                return Seen(self._since(verdict.onset) + told, told=True)
            return Seen(np.maximum(measured, 0.0) + told, size=_at_least(size), told=True)
        if measured is not None:
            return Seen(measured, size=_at_least(size))
        if verdict.status is Status.HEALTHY:
            return Seen(np.full(self.symptoms.sla.shape, weights.passing))
        return None

    def _since(self, onset: float | None) -> Array:
        """When declared trouble without series began: about its onset where that is told, else at any moment."""
        flat = np.zeros(self.symptoms.sla.shape)
        moments = self.symptoms.moments
        if onset is None or onset < moments[0]:
            return flat
        near = np.exp(-np.abs(moments - onset) / (2 * self.symptoms.step))
        return np.asarray(flat + np.log(0.5 + 0.5 * near / near.mean())[None, :])

    def _is_candidate(self, name: str) -> bool:
        """Whether a node can be a suspect at all: in declared trouble, recognised, or changed rather than not."""
        scene = self.scene
        if scene.verdicts[name].status.troubled:
            return True
        if any(m.complete and name in (m.error.root_node, m.node) for m in scene.matches):
            return True
        if scene.verdicts[name].status is Status.HEALTHY and scene.verdicts[name].origin != "baseline":
            return False  # somebody declared what healthy means here, and it is
        return name in self.symptoms.changed

    def _parts(self, name: str, account: Account) -> dict[str, float]:
        """The parts of a node's score."""
        weights = self.scene.weights
        parts = {
            "own_trouble": account.own,
            "path": account.path,
            "explains_sla": account.sla,
            "beneath": account.beneath,
            "named_by_logs": weights.named * self._named(name),
            "known_error": weights.known * self._recognised(name),
        }
        return {key: round(float(value), 4) for key, value in parts.items()}

    def _named(self, name: str) -> float:
        accusers = [m for m in self.scene.mentions if m.of == name and self.scene.verdicts[m.by].status.troubled]
        return 1.0 - math.exp(-sum(m.count for m in accusers) / 3.0)

    def _recognised(self, name: str) -> float:
        """Whether a known error points at a node: the one that it names, or where that is not under this SLA, the
        one at which it was seen."""
        for match in self.scene.matches:
            root = match.error.root_node
            blamed = root if root in self.scene.tree.nodes else match.node
            if match.complete and name == blamed:
                return 1.0
        return 0.0


def _at_least(size: float | None) -> float | None:
    return None if size is None else max(2.0, size)


def _reaches(below: Mapping[str, set[str]], start: str, goal: str) -> bool:
    """Whether one node stands somewhere beneath another."""
    stack, seen = [start], {start}
    while stack:
        for child in below[stack.pop()]:
            if child == goal:
                return True
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return False
