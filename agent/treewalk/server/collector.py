"""Alerts of several requests that come at once, committed together: one write to the disk for all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from treewalk.errors import StoreError
from treewalk.model.alert import Alert
from treewalk.stages.route import Route
from treewalk.store.inbox import Accepted, Inbox

_TOGETHER = 64  # messages in one transaction
_WAITING = 2000  # messages that may wait; more are told to come again

_Waiting = tuple[Sequence[Alert], asyncio.Future[Accepted]]


class Collector:
    """Takes messages in, in the order in which they came. `now` gives Unix seconds."""

    def __init__(self, inbox: Inbox, route: Callable[[Alert], Route], now: Callable[[], float]) -> None:
        self._inbox, self._route, self._now = inbox, route, now
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def accept(self, alerts: Sequence[Alert]) -> Accepted:
        """What became of a message, once that is committed. Raises StoreError: nothing of it was kept."""
        if len(self._waiting) >= _WAITING:
            raise StoreError("too many messages wait to be written; send it again later")
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((alerts, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            try:
                results = await self._write([alerts for alerts, _ in together])
            except Exception as error:  # noqa: BLE001  those who wait are told, whatever it is
                if len(together) == 1:
                    _tell(together[0], error)
                    continue
                await self._one_by_one(together)
                continue
            for (_, future), result in zip(together, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _one_by_one(self, together: Sequence[_Waiting]) -> None:
        """What failed together: one bad message must not refuse the others."""
        for one in together:
            try:
                (result,) = await self._write([one[0]])
            except Exception as error:  # noqa: BLE001  as above
                _tell(one, error)
            else:
                if not one[1].done():
                    one[1].set_result(result)

    async def _write(self, messages: Sequence[Sequence[Alert]]) -> list[Accepted]:
        return await asyncio.to_thread(self._inbox.accept, messages, self._route, self._now())


def _tell(one: _Waiting, error: Exception) -> None:
    if not one[1].done():
        one[1].set_exception(error)
