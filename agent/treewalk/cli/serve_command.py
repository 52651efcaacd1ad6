"""The command that stays, serve, and the switch that lets treewalk only look."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from treewalk.cli.common import State, note, put

if TYPE_CHECKING:
    from treewalk.settings import ServerSettings


class Wish(StrEnum):
    """What a switch shall be."""

    ON = "on"
    OFF = "off"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)
    app.command("read-only")(read_only)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="The address to listen at (else server.host).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port (else server.port; 0: any).")] = None,
    look_only: Annotated[bool, typer.Option("--read-only", help="Diagnose and report, change nothing.")] = False,
) -> int:
    """Take alerts in by webhooks and work on incidents, until it is told to stop (SIGTERM, Ctrl-C).

    Without any secret under `server` in treewalk.yaml it listens on this machine only.
    """
    asyncio.run(_serve(context.obj, host, port, look_only))
    return 0


def read_only(
    context: typer.Context,
    wish: Annotated[Wish, typer.Argument(help="on or off.")],
    why: Annotated[str, typer.Argument(help="What people will read.")] = "no reason given",
) -> None:
    """Let treewalk look and not touch, everywhere on this memory: it diagnoses, nothing acts, nothing is approved."""
    import getpass

    from treewalk.operations.incidents import Operations

    operations = Operations(context.obj.app())
    was_on = operations.set_read_only(wish is Wish.ON, getpass.getuser(), why)
    still = operations.read_only()
    if wish is Wish.ON:
        put("treewalk only looks; `treewalk read-only off` lets it act again")
    elif still is not None:
        put(f"the switch is off, and treewalk still only looks: {still}")
    else:
        put("treewalk may act again" if was_on else "the switch was not on")


async def _serve(state: State, host: str | None, port: int | None, look_only: bool) -> None:
    from treewalk.operations.incidents import Operations
    from treewalk.server.serving import serve as serving

    async with state.app() as app:
        settings: ServerSettings = app.workspace.settings.server
        given = {"host": host, "port": port}
        settings = settings.model_copy(update={key: value for key, value in given.items() if value is not None})
        operations = Operations(app)
        operations.started_read_only = look_only
        await serving(operations, settings, note)
