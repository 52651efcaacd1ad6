"""One node, judged: its healthcheck, its declared conditions, or its metrics against their past."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module

from treewalk.analysis.asking import ask
from treewalk.errors import TreewalkError
from treewalk.model.condition import Condition
from treewalk.model.quantity import format_duration, format_number
from treewalk.model.redact import redact, short
from treewalk.model.timestamps import LATEST
from treewalk.model.tree import BaselineSpec, CheckSpec, Node
from treewalk.model.verdict import Status, Verdict, unknown, worst
from treewalk.ports import LogSource, MetricSource
from treewalk.sdk import CheckDefinition, Probe
from treewalk.threads import Threads, in_thread

CHECK_SHARE = 0.8  # a check that waits for its node has to be done a little before it is given up on


@dataclass(frozen=True)
class NodeChecker:
    """Everything that judging a node needs. Calling it never raises but for cancellation.

    `window` is how far back checks look, `timeout` how long one may take, both in seconds.
    """

    checks: Mapping[str, CheckDefinition]
    metrics: Callable[[str | None], MetricSource]
    logs: Callable[[str | None], LogSource]
    at: float
    window: float
    timeout: float
    baseline: BaselineSpec
    live: bool = True
    resolve: Callable[[str], str] = str
    recorded: Mapping[str, Verdict] = field(default_factory=dict)  # of a replay: nothing live is asked again
    keep: Callable[[str, Verdict], None] = lambda node, verdict: None
    threads: Threads = field(default_factory=Threads)

    async def load(self, nodes: Iterable[Node]) -> None:
        """Import the client libraries that the nodes' checks need, so that no check's time goes into it. A library
        that is missing is the check's own matter to tell."""
        wanted: dict[str, None] = {}
        for node in nodes:
            spec = None if node.name in self.recorded else node.healthcheck
            definition = self.checks.get(spec.method) if spec is not None else None
            if spec is not None and definition is not None and (self.live or not definition.live):
                wanted.update(dict.fromkeys(definition.modules(spec.params)))
        for module in wanted:
            with suppress(ImportError):
                await in_thread(partial(import_module, module), name="treewalk-import")

    async def __call__(self, node: Node) -> Verdict:
        looks = [self._condition(node, condition) for condition in node.conditions]
        spec = node.healthcheck
        if spec is not None:
            looks.insert(0, self._healthcheck(node, spec))
        elif node.metrics:
            looks.insert(0, self._against_past(node))
        if not looks:
            return replace(unknown("nothing to look at: give the node a healthcheck, metrics or alerts"), when=self.at)
        return replace(_redacted(worst(await asyncio.gather(*looks))), when=self.at)

    async def _healthcheck(self, node: Node, spec: CheckSpec) -> Verdict:
        if node.name in self.recorded:
            return self.recorded[node.name]
        verdict = await self._run(node, spec)
        self.keep(node.name, verdict)
        return verdict

    async def _run(self, node: Node, spec: CheckSpec) -> Verdict:
        definition = self.checks.get(spec.method)
        if definition is None:
            return unknown(f"no check named {spec.method!r}")
        if definition.live and not self.live:
            return unknown(f"{spec.method} looks at the present only; it says nothing about a past moment")
        probe = Probe(
            node=node,
            at=self.at,
            window=self.window,
            timeout=self.timeout * CHECK_SHARE,
            metrics=self.metrics,
            logs=self.logs,
            live=self.live,
            baseline=self.baseline,
            resolve=self.resolve,
            threads=self.threads,
        )
        return await run_check(definition, probe, spec, self.timeout)

    async def _against_past(self, node: Node) -> Verdict:
        """What a node with metrics and no healthcheck gets. Unusual is degraded: nobody declared it broken."""
        spec = CheckSpec("baseline", {}, node.place)
        if "baseline" not in self.checks:
            return unknown("the baseline check is missing from this installation")
        verdict = await self._run(node, spec)
        if verdict.status is Status.UNHEALTHY:
            verdict = replace(verdict, status=Status.DEGRADED)
        return replace(verdict, origin="baseline")

    async def _condition(self, node: Node, condition: Condition) -> Verdict:
        try:
            answer = await ask(self.metrics(node.source), condition, self.at)
        except TreewalkError as error:  # a source that fails, or a secret of its settings that is not there
            return replace(unknown(f"{condition.text}: {error}"), origin="condition")
        value = format_number(answer.sample.value) if answer.sample else None
        status = {"holds": Status.DEGRADED, "not": Status.HEALTHY, "unknown": Status.UNKNOWN}[answer.state]
        reason = f"{condition.text}: {answer.reason}"
        return Verdict(status, reason, observed=value, expected=f"not {condition.text}", origin="condition")


async def run_check(definition: CheckDefinition, probe: Probe, spec: CheckSpec, timeout: float) -> Verdict:
    """Run one check for `timeout` seconds at the most; whatever goes wrong in it becomes unknown with the reason.

    One of the four places that catch everything: a user's check that crashes costs its node a verdict, not the walk
    its life.
    """
    try:
        params = definition.bind(spec.params)
        async with asyncio.timeout(timeout):
            if definition.is_async:
                verdict = await definition.function(probe, **params)  # type: ignore[misc]
            else:
                verdict = await probe.in_thread(definition.function, probe, **params)
        if isinstance(verdict, Verdict):
            return _sound(verdict)
    except TimeoutError:
        return unknown(f"{spec.method} gave no answer within {format_duration(timeout)}")
    except TreewalkError as error:
        return unknown(f"{spec.method}: {error}")
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return unknown(f"{spec.method} crashed: {type(error).__name__}: {_said(error)} ({definition.origin})")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return unknown(f"{spec.method} was cancelled from within ({definition.origin})")
    return unknown(f"{spec.method} returned {type(verdict).__name__}, not a Verdict ({definition.origin})")


def _said(error: BaseException) -> str:
    try:
        return short(str(error))
    except Exception:  # noqa: BLE001 - a user's exception that cannot even be shown
        return "its message cannot be read"


def _sound(verdict: Verdict) -> Verdict:
    """A user's verdict as what it is declared to be: a check may put anything into it. Raises ValueError for a status
    that is none."""
    return replace(
        verdict,
        status=Status(verdict.status),
        reason=str(verdict.reason),
        observed=None if verdict.observed is None else str(verdict.observed),
        expected=None if verdict.expected is None else str(verdict.expected),
        onset=_finite(verdict.onset, LATEST),
        size=_finite(verdict.size),
    )


def _finite(value: float | None, most: float = math.inf) -> float | None:
    """A number that can be reckoned with and written down, or None."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) and abs(number) < most else None


def _redacted(verdict: Verdict) -> Verdict:
    """The one place where what checks say is made fit to be shown, kept and sent: by whatever road it came."""
    return replace(
        verdict,
        reason=redact(verdict.reason),
        observed=None if verdict.observed is None else redact(verdict.observed),
        expected=None if verdict.expected is None else redact(verdict.expected),
    )
