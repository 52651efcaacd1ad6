"""What stands between treewalk and every outside system: a bound, a circuit breaker, a time-out, retries.

Own code and not a retry library: retries, breaker and bound share one deadline and one set of errors here, which
took less to write than to fit around (docs/decisions/020-guard.md).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from treewalk.errors import (
    CircuitOpen,
    SettingsError,
    SourceError,
    SourceMisconfigured,
    SourceTimeout,
    SourceUnreachable,
)
from treewalk.model.quantity import format_duration
from treewalk.ports import Clock
from treewalk.spans import span

T = TypeVar("T")


@dataclass
class Breaker:
    """Opens after `failures` in a row and lets one call through every `pause` seconds until one succeeds."""

    failures: int = 5
    pause: float = 15.0
    count: int = 0
    until: float = 0.0

    def check(self, now: float, name: str) -> None:
        """Raise CircuitOpen while it is open; let one probe through when the pause is over."""
        if self.count < self.failures:
            return
        if now < self.until:
            wait = format_duration(self.until - now)
            raise CircuitOpen(f"{name} failed {self.count} times in a row; asked again in {wait}")
        self.until = now + self.pause

    def record(self, ok: bool, now: float) -> None:
        """Note how a call ended."""
        self.count = 0 if ok else self.count + 1
        if self.count >= self.failures:
            self.until = now + self.pause


@dataclass
class Guard:
    """Calls to one outside system. `timeout` (seconds) bounds a whole call with its retries.

    Waiting for a free place among `concurrency` calls does not count against the time-out: it is not the source
    that is slow then. The breaker is looked at when the place is free, so that those who queue behind a dead source
    are told at once. Own bounds of the caller hold as well: cancellation ends a call at any point.
    """

    name: str
    clock: Clock
    timeout: float = 10.0
    retries: int = 2
    concurrency: int = 16
    breaker: Breaker = field(default_factory=Breaker)
    dice: random.Random = field(default_factory=random.Random)
    first_wait: float = 0.2
    calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # calls that failed, by the kind of error

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.concurrency)

    async def call(self, ask: Callable[[], Awaitable[T]], about: str = "") -> T:
        """Ask, and again where it may pass (nobody answered, server errors), with full jitter. `about` is for traces.

        Raises SourceTimeout, CircuitOpen, SourceMisconfigured, or the SourceError of the last try.
        """
        self.calls += 1
        try:
            with span(f"ask {self.name}", source=self.name, question=about):
                return await self._call(ask)
        except SourceError as error:
            self.errors[type(error).__name__] += 1
            raise

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        async with self._gate:
            began = self.clock.monotonic()
            self.breaker.check(began, self.name)
            try:
                async with asyncio.timeout(self.timeout):
                    answer = await self._tries(ask)
            except TimeoutError:
                self._record(False)
                raise SourceTimeout(f"{self.name} gave no answer within {format_duration(self.timeout)}") from None
            except SettingsError as error:  # a secret that is missing costs what this source would have told, no more
                raise SourceMisconfigured(str(error)) from None
            except SourceError as error:
                self._record(not may_pass(error))
                raise
            except asyncio.CancelledError:
                # A caller less patient than the time-out must not keep the breaker from learning.
                if self.clock.monotonic() - began >= self.timeout / 2:
                    self._record(False)
                raise
            self._record(True)
            return answer

    def _record(self, ok: bool) -> None:
        self.breaker.record(ok, self.clock.monotonic())

    async def _tries(self, ask: Callable[[], Awaitable[T]]) -> T:
        wait = self.first_wait
        for left in range(self.retries, -1, -1):
            try:
                return await ask()
            except SourceError as error:
                if left == 0 or not may_pass(error):
                    raise
            await self.clock.sleep(self.dice.uniform(0, wait))
            wait *= 2
        raise AssertionError("unreachable")


def may_pass(error: SourceError) -> bool:
    """Whether asking again can help: nobody was there, or not in time. A refused question stays refused."""
    return isinstance(error, SourceUnreachable | SourceTimeout)
