"""The pages of `treewalk serve`: HTML for people, beside the JSON for programs. One module a noun."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from treewalk.errors import TreewalkError, UsageError
from treewalk.model.redact import redact
from treewalk.server.pages import (
    approvals,
    audit,
    impact,
    incidents,
    known,
    login,
    overview,
    plots,
    policy,
    reports,
    slas,
    switch,
    unmapped,
)
from treewalk.server.pages.gate import LoginNeeded, Refused
from treewalk.server.pages.rendering import FILES, STATIC, path
from treewalk.server.pages.room import Room
from treewalk.server.pages.shield import shielded

if TYPE_CHECKING:
    from treewalk.server.web import Service

_PROGRAMS = ("/api/", "/webhooks/", "/-/")  # what asks here is no browser
_YEAR = "public, max-age=31536000, immutable"


def pages(service: Service, ready: Callable[[], str | None]) -> ASGIApp:
    """The application that answers whatever the API does not. `ready` says why the server is stopping, or None."""
    room = Room(service, ready)

    async def ask_login(request: Request) -> Response:
        return login.ask(room, request)

    async def enter(request: Request) -> Response:
        return await login.enter(room, request)

    routes = [
        Route("/login", ask_login),
        Route("/login", enter, methods=["POST"]),
        Route("/logout", room.takes(login.leave, "sender"), methods=["POST"]),
        Route("/static/{name}", _static),
        Route("/", room.shows(overview.show)),
        Route("/events", room.shows(overview.events)),
        Route("/incidents", room.shows(incidents.index)),
        Route("/incidents/{number}", room.shows(incidents.show)),
        Route("/incidents/{number}/events", room.shows(incidents.events)),
        Route("/incidents/{number}/report", room.shows(reports.report)),
        Route("/incidents/{number}/postmortem", room.shows(reports.postmortem)),
        Route("/incidents/{number}/plot", room.shows(plots.of_incident)),
        Route("/incidents/{number}/answer", room.takes(approvals.answer), methods=["POST"]),
        Route("/incidents/{number}/seen", room.takes(incidents.seen, "stopper"), methods=["POST"]),
        Route("/incidents/{number}/cancel", room.takes(incidents.cancel, "stopper"), methods=["POST"]),
        Route("/approvals", room.shows(approvals.show)),
        Route("/slas/{name:path}/events", room.shows(slas.events)),
        Route("/slas/{name:path}/node", room.shows(slas.node)),
        Route("/slas/{name:path}/walk", room.takes(slas.walk, "sender"), methods=["POST"]),
        Route("/slas/{name:path}", room.shows(slas.show)),
        Route("/known-errors", room.shows(known.show)),
        Route("/known-errors", room.takes(known.decide), methods=["POST"]),
        Route("/impact", room.shows(impact.show)),
        Route("/unmapped", room.shows(unmapped.show)),
        Route("/policy", room.shows(policy.show)),
        Route("/audit", room.shows(audit.show)),
        Route("/audit/verified", room.shows(audit.verify)),
        Route("/switch", room.shows(switch.show)),
        Route("/switch", room.takes(switch.throw, "stopper"), methods=["POST"]),
    ]

    async def failed(request: Request, error: Exception) -> Response:
        return _failed(room, request, error)

    handled = (LoginNeeded, Refused, UsageError, TreewalkError, 404, 405)
    return shielded(Starlette(routes=routes, exception_handlers=dict.fromkeys(handled, failed)))


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FILES:
        raise Refused(404, "there is no such file")
    return FileResponse(STATIC / name, headers={"Content-Type": FILES[name], "Cache-Control": _YEAR})


def _failed(room: Room, request: Request, error: Exception) -> Response:
    """What the reader is told instead of a page."""
    status, why = _status(error)
    if request.url.path.startswith(_PROGRAMS):
        return JSONResponse({"detail": "Not Found" if status == 404 else why}, status)
    partial = request.headers.get("hx-request") == "true"
    if isinstance(error, LoginNeeded):
        return _to_login(room, request, partial=partial)
    if partial:
        return room.part("said.html", said=why, well=False)
    response = room.bare("error.html", status, status=status, why=why)
    if status in (429, 503):
        response.headers["Retry-After"] = "60" if status == 429 else "5"
    return response


def _status(error: Exception) -> tuple[int, str]:
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, UsageError):
        return 404, redact(str(error))
    if isinstance(error, TreewalkError):
        return 503, redact(str(error))
    status = getattr(error, "status_code", 401)
    return status, "there is no such page" if status == 404 else "this page does not take that"


def _to_login(room: Room, request: Request, *, partial: bool) -> Response:
    """To the login, and back. Who follows a link from a chat has a cookie that the browser keeps back (SameSite);
    it sends it when the page itself asks again."""
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return room.bare("again.html")
    if partial:
        return Response(status_code=204, headers={"HX-Refresh": "true"})
    if request.headers.get("accept", "").startswith("text/event-stream"):
        return Response("log in", 401)
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"/login?next={path(back)}" if request.method == "GET" and back != "/" else "/login"
    return RedirectResponse(target, 303)
