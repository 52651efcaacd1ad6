"""Who did it: suspects in order, each with a score that is a sum of named parts.

Loud is not guilty. Something unrelated is nearly always more anomalous than the cause, so a node is judged by
how well it explains the SLA, not by how far from normal it is: its series takes the course of the SLA's own, begins
no later and lasts; there is a way of like trouble from it up to the SLA; and its trouble is its own, not handed up by
something it depends on. What a human declared (a healthcheck, a condition) and what was recognised (a known error,
another node's log that names it) counts beside that.

Pure: same input, same output. The order of nodes in files decides nothing; equal scores share a rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from treewalk.comparing import Compared
from treewalk.model.diagnosis import Measurement, Suspect
from treewalk.model.evidence import LogGroup, Mention
from treewalk.model.known import Match
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.stats import Print, common_grid

_TRACES_A_NODE = 8
_SLA = ""  # stands for the SLA among the nodes


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part of a score can add at the most. Chosen on generated incidents; see docs/benchmarks.md."""

    severity: float = 1.0
    path: float = 2.0
    onset: float = 0.8
    explains: float = 2.0
    own: float = 2.0
    named: float = 0.8
    known: float = 3.0


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

    @cached_property
    def onset(self) -> float | None:
        """When the SLA's own trouble began."""
        if self.own is not None and self.own.anomaly.onset is not None:
            return self.own.anomaly.onset
        return self.measurement.onset


@dataclass(frozen=True)
class Trace:
    """One series in trouble: how loud (0 to 1) and large (z), when it began, how much of it lasts, its course, and
    how well it explains the SLA (0 to 1)."""

    loud: float
    size: float
    onset: float | None
    lasting: float
    course: Print
    explains: float = 1.0


def rank(scene: Scene) -> tuple[Suspect, ...]:
    """Suspects, the best first; equal scores share a rank. Empty when no node is in trouble that matters."""
    view = _View(scene)
    scored = []
    for name in scene.tree.nodes:
        if view.is_candidate(name):
            parts = view.parts(name)
            scored.append((name, round(sum(parts.values()), 6), parts))
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


def loudness(score: float) -> float:
    """A robust z-score as 0 to 1: 3 → 0.3, 5 → 0.6, 10 → 0.9. Beyond that, louder says nothing more."""
    return 1.0 - math.exp(-max(0.0, abs(score) - 1.5) / 4.0)


def _fits(cause: float, effect: float) -> float:
    """Effects are rarely larger than their causes (in robust deviations)."""
    return float(min(1.0, cause / max(effect, 1e-9)) ** 0.2)


class _View:
    """A scene with what is derived from it once: traces, links between neighbours, ways up to the SLA."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.step = max(self._step(), 1.0)
        self.traces = self._traces()
        self._links: dict[tuple[str, str], float] = {}
        self.ways = self._ways()
        self.blamed = self._blamed()

    def _step(self) -> float:
        """Seconds between the values of the series, roughly."""
        if self.scene.own is None or len(self.scene.own.deviation.times) < 3:
            return 0.0
        times = self.scene.own.deviation.times
        return float(times[-1] - times[0]) / (len(times) - 1)

    def _traces(self) -> dict[str, list[Trace]]:
        scene = self.scene
        own = [scene.own.deviation] if scene.own else []
        loud = {
            name: [c for c in found if loudness(c.anomaly.score) >= 0.2][:_TRACES_A_NODE]
            for name, found in scene.compared.items()
            if name in scene.tree.nodes
        }
        grid = common_grid(own + [c.deviation for found in loud.values() for c in found], scene.at, scene.window)
        lags = max(1, len(grid) // 6)

        def trace(c: Compared) -> Trace:
            d = c.deviation
            return Trace(loudness(d.score), abs(d.score), d.onset, d.lasting, Print(d, grid, lags))

        sla = [trace(scene.own)] if scene.own else []
        traces = {name: [self._explaining(trace(c), sla) for c in found] for name, found in loud.items()}
        return {**traces, _SLA: sla}

    def _explaining(self, t: Trace, sla: Sequence[Trace]) -> Trace:
        """The trace with how well it explains the SLA: alike, lasting, and beginning no later."""
        alike = max((t.course.leads(s.course) * self._in_order(t, s) for s in sla), default=0.5)
        return replace(t, explains=t.loud * (0.4 + 0.6 * t.lasting) * alike)

    def most(self, name: str) -> float:
        """The most that a trace of a node explains of the SLA."""
        return max((t.explains for t in self.traces.get(name, ())), default=0.0)

    def link(self, cause: str, effect: str) -> float:
        """How well one node can be the reason of the other's trouble, as far as that matters to the SLA, 0 to 1:
        the course is alike with some delay, begins no later, and is large enough."""
        key = (cause, effect)
        if key not in self._links:
            matters = max(self.most(effect), 1e-9)
            pairs = [
                a.loud * a.course.leads(b.course) * self._in_order(a, b) * _fits(a.size, b.size) * b.explains / matters
                for a in self.traces.get(cause, ())
                for b in self.traces.get(effect, ())
            ]
            self._links[key] = max(pairs, default=0.0)
        return self._links[key]

    def _in_order(self, cause: Trace, effect: Trace) -> float:
        return self._order(cause.onset, effect.onset, min(cause.loud, effect.loud))

    def _order(self, first: float | None, second: float | None, loud: float) -> float:
        """1 where the first begins no later than the second and not long before; less the more it does.

        A loud onset is known to a step or so, a faint one to a tenth of the window.
        """
        if first is None or second is None:
            return 0.7
        lead = second - first
        slack = 1.2 * self.step + self.scene.window / 8 * (1 - loud)
        if lead < -slack:
            return math.exp((lead + slack) / (1.5 * slack))
        return math.exp(-max(0.0, lead - self.scene.window / 2) / self.scene.window)

    def trouble(self, name: str) -> float:
        """How much a node takes part in this incident, 0 to 1; 0.5 where it cannot be told."""
        verdict = self.scene.verdicts[name]
        measured = max((t.loud * t.lasting for t in self.traces.get(name, ())), default=0.0)
        if declared(verdict):
            return max(measured, 1.0 if verdict.status is Status.UNHEALTHY else 0.8)
        if verdict.status is Status.UNKNOWN and not self.scene.compared.get(name):
            return 0.5
        return measured

    def _passes(self, cause: str, effect: str) -> float:
        """How likely trouble went from a node to its dependent, for ways: links, and neutral where none can be seen."""
        if self.traces.get(cause) and self.traces.get(effect):
            return 0.3 + 0.7 * self.link(cause, effect)
        if effect == _SLA:
            return 0.75
        if not self.scene.compared.get(effect):
            return 0.75 if self.trouble(effect) >= 0.5 else 0.35
        return 0.3 + 0.5 * self.trouble(effect)

    def _ways(self) -> dict[str, float]:
        """For each node, how well the best way of trouble from it up to the SLA holds together: the geometric mean
        of its links, with a little less for each step more."""
        best = {name: (self._passes(name, _SLA), 1) for name in self.scene.tree.sla.depends_on}
        changed = set(best)
        while changed:
            following: set[str] = set()
            for parent in sorted(changed):
                product, length = best[parent]
                for child in self.scene.tree.nodes[parent].depends_on:
                    through = product * self._passes(child, parent)
                    if child not in best or through > best[child][0] + 1e-12:
                        best[child] = (through, length + 1)
                        following.add(child)
            changed = following
        return {name: product ** (1 / length**0.75) for name, (product, length) in best.items()}

    def _blamed(self) -> dict[str, set[str]]:
        """For each node, the troubled ones that its own log names."""
        named: dict[str, set[str]] = {}
        for m in self.scene.mentions:
            if m.of in self.scene.tree.nodes and self.trouble(m.of) > 0.3:
                named.setdefault(m.by, set()).add(m.of)
        return named

    def is_candidate(self, name: str) -> bool:
        scene = self.scene
        if scene.verdicts[name].status.troubled:
            return True
        if any(m.complete and name in (m.error.root_node, m.node) for m in scene.matches):
            return True
        if scene.verdicts[name].status is Status.HEALTHY and scene.verdicts[name].origin != "baseline":
            return False  # somebody declared what healthy means here, and it is
        return any(t.loud >= 0.3 for t in self.traces.get(name, ()))

    def parts(self, name: str) -> dict[str, float]:
        """The parts of a node's score."""
        weights, verdict = self.scene.weights, self.scene.verdicts[name]
        traces = self.traces.get(name, [])
        severity = 0.7 * max((t.loud for t in traces), default=0.0)
        if declared(verdict):
            severity = max(severity, 1.0 if verdict.status is Status.UNHEALTHY else 0.8)
        parts = {
            "severity": weights.severity * severity,
            "path": weights.path * self.ways.get(name, 0.0),
            "onset": weights.onset * self._timing(name),
            "explains_sla": weights.explains * self._explains(name),
            "own_trouble": weights.own * self._own(name),
            "named_by_logs": weights.named * self._named(name),
            "known_error": weights.known * self._recognised(name),
        }
        return {key: round(float(value), 4) for key, value in parts.items()}

    def _timing(self, name: str) -> float:
        traces = self.traces.get(name, ())
        known = [(t.onset, t.loud) for t in traces] or [(self.scene.verdicts[name].onset, 0.5)]
        return max(self._order(onset, self.scene.onset, loud) for onset, loud in known)

    def _explains(self, name: str) -> float:
        """How well the node's own course explains that of the SLA."""
        floor = 0.5 if declared(self.scene.verdicts[name]) else 0.0
        return max(floor, self.most(name))

    def _own(self, name: str) -> float:
        """1 where nothing the node depends on accounts for its trouble; 0 where something does wholly."""
        handed_up = 0.0
        for child in self.scene.tree.nodes[name].depends_on:
            if self.traces.get(child) and self.traces.get(name):
                accounts = self.link(child, name)
            else:
                accounts = 0.9 if declared(self.scene.verdicts[child]) else 0.5 * self.trouble(child)
            if declared(self.scene.verdicts[child]) and declared(self.scene.verdicts[name]):
                accounts = max(accounts, 0.9 * self.trouble(child))
            handed_up = max(handed_up, accounts)
        for other in self.blamed.get(name, ()):
            handed_up = max(handed_up, self.trouble(other))
        return 1.0 - handed_up

    def _named(self, name: str) -> float:
        accusers = [m for m in self.scene.mentions if m.of == name and self.scene.verdicts[m.by].status.troubled]
        return 1.0 - math.exp(-sum(m.count for m in accusers) / 3.0)

    def _recognised(self, name: str) -> float:
        for match in self.scene.matches:
            if match.complete and name == (match.error.root_node or match.node):
                return 1.0
        return 0.0
