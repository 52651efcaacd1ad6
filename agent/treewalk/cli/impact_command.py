"""`treewalk impact`: what breaks if these nodes go."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from treewalk.cli.common import ImpactFormat, note, parse_time, put, put_json
from treewalk.errors import UsageError

FAIL = 1


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(impact)


def impact(
    context: typer.Context,
    nodes: Annotated[list[str], typer.Argument(help="One node, or several that change together.")],
    at: Annotated[str | None, typer.Option(help="When: 2026-01-15T04:47, Unix seconds, or -2h (default: now).")] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="TAG=VALUE: exit with 1 when an SLA above carries it. May be repeated.")
    ] = None,
    format: Annotated[
        ImpactFormat, typer.Option(help="text, json, markdown, mermaid, dot or svg.")
    ] = ImpactFormat.TEXT,
) -> int:
    """Every SLA above a node: by which path, whether its window is open now, owner and tags."""
    from treewalk.stages import impact as stage

    rules = [_rule(text) for text in fail_on or []]
    forest = context.obj.forest()
    for key, _ in rules:
        stage.check_tag(forest, key)
    moment = parse_time(at)
    found = stage.impact(forest, nodes, time.time() if moment is None else moment, now=moment is None)
    if format is ImpactFormat.JSON:
        put_json(stage.document(found))
    elif format is ImpactFormat.TEXT:
        put(stage.text(found))
    elif format is ImpactFormat.MARKDOWN:
        put(stage.markdown(found))
    else:
        from treewalk.cli.pictures import draw, impact_picture

        put(draw(impact_picture(forest, found), format.value))
    hit = [a.sla.name for key, value in rules for a in found.tagged(key, value)]
    if hit:
        note(f"fails: {', '.join(dict.fromkeys(hit))} would be affected")
    return FAIL if hit else 0


def _rule(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key or not value:
        raise UsageError(f"--fail-on takes TAG=VALUE such as tier=1, not {text!r}")
    return key, value
