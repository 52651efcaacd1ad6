"""Alerts that mean no SLA, each with the line that would give it one."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session

_MOST = 200


async def show(room: Room, request: Request, session: Session) -> Response:
    """The newest first."""
    rows = await asyncio.to_thread(room.service.inbox.unmapped, _MOST)
    return await room.page("unmapped.html", session, "/unmapped", rows=rows, most=_MOST)
