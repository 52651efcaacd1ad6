"""Incidents as durable workflows: DBOS keeps the result of every step, so that another process can go on.

DBOS is one a process. An incident's workflow has the id `incident-N`; started twice, it runs once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from treewalk.errors import StoreError
from treewalk.model.redact import redact
from treewalk.ports import Durable
from treewalk.spans import span

Live = Callable[[int, Durable], Awaitable[str]]
_NAME = "treewalk"
_VERSION = "5"  # of the order of steps in pipeline.live; workflows of another version are not replayed
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_TOGETHER = 200  # workflows that are removed at a time
_live: Live | None = None
_workflow: Any = None
_home: asyncio.AbstractEventLoop | None = None
_held = False  # whether steps may begin no more: the process is about to end


@dataclass(frozen=True, slots=True)
class State:
    """A workflow: its status (None: there is none), which attempt at the incident it is, and whose it is. One that is
    `foreign` was begun by a treewalk of another version, whose order of steps is not this one's."""

    status: str | None
    attempt: int
    executor: str
    foreign: bool = False

    @property
    def ended(self) -> bool:
        """Whether it does nothing more."""
        return self.status in _ENDED


class _Steps:
    async def step(self, name: str, function: Callable[[], Awaitable[Any]]) -> Any:
        from dbos import DBOS

        if _held:
            await asyncio.Event().wait()  # never: another process goes on from here

        async def at_home() -> Any:
            """What was taken over runs on a loop of DBOS's own; connections belong to the loop that opened them."""
            with span(f"step {name}"):
                if _home is None or asyncio.get_running_loop() is _home:
                    return await function()
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(function), _home))

        return await DBOS.run_step_async({"name": name}, at_home)


async def _awaited(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()


class Workflows:
    """The workflows of this process. `url` is a database's (sqlite:/// or postgresql://), `executor` this process."""

    def __init__(self, url: str, executor: str, live: Live) -> None:
        self.url, self.executor, self._own = url, executor, live
        self._launched = False

    async def launch(self) -> None:
        """Open the database and be ready; steps run on this loop. Raises StoreError."""
        global _home, _held
        _home, _held = asyncio.get_running_loop(), False
        await asyncio.to_thread(self._launch)

    def _launch(self) -> None:
        global _live
        from dbos import DBOS
        from sqlalchemy.exc import SQLAlchemyError

        _live = self._own
        for name in ("dbos", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            DBOS(
                config={
                    "name": _NAME,
                    "system_database_url": self.url,
                    "executor_id": self.executor,
                    "application_version": _VERSION,
                    "log_level": "CRITICAL",
                    "use_listen_notify": False,
                    "sys_db_pool_size": 4,
                }
            )
            _register()
            DBOS.launch()
        except (SQLAlchemyError, OSError) as error:
            with contextlib.suppress(Exception):  # it is one a process: half of one would be taken for a whole
                DBOS.destroy(workflow_completion_timeout_sec=0)
            raise StoreError(_why(self.url, error)) from None
        self._launched = True

    def hold(self) -> None:
        """Let no step begin any more; those that run may end."""
        global _held
        _held = True

    async def close(self) -> None:
        """Stop. Workflows that are under way stay to be taken over."""
        if self._launched:
            from dbos import DBOS

            await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
            self._launched = False

    async def start(self, number: int, attempt: int = 0) -> None:
        """Begin to work on an incident; nothing happens where somebody does already."""
        from dbos import DBOS, SetWorkflowID

        with self._told(), SetWorkflowID(_identity(number, attempt)):
            await DBOS.start_workflow_async(_register(), number)

    async def state(self, number: int) -> State:
        """The newest workflow of an incident."""
        from dbos import DBOS

        attempt, found = 0, State(None, 0, "")
        while True:
            with self._told():
                one = await DBOS.get_workflow_status_async(_identity(number, attempt))
            if one is None:
                return found
            foreign = one.app_version not in (None, _VERSION)
            found = State(str(one.status), attempt, str(one.executor_id or ""), foreign)
            attempt += 1

    async def forget(self, before: float, living: Collection[int]) -> int:
        """Remove workflows that ended and were begun before a time (Unix seconds); how many. Those of living incidents
        stay: their attempts are counted from the first one on. Raises StoreError."""
        return await asyncio.to_thread(self._forget, datetime.fromtimestamp(before, UTC).isoformat(), living)

    def _forget(self, before: str, living: Collection[int]) -> int:
        from dbos import DBOS

        count = stay = 0
        with self._told():
            while True:
                found = DBOS.list_workflows(
                    end_time=before,
                    status=list(_ENDED),
                    limit=_TOGETHER,
                    offset=stay,
                    load_input=False,
                    load_output=False,
                )
                if not found:
                    return count
                old = [one.workflow_id for one in found if _incident(one.workflow_id) not in living]
                if old:
                    DBOS.delete_workflows(old)
                count += len(old)
                stay += len(found) - len(old)

    async def take_over(self, executors: Sequence[str]) -> int:
        """Go on with what dead processes left; how many workflows."""
        from dbos import DBOS

        with self._told():
            return len(await asyncio.to_thread(DBOS._recover_pending_workflows, list(executors)))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the database complains of, as a StoreError."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(_why(self.url, error)) from None


def own_file(path: Path) -> str:
    """The URL of a SQLite file that nobody else may read, made where it is not there. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives its -wal and -shm the rights of the file itself, so it has to be there before it is opened.
        path.touch(mode=0o600)
        for one in (path, *path.parent.glob(f"{path.name}-*")):
            one.chmod(0o600)
    except OSError as error:
        why = f"{error.strerror}; check the rights of {path.parent} and the room on the disk"
        raise StoreError(f"the workflows' database {path} cannot be used: {why}") from None
    return f"sqlite:///{path}"


def _why(url: str, error: Exception) -> str:
    """Which database it is that cannot be used, why, and what to do; nothing of a password."""
    said = (redact(str(getattr(error, "orig", None) or error)).strip().splitlines() or [type(error).__name__])[0][:300]
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        broken = "malformed" in said or "not a database" in said
        hint = (
            "move it away: incidents under way are begun again, and what was done stands in the ledger"
            if broken
            else "check its rights and the room on the disk"
        )
        return f"the workflows' database {path} cannot be used: {said}; {hint}"
    return f"the workflows' database {redact(url)} cannot be used: {said}; check store.url and that it can be reached"


def _identity(number: int, attempt: int) -> str:
    return f"incident-{number}" if attempt == 0 else f"incident-{number}.{attempt}"


def _incident(identity: str) -> int:
    return int(identity.removeprefix("incident-").split(".")[0])


def _register() -> Any:
    global _workflow
    if _workflow is None:
        from dbos import DBOS

        async def incident(number: int) -> str:
            assert _live is not None
            return await _live(number, _Steps())

        _workflow = DBOS.workflow(name="incident", max_recovery_attempts=1000)(incident)
    return _workflow
