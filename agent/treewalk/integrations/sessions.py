"""A requests session for asking sources: bounded in size, cut at will, bound to the one host it was made for.

`requests` bounds the wait for each piece of an answer but not the whole of it, reads whatever comes into memory,
follows redirects, and takes proxies and passwords from the environment. None of that is wanted here
(docs/decisions/021-prometheus-client.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from treewalk.errors import SourceError
from treewalk.integrations.answers import tls_file
from treewalk.integrations.threads import using
from treewalk.settings import HttpSource

CHUNK = 65_536  # bytes taken in at once
CONNECT = 5.0  # seconds; a host that is there answers at once


class _Known:
    """A connection that tells the call of its thread about itself."""

    def connect(self) -> None:
        using(self)
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        using(self)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _PlainConnection(_Known, HTTPConnection):
    pass


class _TlsConnection(_Known, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class BoundedSession(requests.Session):
    """A session for one source.

    `refuse` makes the SourceError of an answer whose status is not 200 (status, body), `too_large` that of a body
    over `settings.max_bytes`. Both are raised from `request`, as are the exceptions of requests. `body` is that of
    the last answer that this thread was given, for what a client library leaves out.
    """

    def __init__(
        self,
        settings: HttpSource,
        resolve: Callable[[str], str],
        root: Path | None,
        refuse: Callable[[int, bytes], SourceError],
        too_large: Callable[[], SourceError],
    ) -> None:
        self._adapter = _Adapter(pool_maxsize=settings.concurrency, max_retries=0)
        super().__init__()
        self._last = threading.local()
        self._limit, self._refuse, self._too_large = settings.max_bytes, refuse, too_large
        self._timeout = (min(CONNECT, settings.timeout), settings.timeout)
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.update({name: resolve(value) for name, value in settings.headers.items()})
        if settings.bearer_token:
            self.headers["Authorization"] = f"Bearer {resolve(settings.bearer_token)}"
        if settings.username is not None:
            self.auth = (settings.username, resolve(settings.password or ""))
        ca = tls_file(settings.ca_file, root)
        self.verify = ca if ca and settings.verify_tls else settings.verify_tls
        if settings.cert_file:
            cert, key = tls_file(settings.cert_file, root), tls_file(settings.key_file, root)
            self.cert = (cert, key) if cert and key else cert

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        """Only the session's own adapter: prometheus-api-client mounts one with retries of its own."""
        super().mount(prefix, self._adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Ask, and take in the whole body up to the limit. No redirect is followed: it may lead to a stranger."""
        kwargs.update(stream=True, allow_redirects=False, timeout=self._timeout)
        response = super().request(*args, **kwargs)
        try:
            response._content = self._read(response)
        finally:
            response.close()
        if response.status_code != 200:
            raise self._refuse(response.status_code, response.content)
        self._last.body = response.content
        return response

    @property
    def body(self) -> bytes:
        return bytes(getattr(self._last, "body", b""))

    def _read(self, response: requests.Response) -> bytes:
        taken = bytearray()
        for chunk in response.iter_content(CHUNK):
            taken += chunk
            if len(taken) > self._limit:
                raise self._too_large()
        return bytes(taken)
