"""Incidents, what waits for a human, alerts and the audit."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request

from treewalk.errors import UsageError
from treewalk.server import shapes
from treewalk.server.routes import After, Before, Limit, Number, bearer, number_in_range, reader, refusals
from treewalk.server.service import Service
from treewalk.store.pages import END, Pages, following

_MOST = 1000  # lines of a timeline, and alerts, that an incident is shown with; the pages have them all


def add(api: FastAPI, service: Service) -> None:
    """Add these routes."""
    read = [Depends(reader(service)), Depends(bearer)]
    pages = Pages(service.operations.app.database)

    @api.get(
        "/api/incidents",
        dependencies=read,
        response_model=shapes.IncidentList,
        responses=refusals(),
        tags=["incidents"],
    )
    async def incidents(limit: Limit = 50, before: Before = END) -> Any:
        """The newest incidents first."""
        rows = await asyncio.to_thread(pages.incidents, before, limit + 1)
        return {"incidents": rows[:limit], "next": following(rows, limit, "number")}

    @api.get(
        "/api/incidents/{number}",
        dependencies=read,
        response_model=shapes.Incident,
        responses=refusals(404),
        tags=["incidents"],
    )
    async def incident(number: Number) -> Any:
        """One incident: what was found, its timeline, its alerts (of each the first thousand)."""
        return await asyncio.to_thread(_incident, service, pages, number_in_range(number))

    @api.get(
        "/api/incidents/{number}/timeline",
        dependencies=read,
        response_model=shapes.Timeline,
        responses=refusals(404),
        tags=["incidents"],
    )
    async def timeline(number: Number, after: After = 0, limit: Limit = 200) -> Any:
        """What happened, oldest first."""
        number_in_range(number)
        await asyncio.to_thread(service.operations.cases.life, number)
        rows, more = await asyncio.to_thread(pages.timeline, number, after, limit)
        return {"incident": number, "timeline": rows, "next": more}

    @api.get("/api/alerts", dependencies=read, response_model=shapes.AlertList, responses=refusals(), tags=["alerts"])
    async def alerts(limit: Limit = 50, before: Before = END) -> Any:
        """The newest alerts first."""
        rows = await asyncio.to_thread(pages.alerts, before, limit + 1)
        return {"alerts": rows[:limit], "next": following(rows, limit, "id")}

    @api.get(
        "/api/alerts/unmapped",
        dependencies=read,
        response_model=shapes.AlertList,
        responses=refusals(),
        tags=["alerts"],
    )
    async def unmapped(limit: Limit = 50, before: Before = END) -> Any:
        """The newest alerts that mean no SLA, each with the line to add to a tree file."""
        rows = await asyncio.to_thread(lambda: pages.alerts(before, limit + 1, unmapped=True))
        return {"alerts": rows[:limit], "next": following(rows, limit, "id")}

    @api.get("/api/audit", dependencies=read, response_model=shapes.AuditList, responses=refusals(), tags=["audit"])
    async def audit(after: After = 0, limit: Limit = 100) -> Any:
        """Every decision, action and approval, oldest first."""
        rows = await asyncio.to_thread(pages.audit, after, limit + 1)
        return {"rows": rows[:limit], "next": following(rows, limit, "seq")}

    @api.get(
        "/api/approvals", dependencies=read, response_model=shapes.Questions, responses=refusals(), tags=["approvals"]
    )
    async def approvals() -> Any:
        """Plans that wait for a human now, the oldest question first."""
        operations = service.operations
        rows = await asyncio.to_thread(operations.cases.questions, operations.app.clock.now())
        return {
            "approvals": [{**{k: v for k, v in r.items() if k != "root_node"}, "node": r["root_node"]} for r in rows]
        }

    _decisions(api, service)


def _decisions(api: FastAPI, service: Service) -> None:
    @api.post(
        "/api/incidents/{number}/answer",
        dependencies=[Depends(bearer)],
        response_model=shapes.Answered,
        responses=refusals(400, 404, 409, 413),
        tags=["approvals"],
    )
    async def answer(request: Request, number: Number, given: shapes.Answer) -> Any:
        """Approve or deny the plan of that digest. The first answer of a listed approver counts, and only that."""
        service.may_change(request)
        number_in_range(number)
        who = service.person(request) or given.who  # who shows a token of their own is that person, whatever they say
        return {"result": await asyncio.to_thread(_answer, service, number, given, who)}

    @api.post(
        "/api/incidents/{number}/cancel",
        dependencies=[Depends(bearer)],
        response_model=shapes.Cancelled,
        responses=refusals(404),
        tags=["incidents"],
    )
    async def cancel(request: Request, number: Number) -> Any:
        """End an incident without doing anything more; what is being done at this moment is still recorded."""
        who = service.may_change(request)
        return {"cancelled": await asyncio.to_thread(service.operations.cancel, number_in_range(number), who)}


def _answer(service: Service, number: int, given: shapes.Answer, who: str) -> str:
    operations = service.operations
    life = operations.cases.life(number)
    if not operations.policy.may_approve(who, "http"):
        said = {"digest": given.digest, "granted": given.granted, "via": "http"}
        operations.audit.add(operations.app.clock.now(), "answer refused", who, said, number)
        raise HTTPException(403, f"{who[:80]!r} is not one of policy.approval.approvers")
    if life["state"] == "asking" and given.digest != life["digest"]:  # a program gives the whole of it
        raise HTTPException(409, _NOT_RECORDED["not asked"])
    try:
        result = operations.answer(number, who, given.granted, "http", digest=given.digest)
    except UsageError as error:
        raise HTTPException(409, str(error)) from None
    if result != "recorded":
        raise HTTPException(409, _NOT_RECORDED.get(result, result))
    return result


_NOT_RECORDED = {
    "already": "it was answered before; the first answer counts",
    "expired": "the question has expired",
    "not asked": "that plan was not asked for",
}


def _incident(service: Service, pages: Pages, number: int) -> dict[str, Any]:
    found = service.operations.app.store.incident(number)
    return {**found, "timeline": pages.timeline(number, 0, _MOST)[0], "alerts": service.inbox.of(number)}
