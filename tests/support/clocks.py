"""A clock that stands until it is told to go on."""

from __future__ import annotations

import asyncio


class StandingClock:
    """Time for units: `sleep` returns at once and moves the time on; what was slept is kept in `slept`."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at, self.slept = at, list[float]()

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)
