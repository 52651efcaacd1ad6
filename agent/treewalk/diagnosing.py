"""A diagnosis from top to bottom: measure, walk, gather, match, rank, conclude. One call a stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from treewalk.analysis.asking import ask
from treewalk.errors import SourceError
from treewalk.model.condition import Answer, Condition
from treewalk.model.diagnosis import Diagnosis, Findings, Measurement, Timing
from treewalk.model.events import Event, Measured, StageDone, StageStarted, TreeOpened
from treewalk.model.quantity import format_duration
from treewalk.model.tree import BaselineSpec, Node, Tree
from treewalk.model.verdict import Verdict
from treewalk.ports import Clock, LogSource, MetricSource
from treewalk.sdk import CheckDefinition
from treewalk.spans import span
from treewalk.stages.checkrun import NodeChecker
from treewalk.stages.conclude import Case, conclude
from treewalk.stages.gather import Gathered, Gatherer, Heard, collect_evidence
from treewalk.stages.intake import Intake, measure
from treewalk.stages.match import MatchResult, SignatureIndex, match
from treewalk.stages.rank import Scene, Weights, rank
from treewalk.stages.walk import Strategy, walk
from treewalk.threads import Threads

Watch = Callable[[Event], None]
WALK_SHARE = 0.75  # of the deadline is the walk's at the most; the rest is for gathering and matching


@dataclass(frozen=True)
class Bench:
    """What a diagnosis works with: the wired sources, the checks, the memory of known errors, and the bounds.

    `at` is the diagnosed moment (Unix seconds); `live` says that it is now. `window`, `deadline` and
    `check_timeout` are seconds. `recorded` and `keep_verdict` serve replay and recording.
    """

    metrics: Callable[[str | None], MetricSource]
    logs: Callable[[str | None], LogSource]
    checks: Mapping[str, CheckDefinition]
    known: SignatureIndex
    clock: Clock
    at: float
    window: float
    baseline: BaselineSpec
    live: bool = True
    deadline: float = 60.0
    check_timeout: float = 10.0
    concurrency: int = 32
    max_log_lines: int = 1000
    strategy: Strategy = "sweep"
    resolve: Callable[[str], str] = str
    asked: tuple[int, int] | None = None  # of a replay: how many questions were answered, and how many by nobody
    told: Sequence[tuple[str, str, object]] = ()  # of a replay: (source, query, answer) of what checks asked, too
    recorded: Mapping[str, Verdict] = field(default_factory=dict)
    keep_verdict: Callable[[str, Verdict], None] = lambda node, verdict: None
    weights: Weights = field(default_factory=Weights)
    threads: Threads = field(default_factory=Threads)


async def diagnose(tree: Tree, bench: Bench, watch: Watch = lambda event: None) -> Diagnosis:
    """Look at one SLA and everything under it. Never raises for a source that fails: that is part of the result."""
    stopwatch = _Stopwatch(bench.clock, watch)
    heard = Heard(bench.metrics, bench.logs, bench.asked)
    for source, query, found in bench.told:
        heard.take(source, query, found)
    bench = replace(bench, metrics=heard.source, logs=heard.log_source)
    watch(TreeOpened(tree))
    until = bench.clock.monotonic() + bench.deadline
    with stopwatch.stage("measure"):
        intake = await _measure(tree, bench)
        watch(Measured(intake.measurement))
    with stopwatch.stage("walk"):
        checker = _checker(bench)
        await checker.load(tree.nodes.values())
        verdicts = await walk(
            tree,
            checker,
            deadline=(until - bench.clock.monotonic()) * WALK_SHARE,
            concurrency=bench.concurrency,
            strategy=bench.strategy,
            watch=watch,
        )
    with stopwatch.stage("gather"):
        gathered = await _gather(tree, bench, intake, verdicts, until)
        evidence = collect_evidence(tree, intake.measurement, verdicts, gathered, bench.at, bench.window)
    with stopwatch.stage("match"):
        cite = {(e.node or "", str(e.kind)): e.id for e in reversed(evidence)}
        troubled = frozenset(name for name, verdict in verdicts.items() if verdict.status.troubled)
        matches = await _match(tree, bench, gathered, lambda node, kind: cite.get((node, kind)), until, troubled)
    gathered = replace(gathered, gaps=(*gathered.gaps, *heard.gaps))
    with stopwatch.stage("rank"):
        scene = Scene(
            tree=tree,
            measurement=intake.measurement,
            own=intake.own,
            verdicts=verdicts,
            compared=gathered.compared,
            at=bench.at,
            window=bench.window,
            mentions=gathered.mentions,
            logs=gathered.logs,
            matches=matches.matches,
            weights=bench.weights,
        )
        suspects = rank(scene)
    findings = Findings(
        evidence=evidence,
        gaps=gathered.gaps,
        logs=gathered.logs,
        anomalies=tuple(c.anomaly for found in gathered.compared.values() for c in found),
        mentions=gathered.mentions,
    )
    case = Case(
        tree=tree,
        measurement=intake.measurement,
        verdicts=verdicts,
        suspects=suspects,
        matches=matches.matches,
        evidence=evidence,
        gaps=gathered.gaps,
        logs=gathered.logs,
        mentions=gathered.mentions,
    )
    conclusion = conclude(case)
    return Diagnosis(
        sla=tree.sla.name,
        measurement=intake.measurement,
        verdicts=verdicts,
        suspects=conclusion.suspects,
        root_cause=conclusion.root_cause,
        known_error=conclusion.known_error,
        matches=matches.matches,
        near_misses=matches.near_misses,
        findings=findings,
        gaps=gathered.gaps,
        timing=stopwatch.timing(bench.at),
        remarks=(*conclusion.remarks, *heard.remarks),
        help=conclusion.help,
        unreachable=heard.unreachable,
    )


async def _measure(tree: Tree, bench: Bench) -> Intake:
    limit = bench.deadline * WALK_SHARE / 2
    try:
        source = bench.metrics(tree.sla.source) if tree.sla.query else None
        async with asyncio.timeout(limit):
            return await measure(tree.sla, source, bench.at, bench.baseline)
    except SourceError as error:
        why = str(error)
    except TimeoutError:
        why = f"no answer within {format_duration(limit)}"
    sla = tree.sla
    shown = str(sla.threshold) if sla.threshold else None
    in_window = sla.window is None or sla.window.contains(bench.at)
    return Intake(Measurement("unknown", why, limit=shown, in_window=in_window), None, answered=False)


def _checker(bench: Bench) -> NodeChecker:
    return NodeChecker(
        checks=bench.checks,
        metrics=bench.metrics,
        logs=bench.logs,
        at=bench.at,
        window=bench.window,
        timeout=bench.check_timeout,
        baseline=bench.baseline,
        live=bench.live,
        resolve=bench.resolve,
        recorded=bench.recorded,
        keep=bench.keep_verdict,
        threads=bench.threads,
    )


async def _gather(tree: Tree, bench: Bench, intake: Intake, verdicts: Mapping[str, Verdict], until: float) -> Gathered:
    if intake.measurement.status == "met" and not any(v.status.troubled for v in verdicts.values()):
        return Gathered()
    gatherer = Gatherer(
        metrics=bench.metrics,
        logs=bench.logs,
        at=bench.at,
        window=bench.window,
        baseline=bench.baseline,
        max_lines=bench.max_log_lines,
        timeout=max(0.1, (until - bench.clock.monotonic()) * 0.8),
        concurrency=bench.concurrency,
    )
    return await gatherer.gather(tree, verdicts)


async def _match(
    tree: Tree,
    bench: Bench,
    gathered: Gathered,
    evidence_of: Callable[[str, str], str | None],
    until: float,
    troubled: Collection[str],
) -> MatchResult:
    async def put(node: Node, condition: Condition) -> Answer:
        try:
            async with asyncio.timeout(max(0.1, until - bench.clock.monotonic())):
                return await ask(bench.metrics(node.source), condition, bench.at)
        except TimeoutError:
            return Answer("unknown", f"{condition.text}: not answered within the deadline")

    nodes = list(tree.nodes.values())
    gaps, cut = gathered.log_gaps, gathered.truncated
    return await match(bench.known, nodes, gathered.lines, put, gaps, evidence_of, troubled, cut)


@dataclass
class _Stopwatch:
    clock: Clock
    watch: Watch
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock.now()
        self.zero = self.clock.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.watch(StageStarted(name))
        begin = self.clock.monotonic()
        with span(f"stage {name}"):
            yield
        self.seconds[name] = self.clock.monotonic() - begin
        self.watch(StageDone(name, self.seconds[name]))

    def timing(self, at: float) -> Timing:
        return Timing(self.started, at, self.clock.monotonic() - self.zero, dict(self.seconds))
