"""An incident's whole life from top to bottom, one call a stage, every stage a durable step.

open → diagnosing → planned → (waiting | asking) → acting → verifying → closed: resolved, escalated, refused, cancelled,
or merged into another incident with the same cause.
A crash at any instant: what was recorded is not done again, what was not is; an action runs at most once (stages/act).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from treewalk.errors import UsageError
from treewalk.model.acting import Plan, TriedFix, Verification, VerifySpec, plan_from_json
from treewalk.model.condition import Answer
from treewalk.model.quantity import format_duration
from treewalk.ports import Durable
from treewalk.stages import report
from treewalk.stages.verify import verify, whole_proof
from treewalk.workflow.acting import Acting
from treewalk.workflow.desk import (
    Desk,
    credited,
    fix_of,
    found_by,
    look_for_proof,
    losses,
    mended_since,
    seen_before,
)
from treewalk.workflow.life import Over
from treewalk.workflow.reckoning import done_before, ended_by_others, give_up, unknown_outcomes

_ROUNDS = 20  # how often an incident may wait for another one and look again


async def live(number: int, desk: Desk, durable: Durable) -> str:
    """Work on one incident until it is closed; its ending."""
    life = _Incident(number, desk, durable)
    try:
        found = await life.diagnose()
        await life.share(found)
        made = await life.plan(found)
        found, made = await life.take_turns(found, made)
        await life.measure_before(made)
        await life.carry_out(made)
        proof = await life.prove(made.verify)
        if proof.result != "holds":
            await life.not_helped(made, f"the fix did not hold: {proof.reason}")
        await life.others(made.verify)
        return await life.resolved(found, made, proof)
    except Over as over:
        return await life.over(over.ending, over.why)


class _Incident(Acting):
    """One incident on its way."""

    # diagnosing

    async def diagnose(self) -> Mapping[str, Any]:
        """Look; what was found, as data. Ends the life where there is nothing to fix or nobody to blame."""
        for _ in range(_ROUNDS):
            self.found = seen_before(await self._step("diagnose", self._diagnose), self.found)
            if not self.found["ending"]:
                return self.found
            if self.found["ending"] == "no_fault_found" and self.after is not None:
                raise Over("resolved", f"{self._told_of(self.after)}: {self.found['why']}")
            other = (
                await self._step("mended below", self._mended_below) if self.found["ending"] == "escalated" else None
            )
            if other is None:
                break
            await self._wait_for_other(other)
        raise Over(self.found["ending"], self.found["why"])

    async def _diagnose(self) -> dict[str, Any]:
        desk, sla = self.desk, self.desk.cases.life(self.number)["sla"]
        self._enter("diagnosing", f"looking at {sla}")
        desk.cases.claim(self.number, (), desk.clock.now())  # begun again, it may have nodes that it does not want now
        ended = ended_by_others(desk, self.number)
        diagnosis = await desk.look(sla, self.number)
        said = report.headline(diagnosis)
        desk.cases.diagnosed(self.number, diagnosis, report.document(diagnosis), said, desk.clock.now())
        self._need_known()
        since = desk.clock.now() - desk.policy.returns.within
        if diagnosis.measurement.status == "violated" and desk.records.broke_again(sla, self.number, since):
            self._note("returned", f"{sla} was met again less than {_span(desk)} ago, and it is violated")
        found = {**found_by(diagnosis, desk, said), "ended": {node: len(runs) for node, runs in ended.items()}}
        done = done_before(desk, self.number) if found["ending"] == "no_fault_found" else None
        return {**found, "ending": "resolved", "why": f"{found['why']}; {done}"} if done else found

    async def _mended_below(self) -> int | None:
        """Nobody is to blame here; but if another incident is just mending something beneath, its end is waited for."""
        other = self.desk.cases.mending(self.number, tuple(self.desk.tree(self.found["sla"]).nodes))
        if other is not None:
            self._enter("waiting", f"incident {other} is mending a node beneath; waiting for its end")
        return other

    # one cause, one incident

    async def share(self, found: Mapping[str, Any]) -> None:
        """Where the same node is already at work for another SLA, this incident becomes a part of that one."""
        await self._step("share", self._share, found)

    async def _share(self, found: Mapping[str, Any]) -> None:
        desk = self.desk
        other = desk.cases.same_cause(self.number, found["node"], desk.clock.now() - desk.policy.unmet)
        if other is None or await mended_since(desk, other, desk.cases.life(self.number)["opened"]):
            return
        why = f"{found['node']} is the cause of incident {other} too"
        if desk.cases.merge(self.number, other, why, desk.clock.now()):
            raise Over("merged", why)
        self._need_open()

    async def others(self, spec: VerifySpec) -> None:
        """The SLAs that came in with the same cause: each has to be met again too, or goes on in its own incident."""
        await self._step("others", self._others, spec)

    async def _others(self, spec: VerifySpec) -> None:
        desk = self.desk
        if desk.cases.life(self.number)["state"] not in ("verifying", "diagnosing"):
            self._enter("verifying", "seeing whether all of its SLAs are met")  # from here on no other one joins it
        only = VerifySpec(check=None, sla=True, timeout=spec.timeout, stable=spec.stable)
        for sla in desk.cases.slas(self.number)[1:]:
            look = partial(look_for_proof, desk, only, sla, self.found.get("node", ""))
            try:
                proof = await verify(only, look, desk.clock, {}, self._stopped)
                held, reason = proof.result == "holds", proof.reason
            except UsageError as error:  # it joined from content that was read later than this incident's
                held, reason = False, str(error)
            if held:
                self._note("verified", f"{sla}: {reason}")
                continue
            self._need_open()
            done = f"mended {self.found['node']}" if self.acted else "was over"
            cause = f"{sla} is not met after incident {self.number} {done}: {reason}"
            number = desk.cases.give_back(self.number, sla, cause, desk.clock.now())
            self._note("left", f"{sla} goes on in incident {number}")

    # planning

    async def plan(self, found: Mapping[str, Any]) -> Plan:
        """The plan; ends the life where there is none, or where it has failed too often."""
        why: str | None = await self._step("plan", self._plan, found)
        if why is not None:
            raise Over("escalated", why)
        self.made = plan_from_json(found["plan"])
        return self.made

    async def _plan(self, found: Mapping[str, Any]) -> str | None:
        desk, now = self.desk, self.desk.clock.now()
        since = now - desk.policy.returns.within
        if "no_plan" in found:
            return f"{found['said']}; {found['no_plan']}"
        if desk.records.returned(fix_of(found), self.number, since):
            self._note("returned", f"{found['plan']['node']} was fixed less than {_span(desk)} ago, and it is back")
        lost, why = losses(desk, found)
        if why is not None:
            self._suspend(lost)
            return why
        made = plan_from_json(found["plan"])
        if not desk.cases.planned(self.number, made, now):
            self._need_open()
        return None

    def _suspend(self, lost: Sequence[Mapping[str, Any]]) -> None:
        for id in sorted({one["known_error"] for one in lost if one["known_error"]}):
            why = f"its fix did not last {len(lost)} times running"
            self.desk.records.set_trust(id, "suspended", "treewalk", why, self.desk.clock.now())

    # one incident at a node at a time

    async def take_turns(self, found: Mapping[str, Any], made: Plan) -> tuple[Mapping[str, Any], Plan]:
        """Take the plan's nodes. Where another incident has one of them, wait for its end and look again; where one has
        acted there since this one looked, look again."""
        for _ in range(_ROUNDS):
            other, acted = await self._step("claim", self._claim, made)
            if other is None:
                return found, made
            if acted:
                self.after = other
            else:
                await self._wait_for_other(other)
            found = await self.diagnose()
            await self.share(found)
            made = await self.plan(found)
        raise Over("escalated", f"it waited {_ROUNDS} times for other incidents")

    def _told_of(self, other: int) -> str:
        ending = self.desk.cases.life(other)["ending"] or "it goes on"
        return f"incident {other} mended it" if ending == "resolved" else f"incident {other} ended ({ending})"

    async def _claim(self, made: Plan) -> tuple[int | None, bool]:
        """The incident that is in the way, if any, and whether it has acted since this one looked."""
        other = self.desk.cases.claim(self.number, made.nodes, self.desk.clock.now())
        if other is not None:
            self._enter("waiting", f"incident {other} is at {made.node}; waiting for its end")
            return other, False
        ended, seen = ended_by_others(self.desk, self.number), self.found["ended"]
        for node in made.nodes:
            runs = ended.get(node, ())
            if len(runs) > seen.get(node, 0):
                self._note("overtaken", f"incident {runs[-1]} has acted at {node} meanwhile; looking again")
                return runs[-1], True
        return None, False

    async def _wait_for_other(self, other: int) -> None:
        await self._step("wait for another incident", self._wait_for, other)
        self.after = other

    async def _wait_for(self, other: int) -> None:
        while self.desk.cases.at_work(other):
            self._need_open()
            await self.desk.clock.sleep(self.desk.poll)

    # acting

    async def measure_before(self, made: Plan) -> None:
        """What is looked at for the proof, and for those of single steps, as it was before anything was done."""
        specs = [made.verify, *(step.verify for step in made.steps if step.verify is not None)]
        self.before = await self._step("before", self._look_now, specs)

    async def _look_now(self, specs: Sequence[VerifySpec]) -> dict[str, str]:
        found: dict[str, str] = {}
        for spec in specs:
            found |= {name: one.reason for name, one in (await self._look(spec)).items() if name not in found}
        return found

    async def carry_out(self, made: Plan) -> None:
        """Every step in order. Ends the life where one is refused, fails, or does not prove itself."""
        failed: str | None = None
        for index, step in enumerate(made.steps):
            if failed is not None:
                if step.kind == "escalate_if_failed":
                    failed = f"{step.purpose} ({failed})" if step.purpose else failed
                continue
            if not step.changes and not (self.acted and step.kind == "verify"):  # what was done is proven all the same
                await self._may_begin(f"step {index + 1}: may begin", changes=False)
            if step.kind == "verify" and step.verify is not None:
                proof = await self._prove(step.verify, f"step {index + 1}: verify")
                self.checks.append(proof)
                if proof.result != "holds":
                    failed = proof.reason
            elif step.kind == "wait":
                text = f"waiting {format_duration(step.seconds)}: {step.purpose or 'as the plan says'}"
                await self._wait(f"step {index + 1}: wait", step.seconds, text)
            elif step.changes:
                ran = await self._through(step, made, f"do:{index}")
                failed = None if ran.outcome == "done" else ran.summary
                if ran.outcome == "unknown":
                    self.lost = True
                    raise Over("escalated", ran.summary)
        if failed is not None:
            await self.not_helped(made, failed)

    async def not_helped(self, made: Plan, why: str) -> None:
        """What was done did not help: take it back where that is possible, and end the life."""
        self.lost = True
        await self.take_back(made)
        raise Over("escalated", why)

    # proving

    async def prove(self, spec: VerifySpec) -> Verification:
        """The plan's own proof."""
        self.proof = await self._prove(spec, "prove")
        return self.proof

    async def _prove(self, spec: VerifySpec, name: str) -> Verification:
        looked_at = [self.found["sla"]] if spec.sla else []
        before = {one: self.before[one] for one in (*looked_at, spec.check) if one in self.before}
        data = await self._step(name, self._verify, spec, before)
        return Verification(**data)

    async def _verify(self, spec: VerifySpec, before: Mapping[str, str]) -> dict[str, Any]:
        self._enter("verifying", f"proving it for up to {format_duration(spec.timeout)}")
        proof = await verify(spec, lambda: self._look(spec), self.desk.clock, before, self._stopped)
        self._note("verified" if proof.result == "holds" else "not verified", f"{proof.result}: {proof.reason}")
        return asdict(proof)

    async def _look(self, spec: VerifySpec) -> dict[str, Answer]:
        return await look_for_proof(self.desk, spec, self.found["sla"], self.found["node"])

    # ending

    async def resolved(self, found: Mapping[str, Any], made: Plan, proof: Verification) -> str:
        """The proof holds: learn, and close."""
        learned: Mapping[str, Any] | None = await self._step("learn", self._learn, found)
        why = f"{made.title} at {made.node}; {proof.reason}"
        if learned is not None:
            self.learned = learned["id"]
            why += f"; {learned['said']}"
        return await self.end("resolved", why)

    async def _learn(self, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
        document = found.get("candidate")
        if not document:
            return None
        learned = await self.desk.learn(document, self.number, found["at"])
        self._note("learned", learned["said"])
        return learned

    async def over(self, ending: str, why: str) -> str:
        """End before the plan's own proof. Where its SLA is met, those that came in with it have to be met too."""
        if ending in ("resolved", "no_fault_found"):
            try:
                await self.others(self.made.verify if self.made else VerifySpec())
            except Over as over:  # closed meanwhile
                ending, why = over.ending, over.why
        return await self.end(ending, why)

    async def end(self, ending: str, why: str) -> str:
        """Close the incident with everything that is known; how it ended (another ending, if it was closed before)."""
        ended: str = await self._step("close", self._close, ending, why)
        return ended

    async def _close(self, ending: str, why: str) -> str:
        desk, made, now = self.desk, self.made, self.desk.clock.now()
        unknown = unknown_outcomes(desk, self.number)
        if unknown is not None and ending != "cancelled":
            ending, why = "escalated", why if unknown in why else f"{unknown}; {why}"
        give_up(desk, self.number)
        life = desk.cases.life(self.number)
        if made is not None and self.acted and (ending == "resolved" or (ending == "escalated" and self.lost)):
            # What a human broke off, or a switch or a question without an answer stopped half-way, says nothing of it.
            last = self.proof or (self.checks[-1] if self.checks else None)
            result = "won" if ending == "resolved" else _result(last)
            known, seconds = self.found.get("known_error") or credited(desk, made, self.learned), now - life["opened"]
            fix = TriedFix(made.sla, made.node, known, made.playbook)
            desk.records.tried(fix, self.number, result, seconds, now)
            if known is not None and result == "won":
                await self._trust(known)
        proof = whole_proof(self.checks, self.proof)
        outcome = {
            "proof": asdict(proof) if proof else None,
            "actions": _actions(desk.books.of(self.number)),
            "seconds": now - life["opened"],
        }
        if desk.cases.close(self.number, ending, why, now, outcome):
            return ending
        return str(desk.cases.life(self.number)["ending"])

    async def _trust(self, known: str) -> None:
        """A learned pattern that has won often enough is trusted, where policy says so and its past lets it."""
        wanted, error = self.desk.policy.trust_after, self.desk.known().get(known)
        record = self.desk.records.record(known, error.trust if error else "candidate")
        if wanted is not None and record.trust == "candidate" and record.wins >= wanted:
            done, why = await self.desk.promote(known, f"its fix won {record.wins} times")
            self._note("trusted" if done else "not trusted", f"{known} is {'' if done else 'not '}trusted: {why}")


def _result(proof: Verification | None) -> str:
    return "inconclusive" if proof is not None and proof.result == "inconclusive" else "failed"


def _actions(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = ("action", "node", "intent_at", "outcome", "summary")
    return [{name: row[name] for name in names} for row in rows]


def _span(desk: Desk) -> str:
    return format_duration(desk.policy.returns.within)
