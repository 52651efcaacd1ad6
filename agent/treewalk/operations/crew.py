"""The processes that share the work: signs of life, and who goes on with what a dead one left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from treewalk.ports import Durable
from treewalk.workflow.underway import Underway

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.store.casebook import Casebook
    from treewalk.store.ledger import Ledger
    from treewalk.store.workers import Workers

_HEARTBEAT = 5.0  # seconds
_ORPHAN = 10.0  # seconds after which an incident that nobody works on is taken up
_ATTEMPTS = 5  # how often an incident's work is begun again before a human is asked


class Crew:
    """One process among those that work on a workspace's incidents. `live` works on one until it is closed,
    `hand_over` closes one that cannot be worked on and tells a human why."""

    def __init__(
        self,
        app: App,
        worker: str,
        cases: Casebook,
        workers: Workers,
        live: Callable[[int, Durable], Awaitable[str]],
        poll: float,
        hand_over: Callable[[int, str], None],
        underway: Underway,
        ledger: Ledger,
    ) -> None:
        self.app, self.worker, self.cases, self.workers = app, worker, cases, workers
        self.live, self.poll, self.hand_over = live, poll, hand_over
        self.underway, self.ledger, self.stopping = underway, ledger, False
        self.queued = 0  # how many open incidents somebody else begins at a time, in turn; 0: nobody does

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Any]:
        """This process as one of those that work on incidents, for as long as the context lasts.

        When it ends, nothing is begun any more, and an action that runs is given `server.grace` to end, so that its
        outcome is written down. Everything else is gone on with by the next process.
        """
        from treewalk.integrations.durable import Workflows

        now = self.app.clock.now
        workflows = Workflows(self.app.workflow_url, self.worker, self.live)
        self.workers.register(self.worker, now())
        self.stopping = False
        self.underway.begin()
        await workflows.launch()
        keeper = asyncio.create_task(self._keep_working(workflows))
        try:
            yield workflows
        finally:
            self.stopping = True
            workflows.hold()
            await self.underway.finish(self.app.workspace.settings.server.grace)
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            await workflows.close()
            if not self.cases.living():  # else the row stays: it is how others see whose work is left
                self.workers.leave(self.worker)

    async def _keep_working(self, workflows: Any) -> None:
        """Signs of life, and the work of those that died."""
        since = -_HEARTBEAT
        while True:
            if self.app.clock.monotonic() - since >= _HEARTBEAT or since < 0:
                since = self.app.clock.monotonic()
                # A database that is away comes back, or the work itself tells. Nothing may end the signs of life:
                # others would take over what is under way here.
                with contextlib.suppress(Exception):
                    self.workers.beat(self.worker, self.app.clock.now())
                    if not self.stopping:
                        await self.take_over(workflows)
            await asyncio.sleep(0.5)

    async def take_over(self, workflows: Any) -> None:
        """Go on with the incidents of dead processes, and with those that nobody ever began."""
        self._write_off()
        for id in self.workers.dead(self.app.clock.now()):
            if id != self.worker:
                await self._inherit(id, workflows)
        orphans = [one for one in self.cases.living() if self.app.clock.now() - one["updated"] >= _ORPHAN]
        # Where somebody begins open incidents in turn, the oldest of them are those that were begun.
        queue = [one["number"] for one in orphans if one["state"] == "open"] if self.queued else []
        begun, waiting = set(queue[: self.queued]), set(queue[self.queued :])
        for number in (one["number"] for one in orphans if one["number"] not in waiting):
            await self._revive(number, workflows, begin=number not in begun)

    def _write_off(self) -> None:
        """Actions of this process whose outcome could not be written down, of incidents that were closed meanwhile:
        nobody goes on with those, and their nodes would stay claimed for as long as this process lives.

        Only while nothing runs here: what has no outcome then is over for certain. Raises StoreError.
        """
        for row in self.ledger.left_by(self.worker) if self.underway.idle else ():
            why = f"{row['action']} at {row['node']}: its outcome could not be written down, so that it is not known"
            self.ledger.settle(row["key"], "unknown", why, {}, self.worker, self.app.clock.now())
            self.cases.note(row["incident"], "unknown", why, self.app.clock.now())

    async def _inherit(self, id: str, workflows: Any) -> None:
        """Take over what a dead process left. Its row goes last: who dies here leaves it to the next."""
        if self.workers.adopt(id, self.app.clock.now()):
            await workflows.take_over([id])
            self.workers.bury(id)

    async def _revive(self, number: int, workflows: Any, *, begin: bool = True) -> None:
        """See to it that somebody who lives works on an incident; `begin`: also where nobody ever did."""
        state = await workflows.state(number)
        if state.status is None:
            if begin:
                await workflows.start(number)
        elif state.ended:
            await self._again(number, state.attempt, workflows)
        elif state.executor != self.worker and state.executor not in self.workers.known():
            if state.foreign:
                await self._again(number, state.attempt, workflows)
            else:
                await self._inherit(state.executor, workflows)

    async def _again(self, number: int, attempt: int, workflows: Any) -> None:
        """Begin from the front; what was done stands in the ledger and is not done twice."""
        if attempt + 1 < _ATTEMPTS:
            await workflows.start(number, attempt + 1)
            return
        why = f"working on it broke off {attempt + 1} times; `treewalk incidents show {number}` tells what was done"
        self.hand_over(number, why)

    async def stay(self) -> None:
        """Work on whatever processes leave behind, until this one is told to end."""
        async with self.working():
            while True:
                await self.app.clock.sleep(3600.0)

    async def resume(self) -> Sequence[int]:
        """Finish every living incident that no living process works on; their numbers."""
        async with self.working() as workflows:
            numbers = [life["number"] for life in self.cases.living()]
            await self.take_over(workflows)
            for number in numbers:
                await self._revive(number, workflows)
            for number in numbers:
                await self.until_closed(number)
        return numbers

    async def until_closed(self, number: int) -> None:
        """Wait for an incident's end, whoever works on it."""
        while self.cases.life(number)["state"] != "closed":
            await self.app.clock.sleep(min(self.poll, 0.2))
