"""The command that stays: serve."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from treewalk.cli.common import State, note

if TYPE_CHECKING:
    from treewalk.settings import ServerSettings


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="The address to listen at (else server.host).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port (else server.port; 0: any).")] = None,
) -> int:
    """Take alerts in by webhooks and work on incidents, until it is told to stop (SIGTERM, Ctrl-C).

    Without any secret under `server` in treewalk.yaml it listens on this machine only.
    """
    asyncio.run(_serve(context.obj, host, port))
    return 0


async def _serve(state: State, host: str | None, port: int | None) -> None:
    from treewalk.operations import Operations
    from treewalk.server.serving import serve as serving

    async with state.app() as app:
        settings: ServerSettings = app.workspace.settings.server
        given = {"host": host, "port": port}
        settings = settings.model_copy(update={key: value for key, value in given.items() if value is not None})
        await serving(Operations(app), settings, note)
