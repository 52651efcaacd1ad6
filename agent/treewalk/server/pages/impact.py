"""What breaks if a node goes: every SLA above it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treewalk.errors import UsageError
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session
from treewalk.stages import impact as stage

_MOST_NAMES = 2000  # that are offered while typing


async def show(room: Room, request: Request, session: Session) -> Response:
    """The question, and the answer once nodes are named."""
    given = request.query_params.get("node", "")
    nodes = [name for name in (part.strip() for part in given.split(",")) if name]
    values = await asyncio.to_thread(_look, room, nodes)
    return await room.page("impact.html", session, "/impact", given=given, **values)


def _look(room: Room, nodes: list[str]) -> dict[str, Any]:
    forest = room.operations.app.workspace.forest
    found, wrong = None, None
    if nodes:
        try:
            found = stage.impact(forest, nodes, room.now())
        except UsageError as error:
            wrong = str(error)
    headline = stage.headline(found) if found else None
    return {"found": found, "wrong": wrong, "headline": headline, "names": sorted(forest.nodes)[:_MOST_NAMES]}
