"""Issue trackers for tests: aiohttp servers that speak the part of GitHub's and GitLab's REST API that is needed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web


class Tracker:
    """Issues and comments, by number. `answers` are given instead, first in first out: a status and headers."""

    def __init__(self) -> None:
        self.url = ""
        self.issues: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.drop_next = False  # do what is asked, and break the connection instead of an answer
        self.tells_who = True  # GitHub tells the token of an app not whose it is
        self.seen_tokens: set[str] = set()
        self._next = 0

    def number(self) -> int:
        self._next += 1
        return self._next

    def of(self, issue: int) -> list[dict[str, Any]]:
        return [c for c in self.comments.values() if c["issue"] == issue]


BOT = {"login": "treewalk-bot", "username": "treewalk-bot", "type": "Bot"}
STRANGER = {"login": "mallory", "username": "mallory", "type": "User"}


def _whoami(kept: Tracker) -> Any:
    async def whoami(request: web.Request) -> web.Response:
        if not kept.tells_who:
            return web.json_response({"message": "Resource not accessible by integration"}, status=403)
        return web.json_response(BOT)

    return whoami


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _page(request: web.Request, rows: list[Any]) -> web.Response:
    page, size = int(request.query.get("page", "1")), int(request.query.get("per_page", "30"))
    return web.json_response(rows[(page - 1) * size : page * size])


@asynccontextmanager
async def tracker(kind: str) -> AsyncIterator[Tracker]:
    """A tracker that speaks like `github` or `gitlab`."""
    kept = Tracker()
    app = web.Application(middlewares=[_gate(kept)])
    (_github if kind == "github" else _gitlab)(app, kept)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield kept
    finally:
        await runner.cleanup()


def _gate(kept: Tracker) -> Any:
    @web.middleware
    async def gate(request: web.Request, handler: Any) -> web.StreamResponse:
        token = request.headers.get("Authorization") or request.headers.get("PRIVATE-TOKEN", "")
        kept.seen_tokens.add(token)
        if token not in ("Bearer good-token", "good-token"):
            return web.json_response({"message": "Bad credentials"}, status=401)
        if kept.answers:
            status, headers = kept.answers.pop(0)
            return web.json_response({"message": "not now"}, status=status, headers=headers)
        response: web.StreamResponse = await handler(request)
        if kept.drop_next and request.method != "GET":
            kept.drop_next = False
            assert request.transport is not None
            request.transport.close()
        return response

    return gate


def _github(app: web.Application, kept: Tracker) -> None:
    base = "/repos/acme/shop/issues"

    async def index(request: web.Request) -> web.Response:
        rows = [i for i in kept.issues.values() if i["updated_at"] >= request.query["since"]]
        return _page(request, sorted(rows, key=lambda i: -i["number"]))

    async def create(request: web.Request) -> web.Response:
        given, number = await request.json(), kept.number()
        row = {**given, "number": number, "state": "open", "created_at": _now(), "updated_at": _now(), "user": BOT}
        kept.issues[number] = row
        return web.json_response(row, status=201)

    async def patch(request: web.Request) -> web.Response:
        row = kept.issues[int(request.match_info["n"])]
        row |= {**await request.json(), "updated_at": _now()}
        return web.json_response(row)

    async def notes(request: web.Request) -> web.Response:
        return _page(request, kept.of(int(request.match_info["n"])))

    async def note(request: web.Request) -> web.Response:
        id = kept.number()
        row = {"id": id, "issue": int(request.match_info["n"]), "created_at": _now(), **await request.json()}
        row["user"] = BOT
        kept.comments[id] = row
        return web.json_response(row, status=201)

    async def patch_note(request: web.Request) -> web.Response:
        row = kept.comments[int(request.match_info["c"])]
        row |= await request.json()
        return web.json_response(row)

    app.router.add_get("/user", _whoami(kept))
    app.router.add_get(base, index)
    app.router.add_post(base, create)
    app.router.add_patch(base + "/comments/{c}", patch_note)
    app.router.add_patch(base + "/{n}", patch)
    app.router.add_get(base + "/{n}/comments", notes)
    app.router.add_post(base + "/{n}/comments", note)


def _gitlab(app: web.Application, kept: Tracker) -> None:
    base = "/api/v4/projects/{project:acme%2Fshop|acme/shop}/issues"

    async def index(request: web.Request) -> web.Response:
        rows = [i for i in kept.issues.values() if i["updated_at"] >= request.query["updated_after"]]
        return _page(request, sorted(rows, key=lambda i: -i["iid"]))

    async def create(request: web.Request) -> web.Response:
        given, number = await request.json(), kept.number()
        row = {"id": 1000 + number, "iid": number, "state": "opened", "created_at": _now(), "updated_at": _now()}
        row["author"] = BOT
        kept.issues[number] = row | given
        return web.json_response(kept.issues[number], status=201)

    async def put(request: web.Request) -> web.Response:
        row, given = kept.issues[int(request.match_info["n"])], await request.json()
        if given.pop("state_event", None) == "reopen":
            row["state"] = "opened"
        row |= {**given, "updated_at": _now()}
        return web.json_response(row)

    async def notes(request: web.Request) -> web.Response:
        return _page(request, kept.of(int(request.match_info["n"])))

    async def note(request: web.Request) -> web.Response:
        id = kept.number()
        row = {"id": id, "issue": int(request.match_info["n"]), "created_at": _now(), **await request.json()}
        row["author"] = BOT
        kept.comments[id] = row
        return web.json_response(row, status=201)

    async def put_note(request: web.Request) -> web.Response:
        row = kept.comments[int(request.match_info["c"])]
        row |= await request.json()
        return web.Response(text=json.dumps(row), content_type="application/json")

    app.router.add_get("/api/v4/user", _whoami(kept))
    app.router.add_get(base, index)
    app.router.add_post(base, create)
    app.router.add_put(base + "/{n}", put)
    app.router.add_get(base + "/{n}/notes", notes)
    app.router.add_post(base + "/{n}/notes", note)
    app.router.add_put(base + "/{n}/notes/{c}", put_note)
