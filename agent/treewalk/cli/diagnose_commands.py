"""Commands that look: diagnose, replay, doctor."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treewalk.cli.common import Format, PlainFormat, State, line, note, parse_moment, parse_span, put, put_json
from treewalk.model.quantity import counted
from treewalk.threads import run

if TYPE_CHECKING:
    from treewalk.model.diagnosis import Diagnosis
    from treewalk.model.events import Event


class Strategy(StrEnum):
    """Which nodes are looked at."""

    SWEEP = "sweep"
    FRONTIER = "frontier"


FormatOption = Annotated[Format, typer.Option(help="text, json or markdown.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result; no progress.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(diagnose)
    app.command()(replay)
    app.command()(doctor)


def diagnose(
    context: typer.Context,
    sla: Annotated[str, typer.Argument(help="The SLA that broke.")],
    format: FormatOption = Format.TEXT,
    at: Annotated[str | None, typer.Option(help="A past moment: 2026-01-15T04:47, Unix seconds, or -2h.")] = None,
    since: Annotated[str | None, typer.Option(help="How far back to look, such as 15m.")] = None,
    deadline: Annotated[str | None, typer.Option(help="How long the walk may take, such as 30s.")] = None,
    strategy: Annotated[
        Strategy, typer.Option(help="sweep looks everywhere; frontier only below trouble.")
    ] = Strategy.SWEEP,
    record: Annotated[Path | None, typer.Option(help="Keep every answer in this file, for `replay`.")] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Whether the memory keeps the result.")] = True,
    quiet: QuietOption = False,
) -> int:
    """Walk from an SLA down to the node that broke it.

    Exit codes: 0 the SLA is met and nothing is known to be broken; 1 a root cause is named; 2 usage or configuration;
    3 treewalk abstains; 4 sources were asked and none answered; 70 treewalk itself failed. When only the memory or the
    recording fails, that is a warning on stderr and a remark in the result.
    """
    from treewalk.app import DiagnoseOptions

    warnings: list[str] = []  # told at the end: what moves on a terminal would run over them
    options = DiagnoseOptions(
        at=parse_moment(at),
        since=parse_span(since, "--since"),
        deadline=parse_span(deadline, "--deadline"),
        strategy=strategy.value,
        record=record,
        keep=keep,
        warn=warnings.append,
    )
    state: State = context.obj

    async def look(watch: Callable[[Event], None]) -> Diagnosis:
        async with state.app() as app:
            return await app.diagnose(sla, options, watch)

    diagnosis = _watched(look, state, quiet)
    for text in warnings:
        note(f"treewalk: warning: {line(text)}")
    return _report(diagnosis, format)


def replay(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `diagnose --record` wrote.")],
    format: FormatOption = Format.TEXT,
    quiet: QuietOption = False,
) -> int:
    """Diagnose a recording again, from the file alone. Exit codes as for diagnose."""
    from treewalk.app import replay as again

    return _report(_watched(lambda watch: again(file, watch), context.obj, quiet), format)


def doctor(
    context: typer.Context,
    format: Annotated[PlainFormat, typer.Option(help="text or json.")] = PlainFormat.TEXT,
) -> int:
    """Ask each source whether it can be reached, and with which rights. Exit code 4 when none can."""

    async def ask() -> Any:
        async with context.obj.app() as app:
            return await app.doctor()

    reports = run(ask())
    if format is PlainFormat.JSON:
        put_json({"sources": [{**vars(r), "detail": dict(r.detail)} for r in reports]})
    for report in reports if format is PlainFormat.TEXT else ():
        detail = ", ".join(f"{k} {v}" for k, v in report.detail.items()) if report.ok else report.error
        put(f"{'ok  ' if report.ok else 'FAIL'} {report.kind:<8} {report.name:<12} {report.url}  {detail}")
    return 0 if not reports or any(r.ok for r in reports) else 4


def _watched(look: Callable[[Callable[[Event], None]], Awaitable[Diagnosis]], state: State, quiet: bool) -> Diagnosis:
    """Run a diagnosis with progress on stderr: a live tree on a terminal, plain lines elsewhere."""
    if quiet:
        return run(_run(look, lambda event: None))
    if sys.stderr.isatty():
        from treewalk.cli.live import live_tree

        with live_tree(color=state.color) as watch:
            return run(_run(look, watch))
    return run(_run(look, _plain_progress()))


def watched_plainly(state: State) -> Callable[[Callable[[Callable[[Event], None]], Diagnosis]], Diagnosis]:
    """The same progress for something that diagnoses by itself, such as the demonstration."""

    def looked(look: Callable[[Callable[[Event], None]], Diagnosis]) -> Diagnosis:
        if not sys.stderr.isatty():
            return look(_plain_progress())
        from treewalk.cli.live import live_tree

        with live_tree(color=state.color) as watch:
            return look(watch)

    return looked


async def _run(look: Callable[[Any], Awaitable[Diagnosis]], watch: Callable[[Event], None]) -> Diagnosis:
    return await look(watch)


def _plain_progress() -> Callable[[Event], None]:
    from treewalk.model.events import Measured, NodeJudged, TreeOpened

    def watch(event: Event) -> None:
        if isinstance(event, TreeOpened):
            note(f"walking {counted(len(event.tree.nodes), 'node')} under {event.tree.sla.name}")
        elif isinstance(event, Measured):
            note(f"  {event.measurement.status:<10} {event.measurement.reason}")
        elif isinstance(event, NodeJudged):
            note(f"  {event.verdict.status.value:<10} {event.node}: {line(event.verdict.reason)}")

    return watch


def _report(diagnosis: Diagnosis, format: Format) -> int:
    from treewalk.stages import report

    if format is Format.JSON:
        put_json(report.document(diagnosis))
    elif format is Format.MARKDOWN:
        put(report.markdown(diagnosis))
    else:
        put(report.text(diagnosis))
    return report.exit_code(diagnosis)
