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
_NEEDING, _LOOKS_BACK = 20, 30 * 86400.0  # incidents that are shown, and seconds that they may be closed for
_MOST_HEADS = 2000


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
        [row["number"] for row in _needing(room)],
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
                **measured(room, sla.name, newest.get(sla.name, ())),
            }
        )
    latest = {row["sla"].name: row for row in rows}
    return {
        "needing": [one for one in _needing(room) if not _is_met_since(one, latest.get(one["sla"]))],
        "rows": rows,
        "counts": _counts(rows),
        "questions": operations.cases.questions(now),
        "living": living,
        "shared": shared,
        "resolved": views.resolved(_FIXED),
        "killed": operations.killed(),
    }


def _needing(room: Room) -> Sequence[Mapping[str, Any]]:
    return room.views.needing(room.now() - _LOOKS_BACK, _NEEDING)


def _is_met_since(incident: Mapping[str, Any], row: Mapping[str, Any] | None) -> bool:
    """Whether nothing is left to do of an incident that was refused: nothing was done, and its SLA is met again."""
    if incident["ending"] != "refused":
        return False
    newer = row is not None and row["status"] == "met" and (row["at"] or 0.0) > incident["closed"]
    return incident["status"] == "met" or newer


def measured(room: Room, sla: str, numbers: Sequence[int]) -> dict[str, Any]:
    """The newest measurement of an SLA that is known, of its newest incidents, a walk or the watch: its status, the
    texts of it, and when."""
    found = [_UNKNOWN, *(head for number in numbers if (head := _head(room, number)) is not None)]
    walk = room.walks.of(sla)
    if walk is not None and walk.document is not None:
        found.append(_told(walk.document))
    watched = room.service.latest.get(sla)
    if watched is not None:
        when, last = watched
        about = {"status": last.status, "shown": last.shown, "limit": last.limit, "reason": last.reason}
        found.append({**about, "at": when})
    return max(found, key=lambda one: one["at"] or 0.0)


_UNKNOWN: dict[str, Any] = {"status": "not measured", "shown": None, "limit": None, "reason": "", "at": None}


def _head(room: Room, number: int) -> dict[str, Any] | None:
    """The measurement that an incident began with, or None when it was not diagnosed. Read once while it stays."""
    mark, kept = room.views.mark_of(number), room.heads.get(number)
    if kept is not None and kept[0] == mark:
        return kept[1]
    found = room.operations.app.store.incident(number)
    head = _told(found) if "reason" in found else None
    if len(room.heads) >= _MOST_HEADS:
        room.heads.clear()
    room.heads[number] = mark, head
    return head


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: document[key] for key in ("status", "shown", "limit", "reason")}, "at": document["timing"]["at"]}


def _counts(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    words = [row["status"] for row in rows]
    return [(words.count(word), word) for word in ("violated", "unknown", "met", "not measured") if word in words]
