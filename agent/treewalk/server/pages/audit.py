"""The audit, page by page, and whether its chain holds."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from treewalk.server.pages.room import Room, number_of
from treewalk.server.pages.sessions import Session

_A_PAGE = 50
_MOST_FLAWS = 20


async def show(room: Room, request: Request, session: Session) -> Response:
    """The newest rows first."""
    given = request.query_params.get("before")
    before = number_of(given, "row") if given is not None else None
    rows = await asyncio.to_thread(room.views.audit, _A_PAGE + 1, before)
    more = rows[_A_PAGE - 1]["seq"] if len(rows) > _A_PAGE else None
    return await room.page("audit.html", session, "/audit", rows=rows[:_A_PAGE], more=more, before=before)


async def verify(room: Room, request: Request, session: Session) -> Response:
    """Every row is read again, and the chain with it: one such look at a time."""
    async with room.verifying:
        head = await asyncio.to_thread(room.operations.audit.head)
        count, flaws = await asyncio.to_thread(room.operations.audit.verify)
    shown, many = flaws[:_MOST_FLAWS], len(flaws)
    return room.part("audit_verified.html", count=count, flaws=shown, many=many, head=head, at=room.now())
