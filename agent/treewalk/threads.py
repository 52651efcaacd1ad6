"""Blocking calls beside the event loop, each in a thread of its own that never outlives the program.

Not a pool: a pool's threads are waited for when the program ends, so that a source or a check that hangs (or a name
server that does) would keep `treewalk` from returning after its deadline or Ctrl-C; and one that hangs in the pool that
also serves the database would stop everything else. How many run at once is bounded by the caller: a guard, the walk.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from treewalk.errors import SourceTimeout

T = TypeVar("T")

_MOST_STUCK = 3  # calls for one name that were given up on and still run, before no more are begun for it


def _nothing() -> None:
    """What is done about work that nobody can end."""


async def in_thread(work: Callable[[], T], abandon: Callable[[], None] = _nothing, name: str = "treewalk-source") -> T:
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
            # A future takes no StopIteration: whoever waits for it would wait for ever.
            failure = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
            tell(lambda: done.set_exception(failure))
        else:
            tell(lambda: done.set_result(result))

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        abandon()
        raise


class Threads:
    """Blocking calls that nobody can end, each for a name (a node), such as the checks that users write.

    One that was given up on and still runs stays: with three of a name, no more are begun for it until one ends. So a
    check that hangs for good costs a long-lived process a few threads, not one more at every look.
    """

    def __init__(self) -> None:
        self._stuck: Counter[str] = Counter()
        self._lock = threading.Lock()

    def stuck(self, name: str) -> int:
        """How many calls for that name were given up on and still run."""
        with self._lock:
            return self._stuck[name]

    async def run(self, name: str, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Raises SourceTimeout, and begins nothing, where too many earlier ones hang."""
        hanging = self.stuck(name)
        if hanging >= _MOST_STUCK:
            raise SourceTimeout(f"not begun: {hanging} earlier ones for {name} were given up on and still run")
        ended = abandoned = False

        def counted() -> T:
            nonlocal ended
            try:
                return work()
            finally:
                with self._lock:
                    ended = True
                    if abandoned:
                        self._stuck[name] -= 1

        def abandon() -> None:
            nonlocal abandoned
            with self._lock:
                if not ended:
                    abandoned = True
                    self._stuck[name] += 1

        return await in_thread(counted, abandon, "treewalk-check")


class _Unwaited(ThreadPoolExecutor):
    """What the event loop itself, and code that is not treewalk's, put into threads; none of it is waited for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - carried over to whoever waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="treewalk-loop", daemon=True).start()
        return future


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, but threads that still run are not waited for at the end: a name server that does not answer,
    a user's check that puts something into a thread by itself."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(_Unwaited())
        return runner.run(main)
