"""Commands about what is remembered: incidents, and known errors with their record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from treewalk.cli import lesson_commands, report_commands
from treewalk.cli.common import PlainFormat, line, parse_span, put, put_json, signed, user
from treewalk.errors import UsageError
from treewalk.model.tree import nearest

FormatOption = Annotated[PlainFormat, typer.Option(help="text or json.")]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="How many at the most.")]

incidents = typer.Typer(help="What was diagnosed.", no_args_is_help=True, rich_markup_mode=None)
memory = typer.Typer(help="Known errors and how they did.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    lesson_commands.register(memory)
    report_commands.register(incidents)
    app.add_typer(incidents, name="incidents")
    app.add_typer(memory, name="memory")
    app.command("alerts")(list_alerts)


@incidents.command("list")
def list_incidents(context: typer.Context, limit: LimitOption = 20, format: FormatOption = PlainFormat.TEXT) -> None:
    """The newest incidents first."""
    _put_incidents(context.obj.app().store.incidents(limit), format)


@incidents.command("show")
def show_incident(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="The incident's number.")],
    format: FormatOption = PlainFormat.TEXT,
) -> None:
    """One incident, whole."""
    from treewalk.operations.incidents import Operations

    app = context.obj.app()
    found, operations = app.store.incident(number), Operations(app)
    lived = operations.cases.timeline(number)
    if format is PlainFormat.JSON:
        put_json({**found, "timeline": [dict(row) for row in lived]})
        return
    _put_diagnosis(number, found)
    _put_plan(number, found["life"])
    _put_timeline(found["life"], lived)


@incidents.command("cancel")
def cancel_incident(
    context: typer.Context, number: Annotated[int, typer.Argument(help="The incident's number.")]
) -> int:
    """End an incident without doing anything more. What runs at this moment is still recorded."""
    from treewalk.operations.incidents import Operations

    done = Operations(context.obj.app()).cancel(number, user())
    put(f"incident {number} is cancelled" if done else f"incident {number} was closed before")
    return 0 if done else 1


@incidents.command("ack")
def acknowledge_incident(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="The incident's number.")],
    who: Annotated[str, typer.Option(help="Your name.")] = "",
) -> int:
    """Say that you have seen it: it goes to no further channel. It approves nothing."""
    from treewalk.operations.incidents import Operations

    done = Operations(context.obj.app()).acknowledge(number, signed(who))
    put(f"incident {number} is acknowledged" if done else f"incident {number} was acknowledged before")
    return 0


def _put_plan(number: int, life: Mapping[str, Any]) -> None:
    """The plan that is asked about, or that there is."""
    from treewalk.cli.plans import SHORT, plan_lines

    if not life["plan"]:
        return
    digest = life["digest"] or ""
    for text in plan_lines(life["plan"], digest):
        put(text)
    if life["state"] == "asking":
        put(f"asked       `treewalk approve {number} --plan {digest[:SHORT]}`, or `treewalk deny {number}`")


def _put_timeline(life: Mapping[str, Any], lived: Sequence[Mapping[str, Any]]) -> None:
    from treewalk.stages.report import clock

    for row in lived:
        put(f"  {clock(row['at'])}  {row['kind']:<12} {line(row['text'])}")
    proof = (life["outcome"] or {}).get("proof") or {}
    for name, after in proof.get("after", {}).items():
        put(f"before/after {name}: {line(proof['before'].get(name, 'not looked at'))} → {line(after)}")
    if life["ending"]:
        put(f"{life['ending']}: {line(life['why'])}")


def _put_diagnosis(number: int, found: Mapping[str, Any]) -> None:
    if "reason" not in found:
        put(f"incident {number}: {found['sla']}, not diagnosed yet")
        return
    cause = found["root_cause"] or {}
    put(f"incident {number}: {found['sla']} {found['status']}, root cause {cause.get('node', 'none')}")
    put(f"measured    {line(found['reason'])}")
    if cause:
        put(f"root cause  {cause['node']}: {line(cause['reason'])} (confidence {cause['confidence']})")
    if found["known_error"]:
        put(f"known error {found['known_error']['id']}: {found['known_error']['root_cause']}")
    for evidence in found["evidence"]:
        if evidence["id"] in cause.get("cites", ()):
            put(f"  {evidence['id']:<4} {evidence['node']}: {line(evidence['summary'])}")


@memory.command("list")
def list_memory(context: typer.Context, format: FormatOption = PlainFormat.TEXT) -> None:
    """Every known error with how often and when it was met."""
    from treewalk.operations.tables import known_error_rows

    rows = known_error_rows(context.obj.app())
    if format is PlainFormat.JSON:
        put_json({"known_errors": rows})
        return
    for row in rows:
        where = row["node"] or "any node"
        record = f"{row['wins']}/{row['fires']} fixed" if row["fires"] else "never fixed"
        count = row["occurrence_count"]
        put(f"{row['id']:<24} {row['trust']:<10} {where:<24} {count:>4} × {record:<12} {row['root_cause']}")
    if not rows:
        put("no known errors")


@memory.command("show")
def show_memory(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="The known error's id.")],
    format: FormatOption = PlainFormat.TEXT,
) -> None:
    """One known error: signature, cause, fix and record."""
    from treewalk.operations.tables import known_error_rows

    by_id = {row["id"]: row for row in known_error_rows(context.obj.app())}
    if id not in by_id:
        raise UsageError(f"no known error {id!r}", nearest(id, by_id))
    row = by_id[id]
    if format is PlainFormat.JSON:
        put_json(row)
        return
    for key, value in row.items():
        if value not in (None, "", []):
            put(f"{key:<18} {value}")


@memory.command("search")
def search_memory(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="Words that all have to occur.")],
    limit: LimitOption = 20,
    format: FormatOption = PlainFormat.TEXT,
) -> None:
    """Search all incidents, full text: nodes, causes, known errors, samples of logs."""
    _put_incidents(context.obj.app().store.search(text, limit), format)


@memory.command("prune")
def prune_memory(
    context: typer.Context,
    keep: Annotated[str | None, typer.Option(help="For how long things stay, such as 90d (else store.keep).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much there is.")] = False,
) -> int:
    """Remove old documents, timelines, alerts and deliveries of closed incidents; `serve` does it once a day.

    Never removed: the audit, the ledger, what was learned, how fixes did, and the list of incidents.
    """
    import asyncio

    from treewalk.server.tidying import prune
    from treewalk.store.pruning import Pruner

    app = context.obj.app()
    seconds = parse_span(keep, "--keep") or app.workspace.settings.store.keep
    if seconds is None:
        put("nothing is removed: store.keep is null, so everything stays; give --keep")
        return 0
    pruner = Pruner(app.database, seconds)
    if dry_run:
        put(f"would be removed: {pruner.would(app.clock.now())}")
    else:
        put(f"removed: {asyncio.run(prune(pruner, app.clock.now()))}")
    return 0


def list_alerts(
    context: typer.Context,
    unmapped: Annotated[bool, typer.Option("--unmapped", help="Only those that mean no SLA.")] = False,
    limit: LimitOption = 20,
    format: FormatOption = PlainFormat.TEXT,
) -> None:
    """The newest alerts first. One that means no SLA is shown with the line to add to a tree file."""
    from treewalk.stages.report import clock
    from treewalk.store.pages import END, Pages

    rows = Pages(context.obj.app().database).alerts(END, limit, unmapped=unmapped)
    if format is PlainFormat.JSON:
        put_json({"alerts": [dict(row) for row in rows]})
        return
    for row in rows:
        put(f"{clock(row['last_seen'])}  {row['status']:<8} {row['seen']:>5} ×  {row['source']}: {line(row['name'])}")
        if not row["mapped"]:
            put(f"    {line(row['because'])}; add: {line(row['hint'])}")
    if not rows:
        put("no alerts")


def _put_incidents(rows: Sequence[Mapping[str, Any]], format: PlainFormat) -> None:
    from treewalk.stages.report import clock

    if format is PlainFormat.JSON:
        put_json({"incidents": [dict(row) for row in rows]})
        return
    for row in rows:
        known = f"  {row['known_error']}" if row["known_error"] else ""
        when, node = clock(row["opened"]), row["root_node"] or "-"
        put(f"{row['number']:>5}  {when}  {row['status']:<9} {row['sla']:<28} {node}{known}")
    if not rows:
        put("no incidents")
