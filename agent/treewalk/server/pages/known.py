"""Known errors with their trust and record, and what a human decides about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from treewalk.model.known import Trust
from treewalk.operations.tables import known_error_rows
from treewalk.operations.trusting import promote, set_trust
from treewalk.server.pages.gate import Refused
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session

_DAY = 86400.0
_ORDER: tuple[Trust, ...] = ("candidate", "suspended", "trusted", "retired")
_DONE: Mapping[str, Trust] = {"retire": "retired", "suspend": "suspended"}


async def show(room: Room, request: Request, session: Session) -> Response:
    """All of them, those that wait for a review first."""
    rows = await asyncio.to_thread(known_error_rows, room.operations.app)
    rows.sort(key=lambda row: (_ORDER.index(row["trust"]), row["id"]))
    waiting = sum(row["trust"] == "candidate" for row in rows)
    return await room.page("known.html", session, "/known-errors", rows=rows, waiting=waiting, csrf=session.csrf)


async def decide(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """Promote, retire or suspend one."""
    id, what, who = form.get("id", ""), form.get("what", ""), f"web {session.name}"
    if what == "promote":
        done, why = await promote(room.operations, id, _DAY, who)
        said = (
            f"{id} is trusted now: {why}"
            if done
            else f"{id} was not promoted: {why}. `treewalk memory promote` can force it"
        )
    elif what in _DONE:
        await asyncio.to_thread(set_trust, room.operations, id, _DONE[what], who)
        said = f"{id} is {_DONE[what]} now"
    else:
        raise Refused(400, "a known error is promoted, retired or suspended")
    return room.on(session, "/known-errors", said)


assert set(_ORDER) == set(get_args(Trust))  # a trust that is added needs a place here
