"""The kill switch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from treewalk.server.pages.gate import Refused
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session


async def show(room: Room, request: Request, session: Session) -> Response:
    """How it stands, and the form that throws it."""
    return await room.page("switch.html", session, "/switch", csrf=session.csrf)


async def throw(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """Stop everything, or let things run again: with the box ticked, and to stop with a reason."""
    what, why, who = form.get("what"), " ".join(form.get("why", "").split())[:500], f"web {session.name}"
    if form.get("sure") != "yes":
        raise Refused(400, "tick the box to confirm it")
    if what == "kill":
        if not why:
            raise Refused(400, "say why, for those who find it switched on")
        problems = await asyncio.to_thread(room.operations.kill, who, why)
        half = f" But {'; '.join(problems)}." if problems else ""
        return room.on(session, "/switch", f"The kill switch is on: nothing is changed by treewalk.{half}")
    if what == "revive":
        await asyncio.to_thread(room.gate.changer, request, form)  # where treewalk only looks, stopping is all there is
        was_on = await asyncio.to_thread(room.operations.revive, who)
        return room.on(session, "/switch", "The kill switch is off" if was_on else "The kill switch was off already")
    raise Refused(400, "the switch is turned on or off")
