"""One action of an incident's plan, done when policy lets it: decided, waited for, asked about, held, taken back.

Nothing lies between a decision and its action: both stand in one durable step. An action runs at most once
(stages/act).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from treewalk.errors import SourceError
from treewalk.model.acting import Decision, Plan, PlannedStep, Ran
from treewalk.model.diagnosis import Measurement
from treewalk.model.quantity import format_duration
from treewalk.stages.act import Run, act, unfinished
from treewalk.stages.decide import decide
from treewalk.stages.plan import planned_undo, taken_back
from treewalk.workflow.desk import context_of, preview, seen_at, seen_before, switched_off
from treewalk.workflow.life import Life, Over
from treewalk.workflow.reckoning import done_before, key_of

_LOOK = 15.0  # seconds between two measurements of an SLA while a human is asked or nothing may be done
_HELD = 86400.0  # seconds after which what may not go on is a human's; the chain of channels is climbed long before


class Acting(Life):
    """The part of an incident's life in which something is done."""

    async def _through(self, step: PlannedStep, made: Plan, name: str) -> Ran:
        """One action, when policy lets it: waits and questions until it is done, or the life ends."""
        granted = False
        while True:
            got = await self._step(f"{name} {step.kind}", self._attempt, step, made, self.found, name)
            if got["ran"] is not None:
                ran = Ran(**got["ran"])
                self.acted = True
                if ran.undo is not None:
                    self.undos.append((step.node, ran.undo))
                return ran
            because = f"{step.kind} at {step.node}: {got['because']} ({got['rule']})"
            if got["held"]:
                await self._may_begin("hold", changes=True)
            elif got["ruling"] == "refuse":
                raise Over("refused", because)
            elif got["ruling"] == "wait":
                await self._wait_policy(got["seconds"], because)
            elif granted:
                raise Over("escalated", f"the approval that was given does not count: {because}")
            else:
                answer = await self._step("ask", self._ask, made, because)
                granted = answer == "granted"
                if not granted:
                    raise Over(*_UNGRANTED[answer](because))
            if not self.acted:
                self.found = seen_before(await self._step("look again", self._look_again, made), self.found)

    async def _attempt(self, step: PlannedStep, made: Plan, found: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Decide and, where it may run, run it: in one durable step, so that nothing lies between the two."""
        desk = self.desk
        self._need_open()
        key = key_of(desk, self.number, step, made.digest, name)
        ran = self._begun(step, made, key)
        if ran is not None:
            return _got(None, ran)
        while ran is None:  # again where others have acted since it was decided on: what they did counts
            run = Run(key, self.number, made.digest, desk.worker, desk.books.length())
            decision, told = await self._decide(step, made, found, key)
            said = {"step": step.kind, "node": step.node, "plan": made.digest, **_lines(decision)}
            desk.journal.add(desk.clock.now(), "decision", "treewalk", said, self.number)
            if decision.ruling != "proceed":
                return _got(decision, None)
            self._enter("acting", f"{told} ({decision.rule}: {decision.because})")
            async with desk.underway:
                ran = await act(step, run, desk.shelf.action(step.kind), desk.hands(key), desk.books, desk.clock)
        self._note("did" if ran.outcome == "done" else ran.outcome, ran.summary)
        return _got(decision, ran)

    def _begun(self, step: PlannedStep, made: Plan, key: str) -> Ran | None:
        """What is known of this step from before. None: it may run."""
        desk = self.desk
        earlier = desk.books.entry(key)
        ran = unfinished(step, earlier)
        if ran is not None and earlier is not None and earlier.outcome is None:
            desk.books.settle(key, ran.outcome, ran.summary, {}, desk.worker, desk.clock.now())
        self._need_known(key)
        if ran is not None and made.digest[:12] not in key:
            told = f"{step.kind} at {step.node} was {ran.outcome} under an earlier plan and is not done again"
            self._note("done before", told)
        return ran

    async def _decide(self, step: PlannedStep, made: Plan, found: Mapping[str, Any], key: str) -> tuple[Decision, str]:
        try:
            told = await preview(self.desk, step, key)
            rehearsed = True
        except SourceError as error:
            told, rehearsed = f"its rehearsal failed: {error}", False
            self._note("rehearsal", told)
        approval = self.desk.cases.approval(self.number, made.digest)
        context = context_of(self.desk, made, step, found, key, self.number)
        undo = ":undo:" in key
        context = replace(context, approval=approval, rehearsed=rehearsed, undo=undo)
        return decide(step, context, self.desk.policy), told

    async def _wait_policy(self, seconds: float, because: str) -> None:
        await self._wait("wait for policy", seconds, f"waiting {format_duration(seconds)}: {because}")

    async def _ask(self, made: Plan, because: str) -> str:
        """Put the plan to a human and wait for the answer: granted, denied, expired."""
        desk, now, digest = self.desk, self.desk.clock.now(), made.digest
        self._enter("asking", f"a human is asked: {because}")
        back = taken_back(made)
        question = f"{made.title} at {made.node} for {made.sla}: {because}" + (f"; {back}" if back else "")
        expires = desk.cases.ask(self.number, digest, question, now, now + desk.policy.approval_expires)
        looked = desk.clock.monotonic()
        while True:
            self._need_open()
            late = desk.clock.now() >= expires  # before the answer is looked for: one that came in time is there then
            answer = desk.cases.approval(self.number, digest)
            if answer is not None:
                return "granted" if answer.granted else "denied"
            if late:
                return "expired"
            looked = await self._look_on(looked)
            await desk.clock.sleep(desk.poll)

    async def _look_on(self, looked: float) -> float:
        """While it waits: measure the SLA where that was last done long ago; when it was done last."""
        now = self.desk.clock.monotonic()
        if self.acted or now - looked < _LOOK:
            return looked
        self._leave_alone(await self.desk.measure(self.found["sla"]))
        return now

    # held

    async def _may_begin(self, name: str, *, changes: bool) -> None:
        """Wait while a switch lets no step begin (`changes`: none that changes something). Until when at the most is
        recorded first: a hold that outlives its process is not as long again."""
        until = await self._step(name, self._held_until, changes)
        if until is not None:
            await self._step(f"{name}, held", self._hold, changes, until)

    async def _held_until(self, changes: bool) -> float | None:
        return None if switched_off(self.desk, changes=changes) is None else self.desk.clock.now() + _HELD

    async def _hold(self, changes: bool, until: float) -> None:
        desk, told = self.desk, ""
        looked = desk.clock.monotonic()
        while (why := switched_off(desk, changes=changes)) is not None:
            self._need_open()
            if why != told:
                self._enter("waiting", f"held: {why}", {"held": True})
            told = why
            if desk.clock.now() >= until:
                more = "more " if self.acted else ""
                raise Over("escalated", f"nothing {more}could be done for {format_duration(_HELD)}: {why}")
            looked = await self._look_on(looked)
            await desk.clock.sleep(desk.poll)
        if told:
            self._note("goes on", "it may go on, as policy lets it")

    async def _look_again(self, made: Plan) -> dict[str, Any]:
        """After a wait and before anything was done: what was found, with what is seen now of the plan's nodes. Ends
        the life where the SLA is met again."""
        diagnosis = await self.desk.look(self.found["sla"], self.number)
        self._leave_alone(diagnosis.measurement)
        return {**self.found, **seen_at(diagnosis, made)}

    def _leave_alone(self, measurement: Measurement) -> None:
        if measurement.status == "met":
            done = done_before(self.desk, self.number)
            said = f"it is met again, and {done}" if done else "it recovered by itself before anything was done"
            raise Over("resolved", f"{said}: {measurement.reason}")

    # taking back

    async def take_back(self, made: Plan) -> None:
        """Undo what was done, where the playbook or the actions themselves say how, and policy lets it."""
        steps = made.undo or planned_undo(tuple(reversed(self.undos)), self.desk.shelf)
        if not self.acted:
            return
        for index, step in enumerate(steps):
            why = await self._undo(step, made, index) if step.changes else None
            if why is not None:
                await self._step("not undone", self._not_undone, step, why)
                return

    async def _undo(self, step: PlannedStep, made: Plan, index: int) -> str | None:
        """Take one thing back; why it was not, or None. Nobody is asked: the incident goes to a human anyway."""
        try:
            while True:
                name = f"undo:{index}"
                got = await self._step(f"undo {index + 1} {step.kind}", self._attempt, step, made, self.found, name)
                if got["ran"] is not None:
                    return None if got["ran"]["outcome"] == "done" else got["ran"]["summary"]
                because = f"{got['because']} ({got['rule']})"
                if got["ruling"] != "wait":
                    return because
                await self._wait_policy(got["seconds"], because)
        except Over as over:  # closed or killed meanwhile; why it is over stays what it was
            return over.why

    async def _not_undone(self, step: PlannedStep, why: str) -> None:
        self._note("not undone", f"{step.kind} at {step.node} was not undone: {why}")


_UNGRANTED: Mapping[str, Callable[[str], tuple[str, str]]] = {
    "denied": lambda because: ("refused", f"it was denied: {because}"),
    "expired": lambda because: ("escalated", f"nobody answered in time: {because}"),
}


def _got(decision: Decision | None, ran: Ran | None) -> dict[str, Any]:
    kept = asdict(ran) if ran else None
    if decision is None:
        why = {"ruling": "proceed", "rule": "ledger", "because": "it was begun before"}
        return {**why, "seconds": 0.0, "held": False, "ran": kept}
    because = {"ruling": decision.ruling, "rule": decision.rule, "because": decision.because}
    return {**because, "seconds": decision.seconds, "held": decision.held, "ran": kept}


def _lines(decision: Decision) -> dict[str, Any]:
    return {
        "ruling": decision.ruling,
        "rule": decision.rule,
        "because": decision.because,
        "tier": decision.tier.value,
        "lines": [f"{one.rule}: {one.ruling}: {one.because}" for one in decision.lines],
    }
