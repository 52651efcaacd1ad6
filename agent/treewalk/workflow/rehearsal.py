"""What `fix` would do, without doing it: the plan, what every action says it would do, and what policy says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from treewalk.errors import SourceError
from treewalk.model.acting import Decision, Plan, PlannedStep, plan_from_json
from treewalk.model.diagnosis import Diagnosis
from treewalk.stages import report
from treewalk.stages.decide import decide
from treewalk.workflow.desk import Desk, context_of, found_by, losses, preview


@dataclass(frozen=True)
class RehearsedStep:
    """One step as it would go: what it would do, and what policy says of it."""

    step: PlannedStep
    told: str
    decision: Decision


@dataclass(frozen=True)
class Rehearsal:
    """What `fix` would do: the diagnosis, and the plan or why there is none. `above` are the SLAs that it touches."""

    diagnosis: Diagnosis
    plan: Plan | None
    why: str
    steps: tuple[RehearsedStep, ...] = ()
    above: tuple[str, ...] = ()


async def rehearse(diagnosis: Diagnosis, desk: Desk) -> Rehearsal:
    """Go through what would be done, asking only. A plan that failed too often is shown with why it would not run."""
    found = found_by(diagnosis, desk, report.headline(diagnosis))
    if found["ending"] == "no_fault_found":
        return Rehearsal(diagnosis, None, "the SLA is met: there is nothing to fix")
    if found["ending"]:
        return Rehearsal(diagnosis, None, "no root cause was found")
    if "no_plan" in found:
        return Rehearsal(diagnosis, None, found["no_plan"])
    made = plan_from_json(found["plan"])
    steps = []
    for step in made.steps:
        told, rehearsed = step.purpose, True
        if step.changes:
            try:
                told = await preview(desk, step, "")
            except SourceError as error:
                told, rehearsed = f"its rehearsal failed: {error}", False
        context = replace(context_of(desk, made, step, found), rehearsed=rehearsed)
        steps.append(RehearsedStep(step, told, decide(step, context, desk.policy)))
    why = losses(desk, found)[1]
    return Rehearsal(diagnosis, made, f"it would be escalated: {why}" if why else "", tuple(steps))
