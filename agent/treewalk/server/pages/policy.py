"""The autonomy table: what treewalk may do by itself."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from treewalk.operations.tables import guardrails, never, tiers
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session

_MEANS = {
    "full": "may run",
    "after": "only once the node has been unhealthy for a time",
    "known": "only as the fix of a trusted known error",
    "ask": "a named human approves this very plan",
    "never": "refused, whoever asks",
}


async def show(room: Room, request: Request, session: Session) -> Response:
    """The page."""
    rules = room.operations.policy
    return await room.page(
        "policy.html",
        session,
        "/policy",
        rows=list(tiers(rules)),
        guardrails=guardrails(rules),
        never=never(),
        means=_MEANS,
        approvers=rules.approvers,
    )
