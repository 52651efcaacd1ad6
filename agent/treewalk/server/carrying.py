"""Who speaks with people while a server runs: its courier and its bot, which are others when the channels change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from treewalk.messages.channels import Noticing, courier_of
from treewalk.messages.courier import stop
from treewalk.server.deliveries import DeliveryMeasures
from treewalk.server.telegram import listening

if TYPE_CHECKING:
    from treewalk.integrations.telegram_listener import Listener
    from treewalk.operations.incidents import Operations


class Carrying:
    """What is told to people while a server runs. Raises SettingsError for a secret that is missing, StoreError."""

    def __init__(self, operations: Operations, say: Callable[[str], None], notices: Noticing) -> None:
        self._say, self._notices = say, notices
        self._courier = courier_of(operations, say, notices)
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self.measures = DeliveryMeasures(self._courier)

    async def begin(self, operations: Operations) -> Listener | None:
        """Carry to the channels of this content, instead of those of before; the bot that listens, if there is one."""
        await self.end()
        self._courier = courier_of(operations, self._say, self._notices)
        self.measures.follow(self._courier)
        channel = self._courier.channels.get("telegram")
        bot = await self._stack.enter_async_context(listening(operations, channel, self._say))
        self._task = asyncio.create_task(self._courier.run())
        return bot

    async def end(self) -> None:
        """Stop; what is not delivered is in the outbox."""
        if self._task is not None:
            await stop(self._task)
            self._task = None
        await self._stack.aclose()
