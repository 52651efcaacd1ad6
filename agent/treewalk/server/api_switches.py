"""Switches: kill and revive, look and not touch, and reading the files again. All need the token."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from treewalk.server import shapes
from treewalk.server.routes import Answers, bearer, refusals
from treewalk.server.service import Service

Why = Annotated[str, Query(max_length=500)]


def add(api: FastAPI, service: Service) -> None:
    """Add these routes."""
    token = [Depends(bearer)]

    @api.post("/api/kill", dependencies=token, response_model=shapes.Killed, responses=refusals(), tags=["switches"])
    async def kill(request: Request, why: Why = "no reason given") -> Any:
        """Stop everything that changes something, now."""
        who = service.may_change(request)
        problems = await asyncio.to_thread(service.operations.kill, who, why)
        return {"killed": await asyncio.to_thread(service.operations.killed), "problems": list(problems)}

    @api.post("/api/revive", dependencies=token, response_model=shapes.Revived, responses=refusals(), tags=["switches"])
    async def revive(request: Request) -> Any:
        """Let things run again."""
        who = service.may_change(request)
        return {"was_on": await asyncio.to_thread(service.operations.revive, who)}

    @api.post(
        "/api/read-only",
        dependencies=token,
        response_model=shapes.ReadOnly,
        responses=refusals(400, 413),
        tags=["switches"],
    )
    async def read_only(request: Request, wish: shapes.ReadOnlyWish) -> Any:
        """Look and do not touch: incidents are diagnosed, nothing acts, nothing can be approved. Or touch again."""
        who = service.may_change(request)
        await asyncio.to_thread(service.operations.set_read_only, wish.on, who, wish.why)
        return {"read_only": await asyncio.to_thread(service.operations.read_only)}

    broken: Answers = {
        **refusals(409),
        422: {"model": shapes.Reloaded, "description": "The files are broken; what ran before runs on."},
    }

    @api.post("/-/reload", dependencies=token, response_model=shapes.Reloaded, responses=broken, tags=["switches"])
    async def reload(request: Request) -> Any:
        """Read configuration and content again: all of it, or, where something is broken, nothing."""
        who = service.may_change(request)
        if service.reloader is None:
            raise HTTPException(409, "it cannot be reloaded here: it is not a process that serves")
        found = asdict(await service.reloader.reload(who))
        return found if found["ok"] else JSONResponse(found, 422)
