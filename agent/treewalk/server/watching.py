"""The watch: SLAs measured on an interval within their windows, and what changes told to whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from treewalk.app import baseline_of
from treewalk.errors import SourceError, TreewalkError, UsageError
from treewalk.model.alert import Alert
from treewalk.model.diagnosis import Measurement
from treewalk.model.quantity import format_duration, parse_duration
from treewalk.model.redact import redact
from treewalk.model.series import Sample, Series
from treewalk.model.tree import Sla, nearest
from treewalk.model.window import Window
from treewalk.ports import Clock, MetricSource
from treewalk.settings import WatchSettings
from treewalk.stages.blindness import Blind
from treewalk.stages.intake import measure
from treewalk.stages.watch import Change, Row, Rule, advance, closed

if TYPE_CHECKING:
    from treewalk.app import App

SOURCE = "watch"
Measure = Callable[[Sla], Awaitable[Measurement]]
Tell = Callable[[Change], Awaitable[None]]
Mended = Callable[[str, float], Awaitable[bool]]
_MINUTE = 60.0
_NONE: Mapping[str, Blind] = {}


Met = Callable[[str], Awaitable[None]]


async def _never(sla: str, since: float) -> bool:
    return False


async def _nothing(sla: str) -> None:
    pass


class Watcher:
    """Measures SLAs, each on its own, at most `concurrency` of one source at a time.

    `tell` is given each change; where it raises a TreewalkError the change is told again with the next measurement.
    `say` takes a line for the person, `measured` every measurement. `mended` says whether the violation of an SLA that
    was told as one since a time was seen to: is it violated then, that is another violation. `met` is told each time
    that an SLA is met.
    """

    def __init__(
        self,
        slas: Sequence[Sla],
        measure: Measure,
        settings: WatchSettings,
        clock: Clock,
        tell: Tell,
        say: Callable[[str], None] = lambda line: None,
        measured: Callable[[str, Measurement], None] = lambda sla, found: None,
        mended: Mended = _never,
        met: Met = _nothing,
    ) -> None:
        self._mended, self._met = mended, met
        self.slas, self.settings, self.rule = tuple(slas), settings, rule_of(settings)
        self.rows: dict[str, Row] = {}
        self._measure, self._clock, self._tell, self._say, self._measured = measure, clock, tell, say, measured
        self._gates = {name: asyncio.Semaphore(settings.concurrency) for name in {sla.source for sla in self.slas}}

    async def run(self) -> None:
        """Watch until it is cancelled. One SLA that hangs keeps no other from being measured."""
        async with asyncio.TaskGroup() as group:
            for place, sla in enumerate(self.slas):
                group.create_task(self._watch(sla, self.settings.interval * place / len(self.slas)))

    async def once(self) -> Mapping[str, Measurement | None]:
        """One measurement of each SLA; None where its window is closed."""
        found = await asyncio.gather(*(self._look(sla) for sla in self.slas))
        return {sla.name: one for sla, one in zip(self.slas, found, strict=True)}

    async def _watch(self, sla: Sla, begin: float) -> None:
        await self._clock.sleep(begin)  # spread over the interval, so that sources are not asked all at once
        while True:
            due = self._clock.monotonic() + self.settings.interval
            await self._turn(sla)
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))

    async def _turn(self, sla: Sla) -> None:
        row = self.rows.get(sla.name, Row())
        again = row.since is not None and await self._seen_to(sla.name, row.since)  # asked before the SLA is measured
        found, at = await self._look(sla), self._clock.now()
        if again and found is not None and found.status == "violated":
            row = Row()  # a fix may hold for its proof, and break before the watch sees it met
        if found is None:
            row, changes = closed(row, sla.name, at)
        else:
            self._measured(sla.name, found)
            if found.status == "met":
                await self._note_met(sla.name)
            row, changes = advance(row, sla.name, found, at, self.rule)
        try:
            for change in changes:
                await self._tell(change)
        except Exception as error:  # noqa: BLE001  whatever it is, the next measurement tells it again
            self._say(f"watch: {sla.name} could not be told: {redact(str(error))}")
            return
        self.rows[sla.name] = row

    async def _seen_to(self, sla: str, since: float) -> bool:
        try:
            return await self._mended(sla, since)
        except TreewalkError:  # it is asked again with the next measurement
            return False

    async def _note_met(self, sla: str) -> None:
        with contextlib.suppress(TreewalkError):  # it is told again with the next measurement
            await self._met(sla)

    async def _look(self, sla: Sla) -> Measurement | None:
        """The SLA's measurement now, or None while its window is closed."""
        if sla.window is not None and not sla.window.contains(self._clock.now()):
            return None
        async with self._gates[sla.source]:
            try:
                return await self._measure(sla)
            except TreewalkError as error:
                return Measurement("unknown", str(error))
            except Exception as error:  # noqa: BLE001  one SLA that cannot be looked at must not end the watch
                return Measurement("unknown", f"it could not be measured: {type(error).__name__}")


class Watch:
    """The watch of a server, which is begun anew when the content changes. `take` takes alerts in."""

    def __init__(
        self,
        take: Callable[[Alert], Awaitable[object]],
        say: Callable[[str], None],
        measured: Callable[[str, Measurement], None],
        mended: Mended = _never,
        met: Met = _nothing,
    ) -> None:
        self.watching, self._mended, self._met = 0, mended, met
        self._take, self._say, self._measured = take, say, measured
        self._watcher: Watcher | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, app: App, firing: Mapping[str, float], blind: Mapping[str, Blind] = _NONE) -> None:
        """Watch what this content asks for; what was told already (it fires, it cannot be measured) stays told.

        Raises UsageError.
        """
        await self.end()
        settings, self.watching = app.workspace.settings.watch, 0
        before = self._watcher.rows if self._watcher else {}
        if settings is None:
            self._watcher = None
            return
        found, without = watched(app.workspace.forest.slas, settings.slas)
        self._say(f"watching {len(found)} SLAs every {format_duration(settings.interval)}")
        if without:
            self._say(f"not watched, because they have no sla.query: {', '.join(without)}")
        self.watching = len(found)
        watcher = Watcher(
            found, measuring(app), settings, app.clock, self._tell, self._say, self._measured, self._mended, self._met
        )
        kept = {sla.name: before[sla.name] for sla in found if sla.name in before}
        watcher.rows = {**remembered(found, firing, app.clock.now(), blind), **kept}
        self._watcher = watcher  # whole, since others look at it at any time
        self._task = asyncio.create_task(watcher.run())

    def seen(self) -> tuple[Mapping[str, Blind], Sequence[str]]:
        """The SLAs of which it was said that they cannot be measured, and those that were measured last time."""
        watcher = self._watcher
        rows = dict(watcher.rows) if watcher is not None else {}
        blind = {name: Blind(row.blind or 0.0, row.why) for name, row in rows.items() if row.told_blind}
        return blind, [name for name, row in rows.items() if row.last in ("met", "violated")]

    async def end(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _tell(self, change: Change) -> None:
        alert = alert_of(change)
        if alert is not None:
            await self._take(alert)
        self._say(f"watch: {change.sla} {change.kind}: {redact(change.reason)}")


class _NowOnly:
    """A source without its past: for a limit, the value of now is all that a watch needs."""

    def __init__(self, source: MetricSource) -> None:
        self._source, self.name = source, source.name

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        return await self._source.instant(query, at)

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        return ()


def measuring(app: App) -> Measure:
    """How the SLAs of a workspace are measured."""
    walk = app.workspace.settings.walk

    async def one(sla: Sla) -> Measurement:
        try:
            source: MetricSource | None = app.sources.metric(sla.source) if sla.query else None
            if source is not None and sla.threshold is not None:
                source = _NowOnly(source)
            async with asyncio.timeout(walk.check_timeout):
                return (await measure(sla, source, app.clock.now(), baseline_of(sla, walk, None))).measurement
        except SourceError as error:
            return Measurement("unknown", str(error))
        except TimeoutError:
            return Measurement("unknown", f"no answer within {format_duration(walk.check_timeout)}")

    return one


def rule_of(settings: WatchSettings) -> Rule:
    """When a row of measurements counts."""
    if isinstance(settings.lasting, int):
        return Rule(settings.lasting, 0.0, settings.silent)
    return Rule(1, parse_duration(settings.lasting), settings.silent)


def watched(slas: Mapping[str, Sla], wanted: Sequence[str]) -> tuple[list[Sla], list[str]]:
    """The SLAs that names and globs mean and that can be measured, and the names of those that have no query.

    Raises UsageError for one that means none.
    """
    for one in wanted:
        if not any(fnmatchcase(name, one) for name in slas) and (one != "*" or slas):
            raise UsageError(f"watch: no SLA is called {one!r}", nearest(one, slas))
    meant = [sla for name, sla in slas.items() if any(fnmatchcase(name, one) for one in wanted)]
    return [sla for sla in meant if sla.query], [sla.name for sla in meant if not sla.query]


def check_watch(app: App) -> None:
    """Whether what a workspace asks to be watched is there. Raises UsageError."""
    settings = app.workspace.settings.watch
    if settings is not None:
        watched(app.workspace.forest.slas, settings.slas)


def alert_of(change: Change) -> Alert | None:
    """A change as an alert, for the road that all alerts take; None for what is only said."""
    if change.kind not in ("violated", "met"):
        return None
    return Alert(
        source=SOURCE,
        fingerprint=change.sla,
        status="firing" if change.kind == "violated" else "resolved",
        name=change.sla,
        labels={"treewalk_sla": change.sla},
        starts_at=change.since,
        ends_at=change.at if change.kind == "met" else None,
        summary=change.reason,
    )


def remembered(
    slas: Sequence[Sla], firing: Mapping[str, float], at: float, blind: Mapping[str, Blind] = _NONE
) -> dict[str, Row]:
    """The rows to begin with: what was told before the last stop, for SLAs whose window stayed open since."""
    rows = {}
    for sla in slas:
        row, since, unseen = Row(), firing.get(sla.name), blind.get(sla.name)
        if since is not None and _open_since(sla.window, since, at):
            row = replace(row, since=since)
        if unseen is not None and _open_since(sla.window, unseen.since, at):
            row = replace(row, blind=unseen.since, told_blind=True, why=unseen.why)
        if row != Row():
            rows[sla.name] = row
    return rows


def _open_since(window: Window | None, since: float, at: float) -> bool:
    if window is None:
        return True
    steps = int(min(at - since, 8 * 86400.0) // _MINUTE) + 1
    return all(window.contains(at - _MINUTE * k) for k in range(steps)) and window.contains(since)
