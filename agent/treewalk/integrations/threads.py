"""Blocking calls beside the event loop, each in a thread of its own that never outlives the program.

Not a pool: a pool's threads are waited for when the program ends, so that a source that hangs (or a name server that
does) would keep `treewalk` from returning after Ctrl-C. How many run at once is bounded by the caller's guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
