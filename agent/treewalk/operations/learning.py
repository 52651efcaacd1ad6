"""Keeping what was learned, and trying a known error's signature on the past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from treewalk.errors import SourceError
from treewalk.model.known import KnownError
from treewalk.model.tree import Sla
from treewalk.stages.impact import impact

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.stages.backtest import Backtest
    from treewalk.store.casebook import Casebook
    from treewalk.store.lessons import Lessons


LEAST = 86400.0
"""Seconds of the past that a promotion is tested on at the least."""
_PATIENCE = 60.0  # seconds that a test may take when nobody asked for it


class Learning:
    """The road from a fix that held to a known error that may act."""

    def __init__(self, app: App, cases: Casebook, lessons: Lessons) -> None:
        self.app, self.cases, self.lessons = app, cases, lessons

    async def learn(self, document: Mapping[str, Any], number: int, at: float) -> Mapping[str, Any]:
        """Keep a candidate, unless it also fits the time before the incident, when all was well."""
        from treewalk.content.known_errors import from_document

        error = from_document(document)
        if error is None:
            return {"id": None, "said": "nothing was learned: the pattern cannot be read again"}
        walk = self.app.workspace.settings.walk
        spec = walk.baseline.spec()
        end = at - walk.since
        tested = await self.backtest(error, end - min(spec.baseline, 86400.0), end, walk.since)
        if tested.false:
            return {"id": None, "said": f"nothing was learned: {error.id} would also have fired when all was well"}
        untested = f"not tested on its past: {'; '.join(tested.gaps)[:500]}" if tested.gaps else ""
        if untested:
            document = {**document, "description": f"{document.get('description', '')} It was {untested}.".strip()}
        kept = self.lessons.keep(error.id, document, number, self.app.clock.now(), "treewalk")
        said = f"learned {error.id}" if kept else f"{error.id} was learned before"
        return {"id": error.id, "said": "; ".join(filter(None, (said, untested, "a candidate until it is promoted")))}

    async def promote(
        self, error: KnownError, seconds: float, who: str, *, force: bool = False, because: str = ""
    ) -> tuple[bool, str]:
        """Trust a known error after a test on so many seconds of the past, and on no less than a day, unless it fires
        while all is well or that cannot be told. Whether it was done, and why. Raises StoreError."""
        now = self.app.clock.now()
        tested = await self.backtest(error, now - max(seconds, LEAST), now)
        if not force and (tested.false or tested.gaps):
            count = len(tested.false)
            why = f"it fired {count} times when all was well" if count else f"it could not be tested: {tested.gaps[0]}"
            return False, why
        why = f"tested on {tested.told}" if not force else "promoted by force"
        why = f"{because}; {why}" if because else why
        self.lessons.set_trust(error.id, "trusted", who, why, self.app.clock.now())
        return True, why

    async def promote_by_record(self, id: str, because: str) -> tuple[bool, str]:
        """Trust what treewalk learned here by itself, for its record, after the same test as when a human promotes it.

        What another team learned, or a human wrote, is a human's to promote. Whether it was done, and why. Raises
        StoreError.
        """
        error = self.app.known_errors().get(id)
        if error is None or not self.lessons.learned_here(id):
            return False, "it was not learned here, so that a human has to promote it"
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self.promote(error, LEAST, "treewalk", because=because)
        except TimeoutError:
            return False, f"it could not be tested within {_PATIENCE:.0f}s"

    async def backtest(self, error: KnownError, start: float, end: float, window: float | None = None) -> Backtest:
        """When a known error's signature would have fired between two times (Unix seconds); `window` in seconds."""
        from treewalk.stages.backtest import Backtest, backtest, step_for

        forest, walk = self.app.workspace.forest, self.app.workspace.settings.walk
        wanted = error.signature.node or error.root_node
        if wanted is None or wanted not in forest.nodes:
            return Backtest(start, end, gaps=(f"{error.id} names no single node of this workspace",))
        node = forest.nodes[wanted]
        window = window or walk.since
        step = step_for(start, end, window)
        metrics = _or_none(lambda: self.app.sources.metric(node.source))
        logs = _or_none(lambda: self.app.sources.log(node.logs.source if node.logs else None))
        slas = [affected.sla for affected in impact(forest, [node.name], end).slas]
        violated, gaps = await self._violations(slas, start, end, step)
        bad = sorted([*self.cases.trouble(start, end, {sla.name for sla in slas}), *violated])
        found = await backtest(error.signature, node, metrics, logs, start, end, step, window, bad)
        return replace(found, gaps=(*found.gaps, *gaps))

    async def _violations(
        self, slas: Iterable[Sla], start: float, end: float, step: float
    ) -> tuple[list[tuple[float, float]], list[str]]:
        """When SLAs were violated, as far as their series tell, or when nothing is known of any of them (which is not
        to say that all was well); and what could not be asked."""
        from treewalk.stages.backtest import spans

        found: list[tuple[float, float]] = []
        gaps: list[str] = []
        seen = set[int]()
        for sla in slas:
            if sla.query is None or sla.threshold is None:
                continue
            try:
                series = await self.app.sources.metric(sla.source).range(sla.query, start, end, step)
            except SourceError as error:
                gaps.append(f"when {sla.name} was violated is not known: {error}")
                continue
            told = [(t, v) for one in series for t, v in zip(one.times, one.values, strict=True) if v == v]
            seen |= {round((t - start) / step) for t, _ in told}
            found += spans(sorted(t for t, v in told if not sla.threshold.holds(v)), step)
        if seen:  # where no SLA ever had data, their silence says nothing
            looks = range(int((end - start) / step) + 1)
            found += spans([start + step * k for k in looks if k not in seen], step)
        return found, gaps


def _or_none(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except SourceError:
        return None
