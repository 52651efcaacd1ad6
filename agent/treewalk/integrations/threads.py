"""Blocking calls beside the event loop, each in a thread of its own that never outlives the program.

Not a pool: a pool's threads are waited for when the program ends, so that a source that hangs (or a name server that
does) would keep `treewalk` from returning after Ctrl-C. How many run at once is bounded by the caller's guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


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


async def in_thread(work: Callable[[], T], abandon: Callable[[], None]) -> T:
    """What `work` returns or raises. On cancellation `abandon` is called, to make `work` end soon."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if done.done() else settle())

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - carried over to the awaiting side, not swallowed
            failure = error
            tell(lambda: done.set_exception(failure))
        else:
            tell(lambda: done.set_result(result))

    threading.Thread(target=run, name="treewalk-source", daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        abandon()
        raise
