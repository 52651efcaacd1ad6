"""Commands about who is told: notify test, notify list."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treewalk.cli.common import PlainFormat, State, put, put_json
from treewalk.errors import TreewalkError, UsageError
from treewalk.model.tree import nearest
from treewalk.threads import run

if TYPE_CHECKING:
    from treewalk.messages.courier import Channel

notify = typer.Typer(help="Who is told what.", no_args_is_help=True, rich_markup_mode=None)
FormatOption = Annotated[PlainFormat, typer.Option(help="text or json.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(notify, name="notify")


@notify.command("test")
def send_test(
    context: typer.Context,
    channel: Annotated[str | None, typer.Argument(help="A channel's name (else all but the issue trackers).")] = None,
    format: FormatOption = PlainFormat.TEXT,
) -> int:
    """Send a test message now, and say what happened. It goes past routes, quiet hours and the queue."""
    results = run(_test(context.obj, channel))
    if format is PlainFormat.JSON:
        put_json({"channels": results})
    else:
        for one in results:
            put(f"{one['channel']:<16} {'delivered' if one['ok'] else 'NOT delivered: ' + one['why']}")
    return 0 if all(one["ok"] for one in results) else 1


async def _test(state: State, wanted: str | None) -> list[dict[str, Any]]:
    from treewalk.messages.channels import channels_of

    async with state.app() as app:
        channels = channels_of(app)
        if wanted is not None and wanted not in channels:
            raise UsageError(f"no channel named {wanted!r}", nearest(wanted, channels))
        if not channels:
            raise UsageError("no channel is configured; see `notify` in docs/notify.md")
        # A tracker would keep a test as an issue: only when it is asked for by name.
        names = [wanted] if wanted else [n for n, one in channels.items() if one.kinds is None]
        now, timeout = app.clock.now(), app.workspace.settings.notify.timeout
        return await asyncio.gather(*(_try(name, channels[name], now, timeout) for name in names))


async def _try(name: str, channel: Channel, now: float, timeout: float) -> dict[str, Any]:
    from treewalk.messages.telling import trial_message
    from treewalk.model.redact import redact

    try:
        async with asyncio.timeout(timeout):
            await channel.notifier.send(trial_message(now))
    except TimeoutError:
        return {"channel": name, "ok": False, "why": f"no answer within {timeout:g} s"}
    except TreewalkError as error:
        return {"channel": name, "ok": False, "why": redact(str(error))}
    finally:
        close = getattr(channel.notifier, "close", None)
        if close is not None:
            await close()
    return {"channel": name, "ok": True, "why": ""}


@notify.command("list")
def list_deliveries(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at the most.")] = 20,
    incident: Annotated[int | None, typer.Option(help="Only those of one incident.")] = None,
    format: FormatOption = PlainFormat.TEXT,
) -> None:
    """The last messages, newest first: to whom, in which state, and why one was not delivered."""
    from treewalk.stages.report import clock
    from treewalk.store.outbox import Outbox

    rows = Outbox(context.obj.app().database).rows(limit, incident)
    if format is PlainFormat.JSON:
        put_json({"deliveries": rows})
        return
    for row in rows:
        why = f"  ({_line(row['why'])}; {row['attempts']} tries)" if row["why"] else ""
        put(f"{clock(row['updated'])}  {row['channel']:<12} {row['state']:<8} {_line(row['title'])}{why}")
    if not rows:
        put("nothing was told to anybody yet")


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
