"""What treewalk does about incidents, wired up: fix, rehearse, take over, approve, kill, learn. The CLI calls this."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from treewalk.analysis.asking import ask
from treewalk.app import App, DiagnoseOptions, baseline_of
from treewalk.errors import SourceError, StoreError, TreewalkError, UsageError
from treewalk.model.acting import Decision, PlannedStep
from treewalk.model.diagnosis import Diagnosis, Measurement
from treewalk.model.events import Event
from treewalk.model.policy import Policy
from treewalk.model.tree import nearest
from treewalk.operations.crew import Crew
from treewalk.operations.learning import Learning
from treewalk.pipeline import live
from treewalk.ports import Durable, Hands, Journal
from treewalk.spans import span
from treewalk.stages.decide import decide
from treewalk.stages.impact import impact
from treewalk.stages.intake import measure
from treewalk.stages.plan import NoPlan, Shelf, plan_playbook
from treewalk.workflow.desk import Desk, context_of
from treewalk.workflow.reckoning import give_up, unknown_outcomes
from treewalk.workflow.rehearsal import Rehearsal, rehearse
from treewalk.workflow.underway import Underway

KILL_FILE = "KILL"


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
        self.journal: Journal = self.audit
        self._newest = [self]  # shared: content that is read again comes first, older content while it is used
        self._lives, self.underway = 0, Underway()
        self.started_read_only = False
        self.shelf = Shelf(app.workspace.playbooks, action, app.workspace.policy.allow.by_parameter)
        self.learning = Learning(app, self.cases, self.lessons)
        self.worker = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.crew = Crew(
            app,
            self.worker,
            self.cases,
            self.workers,
            self._live,
            self.poll,
            self._hand_over,
            self.underway,
            self.ledger,
        )

    @property
    def policy(self) -> Policy:
        """The rules as they were read last."""
        return self._newest[0].app.workspace.policy

    async def renew(self, app: App) -> Operations:
        """The operations of this process on content that was read again.

        Incidents under way keep the content that they began with, under the newest rules (decision 106).
        """
        new = Operations(app, poll=self.poll, watch=self.watch)
        new.worker, new.crew, new.journal, new._newest = self.worker, self.crew, self.journal, self._newest
        new.started_read_only, new.underway = self.started_read_only, self.underway
        self._newest.insert(0, new)
        await self.retire()
        return new

    async def retire(self, *, all: bool = False) -> None:
        """Close the connections of content that no incident under way needs any more, or, at the end, of all."""
        for old in [one for one in self._newest if all or (one is not self._newest[0] and not one._lives)]:
            if not all:
                self._newest.remove(old)
            await old.app.close_sources()

    @property
    def desk(self) -> Desk:
        """The parts that an incident's life is made of."""
        app = self.app
        return Desk(
            cases=self.cases,
            books=self.ledger,
            records=self.lessons,
            journal=self.journal,
            clock=app.clock,
            policy=cast(Policy, _Newest(lambda: self.policy)),
            shelf=self.shelf,
            tree=app.workspace.forest.tree,
            known=app.known_errors,
            look=self._look,
            measure=self._measure,
            metrics=app.sources.metric,
            ask=ask,
            blast=self.blast,
            killed=self.killed,
            read_only=lambda: self.read_only() is not None,
            hands=lambda key: Hands(app.resolve, 30.0, key),
            learn=self.learning.learn,
            promote=self.learning.promote_by_record,
            worker=self.worker,
            window=app.workspace.settings.walk.since,
            poll=self.poll,
            underway=self.underway,
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

    def kill(self, who: str, why: str) -> tuple[str, ...]:
        """Stop everything, now and between any two steps: by the table and by the file. Either is enough; what went
        wrong with the other is told. Raises StoreError when neither could be had."""
        problems = []
        try:
            self.kill_file.parent.mkdir(parents=True, exist_ok=True)
            self.kill_file.write_text(f"{who}: {why}\n", "utf-8")
        except OSError as error:
            problems.append(f"the file {self.kill_file.name} cannot be written ({error.strerror})")
        try:
            self.cases.switch_on("kill", who, why, self.app.clock.now())
        except StoreError as error:
            problems.append(str(error))
        if len(problems) == 2:
            raise StoreError(f"the kill switch could not be thrown: {'; '.join(problems)}; stop the process itself")
        return tuple(problems)

    def revive(self, who: str) -> bool:
        """Let things run again; whether the switch was on. Raises TreewalkError, and the switch stays on."""
        there = self.kill_file.exists()
        try:
            self.kill_file.unlink(missing_ok=True)
        except OSError as error:
            why = f"{self.kill_file.name} cannot be removed ({error.strerror}): the kill switch stays on"
            raise TreewalkError(why) from None
        return self.cases.switch_off("kill", who, self.app.clock.now()) or there

    # looking without touching

    def read_only(self) -> str | None:
        """Why treewalk only looks, or None."""
        if self.started_read_only:
            return "it was started with --read-only"
        if self.policy.read_only:
            return "policy.read_only is set in treewalk.yaml"
        return self.cases.switch("read_only")

    def set_read_only(self, on: bool, who: str, why: str = "") -> bool:
        """Throw the switch or take it back; whether it was on before."""
        before = self.cases.switch("read_only") is not None
        if on:
            self.cases.switch_on("read_only", who, why, self.app.clock.now())
        else:
            self.cases.switch_off("read_only", who, self.app.clock.now())
        return before

    # approvals

    def answer(self, number: int, who: str, granted: bool, via: str = "cli", digest: str | None = None) -> str:
        """A human's answer to what an incident asks. Raises UsageError when it asks nothing, or when nothing may be
        approved.

        With a digest, whole or its beginning, the answer is to that plan, and to no other that is asked about now.
        """
        life = self.cases.life(number)
        if life["digest"] is None or life["state"] != "asking":
            raise UsageError(f"incident {number} asks nothing: it is {life['ending'] or life['state']}")
        if digest is not None and not same_plan(digest, life["digest"]):
            return "not asked"
        why = self.read_only() if granted else None
        if why is not None:
            said = {"digest": life["digest"], "via": via, "why": why}
            self.audit.add(self.app.clock.now(), "answer refused", who, said, number)
            raise UsageError(f"nothing can be approved, treewalk only looks: {why}")
        return self.cases.answer(number, life["digest"], who, granted, via, self.app.clock.now())

    def acknowledge(self, number: int, who: str, via: str = "cli") -> bool:
        """Keep that a human has seen an incident, which stops it from going on to the next channel; False when it was
        acknowledged already. It approves nothing. Raises UsageError."""
        from treewalk.store.acknowledging import acknowledge

        return acknowledge(self.app.database, self.cases, number, who, via, self.app.clock.now())

    def cancel(self, number: int, who: str) -> bool:
        """End an incident; what is being done at this moment is still recorded. False: it was closed before."""
        self.cases.life(number)
        return self.cases.close(number, "cancelled", f"cancelled by {who}", self.app.clock.now(), {})

    # fixing

    async def rehearse(self, sla: str) -> Rehearsal:
        """Diagnose, plan, ask policy and every action what it would do. Changes nothing, remembers nothing."""
        diagnosis = await self.app.diagnose(sla, DiagnoseOptions(keep=False), self.watch)
        found = await rehearse(diagnosis, self.desk)
        if found.plan is None:
            return found
        reach = impact(self.app.workspace.forest, list(found.plan.nodes), self.app.clock.now())
        return replace(found, above=tuple(affected.sla.name for affected in reach.slas))

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
        found = {"evidence": dict.fromkeys(made.nodes, "complete"), "since": {}}
        asked = [(step, context_of(self.desk, made, step, found)) for step in made.steps]
        long = unhealthy_for or 0.0
        return [(step, decide(step, replace(one, unhealthy_for=long), self.policy)) for step, one in asked]

    async def fix(self, sla: str, cause: str, opened: Callable[[int], None] = lambda number: None) -> int:
        """Open an incident and work on it until it is closed; its number, or that of the one it became a part of.
        One that lives already is joined. `opened` is told each incident that is worked on, the last one last."""
        self.app.workspace.forest.sla(sla)
        async with self.crew.working() as workflows:
            number = self.open(sla, cause)
            opened(number)
            await workflows.start(number)
            await self.crew.until_closed(number)
            while (into := self.cases.merged_into(number)) is not None:
                number = into
                opened(number)
                await self.crew.until_closed(number)
        return number

    def open(self, sla: str, cause: str) -> int:
        """The living incident of an SLA, or a new one."""
        return self.cases.open_or_join(sla, cause, self.app.clock.now())

    async def _live(self, number: int, durable: Durable) -> str:
        mine = self._newest[0]
        sla = mine.cases.life(number)["sla"]
        if sla not in mine.app.workspace.forest.slas:
            self._hand_over(number, f"there is no SLA {sla} any more")
            return "escalated"
        mine._lives += 1
        try:
            with span(f"incident {sla}", incident=number, sla=sla) as note:
                ending = await live(number, mine.desk, durable)
                note("ending", ending)
            return ending
        finally:
            mine._lives -= 1

    def _hand_over(self, number: int, why: str) -> None:
        """Close an incident that cannot be worked on any more, with what nobody knows of its actions."""
        unknown = unknown_outcomes(self.desk, number)
        give_up(self.desk, number)
        said = f"{unknown}; {why}" if unknown else why
        self.cases.close(number, "escalated", said, self.app.clock.now(), {})


def same_plan(shown: str, digest: str) -> bool:
    """Whether a digest, whole or its beginning (at least half of it), is the one of a plan."""
    return len(shown) >= 32 and digest.startswith(shown)


class _Newest:
    """Rules that are looked up whenever they are used, so that a stricter policy holds from the very next step."""

    def __init__(self, look_up: Callable[[], Policy]) -> None:
        self._look_up = look_up

    def __getattr__(self, name: str) -> Any:
        return getattr(self._look_up(), name)
