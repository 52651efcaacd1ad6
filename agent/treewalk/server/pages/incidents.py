"""Incidents: the list, and one with everything about it, live while it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treewalk.model.routing import left_to_a_human
from treewalk.server.pages.approvals import may_answer
from treewalk.server.pages.rendering import render
from treewalk.server.pages.room import Room, number_of
from treewalk.server.pages.sessions import Session
from treewalk.store.memory import LIVE

_A_PAGE = 50
_PARTS = ("summary", "ask", "plan", "outcome", "timeline", "diagnosis")


async def index(room: Room, request: Request, session: Session) -> Response:
    """The newest first, page by page."""
    given = request.query_params.get("before")
    before = number_of(given) if given is not None else None
    rows = await asyncio.to_thread(room.views.incidents, _A_PAGE + 1, before)
    more = rows[_A_PAGE - 1]["number"] if len(rows) > _A_PAGE else None
    return await room.page("incidents.html", session, "/incidents", rows=rows[:_A_PAGE], more=more, before=before)


async def show(room: Room, request: Request, session: Session) -> Response:
    """One incident."""
    number = number_of(request.path_params["number"])
    values = await asyncio.to_thread(about, room, number, session)
    return await room.page("incident.html", session, "/incidents", **values)


async def events(room: Room, request: Request, session: Session) -> Response:
    """The parts of it that have changed."""
    number = number_of(request.path_params["number"])
    await asyncio.to_thread(room.operations.cases.life, number)
    before: list[Any] = [None, []]

    async def look() -> Iterable[str]:
        mark = await asyncio.to_thread(_mark, room, number, session)
        if mark != before[0]:
            values = await asyncio.to_thread(about, room, number, session)
            before[:] = mark, [render(f"incident_{part}.html", **values) for part in _PARTS]
        return list(before[1])

    return room.streams.answer(request, look, every=0.7)


async def cancel(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """End it without doing anything more."""
    number = number_of(request.path_params["number"])
    done = await asyncio.to_thread(room.operations.cancel, number, f"web {session.name}")
    said = f"incident {number} is cancelled" if done else f"incident {number} was closed before"
    return room.on(session, f"/incidents/{number}", said)


async def seen(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """Somebody has seen it, so that nobody else is called. It approves nothing."""
    number = number_of(request.path_params["number"])
    first = await asyncio.to_thread(room.operations.acknowledge, number, session.name, "web")
    said = "Nobody else is called about it" if first else "Somebody has said so before you"
    return room.on(session, f"/incidents/{number}", said)


def _waits(life: Mapping[str, Any], timeline: Sequence[Mapping[str, Any]]) -> bool:
    """Whether somebody is waited for who says that they have seen it."""
    kinds = [line["kind"] for line in timeline if line["kind"] in ("acknowledged", "asking", "closed", "worse")]
    left = life["ending"] == "not_resolved" or left_to_a_human(life["ending"], timeline)
    open_still = life["state"] in LIVE or left
    return open_still and (not kinds or kinds[-1] != "acknowledged")


def _mark(room: Room, number: int, session: Session) -> tuple[Any, ...]:
    now = room.now()
    asked = [(row["incident"], row["digest"]) for row in room.operations.cases.questions(now)]
    return room.views.mark_of(number), asked, room.gate.why_not(session), room.operations.killed()


def about(room: Room, number: int, session: Session) -> dict[str, Any]:
    """Everything that the page of an incident shows. Raises UsageError, StoreError."""
    operations = room.operations
    found = operations.app.store.incident(number)
    life = found["life"]
    living = life["state"] in LIVE
    timeline = operations.cases.timeline(number)
    return {
        "number": number,
        "found": found,
        "life": life,
        "living": living,
        "diagnosed": "reason" in found,
        "cause": found.get("root_cause"),
        "known": found.get("known_error"),
        "cited": set((found.get("root_cause") or {}).get("cites", ())),
        "plan": life["plan"],
        "question": _question(room, number, life),
        "timeline": timeline,
        "waits": _waits(life, timeline),
        "alerts": room.service.inbox.of(number),
        "proof": (life["outcome"] or {}).get("proof"),
        "actions": (life["outcome"] or {}).get("actions") or [],
        "merged": (life["outcome"] or {}).get("merged_into"),
        "severity": room.views.severity(number),
        "shared": operations.cases.slas(number),
        "headline": headline(found),
        "csrf": session.csrf,
        "why_not": room.gate.why_not(session),
        "may_stop": room.gate.why_no_stop(session) is None,
        "may_answer": may_answer(room, session),
    }


def _question(room: Room, number: int, life: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if not life["digest"]:
        return None
    row = room.views.question(number, life["digest"])
    if row is None:
        return None
    open_now = row["granted"] is None and life["state"] == "asking" and row["expires"] > room.now()
    return {**row, "open": open_now}


def headline(found: Mapping[str, Any]) -> str:
    """The incident in one line; its state stands before it."""
    if "reason" not in found:
        return f"{found['sla']}: {found['life']['why'] or 'not diagnosed yet'}"
    cause = found["root_cause"]
    blamed = f"{cause['node']} broke it" if cause else "no culprit found"
    measured = f"{found['shown']} against {found['limit']}" if found["shown"] and found["limit"] else found["reason"]
    state = {"met": "is met", "violated": "was violated", "unknown": "could not be measured"}[found["status"]]
    return f"{found['sla']} {state} ({measured}); {blamed}"
