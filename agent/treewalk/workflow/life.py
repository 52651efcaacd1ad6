"""One incident on its way: what its life keeps, and what every part of it does: durable steps, notes, waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from treewalk.model.acting import Plan, Verification
from treewalk.ports import Durable
from treewalk.workflow.desk import Desk
from treewalk.workflow.reckoning import unknown_outcomes


class Over(Exception):  # not an error: how a life ends
    def __init__(self, ending: str, why: str) -> None:
        super().__init__(ending, why)
        self.ending, self.why = ending, why


class Life:
    """One incident on its way. Everything that the world or the store is asked stands inside a durable step."""

    def __init__(self, number: int, desk: Desk, durable: Durable) -> None:
        self.number, self.desk, self.durable = number, desk, durable
        self.found: Mapping[str, Any] = {}
        self.made: Plan | None = None
        self.before: Mapping[str, str] = {}
        self.checks: list[Verification] = []  # of the steps' own proofs
        self.proof: Verification | None = None
        self.undos: list[tuple[str, Mapping[str, Any]]] = []  # the node, and what the action there said of it
        self.acted = False
        self.lost = False  # whether what was done did not help, or could not be done: not so where it was broken off
        self.learned: str | None = None
        self.after: int | None = None  # the incident whose end was waited for

    async def _step(self, name: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """A durable step. An end that it comes to is recorded like any other result."""

        async def recorded() -> dict[str, Any]:
            try:
                return {"value": await function(*args)}
            except Over as over:
                return {"over": [over.ending, over.why]}

        got = await self.durable.step(name, recorded)
        if "over" in got:
            raise Over(*got["over"])
        return got["value"]

    def _enter(self, state: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        if not self.desk.cases.enter(self.number, state, text, self.desk.clock.now(), data):
            self._need_open()

    def _note(self, kind: str, text: str) -> None:
        self.desk.cases.note(self.number, kind, text, self.desk.clock.now())

    def _need_open(self) -> None:
        life = self.desk.cases.life(self.number)
        if life["state"] == "closed":
            raise Over(life["ending"] or "cancelled", life["why"] or "closed")

    def _need_known(self, but: str = "") -> None:
        """Where it is not known whether something ran that may not run twice, a human looks first."""
        why = unknown_outcomes(self.desk, self.number, but)
        if why is not None:
            raise Over("escalated", why)

    def _stopped(self) -> str | None:
        if self.desk.cases.life(self.number)["state"] == "closed":
            return "the incident was closed meanwhile"
        return None

    async def _wait(self, name: str, seconds: float, text: str) -> None:
        """Wait. When it is over is recorded first, so that a wait of hours goes on where it was after a crash."""
        due = await self._step(f"{name}, until", self._due, seconds, text)
        await self._step(name, self._pause, due, seconds)

    async def _due(self, seconds: float, text: str) -> float:
        self._need_open()
        self._enter("waiting", text)
        return self.desk.clock.now() + seconds

    async def _pause(self, due: float, most: float) -> None:
        left = min(most, due - self.desk.clock.now())
        until = self.desk.clock.monotonic() + left  # a clock that is set meanwhile neither shortens nor lengthens it
        while (left := until - self.desk.clock.monotonic()) > 0:
            self._need_open()
            await self.desk.clock.sleep(min(self.desk.poll, left))
