"""The little that issue trackers need of HTTP: JSON in and out, bounded, with errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from treewalk.errors import SourceBadAnswer, SourceBusy, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.redact import redact

_MOST = 8_000_000  # bytes of an answer
_PAUSE = 30.0  # seconds, where it does not say for how long it wants to be left alone


class Rest:
    """One REST API. `headers` hold its token and are never shown."""

    def __init__(self, name: str, url: str, headers: Mapping[str, str], timeout: float) -> None:
        self.name, self.url = name, url.rstrip("/")
        self._headers, self._timeout = dict(headers), timeout

    async def ask(self, method: str, path: str, *, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer. Raises SourceError; SourceBusy where it asks to be left alone."""
        import httpx

        try:
            async with (
                httpx.AsyncClient(timeout=self._timeout, trust_env=False, follow_redirects=False) as client,
                client.stream(method, self.url + path, headers=self._headers, json=body, params=params) as answer,
            ):
                taken = bytearray()
                async for part in answer.aiter_bytes():
                    taken += part
                    if len(taken) > _MOST:
                        raise SourceBadAnswer(f"{self.name} answered more than {_MOST} bytes")
        except httpx.TimeoutException:
            raise SourceTimeout(f"{self.name} gave no answer in time") from None
        except httpx.TransportError as error:
            raise SourceUnreachable(f"{self.name} cannot be reached: {type(error).__name__}") from None
        except (httpx.InvalidURL, ValueError):
            raise SourceRejected(f"{self.name}: its address or token is not usable; check notify.{self.name}") from None
        return self._read(answer, bytes(taken))

    def _read(self, answer: Any, body: bytes) -> Any:
        import json

        status = answer.status_code
        if status // 100 != 2:
            said = redact(" ".join(body[:300].decode("utf-8", "replace").split()))
            text = f"{self.name} answered {status}: {said}"
            wait = _wait(answer.headers)
            if status == 429 or (status == 403 and wait is not None):
                raise SourceBusy(text, _PAUSE if wait is None else wait)
            if status >= 500:
                raise SourceUnreachable(text)
            raise SourceRejected(text)
        try:
            return json.loads(body) if body else None
        except ValueError:
            raise SourceBadAnswer(f"{self.name} answered something that is not JSON") from None


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: Retry-After, or the reset of a used-up limit."""
    given = headers.get("retry-after", "")
    if given.isdigit():
        return float(given[:9])
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(0.0, float(reset[:12]) - time.time())
    return None
