"""`treewalk watch`: the SLAs measured on an interval, one line a change."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treewalk.cli.common import PlainFormat, State, note, parse_span, put, put_json
from treewalk.threads import run

if TYPE_CHECKING:
    from treewalk.model.diagnosis import Measurement
    from treewalk.stages.watch import Change

VIOLATED, UNKNOWN = 1, 3


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(watch)


def watch(
    context: typer.Context,
    slas: Annotated[list[str] | None, typer.Argument(help="SLAs, by name or glob (else watch.slas, else all).")] = None,
    once: Annotated[bool, typer.Option("--once", help="Measure each once, show all, and end.")] = False,
    interval: Annotated[str | None, typer.Option(help="How often, such as 10s (else watch.interval).")] = None,
    format: Annotated[PlainFormat, typer.Option(help="text, or json: one object a line.")] = PlainFormat.TEXT,
) -> int:
    """Measure SLAs within their windows and print one line a change. It only looks: `serve` opens incidents.

    With --once the exit code is 0 when all are met, 1 when one is violated, 3 when one could not be measured.
    """
    seconds = parse_span(interval, "--interval")
    return run(_watch(context.obj, slas or [], once, seconds, format))


async def _watch(state: State, wanted: list[str], once: bool, interval: float | None, format: PlainFormat) -> int:
    from treewalk.server.watching import Watcher, measuring, watched
    from treewalk.settings import WatchSettings

    async with state.app() as app:
        settings = app.workspace.settings.watch or WatchSettings()
        if interval is not None:
            settings = settings.model_copy(update={"interval": interval})
        found, without = watched(app.workspace.forest.slas, wanted or settings.slas)
        if without:
            note(f"not watched, because they have no sla.query: {', '.join(without)}")

        async def tell(change: Change) -> None:
            _put_change(change, format)

        watcher = Watcher(found, measuring(app), settings, app.clock, tell, note)
        if once:
            return _put_all(await watcher.once(), format)
        await watcher.run()
    return 0


def _put_change(change: Change, format: PlainFormat) -> None:
    from treewalk.stages.report import clock

    if format is PlainFormat.JSON:
        names = ("sla", "kind", "reason", "since", "at")
        put(json.dumps({name: getattr(change, name) for name in names}, ensure_ascii=False))
    else:
        put(f"{clock(change.at)}  {change.kind:<14} {change.sla:<28} {_line(change.reason)}")
    sys.stdout.flush()


def _put_all(found: Mapping[str, Measurement | None], format: PlainFormat) -> int:
    rows = [_row(name, one) for name, one in found.items()]
    if format is PlainFormat.JSON:
        put_json({"slas": rows})
    else:
        for row in rows:
            put(f"{row['status']:<14} {row['sla']:<28} {_line(row['reason'])}")
    states = {row["status"] for row in rows}
    return VIOLATED if "violated" in states else UNKNOWN if "unknown" in states else 0


def _row(name: str, found: Measurement | None) -> dict[str, Any]:
    if found is None:
        return {"sla": name, "status": "window closed", "reason": "", "shown": None, "limit": None}
    return {"sla": name, "status": found.status, "reason": found.reason, "shown": found.shown, "limit": found.limit}


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
