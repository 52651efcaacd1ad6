"""Questions that wait for a human, and the answers to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treewalk.operations.switchboard import OperationsSwitchboard
from treewalk.server.pages.gate import Refused
from treewalk.server.pages.room import Room, number_of
from treewalk.server.pages.sessions import Session

_SAID = {
    "recorded": "Your answer is recorded.",
    "already": "Somebody has answered before you; that answer counts.",
    "read-only": "Nothing can be approved: treewalk only looks now. It has been noted.",
    "expired": "The question has expired; nothing was recorded.",
    "not asked": "This plan is not being asked about.",
    "older plan": "The plan has changed since you looked. Nothing was recorded: read the new plan and answer again.",
}


async def show(room: Room, request: Request, session: Session) -> Response:
    """What is asked now, and what was answered last."""
    values = await asyncio.to_thread(_look, room, session)
    return await room.page("approvals.html", session, "/approvals", **values)


def _look(room: Room, session: Session) -> dict[str, Any]:
    operations = room.operations
    asked = []
    for row in operations.cases.questions(room.now()):
        plan = operations.app.store.incident(row["incident"])["life"]["plan"]
        asked.append({**row, "number": row["incident"], "plan": plan})
    return {
        "questions": asked,
        "answered": room.views.answered(20),
        "may_answer": may_answer(room, session),
        "csrf": session.csrf,
    }


def may_answer(room: Room, session: Session) -> str | None:
    """Why this person cannot answer questions, or None when they can."""
    why = room.gate.why_not(session)
    if why is not None:
        return why
    if room.operations.policy.may_approve(session.name, "web"):
        return None
    return f"{session.name} is not under policy.approval.approvers in treewalk.yaml, so your answer would not count"


async def answer(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """Take an answer, bound to the plan that the person has read."""
    number = number_of(request.path_params["number"])
    said = form.get("answer")
    if said not in ("approve", "deny"):
        raise Refused(400, "the answer is neither approve nor deny")
    result = await asyncio.to_thread(_answer, room, number, session, form.get("digest", ""), said == "approve")
    text = _SAID[result]
    if request.headers.get("hx-request") == "true":
        return room.part("said.html", said=text, well=result == "recorded")
    return room.on(session, f"/incidents/{number}", text)


def _answer(room: Room, number: int, session: Session, digest: str, granted: bool) -> str:
    operations = room.operations
    operations.cases.life(number)
    found = OperationsSwitchboard(operations).answer(number, digest[:64], session.name, granted, "web")
    if found.result == "not allowed":
        raise Refused(403, may_answer(room, session) or "your answer would not count")
    if found.result == "not asked" and found.asking:
        return "older plan"
    return found.result
