"""Prometheus, through prometheus-api-client in worker threads of its own.

The client is synchronous, gives no time-out unless told, turns every status but 200 into one exception holding the
body, and returns `data.result` without its type. So the session below bounds time and size, statuses are mapped
from that exception, and a scalar is known by its shape: a list of two, not a list of mappings.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from treewalk.errors import SourceBadAnswer, SourceError, SourceTimeout, SourceUnreachable
from treewalk.integrations.answers import excerpt, refused, shown_url, too_large
from treewalk.integrations.guard import Guard
from treewalk.model.series import Sample, Series
from treewalk.ports import Clock
from treewalk.settings import PrometheusSettings

if TYPE_CHECKING:
    import requests

MAX_POINTS = 11_000  # of one series in one range query; the server refuses more
T = TypeVar("T")


class Prometheus:
    """A metric source over the HTTP API of Prometheus."""

    def __init__(
        self,
        name: str,
        settings: PrometheusSettings,
        resolve: Callable[[str], str],
        clock: Clock,
        root: Path | None = None,
    ) -> None:
        self.name = name
        self._settings, self._resolve, self._root = settings, resolve, root
        self._guard = Guard(
            f"Prometheus {shown_url(settings.url)}",
            clock,
            timeout=settings.timeout,
            retries=settings.retries,
            concurrency=settings.concurrency,
        )
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix=f"prometheus-{name}")
        self._client: Any = None

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        """The value of every series at a time. Raises SourceError."""
        return _samples(await self._ask(lambda c: c.custom_query(query, params={"time": repr(at)})))

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        """Values from start to end, a step apart; long ranges are asked in pieces. Raises SourceError."""
        found: dict[tuple[tuple[str, str], ...], Series] = {}
        for first, last in pieces(start, end, step):
            params = {"query": query, "start": repr(first), "end": repr(last), "step": repr(step)}
            for series in _series(await self._ask(lambda c, p=params: _query_range(c, p))):  # type: ignore[misc]
                key = tuple(sorted(series.labels.items()))
                if key in found:
                    found[key].times.extend(series.times)  # type: ignore[attr-defined]
                    found[key].values.extend(series.values)  # type: ignore[attr-defined]
                else:
                    found[key] = series
        return list(found.values())

    async def inspect(self) -> Mapping[str, str]:
        """Version and how long an answer takes. Raises SourceError."""
        began = time.perf_counter()
        await self._ask(lambda c: c.custom_query("1"))
        took = f"{(time.perf_counter() - began) * 1000:.0f} ms"
        detail = {"queries": "allowed", "answers in": took}
        try:
            build = await self._ask(lambda c: _get_json(c, "/api/v1/status/buildinfo"))
            detail["version"] = str(build["data"]["version"])
        except (SourceError, KeyError, TypeError):
            detail["version"] = "not told"
        return detail

    async def aclose(self) -> None:
        """Close connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client._session.close()

    async def _ask(self, ask: Callable[[Any], T]) -> T:
        loop = asyncio.get_running_loop()
        return await self._guard.call(lambda: loop.run_in_executor(self._threads, self._call, ask))

    def _call(self, ask: Callable[[Any], T]) -> T:
        """One blocking call, every failure turned into a SourceError. Runs in a worker thread."""
        import requests
        from prometheus_api_client.exceptions import PrometheusApiClientException

        where = self._guard.name
        try:
            return ask(self._connect())
        except PrometheusApiClientException as error:
            raise self._mapped(str(error)) from None
        except requests.exceptions.Timeout:
            raise SourceTimeout(f"{where} gave no answer in time") from None
        except requests.exceptions.ChunkedEncodingError:
            raise SourceUnreachable(f"{where} broke off in the middle of its answer") from None
        except (requests.exceptions.JSONDecodeError, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise SourceBadAnswer(
                f"{where} answered something that is not JSON; is the url that of Prometheus?"
            ) from None
        except requests.exceptions.RequestException as error:
            raise SourceUnreachable(f"{where} is not reachable: {_reason(error)}") from None
        except (KeyError, TypeError, AttributeError, IndexError):
            raise SourceBadAnswer(f"{where} answered JSON of another shape than Prometheus's") from None

    def _mapped(self, text: str) -> SourceError:
        """From the client's one exception, `HTTP Status Code 400 (b'…')`, to the right SourceError."""
        match = re.match(r"HTTP Status Code (\d+) \((.*)\)\Z", text, re.DOTALL)
        if not match:
            return SourceBadAnswer(f"{self._guard.name}: {excerpt(text)}")
        body = match[2][2:-1] if match[2][:2] in ("b'", 'b"') else match[2]
        said = re.search(r'"error":\s*"((?:[^"\\]|\\.)*)"', body)
        return refused(self._guard.name, int(match[1]), said[1].replace('\\\\"', '"') if said else body)

    def _connect(self) -> Any:
        """The client, made on first use (its import takes a while)."""
        if self._client is None:
            from prometheus_api_client.prometheus_connect import PrometheusConnect
            from requests.adapters import HTTPAdapter
            from urllib3.util.retry import Retry

            s = self._settings
            url = self._resolve(s.url).rstrip("/")
            self._client = PrometheusConnect(
                url=url,
                headers={name: self._resolve(value) for name, value in s.headers.items()},
                disable_ssl=not s.verify_tls,
                retry=Retry(total=0, raise_on_status=False),  # retries are the guard's
                timeout=max(1, math.ceil(s.timeout)),
                session=_session(s, self._resolve, self._root, self._guard.name),
            )
            # The client mounts an adapter of its own, for this url only.
            self._client._session.mount(url, HTTPAdapter(pool_maxsize=s.concurrency, max_retries=0))
        return self._client


def pieces(start: float, end: float, step: float) -> list[tuple[float, float]]:
    """A range cut so that no piece has more than MAX_POINTS points, on one common grid."""
    count = math.floor((end - start) / step + 1e-9) + 1
    cuts = range(0, max(count, 1), MAX_POINTS)
    return [(start + i * step, min(end, start + (min(i + MAX_POINTS, count) - 1) * step)) for i in cuts]


def _session(s: PrometheusSettings, resolve: Callable[[str], str], root: Path | None, where: str) -> requests.Session:
    import requests

    class Bounded(requests.Session):
        """A session whose answers end at a size and a time, and which follows no redirect."""

        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            kwargs.update(stream=True, allow_redirects=False, timeout=(min(5.0, s.timeout), s.timeout))
            response = super().request(*args, **kwargs)
            _read(response, where, s.max_bytes, time.monotonic() + s.timeout)
            return response

    session = Bounded()
    session.trust_env = False
    if s.bearer_token:
        session.headers["Authorization"] = f"Bearer {resolve(s.bearer_token)}"
    if s.username is not None:
        session.auth = (s.username, resolve(s.password or ""))
    base = root or Path.cwd()
    session.verify = str(base / s.ca_file) if s.ca_file else s.verify_tls
    if s.cert_file:
        session.cert = (str(base / s.cert_file), str(base / s.key_file)) if s.key_file else str(base / s.cert_file)
    return session


def _read(response: requests.Response, where: str, limit: int, until: float) -> None:
    """Take in the body, up to a size (bytes) and a moment (monotonic seconds)."""
    taken = bytearray()
    try:
        for chunk in response.iter_content(65536):
            taken += chunk
            if len(taken) > limit:
                raise too_large(where, limit)
            if time.monotonic() > until:
                raise SourceTimeout(f"{where} was still answering when the time was up")
    finally:
        response.close()
    response._content = bytes(taken)


def _query_range(client: Any, params: Mapping[str, str]) -> Any:
    return _get_json(client, "/api/v1/query_range", params)["data"]["result"]


def _get_json(client: Any, path: str, params: Mapping[str, str] | None = None) -> Any:
    """What `custom_query_range` does, but with times as exact as they were given."""
    from prometheus_api_client.exceptions import PrometheusApiClientException

    response = client._session.get(
        f"{client.url}{path}", params=params, headers=client.headers, auth=client.auth, verify=client._session.verify
    )
    if response.status_code != 200:
        raise PrometheusApiClientException(f"HTTP Status Code {response.status_code} ({response.content!r})")
    return response.json()


def _samples(result: Any) -> list[Sample]:
    try:
        if len(result) == 2 and not isinstance(result[0], dict):
            return [Sample({}, float(result[0]), float(result[1]), scalar=True)]
        return [Sample(r["metric"], float(r["value"][0]), float(r["value"][1])) for r in result]
    except (KeyError, TypeError, ValueError, IndexError):
        raise SourceBadAnswer("Prometheus answered a vector of another shape than expected") from None


def _series(result: Any) -> list[Series]:
    try:
        return [
            Series(
                r["metric"],
                array("d", [float(p[0]) for p in r["values"]]),
                array("d", [float(p[1]) for p in r["values"]]),
            )
            for r in result
        ]
    except (KeyError, TypeError, ValueError, IndexError):
        raise SourceBadAnswer("Prometheus answered a matrix of another shape than expected") from None


def _reason(error: Exception) -> str:
    text = str(error)
    for mark, words in (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "unknown host"),
        ("Temporary failure in name resolution", "unknown host"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate could not be verified; set ca_file"),
        ("RemoteDisconnected", "it closed the connection"),
        ("Connection reset", "connection reset"),
        ("No route to host", "no route to host"),
    ):
        if mark in text:
            return words
    return type(error).__name__
