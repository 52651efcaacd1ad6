"""Commands about what happened: report daily, report weekly."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from treewalk.cli.common import State, put, put_json
from treewalk.errors import UsageError

if TYPE_CHECKING:
    from treewalk.reporting.digests import Kind

report = typer.Typer(help="What happened in a day or a week.", no_args_is_help=True, rich_markup_mode=None)


class DigestFormat(StrEnum):
    """How a digest is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


FormatOption = Annotated[DigestFormat, typer.Option(help="text, markdown, html or json.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(report, name="report")


@report.command("daily")
def tell_day(
    context: typer.Context,
    date: Annotated[str | None, typer.Option(help="The day, such as 2026-01-15 (else yesterday).")] = None,
    format: FormatOption = DigestFormat.TEXT,
) -> None:
    """A day, from midnight to midnight in the time zone of `notify`: incidents, times, what SLAs lost, what is open."""
    _tell(context.obj, "daily", date, format)


@report.command("weekly")
def tell_week(
    context: typer.Context,
    date: Annotated[str | None, typer.Option(help="Any day of the week, such as 2026-01-15 (else last week).")] = None,
    format: FormatOption = DigestFormat.TEXT,
) -> None:
    """A week, from Monday to Sunday in the time zone of `notify`: the same, by the day."""
    _tell(context.obj, "weekly", date, format)


def _tell(state: State, kind: Kind, wanted: str | None, format: DigestFormat) -> None:
    from zoneinfo import ZoneInfo

    from treewalk.reporting.digests import bounds, daily, document, weekly
    from treewalk.store.periods import Periods

    app = state.app()
    now, zone = app.clock.now(), app.workspace.settings.notify.timezone
    today = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    day = _day(wanted) if wanted else today - timedelta(days=1 if kind == "daily" else 7)
    if day > today:
        raise UsageError(f"{day} has not come yet")
    facts = Periods(app.database).period(*bounds(kind, day, zone), now)
    if format is DigestFormat.JSON:
        put_json(document(kind, facts, day, zone))
        return
    told = (daily if kind == "daily" else weekly)(facts, day, zone)
    put({"text": told.text, "markdown": told.markdown}.get(format.value) or _page(told.title, told.html))


def _day(text: str) -> date:
    try:
        found = date.fromisoformat(text)
        found - timedelta(days=7)  # the calendar begins somewhere
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a date; write it like 2026-01-15") from None
    return found


def _page(title: str, body: str) -> str:
    """A fragment as a page of its own."""
    from html import escape

    return f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n{body}\n</html>'
