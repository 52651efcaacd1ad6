"""Commands that write reports about one incident."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treewalk.cli.common import State, note, put, put_json
from treewalk.errors import UsageError

if TYPE_CHECKING:
    from treewalk.model.message import Rendered


class ReportFormat(StrEnum):
    """How a report is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


NumberArgument = Annotated[int, typer.Argument(help="The incident's number.")]
FormatOption = Annotated[ReportFormat, typer.Option(help="text, markdown, html (one page, pictures in it) or json.")]
OutputOption = Annotated[Path | None, typer.Option(help="Write it to this file instead.")]


def register(incidents: typer.Typer) -> None:
    """Add these commands to `incidents`."""
    incidents.command("report")(report)
    incidents.command("postmortem")(postmortem)


def report(
    context: typer.Context,
    number: NumberArgument,
    format: FormatOption = ReportFormat.TEXT,
    output: OutputOption = None,
) -> None:
    """What fired, what was found and done, values before and after, what is remembered."""
    _write(context.obj, number, format, output, after=False)


def postmortem(
    context: typer.Context,
    number: NumberArgument,
    format: FormatOption = ReportFormat.TEXT,
    output: OutputOption = None,
) -> None:
    """Timeline, root cause, contributing factors, impact, proposals and action items."""
    _write(context.obj, number, format, output, after=True)


def _write(state: State, number: int, format: ReportFormat, output: Path | None, *, after: bool) -> None:
    import json

    from treewalk import reporting
    from treewalk.store.stories import Stories

    app = state.app()
    stories = Stories(app.database, app.workspace.forest.tree)
    story = stories.story(number)
    earlier = stories.before(story)
    if format is ReportFormat.JSON:
        data = reporting.document(story, earlier)
        if output is None:
            put_json(data)
            return
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        found = reporting.postmortem(story, earlier) if after else reporting.resolution(story)
        text = _form(found, format)
    if output is None:
        put(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    note(f"written to {output}")


def _form(found: Rendered, format: ReportFormat) -> str:
    if format is ReportFormat.HTML:
        return found.html
    return found.markdown if format is ReportFormat.MARKDOWN else found.text
