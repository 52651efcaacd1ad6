"""Alerts in: one address for each kind of sender."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from treewalk.server.routes import Answers, refusals
from treewalk.server.service import PARSERS, Service
from treewalk.server.shapes import Refusal, Taken

_BODY = {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}}


def add(api: FastAPI, service: Service) -> None:
    """Add these routes."""
    for source in PARSERS:
        _add(api, service, source)


def _add(api: FastAPI, service: Service, source: str) -> None:
    answers: Answers = {
        **refusals(413, 429),
        400: {"model": Refusal, "description": "The message could not be read; sent again it would fail again."},
    }
    del answers[422]

    async def webhook(request: Request) -> Any:
        # Written here: to check an answer of our own against its schema takes longer than to write the alerts down.
        return Response(json.dumps(await service.webhook(source, request)), media_type="application/json")

    api.post(
        f"/webhooks/{source}",
        name=f"alerts of {source}",
        operation_id=f"webhook_{source}",
        response_model=Taken,
        responses=answers,
        description="Take in a message of alerts; 200 only when they are committed. docs/serve.md tells who may send.",
        openapi_extra={"requestBody": {"content": _BODY, "required": True}},
        tags=["alerts"],
    )(webhook)
