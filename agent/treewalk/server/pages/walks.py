"""Walks that somebody started from a page: one an SLA at a time, a few in all. They only look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from treewalk.app import App, DiagnoseOptions
from treewalk.errors import TreewalkError
from treewalk.model.diagnosis import Measurement
from treewalk.model.events import Event, Measured, NodeJudged, NodeStarted, StageStarted
from treewalk.model.redact import redact
from treewalk.model.verdict import Verdict
from treewalk.server.pages.gate import Refused

MOST = 4  # at once


@dataclass
class Walk:
    """One walk, while it is under way and after it. `document` is the diagnosis once it is done."""

    sla: str
    by: str
    begun: float
    stage: str = "measure"
    measured: Measurement | None = None
    started: set[str] = field(default_factory=set)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    failed: str | None = None

    @property
    def done(self) -> bool:
        """It has ended, well or not."""
        return self.document is not None or self.failed is not None

    def take(self, event: Event) -> None:
        """Something has happened."""
        if isinstance(event, Measured):
            self.measured = event.measurement
        elif isinstance(event, NodeStarted):
            self.started.add(event.node)
        elif isinstance(event, NodeJudged):
            self.verdicts[event.node] = event.verdict
        elif isinstance(event, StageStarted):
            self.stage = event.name


class Walks:
    """The newest walk of each SLA; kept until the process ends. `app` gives the workspace of this moment."""

    def __init__(self, app: Callable[[], App]) -> None:
        self._app = app
        self._of: dict[str, Walk] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, sla: str) -> Walk | None:
        """The newest walk of an SLA, if there was one."""
        return self._of.get(sla)

    def start(self, sla: str, by: str) -> Walk:
        """Begin one; a walk of this SLA that is under way is joined. Raises UsageError, Refused."""
        app = self._app()
        app.workspace.forest.sla(sla)
        before = self._of.get(sla)
        if before is not None and not before.done:
            return before
        if len(self._tasks) >= MOST:
            raise Refused(503, f"{MOST} walks are under way; try again in a moment")
        walk = self._of[sla] = Walk(sla, by, app.clock.now())
        task = asyncio.create_task(_go(app, walk))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return walk

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # sources that were closed by a reload; the walk says that it was broken off


async def _go(app: App, walk: Walk) -> None:
    from treewalk.stages.report import document

    try:
        found = await app.diagnose(walk.sla, DiagnoseOptions(keep=False), walk.take)
    except TreewalkError as error:
        walk.failed = redact(str(error))
    else:
        walk.document = document(found)
    finally:
        if not walk.done:
            walk.failed = "the walk was broken off"
