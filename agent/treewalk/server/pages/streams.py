"""Server-sent events: a page is told what has changed, for as long as somebody looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from treewalk.errors import TreewalkError
from treewalk.server.pages.gate import Refused
from treewalk.server.pages.rendering import version

MOST = 50  # streams at once
LASTS = 900.0  # seconds, then the browser asks again, and has to be logged in still
_PULSE = 15.0  # seconds between signs of life, which also find out who has left

Look = Callable[[], Awaitable[Iterable[str]]]


class Streams:
    """The streams that are open. `ready` says why the server is stopping, or None; `allowed` whether who asked may
    still look."""

    def __init__(self, ready: Callable[[], str | None], allowed: Callable[[Request], bool]) -> None:
        self._ready, self._allowed = ready, allowed
        self.open = 0

    def answer(self, request: Request, look: Look, every: float = 0.5) -> StreamingResponse:
        """The pieces of a page that `look` gives, each again when it is another one. Raises Refused."""
        if self.open >= MOST:
            raise Refused(503, f"{MOST} pages are being watched already; reload this one later")
        headers = {"X-Accel-Buffering": "no"}  # a proxy shall pass it on at once
        self.open += 1  # now, and not with the first line: many may ask before it is written
        there = True

        def left() -> None:
            nonlocal there
            self.open -= there
            there = False

        return _Stream(self._lines(request, look, every, left), left, headers)

    async def _lines(self, request: Request, look: Look, every: float, left: Callable[[], None]) -> AsyncIterator[str]:
        clock = asyncio.get_running_loop().time
        begun = told = clock()
        sent: dict[str, str] = {}
        try:
            yield "retry: 2000\n\n"
            while self._ready() is None and clock() - begun < LASTS and self._allowed(request):
                if await request.is_disconnected():
                    break
                try:
                    pieces = list(await look())
                except TreewalkError:
                    break  # the browser asks again in a moment
                for name, piece in enumerate(pieces):
                    mark = version(piece)
                    if sent.get(str(name)) != mark:
                        sent[str(name)] = mark
                        told = clock()
                        yield event(piece)
                if clock() - told > _PULSE:
                    told = clock()
                    yield ": still here\n\n"
                await asyncio.sleep(every)
        finally:
            left()


class _Stream(StreamingResponse):
    """A stream that says when it has ended, however it did."""

    def __init__(self, lines: AsyncIterator[str], left: Callable[[], None], headers: Mapping[str, str]) -> None:
        super().__init__(lines, media_type="text/event-stream", headers=headers)
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


def event(html: str) -> str:
    """One event that carries a piece of a page."""
    return "event: part\n" + "".join(f"data: {line}\n" for line in html.splitlines() or [""]) + "\n"
