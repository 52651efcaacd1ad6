"""`treewalk sandbox`: a real small platform on this machine, to break and to learn on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treewalk.cli.common import PlainFormat, note, put, put_json

if TYPE_CHECKING:
    from treewalk.sandbox.platform import Sandbox

sandbox_app = typer.Typer(
    help="A real small platform on this machine, to break and to learn on.", no_args_is_help=True, rich_markup_mode=None
)
DirOption = Annotated[Path | None, typer.Option("--dir", help="Its folder (default: in the user's state folder).")]
FormatOption = Annotated[PlainFormat, typer.Option(help="text or json.")]


def _sandbox(folder: Path | None) -> Sandbox:
    from treewalk.sandbox.platform import Sandbox, default_folder

    return Sandbox(folder or default_folder())


@sandbox_app.command()
def up(dir: DirOption = None) -> None:
    """Bring the platform up and wait until every SLA is met."""
    sandbox = _sandbox(dir)
    sandbox.up(note)
    put(f"up; look at it with: treewalk --workspace {sandbox.workspace} diagnose entity_data_freshness")


@sandbox_app.command("break")
def break_command(
    fault: Annotated[str, typer.Argument(help="What to break; `treewalk sandbox faults` lists them.")],
    dir: DirOption = None,
) -> None:
    """Break something for real and wait until its SLA is violated."""
    from treewalk.sandbox.faults import break_it

    sandbox = _sandbox(dir)
    done = break_it(sandbox, fault, note)
    put(f"broken; find out why with: treewalk --workspace {sandbox.workspace} diagnose {done.sla}")


@sandbox_app.command()
def mend(dir: DirOption = None) -> None:
    """Undo what was broken and wait until every SLA is met again."""
    from treewalk.sandbox.faults import mend as undo

    undo(_sandbox(dir), note)
    put("mended")


@sandbox_app.command()
def status(dir: DirOption = None, format: FormatOption = PlainFormat.TEXT) -> None:
    """Every process and every SLA."""
    sandbox = _sandbox(dir)
    if not sandbox.running():
        put_json({"running": False}) if format is PlainFormat.JSON else put(sandbox.absence())
        return
    processes, measured = sandbox.processes(), sandbox.measured()
    if format is PlainFormat.JSON:
        slas: dict[str, Any] = {name: {"value": value, "met": met} for name, (value, met) in measured.items()}
        put_json({"running": True, "folder": str(sandbox.folder), "processes": processes, "slas": slas})
        return
    put("\n".join(f"{name:<24} {state}" for name, state in processes.items()))
    for name, (value, met) in measured.items():
        put(f"{name:<24} {'no value' if value is None else f'{value:.3g}'} {'met' if met else 'VIOLATED'}")


@sandbox_app.command()
def faults(format: FormatOption = PlainFormat.TEXT) -> None:
    """List what can be broken."""
    from treewalk.sandbox.faults import all_faults

    found = all_faults()
    if format is PlainFormat.JSON:
        put_json({"faults": [vars(f) for f in found.values()]})
        return
    put("\n".join(f"{f.name:<24} {f.looks}" for f in found.values()))


@sandbox_app.command()
def down(dir: DirOption = None) -> None:
    """Stop everything that was started, and remove the folder."""
    _sandbox(dir).down(note)


@sandbox_app.command()
def demo(
    context: typer.Context,
    dir: DirOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up afterwards (also: KEEP=1).")] = False,
) -> int:
    """Bring it up, break it, find out why, clean up. Under two minutes."""
    import tempfile

    from treewalk.cli.diagnose_commands import watched_plainly
    from treewalk.sandbox.demo import demonstrate

    stay = keep or os.environ.get("KEEP") == "1"
    if dir:
        return demonstrate(dir, put, note, watched_plainly(context.obj), keep=stay)
    folder = Path(tempfile.mkdtemp(prefix="treewalk-demo-"))
    try:
        return demonstrate(folder, put, note, watched_plainly(context.obj), keep=stay)
    finally:
        with suppress(OSError):  # it stays when it was kept, and is gone when it was taken down
            folder.rmdir()
