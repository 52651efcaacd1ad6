"""What the routes work with: who may speak, alerts on their way into the memory, and the operations behind it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request

from treewalk.errors import StoreError, UsageError
from treewalk.integrations import alertmanager, gatus, generic, grafana
from treewalk.model.alert import Alert, Parsed
from treewalk.model.diagnosis import Measurement
from treewalk.model.events import Event
from treewalk.model.redact import redact
from treewalk.server.collector import Collector
from treewalk.server.keys import NEED_PERSON, Key, Keys, from_elsewhere
from treewalk.server.measures import Measures
from treewalk.server.rate import WRONG_BURST, WRONG_PER_SECOND, Rate
from treewalk.server.senders import networks, sender
from treewalk.settings import ServerSettings
from treewalk.spans import span
from treewalk.stages.route import Route, Router
from treewalk.store.inbox import Accepted, Inbox

if TYPE_CHECKING:
    from treewalk.integrations.telegram_listener import Listener
    from treewalk.operations.incidents import Operations
    from treewalk.server.reloading import Reload, Reloader
    from treewalk.server.watching import Watch

_SAY_AGAIN = 60.0  # seconds between two lines about what was not understood of one sender
_BEARER = {"WWW-Authenticate": 'Bearer realm="treewalk"'}
_LARGE = 50_000  # bytes from which a body is read beside the loop
PARSERS: Mapping[str, Callable[[bytes], Parsed]] = {
    "alertmanager": alertmanager.parse,
    "gatus": gatus.parse,
    "grafana": grafana.parse,
    "generic": generic.parse,
}


def _both(one: Callable[[Event], None], other: Callable[[Event], None]) -> Callable[[Event], None]:
    def told(event: Event) -> None:
        one(event)
        other(event)

    return told


class Service:
    """What the routes work with. `opened` is told the numbers of incidents that alerts have opened, `say`
    takes a line for the log."""

    def __init__(
        self,
        operations: Operations,
        settings: ServerSettings,
        keys: Keys,
        opened: Callable[[Sequence[int]], None],
        say: Callable[[str], None],
    ) -> None:
        self.operations, self.settings, self.keys, self.opened = operations, settings, keys, opened
        self._say = say
        self.started = operations.app.clock.now()
        self.inbox = Inbox(operations.app.database, lambda: self.operations.policy.unmet)
        self.router = Router(operations.app.workspace.forest.slas.values())
        self.collector = Collector(self.inbox, self._route, operations.app.clock.now)
        self.measures = Measures(lambda: self.operations, self.inbox, PARSERS)
        operations.watch = _both(operations.watch, self.measures.seen)
        operations.journal = self.measures.counting(operations.journal)
        self.rate = Rate(settings.rate.per_second, settings.rate.burst, operations.app.clock.monotonic)
        self._said: dict[str, float] = {}
        self.wrong = Rate(WRONG_PER_SECOND, WRONG_BURST, operations.app.clock.monotonic)
        self.latest: dict[str, tuple[float, Measurement]] = {}
        self.reloader: Reloader | None = None
        self.reloaded: Reload | None = None
        self.watch: Watch | None = None
        self.telegram: Listener | None = None

    def measured(self, sla: str, found: Measurement) -> None:
        """Count a measurement of the watch, and keep the newest for whoever looks."""
        self.latest[sla] = self.operations.app.clock.now(), found
        self.measures.measured(sla, found)

    async def met(self, sla: str) -> None:
        """Keep that an SLA is met, where an incident had left it unmet. Raises StoreError."""
        await asyncio.to_thread(self.inbox.met, sla, self.operations.app.clock.now())

    def note_reload(self, found: Reload) -> None:
        """Keep how the last reading of the files went."""
        self.reloaded = found
        self.measures.reloaded(found)

    def adopt(self, operations: Operations, keys: Keys) -> None:
        """Go on with content that was read again; its secrets and bounds hold from the next request on."""
        settings = operations.app.workspace.settings.server
        if settings.rate != self.settings.rate:
            self.rate = Rate(settings.rate.per_second, settings.rate.burst, operations.app.clock.monotonic)
        self.operations, self.settings, self.keys = operations, settings, keys
        self.router = Router(operations.app.workspace.forest.slas.values())

    def _route(self, alert: Alert) -> Route:
        return self.router.route(alert)

    async def webhook(self, source: str, request: Request) -> dict[str, Any]:
        """Take in one message; what became of it, once it is committed."""
        with span(f"webhook {source}", source=source) as note:
            told = await self._webhook(source, request)
            note("alerts", told["new"] + told["repeated"])
            note("opened", ",".join(str(number) for number in told["opened"]))
            return told

    async def _webhook(self, source: str, request: Request) -> dict[str, Any]:
        key = self.keys.webhooks[source]
        signature = request.headers.get(key.signature_header, "") if key.secret else ""
        if not signature:  # else only the body can tell
            self._check(request, source, (*self.keys.general, key))
            self._slow_down(source, request)
        body = await self.body(source, request)
        if signature:  # nothing is taken from a sender's bucket by who only claims to be that sender
            if not key.signed(signature, body):
                self.measures.refused(source, "not allowed")
                raise self._wrong(request, "the signature does not fit the body")
            self._slow_down(source, request)
        parse = PARSERS[source]
        try:
            found = await asyncio.to_thread(parse, body) if len(body) > _LARGE else parse(body)
        except UsageError as error:
            self.measures.refused(source, "not understood")
            raise HTTPException(400, str(error)) from None
        result = await self.take(source, found.alerts)
        await self._note_missed(source, found, result)
        return {
            "new": result.new,
            "repeated": result.repeated,
            "no_sla": result.unmapped,
            "opened": result.opened,
            "joined": result.joined,
            "truncated": found.truncated,
            "problems": list(found.problems),
        }

    async def _note_missed(self, source: str, found: Parsed, result: Accepted) -> None:
        """Count, say and write down what of a message was left out, or could not be read. Raises StoreError."""
        parts = [f"{found.truncated} alerts were left out of it (max_alerts, or too many)"] if found.truncated else []
        parts += [f"{found.lost} alerts were not understood"] if found.lost else []
        told = f"a message of {source}: {'; '.join([*parts, *found.problems[:2]])}"
        if parts:
            self.measures.missed(source, found.truncated, found.lost)
            for number in (*result.opened, *result.joined):
                cases, now = self.operations.cases, self.operations.app.clock.now()
                await asyncio.to_thread(cases.note, number, "left out", redact(told), now)
        now = self.operations.app.clock.monotonic()
        if (parts or found.problems) and now >= self._said.get(source, -_SAY_AGAIN) + _SAY_AGAIN:
            self._said[source] = now
            self._say(redact(told))

    def _slow_down(self, source: str, request: Request) -> None:
        """Whether this sender sends too much. Raises HTTPException that says when to come again."""
        seconds = self.rate.wait(source, self.address(request))
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
                close = {"Connection": "close"}  # else the rest of it is read on
                raise HTTPException(413, f"the body has more than {limit} bytes (server.max_body)", close)
            parts.append(part)
        return b"".join(parts)

    def may(self, request: Request) -> None:
        """Whether this request may read. Raises HTTPException."""
        self._check(request, None, self.keys.general)

    def may_scrape(self, request: Request) -> None:
        """Whether this request may read the metrics. Raises HTTPException."""
        self._check(request, None, (*self.keys.general, self.keys.metrics))

    def may_change(self, request: Request) -> str:
        """Whether this request may throw switches, which needs a token always; who it is, for the audit."""
        if self.keys.shut:
            raise HTTPException(403, "set server.token in treewalk.yaml to do this over HTTP")
        self.may(request)
        person = self.person(request)
        if person is None and self.keys.people:
            raise HTTPException(403, NEED_PERSON)
        return f"http {person or self.address(request) or 'unknown'}"

    def person(self, request: Request) -> str | None:
        """Whose token this request shows, where people have tokens of their own."""
        return self.keys.person(request.headers.get("authorization", ""))

    def address(self, request: Request) -> str:
        """The address of whoever sends a request, also behind a proxy that is trusted; empty where there is none."""
        peer = request.client.host if request.client else ""
        proxies = networks(self.settings.trusted_proxies)
        return sender(peer, request.headers.getlist("x-forwarded-for"), proxies) if proxies else peer

    def _check(self, request: Request, source: str | None, keys: Sequence[Key]) -> None:
        if self.keys.none:
            why = from_elsewhere(request.method, request.headers)
            if why is not None:
                raise HTTPException(403, why)
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
        why = "a token is needed"
        raise self._wrong(request, why) if given else HTTPException(401, why, _BEARER)

    def _wrong(self, request: Request, why: str) -> HTTPException:
        """What a wrong secret is answered with; who shows many is told to wait. A right one is never asked how many."""
        seconds = self.wrong.wait("secrets", self.address(request))
        if seconds:
            return HTTPException(429, "too many wrong secrets from this address", {"Retry-After": str(seconds)})
        return HTTPException(401, why, _BEARER)
