"""What the routes have in common: who may ask, how refusals are documented, bounds of pages and of bodies."""

from __future__ import annotations

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

bearer = HTTPBearer(auto_error=False, description="server.token of treewalk.yaml")
_TOLD = {
    400: "The body could not be read.",
    401: "A token is needed, or it is not the right one.",
    403: "It is shut: there are secrets, but none for this address.",
    404: "There is none of that name.",
    409: "It is not the time for that.",
    413: "The body is too large (server.max_body).",
    429: "Too many messages (server.rate); Retry-After says when to come again.",
    503: "The memory cannot be used now; Retry-After says when to come again.",
}


def refusals(*codes: int) -> Answers:
    """The documented refusals of a route; those of a missing token and of a memory that is away are everybody's."""
    found: Answers = {code: {"model": Refusal, "description": _TOLD[code]} for code in (401, 403, *codes, 503)}
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
    """No body is taken in that is larger than it may be, whoever sends it. Webhooks bound and count their own."""

    def __init__(self, app: Any, limit: Callable[[], int]) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/webhooks/"):
            await self._app(scope, receive, send)
            return
        limit, size = self._limit(), 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise HTTPException(413, f"the body has more than {limit} bytes (server.max_body)")
            return message

        await self._app(scope, bounded, send)
