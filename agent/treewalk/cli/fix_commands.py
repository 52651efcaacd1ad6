"""Commands that change something, or stop it: fix, resume, approve, deny, kill, revive."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treewalk import threads
from treewalk.cli.common import PlainFormat, State, line, note, put, put_json, signed, user
from treewalk.cli.plans import SHORT, plan_lines
from treewalk.errors import UsageError

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations
    from treewalk.workflow.rehearsal import Rehearsal

FormatOption = Annotated[PlainFormat, typer.Option(help="text or json.")]
NumberArgument = Annotated[int, typer.Argument(help="The incident's number.")]
ENDINGS = {"resolved": 0, "no_fault_found": 0}
REFUSED = 3
SCHEMA = "treewalk/fix/1"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(fix)
    app.command()(resume)
    app.command()(approve)
    app.command()(deny)
    app.command()(kill)
    app.command()(revive)


def fix(
    context: typer.Context,
    sla: Annotated[str, typer.Argument(help="The SLA that broke.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show plan and decisions; change nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before starting. Policy still decides every step.")
    ] = False,
    format: FormatOption = PlainFormat.TEXT,
) -> int:
    """Diagnose, plan, do what policy allows, prove it with the SLA, and remember.

    Exit codes: 0 the SLA is met (fixed, or nothing was wrong); 1 escalated to a human; 2 usage or configuration;
    3 refused or cancelled.
    """
    if dry_run:
        return _rehearse(context.obj, sla, format)
    if not yes and not _confirmed(sla):
        put("nothing was done; --yes skips this question, --dry-run shows what would be done")
        return REFUSED
    return asyncio.run(_fix(context.obj, sla, format))


def _confirmed(sla: str) -> bool:
    import sys

    if not sys.stdin.isatty():
        return True  # nobody to ask: policy decides
    return typer.confirm(f"diagnose {sla} and do what policy allows?", err=True)


async def _fix(state: State, sla: str, format: PlainFormat) -> int:
    from treewalk.operations.incidents import Operations
    from treewalk.workflow.desk import switched_off

    async with state.app() as app:
        operations = Operations(app)
        if (off := switched_off(operations.desk, changes=True)) is not None:
            return _put_nothing(off, format)
        number = 0

        def opened(found: int) -> None:
            nonlocal number
            number = found
            note(f"incident {found}: {sla}")

        follow = asyncio.create_task(_follow(operations, lambda: number))
        try:
            number = await operations.fix(sla, f"treewalk fix, by {user()}", opened)
        finally:
            follow.cancel()
        return _put_life(operations, number, format)


async def _follow(operations: Operations, number: Any) -> None:
    """Say every new line of the timeline while it is worked on; where it becomes part of another one, of that."""
    said: Counter[int] = Counter()
    while True:
        if current := number():
            rows = operations.cases.timeline(current)
            for row in rows[said[current] :]:
                note(f"  {row['kind']:<12} {line(row['text'])}")
                if row["kind"] == "asking":
                    _note_plan(operations, current)
            said[current] = len(rows)
        await asyncio.sleep(0.3)


def _note_plan(operations: Operations, number: int) -> None:
    """What is asked about, and how it is answered."""
    life = operations.app.store.incident(number)["life"]
    if life["plan"] and life["digest"]:
        for text in plan_lines(life["plan"], life["digest"]):
            note(f"    {text}")
        note(f"    `treewalk approve {number} --plan {life['digest'][:SHORT]}`, or `treewalk deny {number}`")


def _put_nothing(why: str, format: PlainFormat) -> int:
    """Whoever asks for a fix while nothing may be done is told so at once, instead of waiting with an incident."""
    if format is PlainFormat.JSON:
        put_json({"schema": SCHEMA, "incident": None, "ending": "refused", "why": why, "timeline": []})
    else:
        put(f"nothing was done: {line(why)}; --dry-run shows what would be done")
    return REFUSED


def _put_life(operations: Operations, number: int, format: PlainFormat) -> int:
    life = operations.cases.life(number)
    if format is PlainFormat.JSON:
        incident = operations.app.store.incident(number)
        put_json({"schema": SCHEMA, "incident": number, **incident["life"], "timeline": timeline(operations, number)})
    else:
        put(f"incident {number} {life['ending']}: {line(life['why'])}")
    return ENDINGS.get(life["ending"], REFUSED if life["ending"] in ("refused", "cancelled") else 1)


def timeline(operations: Operations, number: int) -> list[dict[str, Any]]:
    """What happened, for programs."""
    return [{"at": row["at"], "kind": row["kind"], "text": row["text"]} for row in operations.cases.timeline(number)]


def _rehearse(state: State, sla: str, format: PlainFormat) -> int:
    async def run() -> Rehearsal:
        from treewalk.operations.incidents import Operations

        async with state.app() as app:
            return await Operations(app).rehearse(sla)

    found = threads.run(run())  # it only looks: a source that hangs is not waited for
    if format is PlainFormat.JSON:
        put_json(_rehearsal(found))
    else:
        _put_rehearsal(found)
    return 0 if found.plan is not None or found.diagnosis.measurement.status == "met" else 1


def _put_rehearsal(found: Rehearsal) -> None:
    from treewalk.stages import report

    put(report.headline(found.diagnosis))
    if found.plan is None:
        put(f"no plan: {line(found.why)}")
        return
    put(f"plan        {found.plan.title} at {found.plan.node}  ({found.plan.digest[:12]})")
    for one in found.steps:
        put(f"  {one.step.index + 1}. {one.step.kind:<24} {line(one.told)}")
        put(f"     {one.decision.ruling:<8} {one.decision.rule}: {line(one.decision.because)}")
    verify = found.plan.verify
    wanted = " and ".join([*([verify.check] if verify.check else []), *([found.plan.sla] if verify.sla else [])])
    put(f"proof       {wanted}, stable for {verify.stable:g} s within {verify.timeout:g} s")
    put(f"SLAs above  {', '.join(found.above)}")
    if found.why:
        put(line(found.why))
    put("nothing was changed")


def _rehearsal(found: Rehearsal) -> dict[str, Any]:
    from treewalk.model.acting import plan_to_json
    from treewalk.stages import report

    return {
        "schema": "treewalk/rehearsal/1",
        "diagnosis": report.document(found.diagnosis),
        "plan": plan_to_json(found.plan) if found.plan else None,
        "digest": found.plan.digest if found.plan else None,
        "why": found.why,
        "steps": [
            {
                "kind": one.step.kind,
                "node": one.step.node,
                "told": one.told,
                "ruling": one.decision.ruling,
                "rule": one.decision.rule,
                "because": one.decision.because,
                "tier": one.decision.tier.value,
            }
            for one in found.steps
        ],
        "slas_above": list(found.above),
    }


def resume(
    context: typer.Context,
    stay: Annotated[
        bool, typer.Option("--stay", help="Go on until Ctrl-C: one of several that share the work.")
    ] = False,
    format: FormatOption = PlainFormat.TEXT,
) -> int:
    """Finish the incidents that processes which died have left. Runs until all of them are closed."""

    async def run() -> list[dict[str, Any]]:
        from treewalk.operations.incidents import Operations
        from treewalk.workflow.desk import switched_off

        async with context.obj.app() as app:
            operations = Operations(app)
            if (off := switched_off(operations.desk, changes=True)) is not None:
                note(f"what changes something is held: {line(off)}")
            if stay:
                note("working on what other processes leave behind; Ctrl-C ends it")
                await operations.crew.stay()
            numbers = await operations.crew.resume()
            return [dict(operations.cases.life(number)) for number in numbers]

    lives = asyncio.run(run())
    if format is PlainFormat.JSON:
        put_json({"incidents": lives})
        return 0
    for life in lives:
        put(f"incident {life['number']} {life['ending']}: {line(life['why'])}")
    if not lives:
        put("no incident was left")
    return 0


PlanOption = Annotated[
    str, typer.Option("--plan", help="The digest of the plan that you have read; another one is not answered.")
]


def approve(
    context: typer.Context,
    number: NumberArgument,
    who: Annotated[str, typer.Option(help="Your name.")] = "",
    plan: PlanOption = "",
) -> int:
    """Let an incident's plan be done: this very plan, once, until the question expires. It is printed."""
    return _answer(context.obj, number, who, plan, granted=True)


def deny(
    context: typer.Context,
    number: NumberArgument,
    who: Annotated[str, typer.Option(help="Your name.")] = "",
    plan: PlanOption = "",
) -> int:
    """Refuse an incident's plan. It is printed."""
    return _answer(context.obj, number, who, plan, granted=False)


def _answer(state: State, number: int, who: str, plan: str, *, granted: bool) -> int:
    from treewalk.operations.incidents import Operations

    operations = Operations(state.app())
    life = operations.app.store.incident(number)["life"]
    asked = life["digest"] if life["state"] == "asking" else None
    if plan and asked is not None and not (len(plan) >= SHORT and asked.startswith(plan.lower())):
        why = f"incident {number} asks about plan {asked[:SHORT]} now, and not about {line(plan)[:64]}"
        raise UsageError(f"{why}: nothing was answered; `treewalk incidents show {number}` shows it")
    result = operations.answer(number, signed(who), granted, digest=asked or "none that was seen")
    if result == "recorded" and life["plan"]:
        for text in plan_lines(life["plan"], asked or ""):
            put(text)
    told = {
        "recorded": f"incident {number}: {'approved' if granted else 'denied'}",
        "already": f"incident {number}: somebody else has answered already",
        "expired": f"incident {number}: the question has expired",
        "not asked": f"incident {number}: this plan was not asked about",
    }
    put(told[result])
    return 0 if result == "recorded" else 1


def kill(
    context: typer.Context, why: Annotated[str, typer.Argument(help="What people will read.")] = "no reason given"
) -> None:
    """Stop everything: no action runs any more, also not between two steps of one that has begun."""
    from treewalk.operations.incidents import Operations

    operations = Operations(context.obj.app())
    problems = operations.kill(user(), why)
    put(f"the kill switch is on; `treewalk revive` turns it off, and so does nothing else ({operations.kill_file})")
    for problem in problems:
        put(f"but {line(problem)}")


def revive(context: typer.Context) -> None:
    """Turn the kill switch off."""
    from treewalk.operations.incidents import Operations

    was_on = Operations(context.obj.app()).revive(user())
    put("the kill switch is off" if was_on else "the kill switch was not on")
