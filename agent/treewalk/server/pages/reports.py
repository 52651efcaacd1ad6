"""The report and the postmortem of an incident, as `treewalk incidents` writes them: a page that can be printed."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from treewalk import reporting
from treewalk.server.pages.room import Room, number_of
from treewalk.server.pages.sessions import Session
from treewalk.store.stories import Stories

# Such a page is also a file of its own, so its style stands in it; it has no script, and loads nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


async def report(room: Room, request: Request, session: Session) -> Response:
    """What was found and done."""
    return await _written(room, request, after=False)


async def postmortem(room: Room, request: Request, session: Session) -> Response:
    """What to learn from it."""
    return await _written(room, request, after=True)


async def _written(room: Room, request: Request, *, after: bool) -> Response:
    number = number_of(request.path_params["number"])
    html = await asyncio.to_thread(_html, room, number, after=after)
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})


def _html(room: Room, number: int, *, after: bool) -> str:
    app = room.operations.app
    stories = Stories(app.database, app.workspace.forest.tree)
    story = stories.story(number)
    return (reporting.postmortem(story, stories.before(story)) if after else reporting.resolution(story)).html
