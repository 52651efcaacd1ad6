"""The commands put together, and what happens when one of them fails."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from treewalk import __version__
from treewalk.cli import (
    content_commands,
    diagnose_commands,
    digest_commands,
    fix_commands,
    impact_command,
    memory_commands,
    notify_commands,
    policy_commands,
    sandbox_commands,
    serve_command,
    watch_command,
)
from treewalk.cli.common import OutputError, State, drop_output, put
from treewalk.errors import TreewalkError
from treewalk.model.redact import short

INTERRUPTED, MISTAKE = 130, 70  # 70 is EX_SOFTWARE of sysexits.h

app = typer.Typer(
    help="From a broken SLA down to the node that broke it.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
content_commands.register(app)
diagnose_commands.register(app)
fix_commands.register(app)
impact_command.register(app)
memory_commands.register(app)
notify_commands.register(app)
policy_commands.register(app)
digest_commands.register(app)
serve_command.register(app)
watch_command.register(app)
app.add_typer(sandbox_commands.sandbox_app, name="sandbox")


def _version(wanted: bool) -> None:
    if wanted:
        put(f"treewalk {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    workspace: Annotated[
        Path | None, typer.Option(help="The workspace's folder (else TREEWALK_WORKSPACE, else upward from here).")
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Use the example trees that ship with treewalk.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole trace of an error.")] = False,
    color: Annotated[
        bool, typer.Option("--color/--no-color", help="Colour on a terminal (NO_COLOR is obeyed).")
    ] = True,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command hold for all of them."""
    context.obj = State(workspace, example, debug, color)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code. 130 after Ctrl-C, 2 for usage and configuration, 70 for a mistake of
    treewalk's own, 74 when the answer cannot be written; never one that says something about an SLA."""
    return _flushed(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    debug = "--debug" in arguments
    try:
        result: Any = app(args=list(arguments), standalone_mode=False, prog_name="treewalk")
    except TreewalkError as error:
        if debug:
            traceback.print_exception(error)
        print(f"treewalk: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("treewalk: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - the last place there is: Python's own would exit with 1, a culprit
        show = getattr(error, "show", None)
        if show is None:
            return _mistake(error, debug=debug)
        show()
        return int(getattr(error, "exit_code", 2))
    return result if isinstance(result, int) else 0


def _mistake(error: Exception, *, debug: bool) -> int:
    """What nobody foresaw, in one line; whole with --debug."""
    if debug:
        traceback.print_exception(error)
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    said = f"{type(first).__name__}: {short(str(first), 300)}".rstrip(": ")
    hint = "" if debug else "; `treewalk --debug` before the command shows where"
    print(f"treewalk: a mistake of treewalk's own, nothing was found out: {said}{hint}", file=sys.stderr)
    return MISTAKE


def _flushed(code: int) -> int:
    """The exit code, once the answer is out: what were left would be tried again at the end, in Python's own words."""
    out: TextIO | None = sys.stdout
    try:
        if out is not None:
            out.flush()
    except OSError as error:
        drop_output(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return code
        if code != OutputError.exit_code:
            print(f"treewalk: {OutputError(error)}", file=sys.stderr)
        return OutputError.exit_code
    return code
