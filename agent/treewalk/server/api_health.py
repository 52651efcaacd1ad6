"""Whether it lives, whether it is ready, how it is, and its own metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from treewalk import __version__
from treewalk.errors import StoreError
from treewalk.server.measures import CONTENT_TYPE
from treewalk.server.routes import Answers, bearer, reader, refusals
from treewalk.server.service import Service
from treewalk.server.shapes import Status
from treewalk.store.workers import SILENT

_TEXT: Answers = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def add(api: FastAPI, service: Service, ready: Callable[[], str | None]) -> None:
    """Add these routes."""
    read = [Depends(reader(service)), Depends(bearer)]

    async def may_scrape(request: Request) -> None:
        service.may_scrape(request)

    async def why_not() -> str | None:
        why = ready()
        if why is None:
            try:
                why = await asyncio.to_thread(_unwritten, service)
            except StoreError:  # anybody may ask this, and the error tells where the memory is
                why = "the memory cannot be used; treewalk's log and GET /api/status tell why"
        return why

    @api.get("/healthz", response_class=PlainTextResponse, tags=["health"])
    async def healthz() -> Response:
        """The process answers."""
        return PlainTextResponse("ok\n")

    unready: Answers = {503: {"content": _TEXT[200]["content"], "description": "Not ready, with the reason."}}

    @api.get("/readyz", response_class=PlainTextResponse, responses=unready, tags=["health"])
    async def readyz() -> Response:
        """It can take alerts in: the memory can be read, and was written of late by whoever works on incidents."""
        why = await why_not()
        return PlainTextResponse("ready\n") if why is None else PlainTextResponse(f"not ready: {why}\n", 503)

    told = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    metrics_answers: Answers = {
        code: {"description": one["description"], "content": told} for code, one in refusals().items() if code != 422
    } | _TEXT

    scrape = [Depends(may_scrape), Depends(bearer)]

    @api.get(
        "/metrics", dependencies=scrape, response_class=PlainTextResponse, responses=metrics_answers, tags=["health"]
    )
    async def metrics() -> Response:
        """For a Prometheus."""
        return Response(await asyncio.to_thread(service.measures.text), media_type=CONTENT_TYPE)

    status_answers = refusals()
    del status_answers[422]

    @api.get("/api/status", dependencies=read, response_model=Status, responses=status_answers, tags=["health"])
    async def status() -> Any:
        """How the server is: switches, what waits, and how the last reading of its files went."""
        return {**await asyncio.to_thread(_status, service), "ready": await why_not() or "yes"}


def _unwritten(service: Service) -> str | None:
    """For how long nothing was written into the memory, where that is too long; None when all is well."""
    operations = service.operations
    service.inbox.waiting()
    beat = operations.workers.beaten(operations.worker)
    silent = operations.app.clock.now() - beat if beat is not None else 0.0
    return f"the memory could not be written for {silent:.0f} s" if silent > SILENT else None


def _status(service: Service) -> dict[str, Any]:
    operations = service.operations
    workspace = operations.app.workspace
    return {
        "version": __version__,
        "started": service.started,
        "slas": len(workspace.forest.slas),
        "nodes": len(workspace.forest.nodes),
        "known_errors": len(workspace.known_errors),
        "killed": operations.killed(),
        "read_only": operations.read_only(),
        "watching": service.watch.watching if service.watch else 0,
        "waiting": len(service.inbox.waiting()),
        "incidents": dict(service.inbox.incidents_by_state()),
        "reload": asdict(service.reloaded) if service.reloaded else None,
    }
