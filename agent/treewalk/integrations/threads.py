"""Blocking calls of sources, which another thread can cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any


class Call:
    """One blocking call. Another thread may `cut` it: its connection is shut and it fails within moments."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._cut = False

    def __enter__(self) -> Call:
        _here.call = self
        return self

    def __exit__(self, *args: object) -> None:
        _here.call = None
        self._connection = None

    def uses(self, connection: Any) -> None:
        """Note the connection (with a `sock`) that this call now waits for. Raises OSError when it was cut."""
        self._connection = connection
        if self._cut:
            raise ConnectionAbortedError("cut")

    def cut(self) -> None:
        """End the call: whoever waited for it has gone."""
        self._cut = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's own, which says goodbye first


_here = threading.local()


def using(connection: Any) -> None:
    """Tell the call of this thread, if there is one, about the connection it uses."""
    call = getattr(_here, "call", None)
    if call is not None:
        call.uses(connection)
