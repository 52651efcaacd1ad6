"""Collecting evidence at the nodes that matter: error lines grouped, metrics against their past, gaps named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from treewalk.comparing import Compared, compare_queries
from treewalk.errors import SourceError
from treewalk.model.diagnosis import Measurement
from treewalk.model.evidence import Evidence, EvidenceKind, Gap, LogGroup, Mention
from treewalk.model.mentions import find_mentions
from treewalk.model.quantity import format_number
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import group_errors
from treewalk.model.tree import BaselineSpec, Node, Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.ports import LogSource, MetricSource

_METRICS_A_NODE = 4  # evidence shows the most deviating ones
_GROUPS_A_NODE = 5


@dataclass(frozen=True)
class Gathered:
    """What was brought home. `lines` are raw (for matching only, never shown); the rest is redacted."""

    compared: Mapping[str, Sequence[Compared]] = field(default_factory=dict)
    lines: Mapping[str, Sequence[LogLine]] = field(default_factory=dict)
    logs: tuple[LogGroup, ...] = ()
    mentions: tuple[Mention, ...] = ()
    gaps: tuple[Gap, ...] = ()
    truncated: frozenset[str] = frozenset()  # nodes whose log answer the source cut

    @property
    def log_gaps(self) -> dict[str, str]:
        """For each node whose log could not be read: why."""
        return {g.node: g.why for g in self.gaps if g.node is not None and g.what == "log"}


@dataclass(frozen=True)
class Gatherer:
    """How and where to look. Times in Unix seconds, `window` in seconds."""

    metrics: Callable[[str | None], MetricSource]
    logs: Callable[[str | None], LogSource]
    at: float
    window: float
    baseline: BaselineSpec
    max_lines: int
    timeout: float = 30.0  # seconds for all of it
    concurrency: int = 32

    async def gather(self, tree: Tree, verdicts: Mapping[str, Verdict]) -> Gathered:
        """Logs of every node that is not healthy (of all, when none is troubled), metrics of every node.

        One of the four places where what goes wrong becomes a value: a failed look is a Gap.
        """
        noisy = [name for name in tree.nodes if verdicts[name].status is not Status.HEALTHY]
        if not any(verdicts[name].status.troubled for name in noisy):
            noisy = list(tree.nodes)
        gate = asyncio.Semaphore(self.concurrency)
        (compared, metric_gaps), (lines, truncated, log_gaps) = await asyncio.gather(
            self._metrics([n for n in tree.nodes.values() if n.metrics], gate),
            self._logs([tree.nodes[n] for n in noisy if tree.nodes[n].logs], gate),
        )
        groups = tuple(group for node, found in lines.items() for group in group_errors(node, found, redact))
        mentions = tuple(m for node, found in lines.items() for m in find_mentions(node, found, tree.nodes))
        return Gathered(compared, lines, groups, mentions, (*metric_gaps, *log_gaps), truncated)

    async def _metrics(
        self, nodes: Sequence[Node], gate: asyncio.Semaphore
    ) -> tuple[dict[str, Sequence[Compared]], list[Gap]]:
        until = asyncio.get_running_loop().time() + self.timeout

        async def look(node: Node) -> Sequence[Compared] | Gap:
            try:
                async with asyncio.timeout_at(until), gate:
                    source = self.metrics(node.source)
                    return await compare_queries(source, node.name, node.metrics, self.at, self.baseline)
            except (SourceError, TimeoutError) as error:
                return Gap(node.name, node.source or "prometheus", "metrics", _why(error))

        answers = await asyncio.gather(*(look(node) for node in nodes))
        found: dict[str, Sequence[Compared]] = {}
        gaps: list[Gap] = []
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, Gap):
                gaps.append(answer)
            else:
                found[node.name] = answer
        return found, gaps

    async def _logs(
        self, nodes: Sequence[Node], gate: asyncio.Semaphore
    ) -> tuple[dict[str, Sequence[LogLine]], frozenset[str], list[Gap]]:
        until = asyncio.get_running_loop().time() + self.timeout

        async def look(node: Node) -> tuple[Sequence[LogLine], bool] | Gap:
            assert node.logs is not None
            try:
                async with asyncio.timeout_at(until), gate:
                    source = self.logs(node.logs.source)
                    batch = await source.lines(node.logs.query, self.at - self.window, self.at, self.max_lines)
            except (SourceError, TimeoutError) as error:
                return Gap(node.name, node.logs.source or "logs", "log", _why(error))
            return batch.lines, batch.truncated

        answers = await asyncio.gather(*(look(node) for node in nodes))
        found: dict[str, Sequence[LogLine]] = {}
        cut: set[str] = set()
        gaps: list[Gap] = []
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, Gap):
                gaps.append(answer)
                continue
            found[node.name] = answer[0]
            if answer[1]:
                cut.add(node.name)
        return found, frozenset(cut), gaps


def _why(error: Exception) -> str:
    return str(error) or "no answer within the deadline"


def collect_evidence(
    tree: Tree,
    measurement: Measurement,
    verdicts: Mapping[str, Verdict],
    gathered: Gathered,
    at: float,
    window: float,
) -> tuple[Evidence, ...]:
    """Everything that may be cited, numbered E1… in the order of the tree. Pure."""
    items = [_sla_evidence(tree, measurement, at, window)]
    for name, node in tree.nodes.items():
        items.extend(_node_evidence(node, verdicts[name], gathered, at, window))
    return tuple(replace(item, id=f"E{number}") for number, item in enumerate(items, start=1))


def _sla_evidence(tree: Tree, measurement: Measurement, at: float, window: float) -> Evidence:
    data = {"measured": measurement.measured, "onset": measurement.onset}
    source, query = tree.sla.source or "prometheus", tree.sla.query or ""
    return Evidence("", None, "sla", source, query, (at - window, at), measurement.reason, data=data)


def _node_evidence(node: Node, verdict: Verdict, gathered: Gathered, at: float, window: float) -> Iterable[Evidence]:
    span = (at - window, at)
    if verdict.origin != "none":
        kind: EvidenceKind = "condition" if verdict.origin == "condition" else "check"
        method = node.healthcheck.method if node.healthcheck else "baseline"
        data: dict[str, float | str | None] = {
            "status": verdict.status.value,
            "onset": verdict.onset,
            "z": verdict.size,
        }
        yield Evidence("", node.name, kind, "check", method, span, redact(verdict.reason), data=data)
    for compared in list(gathered.compared.get(node.name, ()))[:_METRICS_A_NODE]:
        found = compared.anomaly
        if abs(found.score) < 3.0 and not verdict.status.troubled:
            continue
        summary = (
            f"{found.series} is {format_number(found.level)}, "
            f"was {format_number(found.baseline)} ± {format_number(found.spread)} (z {found.score:+.1f})"
        )
        data = {"z": found.score, "level": found.level, "baseline": found.baseline, "onset": found.onset}
        source = node.source or "prometheus"
        yield Evidence("", node.name, "metric", source, found.query, span, summary, count=found.points[0], data=data)
    for group in [g for g in gathered.logs if g.node == node.name][:_GROUPS_A_NODE]:
        query = node.logs.query if node.logs else ""
        summary = f"{group.count} × {group.template}"
        data = {"first": group.first, "last": group.last}
        cut = node.name in gathered.truncated
        yield Evidence("", node.name, "log", "logs", query, span, summary, (group.sample,), group.count, cut, data)
