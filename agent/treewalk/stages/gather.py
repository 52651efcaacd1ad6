"""Collecting evidence at the nodes that matter: error lines grouped, metrics against their past, alerts that fire,
gaps named.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from treewalk.analysis.comparing import Compared, compare_queries
from treewalk.errors import SourceError, was_answered
from treewalk.model.diagnosis import Measurement
from treewalk.model.evidence import Evidence, EvidenceKind, Gap, LogGroup, Mention
from treewalk.model.mentions import find_mentions
from treewalk.model.quantity import format_duration, format_number
from treewalk.model.redact import redact
from treewalk.model.series import Answered, LogBatch, LogLine, Sample, Series
from treewalk.model.templates import group_errors
from treewalk.model.tree import BaselineSpec, Node, Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.ports import LogSource, MetricSource

T = TypeVar("T")

_METRICS_A_NODE = 4  # evidence shows the most deviating ones
_GROUPS_A_NODE = 5
_ALERTS_A_NODE = 5
_MOST_HEARD = 20  # warnings, and as many infos, of a whole diagnosis
_LONGEST_TOLD = 300  # characters of one

FIRING = 'ALERTS{alertstate="firing"}'
_FIRING_SINCE = "ALERTS_FOR_STATE"  # its values are the Unix times from which alerts are active
_NO_IDENTITY = frozenset(("__name__", "alertname", "alertstate", "severity"))  # labels that name no node
_EVERYBODY = frozenset(("localhost", "127.0.0.1", "::1", "[::1]"))
_Labels = frozenset[tuple[str, str]]
_PORT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """An alert that fires at a node. `label` is the one whose value names the node; `since` is Unix seconds."""

    node: str
    name: str
    severity: str
    label: str
    since: float | None = None


@dataclass(frozen=True)
class Gathered:
    """What was brought home. `lines` are raw (for matching only, never shown); the rest is redacted."""

    compared: Mapping[str, Sequence[Compared]] = field(default_factory=dict)
    lines: Mapping[str, Sequence[LogLine]] = field(default_factory=dict)
    logs: tuple[LogGroup, ...] = ()
    mentions: tuple[Mention, ...] = ()
    alerts: tuple[FiringAlert, ...] = ()
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
        """Logs and alerts of every node that is not healthy (of all, when none is troubled), metrics of every node.

        One of the four places where what goes wrong becomes a value: a failed look is a Gap.
        """
        noisy = [name for name in tree.nodes if verdicts[name].status is not Status.HEALTHY]
        if not any(verdicts[name].status.troubled for name in noisy):
            noisy = list(tree.nodes)
        gate = asyncio.Semaphore(self.concurrency)
        (compared, metric_gaps), (lines, truncated, log_gaps), (alerts, alert_gaps) = await asyncio.gather(
            self._metrics([n for n in tree.nodes.values() if n.metrics], gate),
            self._logs([tree.nodes[n] for n in noisy if tree.nodes[n].logs], gate),
            self._alerts(tree, [tree.nodes[n] for n in noisy], gate),
        )
        groups = tuple(group for node, found in lines.items() for group in group_errors(node, found, redact))
        mentions = tuple(m for node, found in lines.items() for m in find_mentions(node, found, tree.nodes))
        gaps = (*metric_gaps, *log_gaps, *alert_gaps)
        return Gathered(compared, lines, groups, mentions, alerts, gaps, truncated)

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

    async def _alerts(
        self, tree: Tree, nodes: Sequence[Node], gate: asyncio.Semaphore
    ) -> tuple[tuple[FiringAlert, ...], list[Gap]]:
        until = asyncio.get_running_loop().time() + self.timeout

        async def look(source: str | None) -> list[FiringAlert] | Gap:
            mine = [node for node in nodes if node.source == source]
            try:
                async with asyncio.timeout_at(until), gate:
                    metrics = self.metrics(source)
                    firing = await metrics.instant(FIRING, self.at)
                    if not any(True for node in mine for _ in _alerts_at(node, firing, {})):
                        return []
                    since = await _since(metrics, self.at)
            except (SourceError, TimeoutError) as error:
                return Gap(None, source or "prometheus", "alerts", _why(error))
            return [alert for node in mine for alert in _alerts_at(node, firing, since)]

        answers = await asyncio.gather(*(look(source) for source in _alert_sources(tree, nodes)))
        found = tuple(alert for answer in answers if not isinstance(answer, Gap) for alert in answer)
        return found, [answer for answer in answers if isinstance(answer, Gap)]


async def _since(metrics: MetricSource, at: float) -> Mapping[_Labels, float]:
    """Since when alerts are active, by their labels; nothing where the source does not keep that."""
    try:
        return {_identity(sample): sample.value for sample in await metrics.instant(_FIRING_SINCE, at)}
    except SourceError:
        return {}


def _alert_sources(tree: Tree, nodes: Sequence[Node]) -> list[str | None]:
    """The metric sources of nodes, as far as the tree asks them anything: there may be none at all."""
    used = {n.source for n in tree.nodes.values() if n.metrics or n.conditions}
    if tree.sla.query:
        used.add(tree.sla.source)
    return sorted({n.source for n in nodes} & used, key=lambda name: name or "")


def _alerts_at(node: Node, firing: Sequence[Sample], since: Mapping[_Labels, float]) -> Iterable[FiringAlert]:
    """The alerts one of whose labels is the node's name, aka, container or host; those that fire longest first."""
    named = [node.name, *node.aka, node.fields.get("container"), node.fields.get("host")]
    words = {word.lower() for word in named if isinstance(word, str)} - _EVERYBODY
    found = []
    for sample in firing:
        label = next((key for key, value in sorted(sample.labels.items()) if _names(key, value, words)), None)
        if label is not None and sample.value == 1:
            alert = FiringAlert(
                node.name,
                redact(sample.labels.get("alertname", "without a name")),
                redact(sample.labels.get("severity", "")),
                redact(f'{label}="{sample.labels[label]}"'),
                since.get(_identity(sample)),
            )
            found.append(alert)
    return sorted(found, key=lambda a: (a.since is None, a.since, a.name, a.label))[:_ALERTS_A_NODE]


def _names(key: str, value: str, words: Collection[str]) -> bool:
    plain = value.lower()
    return key not in _NO_IDENTITY and (plain in words or _PORT.sub("", plain) in words)


def _identity(sample: Sample) -> _Labels:
    return frozenset((k, v) for k, v in sample.labels.items() if k not in ("__name__", "alertstate"))


class Heard:
    """Listens to sources: whether they answer at all, and what metric sources say beside their answers.

    A warning is a Gap: the answer may lack something. An info is a remark. Each is given once, at most twenty of them.
    `answered` and `failed` count questions that were answered (a refusal is an answer) and that nobody answered;
    what nobody was asked, as no such source is configured, is neither. A replay gives the counts of then: `asked`.
    """

    def __init__(
        self,
        metrics: Callable[[str | None], MetricSource],
        logs: Callable[[str | None], LogSource],
        asked: tuple[int, int] | None = None,
    ) -> None:
        self._metrics, self._logs = metrics, logs
        self._counts = asked is None
        self.answered, self.failed = asked or (0, 0)
        self._warnings: set[Gap] = set()
        self._infos: set[str] = set()

    def source(self, name: str | None) -> MetricSource:
        """The metric source of that name, listened to."""
        return _Listening(self._metrics(name), name or "default", self)

    def log_source(self, name: str | None) -> LogSource:
        """The log source of that name, listened to."""
        return _ListeningToLogs(self._logs(name), self)

    @property
    def unreachable(self) -> bool:
        """Whether something was asked and nothing answered."""
        return self.failed > 0 and not self.answered

    async def count(self, ask: Awaitable[T]) -> T:
        """The answer to a question, which is counted. Raises its SourceError."""
        answered: bool | None = False  # unless one waits for the end of it
        try:
            found = await ask
            answered = True
        except SourceError as error:
            answered = was_answered(error)
            raise
        finally:
            if self._counts and answered is not None:
                self.answered += answered
                self.failed += not answered
        return found

    def take(self, source: str, query: str, found: object) -> None:
        """Keep what an answer was said with."""
        if not isinstance(found, Answered):
            return
        query = redact(query)
        for text in found.warnings:
            self._warnings.add(Gap(None, source, query, f"answered with a warning: {_told(text)}"))
        for text in found.infos:
            self._infos.add(f"{query}: the source says: {_told(text)}")

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(sorted(self._warnings, key=lambda g: (g.source, g.what, g.why))[:_MOST_HEARD])

    @property
    def remarks(self) -> tuple[str, ...]:
        return tuple(sorted(self._infos)[:_MOST_HEARD])


@dataclass(frozen=True)
class _Listening:
    inner: MetricSource
    source: str
    heard: Heard

    @property
    def name(self) -> str:
        return self.inner.name

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        found = await self.heard.count(self.inner.instant(query, at))
        self.heard.take(self.source, query, found)
        return found

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        found = await self.heard.count(self.inner.range(query, start, end, step))
        self.heard.take(self.source, query, found)
        return found


@dataclass(frozen=True)
class _ListeningToLogs:
    inner: LogSource
    heard: Heard

    @property
    def name(self) -> str:
        return self.inner.name

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        return await self.heard.count(self.inner.lines(query, start, end, limit))


def _told(text: str) -> str:
    return redact(" ".join(text[: 10 * _LONGEST_TOLD].split()))[:_LONGEST_TOLD]


def _why(error: Exception) -> str:
    return redact(str(error)) or "no answer within the deadline"


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
    for alert in [a for a in gathered.alerts if a.node == node.name]:
        lasting = f" for {format_duration(at - alert.since)}" if alert.since is not None and alert.since <= at else ""
        severity = f"severity {alert.severity}, " if alert.severity else ""
        summary = f"alert {alert.name} fires{lasting} ({severity}{alert.label})"
        data = {"alert": alert.name, "since": alert.since}
        yield Evidence("", node.name, "alert", node.source or "prometheus", FIRING, span, summary, count=1, data=data)
