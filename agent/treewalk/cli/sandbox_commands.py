"""`treewalk sandbox`: a real small platform to break."""

from __future__ import annotations

import typer

sandbox_app = typer.Typer(
    help="A real small platform on this machine, to break and to learn on.", no_args_is_help=True, rich_markup_mode=None
)


@sandbox_app.command()
def status() -> None:
    """Whether it runs."""
