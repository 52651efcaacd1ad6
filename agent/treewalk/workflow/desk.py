"""What an incident is worked on with, and what a life and a rehearsal both do at it: plan, ask policy, look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treewalk.errors import SourceError, UsageError
from treewalk.model.acting import LOST, Context, Plan, PlannedStep, TriedFix, VerifySpec, plan_to_json
from treewalk.model.condition import Answer, parse_condition
from treewalk.model.diagnosis import Diagnosis, Measurement
from treewalk.model.known import KnownError
from treewalk.model.policy import Policy
from treewalk.model.quantity import format_duration
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status
from treewalk.ports import Books, Cases, Clock, Hands, Journal, MetricSource, Records
from treewalk.stages.learn import candidate
from treewalk.stages.plan import NoPlan, Shelf, plan
from treewalk.stages.verify import sla_answer
from treewalk.workflow.underway import Underway


@dataclass(frozen=True)
class Desk:
    """What an incident is worked on with: the wired parts of a workspace. `poll` is in seconds.

    `look` diagnoses an SLA, `measure` only measures it, `blast` counts the SLAs above a node, `killed` says why
    nothing may run, `learn` keeps a candidate and `promote` trusts one for its record, unless its past refutes it;
    `underway` counts what runs.
    """

    cases: Cases
    books: Books
    records: Records
    journal: Journal
    clock: Clock
    policy: Policy
    shelf: Shelf
    tree: Callable[[str], Tree]
    known: Callable[[], Mapping[str, KnownError]]
    look: Callable[[str, int], Awaitable[Diagnosis]]
    measure: Callable[[str], Awaitable[Measurement]]
    metrics: Callable[[str | None], MetricSource]
    ask: Callable[[MetricSource, Any, float], Awaitable[Answer]]
    blast: Callable[[str], int]
    killed: Callable[[], str | None]
    read_only: Callable[[], bool]
    hands: Callable[[str], Hands]
    learn: Callable[[Mapping[str, Any], int, float], Awaitable[Mapping[str, Any]]]
    promote: Callable[[str, str], Awaitable[tuple[bool, str]]]
    worker: str
    window: float = 900.0
    poll: float = 1.0
    underway: Underway = field(default_factory=Underway)


def found_by(diagnosis: Diagnosis, desk: Desk, said: str) -> dict[str, Any]:
    """What a diagnosis means for acting, as plain data: `ending` and `why` where there is nothing to act on, `no_plan`
    where nothing can be planned, else the plan and what was seen of its nodes. `said` is its headline."""
    cause, sla = diagnosis.root_cause, diagnosis.sla
    found: dict[str, Any] = {"sla": sla, "ending": None, "why": "", "said": said, "at": diagnosis.timing.at}
    if diagnosis.measurement.status == "met":
        return {**found, "ending": "no_fault_found", "why": f"the SLA is met: {diagnosis.measurement.reason}"}
    if cause is None:
        why = "; ".join(diagnosis.help) or "no node explains it"
        return {**found, "ending": "escalated", "why": f"no root cause: {why}"}
    known = diagnosis.known_error.error.id if diagnosis.known_error and cause.basis == "known" else None
    found |= {"node": cause.node, "known_error": None}
    tree, error = desk.tree(sla), desk.known().get(known or "")
    try:
        made = plan_for(desk, tree, cause.node, error)
    except NoPlan as none:
        return {**found, "no_plan": str(none)}
    known_error = credited(desk, made, known)
    found |= {"plan": plan_to_json(made), "basis": made.basis, "known_error": known_error, **seen_at(diagnosis, made)}
    if error is None:
        found["candidate"] = candidate(diagnosis, tree, made, desk.window)
    return found


def plan_for(desk: Desk, tree: Tree, node: str, error: KnownError | None) -> Plan:
    """The known error's fix, at the node that the error names as its root, so that rules for nodes are asked about the
    one that is touched. An error that is only a candidate does not act: where the node has a remedy, that does.
    Raises NoPlan."""
    if error is not None and error.trust == "candidate" and tree.nodes[node].fields.get("remedy"):
        return plan(tree, node, None, desk.shelf)
    root = tree.nodes.get(error.root_node or "") if error is not None else None
    # What is external is nobody's to touch: there the fix is one of the node that suffers (it reconnects, it waits).
    return plan(tree, root.name if root is not None and not root.external else node, error, desk.shelf)


def seen_at(diagnosis: Diagnosis, made: Plan) -> dict[str, dict[str, Any]]:
    """What a diagnosis knows of each node that a plan touches: whether it was looked at (`evidence`), and the time
    since which it is seen to be in trouble (`since`, Unix seconds; None where it is not).

    A node is in trouble where its verdict says so, or where it is blamed. Without an onset that a series tells, that is
    known from the moment of this look only: neither the SLA's trouble nor the incident's age is the node's.
    """
    cause, at = diagnosis.root_cause, diagnosis.timing.at
    blamed = {cause.node} if cause is not None else set()
    if cause is not None and cause.basis == "known" and diagnosis.known_error is not None:
        blamed.add(diagnosis.known_error.error.root_node or cause.node)
    verdicts = {name: diagnosis.verdicts.get(name) for name in (*made.nodes, *(step.node for step in made.undo))}
    unseen = {name for name, one in verdicts.items() if one is None or one.status is Status.UNKNOWN}
    unseen |= {name for name in blamed & set(diagnosis.verdicts) if diagnosis.verdicts[name].status is Status.UNKNOWN}
    blind = diagnosis.measurement.status == "unknown" or bool(blamed & unseen)
    since: dict[str, float | None] = {}
    for name, verdict in verdicts.items():
        onset = verdict.onset if verdict is not None and verdict.status.troubled else None
        troubled = name in blamed or (verdict is not None and verdict.status.troubled)
        since[name] = min(onset if onset is not None else at, at) if troubled else None
    evidence = {name: "unknown" if blind or name in unseen else "complete" for name in verdicts}
    return {"evidence": evidence, "since": since}


def seen_before(found: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What was found now, with the trouble of nodes that was seen before already as old as it then was."""
    since = {
        name: at if at is None or (old := earlier.get("since", {}).get(name)) is None else min(at, old)
        for name, at in found.get("since", {}).items()
    }
    return {**found, "since": since}


def credited(desk: Desk, made: Plan, known: str | None) -> str | None:
    """The known error whose record a plan counts for: that one, if its own fix is what the plan does, else None.

    A candidate's node may have another remedy, which then runs instead and says nothing of the candidate's fix.
    """
    error = desk.known().get(known or "")
    if error is None or made.known_error == known:
        return made.known_error
    try:
        own = plan(desk.tree(made.sla), made.node, error, desk.shelf)
    except NoPlan:
        return None
    return known if (own.steps, own.undo, own.verify) == (made.steps, made.undo, made.verify) else None


def context_of(
    desk: Desk, made: Plan, step: PlannedStep, found: Mapping[str, Any], key: str = "", number: int | None = None
) -> Context:
    """What a decision about a step looks at, now."""
    now, policy = desk.clock.now(), desk.policy
    tree = desk.tree(made.sla)
    error = desk.known().get(made.known_error or "")
    reach = max(policy.limits.period, policy.repeats.within)
    since = found["since"].get(step.node)
    return Context(
        now=now,
        node=step.node,
        node_type=tree.nodes[step.node].type,
        basis=made.basis,
        record=desk.records.record(error.id, error.trust) if error else None,
        evidence=found["evidence"].get(step.node, "unknown"),
        unhealthy_for=None if since is None else max(0.0, now - since),
        digest=made.digest,
        past=tuple(desk.books.past(now - reach, key)),
        spent=sum(row["cost"] for row in desk.books.of(number) if row["key"] != key) if number is not None else 0.0,
        blast=desk.blast(step.node),
        tags=tree.sla.tags,
        killed=desk.killed(),
        read_only=desk.read_only(),
    )


def switched_off(desk: Desk, *, changes: bool) -> str | None:
    """Why no step may begin at this moment, by a switch that somebody can turn off again; `changes`: one that changes
    something."""
    killed = desk.killed()
    if killed is not None:
        return f"the kill switch is on: {killed}"
    read_only = changes and (desk.read_only() or desk.policy.read_only)
    return "treewalk is set to look and not to touch" if read_only else None


async def preview(desk: Desk, step: PlannedStep, key: str) -> str:
    """What an action would do, told by itself without doing it. Raises SourceError."""
    action = desk.shelf.action(step.kind)
    return await action.preview(action.parameters.model_validate(dict(step.params)), desk.hands(key))


async def look_for_proof(desk: Desk, spec: VerifySpec, sla: str, node: str) -> dict[str, Answer]:
    """What a proof asks for, as it is now: the SLA's own measurement, and the condition at its node."""
    found: dict[str, Answer] = {}
    if spec.sla:
        found[sla] = sla_answer(await desk.measure(sla))
    if spec.check:
        place = desk.tree(sla).nodes.get(spec.node or node)
        try:
            source = desk.metrics(place.source if place else None)
            found[spec.check] = await desk.ask(source, parse_condition(spec.check), desk.clock.now())
        except (SourceError, ValueError) as error:
            found[spec.check] = Answer("unknown", str(error))
    return found


async def mended_since(desk: Desk, other: int, opened: float) -> bool:
    """Whether an incident that had ended before another was opened has been mended meanwhile: nobody may have said so,
    hence its SLAs are measured, and those that are met are kept as met."""
    life = desk.cases.life(other)
    if life["state"] != "closed" or life["closed"] >= opened:
        return False
    for sla in desk.cases.slas(other):
        try:
            measured = await desk.measure(sla)
        except UsageError:  # it is not in the trees any more
            continue
        if measured.status != "met":
            return False
        desk.cases.met([sla], desk.clock.now())
    return True


def fix_of(found: Mapping[str, Any]) -> TriedFix:
    """Which fix it is that was planned."""
    return TriedFix(found["sla"], found["plan"]["node"], found["known_error"], found["plan"]["playbook"])


def losses(desk: Desk, found: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """How often in a row this fix did not fix, and why no more is tried when that is too often."""
    within = desk.policy.returns.within
    lost = lost_at_the_end(desk.records.history(fix_of(found), desk.clock.now() - within))
    if len(lost) < desk.policy.returns.tries:
        return lost, None
    told = ", ".join(f"incident {one['incident']} {one['result']}" for one in lost)
    span = format_duration(within)
    return lost, f"{len(lost)} fixes of {found['plan']['node']} within {span} did not last ({told}): a human is needed"


def lost_at_the_end(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The fixes that did not fix, at the end of a history."""
    lost: list[Mapping[str, Any]] = []
    for one in reversed(history):
        if one["result"] not in LOST:
            break
        lost.insert(0, one)
    return lost
