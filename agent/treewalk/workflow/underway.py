"""What a process that is told to stop lets end: the actions that run at that moment, so that their outcome is known."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Underway:
    """The actions that run in this process. `async with` it around each; all of them on one event loop."""

    def __init__(self) -> None:
        self._running, self._stopping = 0, False
        self._one_less = asyncio.Event()

    async def __aenter__(self) -> None:
        if self._stopping:
            await asyncio.Event().wait()  # never: the process ends, and who goes on decides anew
        self._running += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running -= 1
        self._one_less.set()

    @property
    def idle(self) -> bool:
        """Whether no action runs in this process."""
        return not self._running

    def begin(self) -> None:
        """Actions may run."""
        self._stopping = False

    async def finish(self, seconds: float) -> int:
        """Let no action begin any more, and wait for those that run, so many seconds at most; how many still run."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    self._one_less.clear()
                    await self._one_less.wait()
        return self._running
