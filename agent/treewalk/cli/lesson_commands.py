"""Commands that change what is remembered: candidates, promote, retire, suspend, export, import, backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from treewalk.cli.common import PlainFormat, parse_span, put, put_json, signed, user
from treewalk.errors import UsageError
from treewalk.model.known import KnownError
from treewalk.model.tree import nearest
from treewalk.threads import run

FormatOption = Annotated[PlainFormat, typer.Option(help="text or json.")]
IdArgument = Annotated[str, typer.Argument(help="The known error's id.")]


def register(memory: typer.Typer) -> None:
    """Add these commands to `memory`."""
    for name, function in (
        ("candidates", candidates),
        ("promote", promote),
        ("retire", retire),
        ("suspend", suspend),
        ("export", export),
        ("import", import_pack),
        ("backtest", backtest),
    ):
        memory.command(name)(function)


def candidates(context: typer.Context, format: FormatOption = PlainFormat.TEXT) -> None:
    """What was learned and waits for a review."""
    app = context.obj.app()
    rows = [e for e in app.known_errors().values() if e.trust == "candidate"]
    if format is PlainFormat.JSON:
        put_json({"candidates": [_told(e) for e in rows]})
        return
    for error in rows:
        told = _told(error)
        put(f"{error.id}")
        for key in ("node", "log_pattern", "metric_condition", "root_cause", "fix", "description"):
            put(f"    {key:<17} {told[key] or '-'}")
    put("" if rows else "no candidates")


def _told(error: Any) -> dict[str, Any]:
    signature = error.signature
    return {
        "id": error.id,
        "node": signature.node,
        "log_pattern": signature.log_pattern,
        "metric_condition": str(signature.metric_condition) if signature.metric_condition else None,
        "root_cause": error.root_cause,
        "fix": (error.fix.playbook or error.fix.type) if error.fix else None,
        "description": error.description,
    }


def promote(
    context: typer.Context,
    id: IdArgument,
    since: Annotated[str, typer.Option(help="How far back it is tested first, a day at the least.")] = "1d",
    force: Annotated[bool, typer.Option("--force", help="Also when it fires on healthy days.")] = False,
    who: Annotated[str, typer.Option(help="Your name; needed with --force.")] = "",
) -> int:
    """Trust a known error: its fix may run by itself where policy lets known errors. It is tested on the past first."""
    if force and not who:
        raise UsageError("--force needs a name: --who NAME")
    seconds = parse_span(since, "--since") or 86400.0
    done, why = run(_promoted(context.obj.app(), id, seconds, signed(who), force))
    if not done:
        put(f"{id} was not promoted: {why}; look at `treewalk memory backtest {id}`, or use --force --who NAME")
        return 1
    put(f"{id} is trusted now: {why}")
    return 0


async def _promoted(app: Any, id: str, seconds: float, who: str, force: bool) -> tuple[bool, str]:
    from treewalk.operations.incidents import Operations
    from treewalk.operations.trusting import promote

    async with app:
        return await promote(Operations(app), id, seconds, who, force=force)


def retire(context: typer.Context, id: IdArgument) -> None:
    """Never match a known error again."""
    _set(context, id, "retired")


def suspend(context: typer.Context, id: IdArgument) -> None:
    """Let a known error be recognised still, and its fix only be done when a human approves."""
    _set(context, id, "suspended")


def _set(context: typer.Context, id: str, trust: Any) -> None:
    from treewalk.operations.incidents import Operations
    from treewalk.operations.trusting import set_trust

    set_trust(Operations(context.obj.app()), id, trust, user())
    put(f"{id} is {trust} now")


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A YAML file; what is in it stays, comments too.")],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only these (default: every trusted learned one).")
    ] = None,
) -> None:
    """Write learned known errors as YAML, to be reviewed and kept among the files of the workspace."""
    from treewalk.content.packs import add_to_file
    from treewalk.store.lessons import Lessons

    app = context.obj.app()
    known = app.known_errors()
    rows = {row["id"]: row["document"] for row in Lessons(app.database).learned()}
    for id in ids or ():
        if id not in rows:
            raise UsageError(f"{id!r} was not learned", nearest(id, rows))
    wanted = ids or [id for id in rows if id in known and known[id].trust == "trusted"]
    records = Lessons(app.database).records()
    added = add_to_file(file, [_document(rows[id], known[id], records.get(id, {})) for id in wanted if id in known])
    put(f"added {len(added)} known errors to {file}" + (f": {', '.join(added)}" if added else ""))


def _document(document: Mapping[str, Any], error: KnownError, record: Mapping[str, Any]) -> dict[str, Any]:
    """Its form in a file, in which it holds where it held here and nowhere else."""
    found = {**document, "trust": error.trust, "occurrence_count": int(record.get("fires", 0))}
    if error.signature.only_in_trouble:
        found["signature"] = {**document["signature"], "only_in_trouble": True}
    if record.get("resolution_time_avg"):
        found["resolution_time_avg"] = f"{record['resolution_time_avg']:.0f}s"
    return found


def import_pack(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Known errors of another team, as YAML.")],
    namespace: Annotated[str, typer.Option(help="Stands before every id.")] = "",
) -> int:
    """Take known errors of another team as candidates: nothing of theirs acts before it was promoted here."""
    from treewalk.content.packs import read_pack
    from treewalk.operations.incidents import Operations

    app = context.obj.app()
    operations = Operations(app)
    name = namespace or file.stem
    documents = read_pack(file, name, app.workspace)
    added = [d["id"] for d in documents if operations.lessons.keep(d["id"], d, None, app.clock.now(), user())]
    put(f"took {len(added)} known errors as candidates" + (f": {', '.join(added)}" if added else ""))
    return 0


def backtest(
    context: typer.Context,
    id: IdArgument,
    since: Annotated[str, typer.Option(help="How far back, such as 30d.")] = "30d",
    format: FormatOption = PlainFormat.TEXT,
) -> int:
    """When a known error would have fired, and whether anything was wrong then. Exit code 1 for a false alarm."""
    from treewalk.operations.incidents import Operations
    from treewalk.operations.trusting import known_error
    from treewalk.stages.report import clock

    app = context.obj.app()
    error = known_error(app, id)
    tested = run(_tested(app, Operations(app), error, parse_span(since, "--since") or 0.0))
    if format is PlainFormat.JSON:
        put_json(
            {
                "id": id,
                "start": tested.start,
                "end": tested.end,
                "points": tested.points,
                "covered": tested.covered,
                "firings": [list(one) for one in tested.firings],
                "false_alarms": [list(one) for one in tested.false],
                "gaps": list(tested.gaps),
            }
        )
    else:
        put(f"{id}: fired {len(tested.firings)} times since {clock(tested.start)}; {len(tested.false)} false alarms")
        put(f"  looked at {tested.told}")
        for kind, found in (("fired", tested.firings), ("false alarm", tested.false)):
            for one in found:
                put(f"  {clock(one[0])} to {clock(one[1])}  {kind}")
        for gap in tested.gaps:
            put(f"  not looked at: {gap}")
    return 1 if tested.false else 0


async def _tested(app: Any, operations: Any, error: Any, seconds: float) -> Any:
    async with app:
        now = app.clock.now()
        return await operations.learning.backtest(error, now - seconds, now)
