"""What treewalk does about incidents, wired up: fix, rehearse, take over, approve, kill, learn. The CLI calls this."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from treewalk.app import App, DiagnoseOptions, baseline_of
from treewalk.asking import ask
from treewalk.errors import SourceError, UsageError
from treewalk.model.acting import Decision, Plan, PlannedStep
from treewalk.model.diagnosis import Diagnosis, Measurement
from treewalk.model.events import Event
from treewalk.model.known import KnownError
from treewalk.model.tree import nearest
from treewalk.pipeline import Desk, context_of, live, preview
from treewalk.ports import Durable, Hands
from treewalk.stages.decide import decide
from treewalk.stages.impact import impact
from treewalk.stages.intake import measure
from treewalk.stages.plan import NoPlan, Shelf, plan, plan_playbook

KILL_FILE = "KILL"
_HEARTBEAT = 5.0  # seconds
_ORPHAN = 10.0  # seconds after which an incident that nobody works on is taken up


@dataclass(frozen=True)
class RehearsedStep:
    """One step as it would go: what it would do, and what policy says of it."""

    step: PlannedStep
    told: str
    decision: Decision


@dataclass(frozen=True)
class Rehearsal:
    """What `fix` would do: the diagnosis, and the plan or why there is none."""

    diagnosis: Diagnosis
    plan: Plan | None
    why: str
    steps: tuple[RehearsedStep, ...] = ()
    above: tuple[str, ...] = ()


class Operations:
    """Everything that a workspace's incidents need, on one app."""

    def __init__(self, app: App, *, poll: float | None = None, watch: Callable[[Event], None] | None = None) -> None:
        from treewalk.actions import action
        from treewalk.store.audit import Audit
        from treewalk.store.casebook import Casebook
        from treewalk.store.ledger import Ledger
        from treewalk.store.lessons import Lessons
        from treewalk.store.workers import Workers

        self.app, self.poll = app, poll if poll is not None else 0.5
        self.watch = watch or (lambda event: None)
        database = app.database
        self.audit, self.cases, self.ledger = Audit(database), Casebook(database), Ledger(database)
        self.lessons, self.workers = Lessons(database), Workers(database)
        self.policy = app.workspace.policy
        self.shelf = Shelf(app.workspace.playbooks, action)
        self.worker = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    @property
    def desk(self) -> Desk:
        """The parts that an incident's life is made of."""
        app = self.app
        return Desk(
            cases=self.cases,
            books=self.ledger,
            records=self.lessons,
            journal=self.audit,
            clock=app.clock,
            policy=self.policy,
            shelf=self.shelf,
            tree=app.workspace.forest.tree,
            known=app.known_errors,
            look=self._look,
            measure=self._measure,
            metrics=app.sources.metric,
            ask=ask,
            blast=self.blast,
            killed=self.killed,
            read_only=lambda: self.policy.read_only or self.cases.switch("read_only") is not None,
            hands=lambda key: Hands(app.resolve, 30.0, key),
            learn=self.learn,
            worker=self.worker,
            window=app.workspace.settings.walk.since,
            poll=self.poll,
        )

    # looking

    async def _look(self, sla: str, number: int) -> Diagnosis:
        return await self.app.diagnose(sla, DiagnoseOptions(keep=False), self.watch)

    async def _measure(self, name: str) -> Measurement:
        sla, app = self.app.workspace.forest.sla(name), self.app
        spec = baseline_of(sla, app.workspace.settings.walk, None)
        try:
            source = app.sources.metric(sla.source) if sla.query else None
            async with asyncio.timeout(app.workspace.settings.walk.check_timeout):
                return (await measure(sla, source, app.clock.now(), spec)).measurement
        except SourceError as error:
            return Measurement("unknown", str(error))
        except TimeoutError:
            return Measurement("unknown", "no answer in time")

    def blast(self, node: str) -> int:
        """How many SLAs stand above a node."""
        return len(impact(self.app.workspace.forest, [node], self.app.clock.now()).slas)

    # the kill switch

    @property
    def kill_file(self) -> Path:
        """The file whose presence stops everything."""
        return self.app.workspace.state / KILL_FILE

    def killed(self) -> str | None:
        """Why nothing may run. A switch that cannot be read counts as on."""
        try:
            if self.kill_file.exists():
                text = self.kill_file.read_text("utf-8", "replace").strip()[:200]
                return text or f"the file {self.kill_file.name} is there"
        except OSError as error:
            return f"{self.kill_file.name} cannot be read ({error.strerror})"
        return self.cases.switch("kill")

    def kill(self, who: str, why: str) -> None:
        """Stop everything, now and between any two steps: by the table and by the file."""
        now = self.app.clock.now()
        self.kill_file.parent.mkdir(parents=True, exist_ok=True)
        self.kill_file.write_text(f"{who}: {why}\n", "utf-8")
        self.cases.switch_on("kill", who, why, now)

    def revive(self, who: str) -> bool:
        """Let things run again; whether the switch was on."""
        there = self.kill_file.exists()
        self.kill_file.unlink(missing_ok=True)
        return self.cases.switch_off("kill", who, self.app.clock.now()) or there

    # approvals

    def answer(self, number: int, who: str, granted: bool, via: str = "cli") -> str:
        """A human's answer to what an incident asks. Raises UsageError when it asks nothing."""
        life = self.cases.life(number)
        if life["digest"] is None or life["state"] != "asking":
            raise UsageError(f"incident {number} asks nothing: it is {life['ending'] or life['state']}")
        return self.cases.answer(number, life["digest"], who, granted, via, self.app.clock.now())

    def cancel(self, number: int, who: str) -> bool:
        """End an incident; what is being done at this moment is still recorded. False: it was closed before."""
        self.cases.life(number)
        return self.cases.close(number, "cancelled", f"cancelled by {who}", self.app.clock.now(), {})

    # fixing

    async def rehearse(self, sla: str) -> Rehearsal:
        """Diagnose, plan, ask policy and every action what it would do. Changes nothing, remembers nothing."""
        diagnosis = await self.app.diagnose(sla, DiagnoseOptions(keep=False), self.watch)
        cause = diagnosis.root_cause
        if diagnosis.measurement.status == "met":
            return Rehearsal(diagnosis, None, "the SLA is met: there is nothing to fix")
        if cause is None:
            return Rehearsal(diagnosis, None, "no root cause was found")
        known = diagnosis.known_error if cause.basis == "known" else None
        tree = self.app.workspace.forest.tree(sla)
        error = self.app.known_errors().get(known.error.id) if known else None
        if error is not None and error.trust == "candidate" and tree.nodes[cause.node].fields.get("remedy"):
            error = None
        try:
            made = plan(tree, cause.node, error, self.shelf)
        except NoPlan as none:
            return Rehearsal(diagnosis, None, str(none))
        return await self._rehearsed(diagnosis, made)

    def explain(
        self, playbook: str, node: str, unhealthy_for: float | None, known: str | None
    ) -> list[tuple[PlannedStep, Decision]]:
        """What policy would say of a playbook at a node now, asking nothing outside. Raises UsageError."""
        workspace = self.app.workspace
        workspace.forest.node(node)
        if playbook not in workspace.playbooks:
            raise UsageError(f"no playbook named {playbook!r}", nearest(playbook, workspace.playbooks))
        above = impact(workspace.forest, [node], self.app.clock.now()).slas
        if not above:
            raise UsageError(f"no SLA stands above {node}")
        tree = workspace.forest.tree(above[0].sla.name)
        errors = self.app.known_errors()
        if known is not None and known not in errors:
            raise UsageError(f"no known error {known!r}", nearest(known, errors))
        given = (tree.nodes[node].fields.get("remedy") or {}).get("with") or {}
        try:
            made = plan_playbook(tree, node, playbook, given, self.shelf, errors.get(known or ""))
        except NoPlan as none:
            raise UsageError(str(none)) from None
        since = self.app.clock.now() - (unhealthy_for or 0.0)
        found = {"evidence": "complete", "since": since}
        return [(step, decide(step, context_of(self.desk, made, step, found), self.policy)) for step in made.steps]

    async def _rehearsed(self, diagnosis: Diagnosis, made: Plan) -> Rehearsal:
        desk, verdict = self.desk, diagnosis.verdicts[made.node]
        blind = diagnosis.measurement.status == "unknown" or verdict.status.value == "unknown"
        onsets = [t for t in (verdict.onset, diagnosis.measurement.onset) if t is not None]
        found = {"evidence": "unknown" if blind else "complete", "since": min([*onsets, desk.clock.now()])}
        steps = []
        for step in made.steps:
            told, rehearsed = step.purpose, True
            if step.changes:
                try:
                    told = await preview(desk, step, "")
                except SourceError as error:
                    told, rehearsed = f"its rehearsal failed: {error}", False
            context = replace(context_of(desk, made, step, found), rehearsed=rehearsed)
            steps.append(RehearsedStep(step, told, decide(step, context, self.policy)))
        reach = impact(self.app.workspace.forest, list(made.nodes), desk.clock.now())
        return Rehearsal(diagnosis, made, "", tuple(steps), tuple(a.sla.name for a in reach.slas))

    async def fix(self, sla: str, cause: str, opened: Callable[[int], None] = lambda number: None) -> int:
        """Open an incident and work on it until it is closed; its number. One that lives already is joined."""
        self.app.workspace.forest.sla(sla)
        async with self.working() as workflows:
            number = self.open(sla, cause)
            opened(number)
            await workflows.start(number)
            await self.until_closed(number, workflows)
        return number

    def open(self, sla: str, cause: str) -> int:
        """The living incident of an SLA, or a new one."""
        return self.cases.open_or_join(sla, cause, self.app.clock.now())

    async def until_closed(self, number: int, workflows: Any) -> None:
        """Wait for an incident's end, whoever works on it; takes over what died meanwhile."""
        while self.cases.life(number)["state"] != "closed":
            await self.app.clock.sleep(min(self.poll, 0.2))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Any]:
        """This process as one of those that work on incidents, for as long as the context lasts."""
        from treewalk.integrations.durable import Workflows

        now = self.app.clock.now
        workflows = Workflows(self.app.workflow_url, self.worker, self._live)
        self.workers.register(self.worker, now())
        await workflows.launch()
        keeper = asyncio.create_task(self._keep_working(workflows))
        try:
            yield workflows
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            await workflows.close()
            if not self.cases.living():  # else the row stays: it is how others see whose work is left
                self.workers.leave(self.worker)

    async def _live(self, number: int, durable: Durable) -> str:
        return await live(number, self.desk, durable)

    async def _keep_working(self, workflows: Any) -> None:
        """Signs of life, and the work of those that died."""
        since = -_HEARTBEAT
        while True:
            if self.app.clock.monotonic() - since >= _HEARTBEAT or since < 0:
                since = self.app.clock.monotonic()
                self.workers.beat(self.worker, self.app.clock.now())
                await self.take_over(workflows)
            await asyncio.sleep(0.5)

    async def take_over(self, workflows: Any) -> None:
        """Go on with the incidents of dead processes, and with those that nobody ever began."""
        for id in self.workers.dead(self.app.clock.now()):
            if id != self.worker:
                await self._inherit(id, workflows)
        for life in self.cases.living():
            if self.app.clock.now() - life["updated"] >= _ORPHAN:
                await self._revive(life["number"], workflows)

    async def _inherit(self, id: str, workflows: Any) -> None:
        """Take over what a dead process left. Its row goes last: who dies here leaves it to the next."""
        if self.workers.adopt(id, self.app.clock.now()):
            await workflows.take_over([id])
            self.workers.bury(id)

    async def _revive(self, number: int, workflows: Any) -> None:
        """See to it that somebody who lives works on an incident."""
        state = await workflows.state(number)
        if state.status is None:
            await workflows.start(number)
        elif state.ended:
            await workflows.start(number, state.attempt + 1)
        elif state.executor != self.worker and state.executor not in self.workers.known():
            await self._inherit(state.executor, workflows)

    async def stay(self) -> None:
        """Work on whatever processes leave behind, until this one is told to end."""
        async with self.working():
            while True:
                await self.app.clock.sleep(3600.0)

    async def resume(self) -> Sequence[int]:
        """Finish every living incident that no living process works on; their numbers."""
        async with self.working() as workflows:
            numbers = [life["number"] for life in self.cases.living()]
            await self.take_over(workflows)
            for number in numbers:
                await self._revive(number, workflows)
            for number in numbers:
                await self.until_closed(number, workflows)
        return numbers

    # learning

    async def learn(self, document: Mapping[str, Any], number: int, at: float) -> Mapping[str, Any]:
        """Keep a candidate, unless it also fits the time before the incident, when all was well."""
        from treewalk.content.known_errors import from_document

        error = from_document(document)
        if error is None:
            return {"id": None, "said": "nothing was learned: the pattern cannot be read again"}
        walk = self.app.workspace.settings.walk
        spec = walk.baseline.spec()
        end = at - walk.since
        tested = await self.backtest(error, end - min(spec.baseline, 86400.0), end, window=walk.since)
        if tested.false:
            return {"id": None, "said": f"nothing was learned: {error.id} would also have fired when all was well"}
        kept = self.lessons.keep(error.id, document, number, self.app.clock.now(), "treewalk")
        said = f"learned {error.id}" if kept else f"{error.id} was learned before"
        return {"id": error.id, "said": f"{said}; a candidate until it is promoted"}

    async def backtest(self, error: KnownError, start: float, end: float, *, window: float | None = None) -> Any:
        """When a known error's signature would have fired between two times (Unix seconds)."""
        from treewalk.stages.backtest import Backtest, backtest

        forest, walk = self.app.workspace.forest, self.app.workspace.settings.walk
        wanted = error.signature.node or error.root_node
        if wanted is None or wanted not in forest.nodes:
            return Backtest(start, end, gaps=(f"{error.id} names no single node of this workspace",))
        node = forest.nodes[wanted]
        step = max(1.0, (end - start) / 2000)
        metrics = _or_none(lambda: self.app.sources.metric(node.source))
        logs = _or_none(lambda: self.app.sources.log(node.logs.source if node.logs else None))
        bad = [*self.cases.trouble(start, end), *await self._violations(node.name, start, end, step)]
        return await backtest(error.signature, node, metrics, logs, start, end, step, window or walk.since, sorted(bad))

    async def _violations(self, node: str, start: float, end: float, step: float) -> list[tuple[float, float]]:
        """When the SLAs above a node were violated, as far as their series tell."""
        from treewalk.stages.backtest import spans

        found: list[tuple[float, float]] = []
        for affected in impact(self.app.workspace.forest, [node], end).slas:
            sla = affected.sla
            if sla.query is None or sla.threshold is None:
                continue
            try:
                series = await self.app.sources.metric(sla.source).range(sla.query, start, end, step)
            except SourceError:
                continue
            broken = sorted(
                t
                for one in series
                for t, v in zip(one.times, one.values, strict=True)
                if v == v and not sla.threshold.holds(v)
            )
            found += spans(broken, step)
        return found


def _or_none(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except SourceError:
        return None
