"""The Telegram bot beside the server: it listens for as long as the server runs, and never ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treewalk.integrations.telegram_listener import Listener
    from treewalk.messages.courier import Channel
    from treewalk.operations.incidents import Operations


@asynccontextmanager
async def listening(
    operations: Operations, channel: Channel | None, say: Callable[[str], None]
) -> AsyncIterator[Listener | None]:
    """The listener, while it listens, on the channel that the courier sends by; None where no bot is configured.

    Raises SettingsError for a secret that is missing or none.
    """
    app = operations.app
    settings = app.workspace.settings.notify.telegram
    if settings is None:
        yield None
        return
    from treewalk.integrations.telegram import TelegramChannel
    from treewalk.integrations.telegram_listener import Listener
    from treewalk.operations.switchboard import OperationsSwitchboard

    shared = channel.notifier if channel is not None else None
    bot = shared if isinstance(shared, TelegramChannel) else TelegramChannel(settings, app.resolve)
    _ = bot.bot  # before anybody waits: a token that is none is told now, and loading the library takes its time
    listener = Listener(bot, OperationsSwitchboard(operations), settings, app.clock, say)
    task = asyncio.create_task(_kept(listener, say))
    try:
        yield listener
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await bot.close()


async def _kept(listener: Listener, say: Callable[[str], None]) -> None:
    """Listen; what nobody thought of is said, and a minute later it listens again."""
    while True:
        try:
            await listener.run()
        except Exception as error:  # noqa: BLE001  incidents are worked on whatever becomes of a chat
            say(f"telegram: it stopped listening ({type(error).__name__}) and begins again in a minute")
            await asyncio.sleep(60.0)
