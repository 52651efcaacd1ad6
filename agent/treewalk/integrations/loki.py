"""Loki, through httpx.

Times are nanoseconds as strings; values are `[time, line]` or, with structured metadata, `[time, line, {…}]`; one
stream may come back as several; errors are plain text; a limit over the server's own is an error, not a cap, and
so is a range over its longest. The server's text tells both bounds, so they are learned from it.
"""

from __future__ import annotations

import json
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from treewalk.errors import (
    QueryUnsupported,
    SettingsError,
    SourceBadAnswer,
    SourceError,
    SourceRejected,
    SourceTimeout,
    SourceUnreachable,
)
from treewalk.integrations.answers import reason, refused, shown_url, tls_file, too_large
from treewalk.integrations.guard import Guard
from treewalk.model.quantity import parse_duration
from treewalk.model.series import LogBatch, LogLine
from treewalk.ports import Clock
from treewalk.settings import LokiSettings

if TYPE_CHECKING:
    import httpx

SECOND = 1_000_000_000  # nanoseconds
LONGEST_RANGE = 30 * 86400 * SECOND  # the server's default is an hour more
CONNECT = 5.0  # seconds; a host that is there answers at once
_TOO_MANY_LINES = re.compile(r"max entries limit.*\(\d+ > (\d+)\)")
_TOO_LONG = re.compile(r"query time range exceeds the limit \(query length: [^,]*, limit: (\w+)\)")


class _Entry(NamedTuple):
    at: int  # Unix nanoseconds
    text: str
    labels: Mapping[str, str]

    def same(self) -> tuple[Any, ...]:
        return (self.at, self.text, tuple(sorted(self.labels.items())))


class _Page(NamedTuple):
    entries: Sequence[_Entry]  # newest first
    start: int  # how far back was asked, Unix nanoseconds
    full: bool  # there may be more


class Loki:
    """A log source over the HTTP API of Loki. `resolve` fills in secrets, `root` is the workspace."""

    def __init__(
        self, name: str, settings: LokiSettings, resolve: Callable[[str], str], clock: Clock, root: Path | None = None
    ) -> None:
        self.name = name
        self._settings, self._resolve, self._clock, self._root = settings, resolve, clock, root
        self._guard = Guard(
            f"Loki {shown_url(settings.url)}",
            clock,
            timeout=settings.timeout,
            retries=settings.retries,
            concurrency=settings.concurrency,
        )
        self._client: httpx.AsyncClient | None = None
        self._most, self._longest = settings.max_lines, LONGEST_RANGE

    @property
    def failures(self) -> Mapping[str, int]:
        """How many calls failed, by the kind of error."""
        return self._guard.errors

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        """The newest lines of a query with start <= time < end (Unix seconds). Raises SourceError.

        One line more than wanted is asked for, so that "there were more" is known. What the server does not give in
        one answer is asked for page by page, from the newest back.
        """
        found: list[_Entry] = []
        seen: list[_Entry] = []  # of the instant at which the page before ended: asked for again, it may have more
        first, stop, lost = _nanoseconds(start), _nanoseconds(end), False
        while stop > first and len(found) <= limit:
            page = await self._page(query, first, stop, limit + 1 - len(found) + len(seen))
            found.extend(_without(page.entries, seen))
            oldest = page.entries[-1].at if page.entries else stop - 1
            if not page.full:
                stop, seen = page.start, []
            elif oldest < stop - 1:
                stop, seen = oldest + 1, [e for e in page.entries if e.at == oldest]
            else:  # one instant holds more lines than the server gives at once: no way to the rest of them
                stop, seen, lost = stop - 1, [], True
        lines = tuple(LogLine(e.at / SECOND, e.text, e.labels) for e in found[:limit])
        return LogBatch(lines, truncated=lost or len(found) > limit)

    async def inspect(self) -> Mapping[str, str]:
        """Whether it answers queries, its version, and how fast it is. Raises SourceError when it cannot be asked."""
        began = self._clock.monotonic()
        labels = _object(await self._get("/loki/api/v1/labels", {}), self._guard.name)
        took = f"{(self._clock.monotonic() - began) * 1000:.0f} ms"
        return {
            "queries": "allowed",
            "answers in": took,
            "labels": str(len(labels.get("data") or [])),
            "ready": await self._told("/ready", lambda body: body.decode("utf-8", "replace").strip()[:80]),
            "version": await self._told("/loki/api/v1/status/buildinfo", lambda body: str(json.loads(body)["version"])),
        }

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _told(self, path: str, read: Callable[[bytes], str]) -> str:
        """What a gateway before Loki may not pass on."""
        try:
            return read(await self._guard.call(lambda: self._fetch(path, {})))
        except (SourceError, ValueError, KeyError, TypeError):
            return "not told"

    async def _page(self, query: str, start: int, end: int, wanted: int) -> _Page:
        """The newest entries with start <= time < end: as many, and as far back, as the server allows at once."""
        size, longest = min(wanted, self._most), self._longest
        begin = max(start, end - longest)
        params = {
            "query": query,
            "start": str(begin),
            "end": str(end),
            "limit": str(size),
            "direction": "backward",
        }
        try:
            body = await self._get("/loki/api/v1/query_range", params)
        except SourceRejected as error:
            if not self._learned(str(error), size, longest):
                raise
            return await self._page(query, start, end, wanted)
        found = _entries(body, self._guard.name)
        entries = sorted((e for e in found if begin <= e.at < end), key=lambda e: -e.at)
        return _Page(entries, begin, full=len(found) >= size)

    def _learned(self, said: str, size: int, longest: int) -> bool:
        """Take over a bound that the server names in its refusal; whether that makes another try worth it."""
        lines, span = _TOO_MANY_LINES.search(said), _TOO_LONG.search(said)
        if lines:
            self._most = min(self._most, int(lines[1]))
            return 0 < self._most < size
        if span:
            try:
                self._longest = min(self._longest, int(parse_duration(span[1])) * SECOND)
            except ValueError:
                return False
            return 0 < self._longest < longest
        return False

    async def _get(self, path: str, params: Mapping[str, str]) -> Any:
        body = await self._guard.call(lambda: self._fetch(path, params), params.get("query", path))
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            where = self._guard.name
            raise SourceBadAnswer(f"{where} answered something that is not JSON; is the url that of Loki?") from None

    async def _fetch(self, path: str, params: Mapping[str, str]) -> bytes:
        """The body of a good answer. Raises SourceError."""
        import httpx

        where, limit = self._guard.name, self._settings.max_bytes
        body = bytearray()
        try:
            async with self._connect().stream("GET", path, params=dict(params)) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > limit:
                        raise too_large(where, limit)
        except httpx.TimeoutException:
            raise SourceTimeout(f"{where} gave no answer in time") from None
        except httpx.DecodingError:
            raise SourceBadAnswer(f"{where} answered something that cannot be unpacked") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError) as error:
            what = type(error).__name__
            raise SourceRejected(f"{where} cannot be asked ({what}); check url and headers in treewalk.yaml") from None
        except httpx.RemoteProtocolError as error:
            if "without sending a response" in str(error):
                raise SourceUnreachable(f"{where} is not reachable: it closed the connection") from None
            raise SourceUnreachable(f"{where} broke off in the middle of its answer") from None
        except httpx.TransportError as error:
            raise SourceUnreachable(f"{where} is not reachable: {reason(error)}") from None
        if response.status_code != 200:
            raise refused(where, response.status_code, body.decode("utf-8", "replace"))
        return bytes(body)

    def _connect(self) -> httpx.AsyncClient:
        """The client, made on first use (its import takes a while). Raises SettingsError."""
        if self._client is None:
            import httpx

            s, resolve = self._settings, self._resolve
            headers = {name: resolve(value) for name, value in s.headers.items()}
            if s.tenant:
                headers["X-Scope-OrgID"] = s.tenant
            if s.bearer_token:
                headers["Authorization"] = f"Bearer {resolve(s.bearer_token)}"
            url = httpx.URL(resolve(s.url).rstrip("/"))
            user = (s.username, resolve(s.password or "")) if s.username is not None else None
            if url.userinfo:  # not left in the url, which httpx logs
                user, url = user or (url.username, url.password), url.copy_with(userinfo=b"")
            self._client = httpx.AsyncClient(
                base_url=url,
                headers=headers,
                auth=user,
                timeout=httpx.Timeout(s.timeout, connect=min(CONNECT, s.timeout)),
                verify=_tls(s, self._root) if url.scheme == "https" else False,
                limits=httpx.Limits(max_connections=s.concurrency),
                trust_env=False,
            )
        return self._client


def _tls(s: LokiSettings, root: Path | None) -> ssl.SSLContext:
    import httpx

    ca, cert, key = (tls_file(name, root) for name in (s.ca_file, s.cert_file, s.key_file))
    try:
        context = ssl.create_default_context(cafile=ca) if ca else httpx.create_ssl_context(trust_env=False)
        if cert:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise SettingsError(f"certificate or key of {shown_url(s.url)} cannot be used: {error.strerror}") from None
    if not s.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _nanoseconds(at: float) -> int:
    """Exact for what the float prints as; `at * 1e9` is off by up to 128 ns."""
    return int(Decimal(repr(float(at))) * SECOND)


def _without(page: Iterable[_Entry], had: Iterable[_Entry]) -> list[_Entry]:
    """The page without entries that were there before, each counted."""
    left = Counter(entry.same() for entry in had)
    new = []
    for entry in page:
        if left and left[entry.same()] > 0:
            left[entry.same()] -= 1
        else:
            new.append(entry)
    return new


def _object(body: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise _misshapen(where)
    return body


def _entries(body: Any, where: str) -> list[_Entry]:
    try:
        data = body["data"]
        kind = data["resultType"]
        if kind != "streams":
            raise QueryUnsupported(f"{where} answered a {kind}: the query has to select lines, not count them")
        return [_entry(stream["stream"], value) for stream in data["result"] for value in stream["values"]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise _misshapen(where) from None


def _entry(labels: dict[str, str], value: Any) -> _Entry:
    extra = value[2] if len(value) > 2 else {}
    more = {**extra.get("structuredMetadata", {}), **extra.get("parsed", {})}
    return _Entry(int(value[0]), str(value[1]), {**labels, **more} if more else labels)


def _misshapen(where: str) -> SourceBadAnswer:
    return SourceBadAnswer(f"{where} answered JSON of another shape than Loki's")
