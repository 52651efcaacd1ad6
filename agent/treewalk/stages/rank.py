"""Who did it: suspects in order, each with a score that is a sum of named parts.

Loud is not guilty. Something unrelated is nearly always more anomalous than the cause, so a node is judged by
how well it explains the SLA, not by how far from normal it is: its trouble began when the SLA's did or shortly
before, its series moves with the SLA's own, there is a way of trouble from it up to the SLA, and its trouble is
its own, not handed up by something it depends on. What a human declared (a healthcheck, a condition) and what
was recognised (a known error, another node's log that names it) counts beside that.

Pure: same input, same output. The order of nodes in files decides nothing; equal scores share a rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from treewalk.comparing import Compared
from treewalk.model.diagnosis import Measurement, Suspect
from treewalk.model.evidence import LogGroup, Mention
from treewalk.model.known import Match
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.stats import similarity


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part of a score can add at the most. Chosen on generated incidents; see docs/benchmarks.md."""

    severity: float = 1.0
    path: float = 1.0
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
        if self.measurement.onset is not None:
            return self.measurement.onset
        return self.own.anomaly.onset if self.own else None


@dataclass(frozen=True, slots=True)
class Trace:
    """How one series of a node relates to the SLA; every number from 0 to 1."""

    compared: Compared
    loud: float
    timing: float
    alike: float

    @property
    def relevance(self) -> float:
        return self.loud * self.timing * (0.25 + 0.75 * self.alike)


def rank(scene: Scene) -> tuple[Suspect, ...]:
    """Suspects, the best first; equal scores share a rank. Empty when no node is in trouble that matters."""
    traces = {name: _best_trace(scene, name) for name in scene.tree.nodes}
    trouble = {name: _trouble(scene, name, traces[name]) for name in scene.tree.nodes}
    ways = _ways(scene, trouble)
    scored = []
    for name in scene.tree.nodes:
        if not _is_candidate(scene, name, traces[name]):
            continue
        parts = _parts(scene, name, traces, trouble, ways)
        scored.append((name, round(sum(parts.values()), 6), parts))
    scored.sort(key=lambda s: (-s[1], s[0]))
    suspects: list[Suspect] = []
    for position, (name, score, parts) in enumerate(scored):
        shared = suspects and suspects[-1].score == score
        place = suspects[-1].rank if shared else position + 1
        suspects.append(Suspect(name, scene.tree.path(name), place, score, parts, scene.verdicts[name]))
    return tuple(suspects)


def declared(verdict: Verdict) -> bool:
    """Whether the trouble was declared by somebody (a healthcheck, a condition), not merely unusual."""
    return verdict.status.troubled and verdict.origin != "baseline"


def _is_candidate(scene: Scene, name: str, trace: Trace | None) -> bool:
    if scene.verdicts[name].status.troubled:
        return True
    if any(m.complete and name in (m.error.root_node, m.node) for m in scene.matches):
        return True
    return trace is not None and trace.loud >= 0.45 and trace.relevance >= 0.2


def _loudness(score: float) -> float:
    """A robust z-score as 0 to 1: 3 → 0.3, 5 → 0.6, 10 → 0.9. Beyond that, louder says nothing more."""
    return 1.0 - math.exp(-max(0.0, abs(score) - 1.5) / 4.0)


def _timing(scene: Scene, onset: float | None) -> float:
    """1 for trouble that began with the SLA's or up to a window before; less the older or later it is."""
    if scene.onset is None or onset is None:
        return 0.6
    lead = scene.onset - onset
    slack = max(scene.window / 5, 30.0)
    if lead < -slack:
        return max(0.2, 1.0 + (lead + slack) / scene.window)
    if lead <= scene.window:
        return 1.0
    return max(0.1, 1.0 - (lead - scene.window) / (3 * scene.window))


def _best_trace(scene: Scene, name: str) -> Trace | None:
    traces = []
    for compared in scene.compared.get(name, ()):
        loud = _loudness(compared.anomaly.score)
        if loud <= 0.15:
            continue
        timing = _timing(scene, compared.anomaly.onset)
        alike = 0.5
        if scene.own is not None:
            context = scene.window + max(scene.window, 1.0)
            alike = similarity(compared.deviation, scene.own.deviation, scene.at - context, scene.at, scene.window / 2)
        traces.append(Trace(compared, loud, timing, alike))
    return max(traces, key=lambda t: t.relevance, default=None)


def _trouble(scene: Scene, name: str, trace: Trace | None) -> float:
    """How much a node takes part in this incident, 0 to 1; 0.5 where it cannot be told."""
    verdict = scene.verdicts[name]
    measured = trace.relevance if trace else 0.0
    if declared(verdict):
        return max(measured, 1.0 if verdict.status is Status.UNHEALTHY else 0.8)
    if verdict.status is Status.UNKNOWN and not scene.compared.get(name):
        return 0.5
    return measured


def _ways(scene: Scene, trouble: Mapping[str, float]) -> dict[str, float]:
    """For each node, how unbroken the best way of trouble from it up to the SLA is (the node itself left out)."""
    ways: dict[str, float] = dict.fromkeys(scene.tree.sla.depends_on, 1.0)
    changed = set(ways)
    while changed:
        following: set[str] = set()
        for parent in changed:
            through = ways[parent] * (0.35 + 0.65 * math.sqrt(trouble[parent]))
            for child in scene.tree.nodes[parent].depends_on:
                if through > ways.get(child, 0.0) + 1e-12:
                    ways[child] = through
                    following.add(child)
        changed = following
    return ways


def _parts(
    scene: Scene,
    name: str,
    traces: Mapping[str, Trace | None],
    trouble: Mapping[str, float],
    ways: Mapping[str, float],
) -> dict[str, float]:
    weights, verdict, trace = scene.weights, scene.verdicts[name], traces[name]
    severity = {Status.UNHEALTHY: 1.0, Status.DEGRADED: 0.8}.get(verdict.status, 0.3) if declared(verdict) else 0.0
    if trace is not None:
        severity = max(severity, 0.7 * trace.loud)
    explains = trace.alike * trace.loud if trace else (0.5 if declared(verdict) else 0.0)
    timing = trace.timing if trace else _timing(scene, verdict.onset)
    parts = {
        "severity": weights.severity * severity,
        "path": weights.path * ways.get(name, 0.0),
        "onset": weights.onset * timing,
        "explains_sla": weights.explains * explains,
        "own_trouble": weights.own * _own(scene, name, traces, trouble),
        "named_by_logs": weights.named * _named(scene, name),
        "known_error": weights.known * _recognised(scene, name),
    }
    return {key: round(value, 4) for key, value in parts.items()}


def _own(scene: Scene, name: str, traces: Mapping[str, Trace | None], trouble: Mapping[str, float]) -> float:
    """1 where nothing the node depends on accounts for its trouble; 0 where something does wholly."""
    handed_up = 0.0
    for child in scene.tree.nodes[name].depends_on:
        handed_up = max(handed_up, trouble[child] * _precedes(traces[child], traces[name], scene.window))
    blamed = {m.of for m in scene.mentions if m.by == name and trouble.get(m.of, 0.0) > 0.3}
    for other in blamed:
        handed_up = max(handed_up, trouble[other])
    return 1.0 - handed_up


def _precedes(below: Trace | None, above: Trace | None, window: float) -> float:
    """Whether trouble below can be the reason of trouble above: it has to begin no later."""
    if below is None or above is None:
        return 0.9
    first, second = below.compared.anomaly.onset, above.compared.anomaly.onset
    if first is None or second is None:
        return 0.9
    late = first - second - max(window / 10, 20.0)
    return 1.0 if late <= 0 else max(0.2, 1.0 - 2 * late / window)


def _named(scene: Scene, name: str) -> float:
    counts = sum(m.count for m in scene.mentions if m.of == name and scene.verdicts[m.by].status.troubled)
    return 1.0 - math.exp(-counts / 3.0)


def _recognised(scene: Scene, name: str) -> float:
    for match in scene.matches:
        if match.complete and name == (match.error.root_node or match.node):
            return 1.0
    return 0.0
