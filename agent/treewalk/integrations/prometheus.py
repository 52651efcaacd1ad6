"""Prometheus, through prometheus-api-client, each call in a thread of its own.

The client is synchronous, gives no time-out unless told, turns every status but 200 into one exception holding the
body, and returns `data.result` without its type and without the warnings beside it. So its session (sessions.py)
bounds time and size, maps statuses and keeps the body, and a scalar is known by its shape: a list of a time and a
text, not a list of mappings.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from treewalk.errors import (
    QueryUnsupported,
    SourceBadAnswer,
    SourceError,
    SourceRejected,
    SourceTimeout,
    SourceUnreachable,
)
from treewalk.integrations.answers import reason, refused, shown_url, too_large
from treewalk.integrations.guard import Guard
from treewalk.integrations.threads import Call
from treewalk.model.series import Answered, Sample, Series
from treewalk.ports import Clock
from treewalk.settings import PrometheusSettings
from treewalk.threads import in_thread

MAX_POINTS = 11_000  # of one series in one range query; the server refuses more
T = TypeVar("T")


class Prometheus:
    """A metric source over the HTTP API of Prometheus. `resolve` fills in secrets, `root` is the workspace."""

    def __init__(
        self,
        name: str,
        settings: PrometheusSettings,
        resolve: Callable[[str], str],
        clock: Clock,
        root: Path | None = None,
    ) -> None:
        self.name = name
        self._settings, self._resolve, self._clock, self._root = settings, resolve, clock, root
        self._guard = Guard(
            f"Prometheus {shown_url(settings.url)}",
            clock,
            timeout=settings.timeout,
            retries=settings.retries,
            concurrency=settings.concurrency,
        )
        self._client: Any = None
        self._making = threading.Lock()

    @property
    def failures(self) -> Mapping[str, int]:
        """How many calls failed, by the kind of error."""
        return self._guard.errors

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        """The value of every series at a time (Unix seconds). Raises SourceError."""
        result, told = await self._ask(
            lambda c: _heard(c, c.custom_query(query, params={"time": repr(float(at))})), query
        )
        return Answered(_samples(result, self._guard.name), told["warnings"], told["infos"])

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        """Values from start to end, a step apart; long ranges are asked in pieces. Raises SourceError."""
        if not (step > 0 and start <= end):
            raise SourceRejected(f"{self._guard.name} was not asked: a range has to run forward, by a step above zero")
        found: dict[tuple[tuple[str, str], ...], Series] = {}
        warnings, infos = dict[str, None](), dict[str, None]()
        for first, last in pieces(start, end, step):
            params = {"query": query, "start": repr(first), "end": repr(last), "step": repr(float(step))}
            result, told = await self._ask(lambda c, p=params: _heard(c, _query_range(c, p)), query)  # type: ignore[misc]
            warnings.update(dict.fromkeys(told["warnings"]))
            infos.update(dict.fromkeys(told["infos"]))
            for series in _series(result, self._guard.name):
                key = tuple(sorted(series.labels.items()))
                known = found.setdefault(key, series)
                if known is not series:
                    known.times.extend(series.times)  # type: ignore[attr-defined]
                    known.values.extend(series.values)  # type: ignore[attr-defined]
        return Answered(found.values(), warnings, infos)

    async def inspect(self) -> Mapping[str, str]:
        """Version, readiness, and how long an answer takes. Raises SourceError when it cannot be asked."""
        began = self._clock.monotonic()
        await self._ask(lambda c: c.custom_query("1"))
        took = f"{(self._clock.monotonic() - began) * 1000:.0f} ms"
        return {
            "queries": "allowed",
            "answers in": took,
            "ready": await self._told(lambda c: _get(c, "/-/ready").text.strip()[:80]),
            "version": await self._told(lambda c: str(_get(c, "/api/v1/status/buildinfo").json()["data"]["version"])),
        }

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    async def _told(self, ask: Callable[[Any], str]) -> str:
        """What only Prometheus itself tells; others who speak its query API may not."""
        try:
            return await self._ask(ask)
        except SourceError:
            return "not told"

    async def _ask(self, ask: Callable[[Any], T], about: str = "") -> T:
        async def once() -> T:
            call = Call()

            def work() -> T:
                with call:
                    return self._blocking(ask)

            return await in_thread(work, call.cut)

        return await self._guard.call(once, about)

    def _blocking(self, ask: Callable[[Any], T]) -> T:
        """One blocking call, every failure of the network and of the answer turned into a SourceError."""
        from requests import exceptions
        from urllib3.exceptions import ReadTimeoutError

        where = self._guard.name
        try:
            return ask(self._connect())
        except exceptions.JSONDecodeError:
            raise SourceBadAnswer(
                f"{where} answered something that is not JSON; is the url that of Prometheus?"
            ) from None
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise SourceBadAnswer(f"{where} answered JSON of another shape than Prometheus's") from None
        except exceptions.ContentDecodingError:
            raise SourceBadAnswer(f"{where} answered something that cannot be unpacked") from None
        except exceptions.ChunkedEncodingError:
            raise SourceUnreachable(f"{where} broke off in the middle of its answer") from None
        except exceptions.Timeout:
            raise SourceTimeout(f"{where} gave no answer in time") from None
        except exceptions.ConnectionError as error:
            if any(isinstance(a, ReadTimeoutError) for a in error.args):  # how requests says it amid a body
                raise SourceTimeout(f"{where} stopped in the middle of its answer") from None
            raise SourceUnreachable(f"{where} is not reachable: {reason(error)}") from None
        except (exceptions.RequestException, ValueError, OSError) as error:
            what = type(error).__name__
            raise SourceRejected(f"{where} cannot be asked ({what}); check url and headers in treewalk.yaml") from None

    def _refused(self, status: int, body: bytes) -> SourceError:
        """Prometheus's own words where it gives any, else the beginning of the body."""
        text = body.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            text = str(json.loads(text)["error"])
        return refused(self._guard.name, status, text)

    def _connect(self) -> Any:
        """The client, made on first use (its import takes a while). Raises SettingsError."""
        with self._making:
            if self._client is None:
                from prometheus_api_client.prometheus_connect import PrometheusConnect

                from treewalk.integrations.sessions import BoundedSession

                s = self._settings
                session = BoundedSession(
                    s, self._resolve, self._root, self._refused, lambda: too_large(self._guard.name, s.max_bytes)
                )
                self._client = PrometheusConnect(
                    url=self._resolve(s.url).rstrip("/"), timeout=math.ceil(s.timeout), session=session
                )
            return self._client


def pieces(start: float, end: float, step: float) -> list[tuple[float, float]]:
    """A range cut so that no piece has more than MAX_POINTS points, on one common grid."""
    count = math.floor((end - start) / step + 1e-9) + 1
    cuts = range(0, count, MAX_POINTS)
    return [(start + i * step, min(end, start + (min(i + MAX_POINTS, count) - 1) * step)) for i in cuts]


def _get(client: Any, path: str, params: Mapping[str, str] | None = None) -> Any:
    return client._session.get(f"{client.url}{path}", params=params)


def _query_range(client: Any, params: Mapping[str, str]) -> Any:
    """What `custom_query_range` does, but with times as exact as they were given: it rounds them to seconds."""
    return _get(client, "/api/v1/query_range", params).json()["data"]["result"]


def _heard(client: Any, result: Any) -> tuple[Any, Mapping[str, Sequence[str]]]:
    """The result that the client library gave, and the warnings and infos of the same answer, which it leaves out."""
    told: dict[str, Sequence[str]] = {"warnings": (), "infos": ()}
    body = client._session.body
    if any(f'"{kind}"'.encode() in body for kind in told):
        answer = json.loads(body)
        for kind in told:
            texts = answer.get(kind)
            if isinstance(texts, list):
                told[kind] = [text for text in texts if isinstance(text, str)]
    return result, told


def _samples(result: Any, where: str) -> list[Sample]:
    if isinstance(result, list) and len(result) == 2 and not isinstance(result[0], dict):
        return [_scalar(result, where)]
    return [_sample(r, where) for r in _listed(result, where)]


def _scalar(result: Any, where: str) -> Sample:
    try:
        return Sample({}, float(result[0]), float(result[1]), scalar=True)
    except (TypeError, ValueError):
        if isinstance(result[0], int | float) and isinstance(result[1], str):
            raise QueryUnsupported(f"{where}: the query gives a text, not a number") from None
        raise _misshapen(where) from None


def _sample(one: Any, where: str) -> Sample:
    try:
        return Sample(_labels(one), float(one["value"][0]), float(one["value"][1]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise _unusable(one, where) from None


def _series(result: Any, where: str) -> list[Series]:
    return [_one_series(r, where) for r in _listed(result, where)]


def _one_series(one: Any, where: str) -> Series:
    try:
        times, values = array("d"), array("d")
        for at, value in one["values"]:
            times.append(float(at))
            values.append(float(value))
        return Series(_labels(one), times, values)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise _unusable(one, where) from None


def _listed(result: Any, where: str) -> list[Any]:
    if not isinstance(result, list):
        raise _misshapen(where)
    return result


def _labels(one: Any) -> dict[str, str]:
    labels = one["metric"]
    if not all(isinstance(value, str) for value in labels.values()):
        raise TypeError
    return dict(labels)


def _unusable(one: Any, where: str) -> SourceError:
    if isinstance(one, dict) and ("histogram" in one or "histograms" in one):
        return QueryUnsupported(f"{where}: the query gives native histograms; wrap it in histogram_quantile() or so")
    if isinstance(one, dict) and isinstance(one.get("values"), list) and "value" not in one:
        return QueryUnsupported(f"{where}: the query gives a range of values; wrap it in rate(), max_over_time() or so")
    return _misshapen(where)


def _misshapen(where: str) -> SourceBadAnswer:
    return SourceBadAnswer(f"{where} answered JSON of another shape than Prometheus's")
