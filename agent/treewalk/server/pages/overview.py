"""The first page: how the SLAs are, what is asked, what lives, what was fixed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treewalk.server.pages.rendering import render
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session

_FIXED = 5


async def show(room: Room, request: Request, session: Session) -> Response:
    """The page."""
    values = await asyncio.to_thread(_look, room)
    return await room.page("overview.html", session, "/", **values)


async def events(room: Room, request: Request, session: Session) -> Response:
    """The same, again when it has changed."""
    before: list[Any] = [None, ""]

    async def look() -> Iterable[str]:
        mark = await asyncio.to_thread(_mark, room)
        if mark != before[0]:
            values = await asyncio.to_thread(_look, room)
            before[:] = mark, render("overview_now.html", **values)
        return [before[1]]

    return room.streams.answer(request, look, every=1.5)


def _mark(room: Room) -> tuple[Any, ...]:
    operations = room.operations
    return (
        room.views.mark(),
        operations.killed(),
        {name: one.status for name, (_, one) in room.service.latest.items()},
        [row["digest"] for row in operations.cases.questions(room.now())],
        [
            walk.begun if (walk := room.walks.of(name)) and walk.done else 0
            for name in operations.app.workspace.forest.slas
        ],
    )


def _look(room: Room) -> dict[str, Any]:
    operations, views, now = room.operations, room.views, room.now()
    living, newest, shared = views.living(), views.newest_of(), views.more_slas()
    rows = []
    for sla in operations.app.workspace.forest.slas.values():
        mine = [one for one in living if one["sla"] == sla.name or sla.name in shared.get(one["number"], ())]
        rows.append(
            {
                "sla": sla,
                "open": sla.window is None or sla.window.contains(now),
                "incidents": mine,
                **measured(room, sla.name, newest.get(sla.name)),
            }
        )
    return {
        "rows": rows,
        "counts": _counts(rows),
        "questions": operations.cases.questions(now),
        "living": living,
        "shared": shared,
        "resolved": views.resolved(_FIXED),
        "killed": operations.killed(),
    }


def measured(room: Room, sla: str, newest: Mapping[str, Any] | None) -> dict[str, Any]:
    """The newest measurement of an SLA that is known: its status, the texts of it, when, and by what."""
    walk = room.walks.of(sla)
    document = walk.document if walk is not None else None
    at = document["timing"]["at"] if document else 0.0
    if newest is not None and newest["opened"] >= at - 1:
        found = room.operations.app.store.incident(newest["number"])
        if found.get("timing", {}).get("at", 0.0) >= at:
            document = found
    watched = room.service.latest.get(sla)
    if watched is not None and (document is None or watched[0] > document["timing"]["at"]):
        when, last = watched
        return {"status": last.status, "shown": last.shown, "limit": last.limit, "reason": last.reason, "at": when}
    if document is None:
        return {"status": "not measured", "shown": None, "limit": None, "reason": "", "at": None}
    about = {key: document[key] for key in ("status", "shown", "limit", "reason")}
    return {**about, "at": document["timing"]["at"]}


def _counts(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    words = [row["status"] for row in rows]
    return [(words.count(word), word) for word in ("violated", "unknown", "met", "not measured") if word in words]
