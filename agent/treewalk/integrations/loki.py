"""Loki, through httpx.

Times are nanoseconds as strings; values are `[time, line]` or, with structured metadata, `[time, line, {…}]`; one
stream may come back as several; errors are plain text; a limit over the server's own is an error, not a cap, and
so is a range over thirty days.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treewalk.errors import SourceBadAnswer, SourceError, SourceTimeout, SourceUnreachable
from treewalk.integrations.answers import refused, shown_url, too_large
from treewalk.integrations.guard import Guard
from treewalk.model.series import LogBatch, LogLine
from treewalk.ports import Clock
from treewalk.settings import LokiSettings

if TYPE_CHECKING:
    import httpx

LONGEST_RANGE = 30 * 86400.0  # seconds; the server's default limit is an hour more


class Loki:
    """A log source over the HTTP API of Loki."""

    def __init__(
        self, name: str, settings: LokiSettings, resolve: Callable[[str], str], clock: Clock, root: Path | None = None
    ) -> None:
        self.name = name
        self._settings, self._resolve, self._root = settings, resolve, root
        self._guard = Guard(
            f"Loki {shown_url(settings.url)}",
            clock,
            timeout=settings.timeout,
            retries=settings.retries,
            concurrency=settings.concurrency,
        )
        self._client: httpx.AsyncClient | None = None

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        """The newest lines of a query with start <= time < end. Raises SourceError.

        One line more than wanted is asked for where the server allows it, so that "there were more" is known.
        """
        found: list[LogLine] = []
        stop = end
        while stop > start and len(found) <= limit:
            begin = max(start, stop - LONGEST_RANGE)
            size = min(limit + 1 - len(found), self._settings.max_lines)
            page = await self._page(query, begin, stop, size)
            found.extend(page)
            if len(page) < size:
                stop = begin
            elif page[-1].time < stop:
                stop = page[-1].time
            else:  # a whole page within one instant: no way further back
                break
        return LogBatch(tuple(found[:limit]), truncated=len(found) > limit)

    async def inspect(self) -> Mapping[str, str]:
        """Whether it answers queries, and how fast. Raises SourceError."""
        began = time.perf_counter()
        labels = await self._get("/loki/api/v1/labels", {})
        took = f"{(time.perf_counter() - began) * 1000:.0f} ms"
        names = labels.get("data") or []
        return {"queries": "allowed", "answers in": took, "labels": str(len(names))}

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _page(self, query: str, start: float, end: float, limit: int) -> list[LogLine]:
        params = {
            "query": query,
            "start": str(int(start * 1e9)),
            "end": str(int(end * 1e9)),
            "limit": str(limit),
            "direction": "backward",
        }
        body = await self._get("/loki/api/v1/query_range", params)
        lines = _lines(body, self._guard.name)
        lines.sort(key=lambda line: -line.time)
        return lines

    async def _get(self, path: str, params: Mapping[str, str]) -> Any:
        return await self._guard.call(lambda: self._fetch(path, params))

    async def _fetch(self, path: str, params: Mapping[str, str]) -> Any:
        import httpx

        where, limit = self._guard.name, self._settings.max_bytes
        try:
            async with self._connect().stream("GET", path, params=dict(params)) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > limit:
                        raise too_large(where, limit)
        except httpx.TimeoutException:
            raise SourceTimeout(f"{where} gave no answer in time") from None
        except httpx.RemoteProtocolError:
            raise SourceUnreachable(f"{where} broke off in the middle of its answer") from None
        except httpx.DecodingError:
            raise SourceBadAnswer(f"{where} answered something that cannot be decoded") from None
        except httpx.TransportError as error:
            raise SourceUnreachable(f"{where} is not reachable: {_reason(error)}") from None
        if response.status_code != 200:
            raise refused(where, response.status_code, body.decode("utf-8", "replace"))
        try:
            return json.loads(body)
        except ValueError:
            raise SourceBadAnswer(f"{where} answered something that is not JSON; is the url that of Loki?") from None

    def _connect(self) -> httpx.AsyncClient:
        """The client, made on first use (its import takes a while)."""
        if self._client is None:
            import httpx

            s, resolve = self._settings, self._resolve
            headers = {name: resolve(value) for name, value in s.headers.items()}
            if s.tenant:
                headers["X-Scope-OrgID"] = s.tenant
            if s.bearer_token:
                headers["Authorization"] = f"Bearer {resolve(s.bearer_token)}"
            self._client = httpx.AsyncClient(
                base_url=resolve(s.url).rstrip("/"),
                headers=headers,
                auth=(s.username, resolve(s.password or "")) if s.username is not None else None,
                timeout=s.timeout,
                verify=_tls(s, self._root or Path.cwd()),
                limits=httpx.Limits(max_connections=s.concurrency),
                trust_env=False,
            )
        return self._client


def _tls(s: LokiSettings, base: Path) -> ssl.SSLContext | bool:
    if not s.verify_tls:
        return False
    if not s.ca_file and not s.cert_file:
        return True
    context = ssl.create_default_context(cafile=str(base / s.ca_file) if s.ca_file else None)
    if s.cert_file:
        context.load_cert_chain(str(base / s.cert_file), str(base / s.key_file) if s.key_file else None)
    return context


def _lines(body: Any, where: str) -> list[LogLine]:
    try:
        data = body["data"]
        if data["resultType"] != "streams":
            raise SourceBadAnswer(
                f"{where} answered a {data['resultType']}: the query has to select lines, not count them"
            )
        found = []
        for stream in data["result"]:
            labels = stream["stream"]
            for value in stream["values"]:
                extra = value[2].get("structuredMetadata", {}) if len(value) > 2 and isinstance(value[2], dict) else {}
                found.append(LogLine(int(value[0]) / 1e9, str(value[1]), {**labels, **extra} if extra else labels))
    except SourceError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise SourceBadAnswer(f"{where} answered JSON of another shape than Loki's") from None
    return found


def _reason(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate could not be verified; set ca_file"
    if "Name or service not known" in text or "name resolution" in text:
        return "unknown host"
    if "refused" in text or "All connection attempts failed" in text:
        return "connection refused"
    return type(error).__name__
