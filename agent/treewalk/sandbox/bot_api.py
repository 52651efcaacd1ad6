"""A server on loopback that speaks Telegram's Bot API as far as treewalk uses it, and the people in the chat.

It answers, and complains, in the words of the real one. What it lets through and the real one does not: plain HTTP for
a webhook. A test or the demo plays the people: `press` a button, `say` a text, look at what is shown in `messages`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from treewalk.sandbox.bot_chat import BOT, TOKEN, BotApi, Json, Refusal, Shown

if TYPE_CHECKING:
    from fastapi.responses import Response

__all__ = ["BOT", "TOKEN", "BotApi", "Shown", "running_bot_api"]


def _application(api: BotApi) -> Any:
    from fastapi import FastAPI, Request

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def called(token: str, method: str, request: Request) -> Response:
        if token != api.token:
            return _refused(Refusal(401, "Unauthorized"))
        try:
            fields = parse_qs((await request.body()).decode(), keep_blank_values=True)
            result = await api.call(method, {k: v[0] for k, v in fields.items()})
            return _answer(200, {"ok": True, "result": result})
        except UnicodeDecodeError:
            return _refused(Refusal(400, "Bad Request: strings must be encoded in UTF-8"))
        except Refusal as refusal:
            return _refused(refusal)

    called.__annotations__["request"] = Request  # the name is not one of this module
    app.api_route("/bot{token}/{method}", methods=["GET", "POST"], response_model=None)(called)
    return app


def _refused(refusal: Refusal) -> Response:
    body: Json = {"ok": False, "error_code": refusal.code, "description": refusal.description}
    return _answer(refusal.code, {**body, **({"parameters": refusal.parameters} if refusal.parameters else {})})


def _answer(code: int, body: Json) -> Response:
    from fastapi.responses import Response

    return Response(json.dumps(body), code, media_type="application/json")  # half a character goes escaped


@contextmanager
def running_bot_api(api: BotApi | None = None, port: int = 0) -> Iterator[BotApi]:
    """The server on a port of loopback, in a thread of its own. Its address is `url`: the setting `api` of a bot."""
    import socket

    import uvicorn

    api = api or BotApi()
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(_application(api), log_level="critical", access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)

    async def serve() -> None:
        sender = asyncio.create_task(api.deliver())
        try:
            await server.serve(sockets=[listener])
        finally:
            sender.cancel()

    api.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=5)
        listener.close()
