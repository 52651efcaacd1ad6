"""One node, judged: its healthcheck, its declared conditions, or its metrics against their past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module

from treewalk.asking import ask
from treewalk.errors import SourceError, TreewalkError
from treewalk.model.condition import Condition
from treewalk.model.quantity import format_duration, format_number
from treewalk.model.tree import BaselineSpec, CheckSpec, Node
from treewalk.model.verdict import Status, Verdict, unknown, worst
from treewalk.ports import LogSource, MetricSource
from treewalk.sdk import CheckDefinition, Probe

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
                await asyncio.to_thread(import_module, module)

    async def __call__(self, node: Node) -> Verdict:
        looks = [self._condition(node, condition) for condition in node.conditions]
        spec = node.healthcheck
        if spec is not None:
            looks.insert(0, self._healthcheck(node, spec))
        elif node.metrics:
            looks.insert(0, self._against_past(node))
        if not looks:
            return replace(unknown("nothing to look at: give the node a healthcheck, metrics or alerts"), when=self.at)
        return replace(worst(await asyncio.gather(*looks)), when=self.at)

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
        except SourceError as error:
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
                verdict = await asyncio.to_thread(definition.function, probe, **params)
    except TimeoutError:
        return unknown(f"{spec.method} gave no answer within {format_duration(timeout)}")
    except TreewalkError as error:
        return unknown(f"{spec.method}: {error}")
    except Exception as error:  # noqa: BLE001
        return unknown(f"{spec.method} crashed: {type(error).__name__}: {_short(error)} ({definition.origin})")
    if not isinstance(verdict, Verdict):
        return unknown(f"{spec.method} returned {type(verdict).__name__}, not a Verdict ({definition.origin})")
    return verdict


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
