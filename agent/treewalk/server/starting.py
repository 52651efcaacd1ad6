"""Incidents are begun oldest first, and so many at a time: those that wait are in the table, so none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from treewalk.model.redact import redact
from treewalk.store.inbox import Inbox

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations

_AGAIN = 1.0  # seconds between two looks when nobody says that there is something to do


class Starter:
    """Begins what is open. An incident that waits, or asks a human, takes no place from the others."""

    def __init__(self, operations: Operations, limit: int, say: Callable[[str], None]) -> None:
        self.limit = limit
        self._operations, self._say = operations, say
        self._inbox = Inbox(operations.app.database)
        self._begun: set[int] = set()
        self._told: set[int] = set()
        self._wake = asyncio.Event()

    def opened(self, numbers: Sequence[int]) -> None:
        """There are new incidents."""
        self._wake.set()

    async def run(self, workflows: Any) -> None:
        """Begin incidents until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._turn(workflows)
                await self._operations.retire()
            except Exception as error:  # noqa: BLE001  nobody else begins incidents: this has to go on
                self._tell(0, f"incidents wait: {redact(str(error))}")
            else:
                self._told.discard(0)
            with_place = len(self._begun) < self.limit
            try:
                async with asyncio.timeout(_AGAIN if with_place else _AGAIN / 5):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _turn(self, workflows: Any) -> None:
        waiting = await asyncio.to_thread(self._inbox.waiting)
        if self._begun:
            self._begun = await asyncio.to_thread(self._busy, set(waiting))
        for number in waiting:
            if number in self._begun:
                continue
            if len(self._begun) >= self.limit:
                return
            await self._begin(number, workflows)

    def _busy(self, waiting: set[int]) -> set[int]:
        """Those of the begun ones that take a place still."""
        lives = {one["number"]: one["state"] for one in self._operations.cases.living()}
        return {n for n in self._begun if n in waiting or lives.get(n, "closed") not in ("closed", "waiting", "asking")}

    async def _begin(self, number: int, workflows: Any) -> None:
        self._begun.add(number)
        try:
            await workflows.start(number)
        except Exception as error:  # noqa: BLE001  it is tried again, and the others must not wait for it
            self._begun.discard(number)
            self._tell(number, f"incident {number} waits: {redact(str(error))}")
        else:
            self._say(f"incident {number} begun")

    def _tell(self, number: int, line: str) -> None:
        """Say something about an incident (0: about all) once."""
        if number not in self._told:
            self._told.add(number)
            self._say(line)
