"""What the routes have in common: who may ask, how refusals are documented, bounds of pages and of bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

from fastapi import HTTPException, Path, Query, Request
from fastapi.security import HTTPBearer

from treewalk.server.service import Service
from treewalk.server.shapes import Refusal, Unprocessable
from treewalk.store.pages import END

Answers = dict[int | str, dict[str, Any]]
Message = MutableMapping[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at the most.")]
Before = Annotated[int, Query(ge=1, le=END, description="Only those with a smaller number.")]
After = Annotated[int, Query(ge=0, le=END, description="Only those with a larger number.")]
Number = Annotated[int, Path(description="The incident's number.")]

BODY_WITHIN = 30.0  # seconds in which a body has to be there: who sends it by the byte holds a place for nothing
_CLOSE = {"Connection": "close"}  # else the rest of the body is read on
bearer = HTTPBearer(auto_error=False, description="server.token of treewalk.yaml")
_TOLD = {
    400: "The body could not be read.",
    401: "A token is needed, or it is not the right one.",
    403: "It is shut: there are secrets, but none for this address.",
    404: "There is none of that name.",
    409: "It is not the time for that.",
    413: "The body is too large (server.max_body).",
    429: "Too many messages (server.rate), or too many wrong secrets; Retry-After says when to come again.",
    503: "The memory cannot be used now; Retry-After says when to come again.",
}


def refusals(*codes: int) -> Answers:
    """The documented refusals of a route; those of a missing token and of a memory that is away are everybody's."""
    found: Answers = {code: {"model": Refusal, "description": _TOLD[code]} for code in (401, 403, *codes, 429, 503)}
    found[422] = {"model": Unprocessable, "description": "A parameter or the body was not understood."}
    return found


def number_in_range(number: int) -> int:
    """An incident's number as the memory can hold it. Raises HTTPException."""
    if not 0 < number <= END:
        raise HTTPException(404, f"no incident number {number}")
    return number


def reader(service: Service) -> Callable[[Request], Awaitable[None]]:
    """A dependency: whoever may read."""

    async def may_read(request: Request) -> None:
        service.may(request)

    return may_read


class Bounded:
    """No body is taken in that is larger than it may be, or comes too slowly, whoever sends it. The size of their own
    is what webhooks bound and count themselves."""

    def __init__(self, app: Any, limit: Callable[[], int]) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = None if scope["path"].startswith("/webhooks/") else self._limit()
        size, whole, until = 0, False, asyncio.get_running_loop().time() + BODY_WITHIN

        async def bounded() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {BODY_WITHIN:g} s", _CLOSE) from None
            size, whole = size + len(message.get("body", b"")), not message.get("more_body", False)
            if limit is not None and size > limit:
                raise HTTPException(413, f"the body has more than {limit} bytes (server.max_body)", _CLOSE)
            return message

        await self._app(scope, bounded, send)
