"""The HTTP side: webhooks in, incidents and metrics out, the kill switch. `build` makes the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from treewalk import __version__
from treewalk.errors import StoreError, TreewalkError, UsageError
from treewalk.integrations import alertmanager, gatus, generic, grafana
from treewalk.model.alert import Alert, Parsed
from treewalk.model.redact import redact
from treewalk.server.collector import Collector
from treewalk.server.keys import Key, Keys, host_of, is_loopback, keys_of
from treewalk.server.measures import CONTENT_TYPE, Measures
from treewalk.server.pages import pages
from treewalk.server.rate import Rate
from treewalk.settings import ServerSettings
from treewalk.stages.route import Router
from treewalk.store.inbox import Accepted, Inbox

if TYPE_CHECKING:
    from treewalk.operations import Operations

_LARGE = 50_000  # bytes from which a body is read beside the loop
_PARSERS: Mapping[str, Callable[[bytes], Parsed]] = {
    "alertmanager": alertmanager.parse,
    "gatus": gatus.parse,
    "grafana": grafana.parse,
    "generic": generic.parse,
}
Number = Annotated[int, Query(ge=1, le=1000)]


class Service:
    """What the routes work with. `opened` is told the numbers of incidents that alerts have opened."""

    def __init__(
        self, operations: Operations, settings: ServerSettings, keys: Keys, opened: Callable[[Sequence[int]], None]
    ) -> None:
        self.operations, self.settings, self.keys, self.opened = operations, settings, keys, opened
        self.inbox = Inbox(operations.app.database)
        router = Router(operations.app.workspace.forest.slas.values())
        self.collector = Collector(self.inbox, router.route, operations.app.clock.now)
        self.measures = Measures(operations, self.inbox)
        self.rate = Rate(settings.rate.per_second, settings.rate.burst, operations.app.clock.monotonic)

    async def webhook(self, source: str, request: Request) -> dict[str, Any]:
        """Take in one message; what became of it, once it is committed."""
        key = self.keys.webhooks[source]
        signature = request.headers.get(key.signature_header, "") if key.secret else ""
        if not signature:  # else only the body can tell
            self._check(request, source, (self.keys.server, key))
        self._slow_down(source, request)
        body = await self.body(source, request)
        if signature and not key.signed(signature, body):
            self.measures.refused(source, "not allowed")
            raise HTTPException(401, "the signature does not fit the body")
        parse = _PARSERS[source]
        try:
            found = await asyncio.to_thread(parse, body) if len(body) > _LARGE else parse(body)
        except UsageError as error:
            self.measures.refused(source, "not understood")
            raise HTTPException(400, str(error)) from None
        result = await self.take(source, found.alerts)
        return {
            "new": result.new,
            "repeated": result.repeated,
            "no_sla": result.unmapped,
            "opened": result.opened,
            "joined": result.joined,
            "truncated": found.truncated,
            "problems": list(found.problems),
        }

    def _slow_down(self, source: str, request: Request) -> None:
        """Whether this sender sends too much. Raises HTTPException that says when to come again."""
        seconds = self.rate.wait(source, request.client.host if request.client else "")
        if seconds:
            self.measures.refused(source, "too many")
            # Alertmanager sends again at once after a 503 only; after a 429, when its group is due (decision 105).
            code = 503 if source == "alertmanager" else 429
            raise HTTPException(code, "too many messages (server.rate)", {"Retry-After": str(seconds)})

    async def take(self, source: str, alerts: Sequence[Alert]) -> Accepted:
        """Take alerts in; what became of them, once they are committed. Raises StoreError."""
        try:
            result = await self.collector.accept(alerts)
        except StoreError:
            self.measures.refused(source, "not written")
            raise
        self.measures.accepted(source, result)
        if result.opened:
            self.opened(result.opened)
        return result

    async def body(self, source: str, request: Request) -> bytes:
        """The body of a request. Raises HTTPException when it is too large."""
        limit, parts, size = self.settings.max_body, [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                self.measures.refused(source, "too large")
                raise HTTPException(413, f"the body has more than {limit} bytes (server.max_body)")
            parts.append(part)
        return b"".join(parts)

    def may(self, request: Request) -> None:
        """Whether this request may read. Raises HTTPException."""
        self._check(request, None, (self.keys.server,))

    def may_change(self, request: Request) -> str:
        """Whether this request may throw switches, which needs the token always; who it is, for the audit."""
        if self.keys.server.empty:
            raise HTTPException(403, "set server.token in treewalk.yaml to do this over HTTP")
        self.may(request)
        return f"http {request.client.host if request.client else 'unknown'}"

    def _check(self, request: Request, source: str | None, keys: Sequence[Key]) -> None:
        if self.keys.none:
            # A page in a browser on this machine may not reach in by a name that it made point here.
            if not is_loopback(host_of(request.headers.get("host", ""))):
                raise HTTPException(403, "without a secret treewalk is only asked as localhost or 127.0.0.1")
            return
        given = request.headers.get("authorization", "")
        # All are tried, whichever fits: the time tells nothing.
        shown = [key.shown(given) for key in keys]
        if any(shown):
            return
        if source is not None:
            self.measures.refused(source, "not allowed")
        if all(key.empty for key in keys):
            what = f"server.webhooks.{source}" if source else "server.token"
            raise HTTPException(403, f"there are secrets, but none for this address: set {what} in treewalk.yaml")
        raise HTTPException(401, "a token is needed", {"WWW-Authenticate": 'Bearer realm="treewalk"'})

    def incident(self, number: int) -> dict[str, Any]:
        """One incident with its timeline and its alerts. Raises UsageError."""
        cases, store = self.operations.cases, self.operations.app.store
        found = store.incident(number)
        return {**found, "timeline": list(cases.timeline(number)), "alerts": self.inbox.of(number)}


def build(
    operations: Operations,
    settings: ServerSettings,
    *,
    opened: Callable[[Sequence[int]], None] = lambda numbers: None,
    ready: Callable[[], str | None] = lambda: None,
) -> FastAPI:
    """The application. `ready` says why it is not, or None. Raises SettingsError for a secret that is missing."""
    service = Service(operations, settings, keys_of(settings, operations.app.resolve), opened)
    # Nothing is served that a browser would run: the interactive pages load their code from elsewhere.
    api = FastAPI(title="treewalk", version=__version__, docs_url=None, redoc_url=None)
    api.state.service = service
    api.state.telegram = None
    api.add_exception_handler(UsageError, _unknown)
    api.add_exception_handler(TreewalkError, _unavailable)
    _webhooks(api, service)
    _telegram(api, service)
    _health(api, service, ready)
    _incidents(api, service)
    _switches(api, service)
    api.router.default = pages(service, ready)  # whatever is none of the above is a page, or is told so as one
    return api


async def _unknown(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": redact(str(error))}, 404)


async def _unavailable(request: Request, error: Exception) -> Response:
    """503, which makes a sender try again."""
    return JSONResponse({"detail": redact(str(error))}, 503, {"Retry-After": "5"})


def _webhooks(api: FastAPI, service: Service) -> None:
    def add(source: str) -> None:
        async def webhook(request: Request) -> dict[str, Any]:
            return await service.webhook(source, request)

        api.post(f"/webhooks/{source}", name=f"alerts of {source}", operation_id=f"webhook_{source}")(webhook)

    for source in _PARSERS:
        add(source)


def _telegram(api: FastAPI, service: Service) -> None:
    @api.post("/webhooks/telegram", name="updates of Telegram", operation_id="webhook_telegram")
    async def webhook(request: Request) -> dict[str, Any]:
        """What people press and write, where the bot is set to `mode: webhook`."""
        listener = api.state.telegram
        if listener is None or not listener.hooked:
            raise HTTPException(404, "no bot listens here (notify.telegram, mode: webhook)")
        if not listener.knows(request.headers.get("x-telegram-bot-api-secret-token", "")):
            service.measures.refused("telegram", "not allowed")
            raise HTTPException(401, "this is not the webhook's secret")
        await listener.take(await service.body("telegram", request))
        return {}


def _health(api: FastAPI, service: Service, ready: Callable[[], str | None]) -> None:
    @api.get("/healthz")
    async def healthz() -> Response:
        """The process answers."""
        return PlainTextResponse("ok\n")

    @api.get("/readyz")
    async def readyz() -> Response:
        """It can take alerts in: the memory can be read, incidents are worked on."""
        why = ready()
        if why is None:
            try:
                await asyncio.to_thread(service.inbox.waiting)
            except StoreError as error:
                why = redact(str(error))
        return PlainTextResponse("ready\n") if why is None else PlainTextResponse(f"not ready: {why}\n", 503)

    @api.get("/metrics")
    async def metrics(request: Request) -> Response:
        """For a Prometheus."""
        service.may(request)
        return Response(await asyncio.to_thread(service.measures.text), media_type=CONTENT_TYPE)


def _incidents(api: FastAPI, service: Service) -> None:
    @api.get("/api/incidents")
    async def incidents(request: Request, limit: Number = 50) -> dict[str, Any]:
        """The newest incidents first."""
        service.may(request)
        return {"incidents": list(await asyncio.to_thread(service.operations.app.store.incidents, limit))}

    @api.get("/api/incidents/{number}")
    async def incident(request: Request, number: int) -> dict[str, Any]:
        """One incident: what was found, its timeline, its alerts."""
        service.may(request)
        if not 0 < number < 2**63:
            raise HTTPException(404, f"no incident number {number}")
        return await asyncio.to_thread(service.incident, number)

    @api.get("/api/alerts/unmapped")
    async def unmapped(request: Request, limit: Number = 50) -> dict[str, Any]:
        """The newest alerts that mean no SLA, each with the line to add to a tree file."""
        service.may(request)
        return {"alerts": await asyncio.to_thread(service.inbox.unmapped, limit)}


def _switches(api: FastAPI, service: Service) -> None:
    @api.post("/api/kill")
    async def kill(request: Request, why: Annotated[str, Query(max_length=500)] = "no reason given") -> dict[str, Any]:
        """Stop everything that changes something, now."""
        who = service.may_change(request)
        await asyncio.to_thread(service.operations.kill, who, why)
        return {"killed": await asyncio.to_thread(service.operations.killed)}

    @api.post("/api/revive")
    async def revive(request: Request) -> dict[str, Any]:
        """Let things run again."""
        who = service.may_change(request)
        return {"was_on": await asyncio.to_thread(service.operations.revive, who)}
