"""Updates of Telegram, where its bot is set to `mode: webhook`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request

from treewalk.server.routes import refusals
from treewalk.server.service import Service


def add(api: FastAPI, service: Service) -> None:
    """Add the route. It answers 404 while no bot listens here."""

    answers = refusals(404, 413)
    del answers[422]

    @api.post(
        "/webhooks/telegram",
        name="updates of Telegram",
        operation_id="webhook_telegram",
        responses=answers,
        tags=["approvals"],
    )
    async def webhook(request: Request) -> dict[str, Any]:
        """What people press and write."""
        listener = service.telegram
        if listener is None or not listener.hooked:
            raise HTTPException(404, "no bot listens here (notify.telegram, mode: webhook)")
        if not listener.knows(request.headers.get("x-telegram-bot-api-secret-token", "")):
            service.measures.refused("telegram", "not allowed")
            raise HTTPException(401, "this is not the webhook's secret")
        await listener.take(await service.body("telegram", request))
        return {}
