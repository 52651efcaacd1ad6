"""Within one diagnosis every question is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

from treewalk.model.series import LogBatch, Sample, Series
from treewalk.ports import LogSource, MetricSource


class _Memo:
    """Answers, errors included, by question. Several who ask at once share one task."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[Any]]) -> Any:
        task = self._tasks.get(key)
        if task is None or task.cancelled():
            task = asyncio.ensure_future(ask())
            assert task is not None
            self._tasks[key] = task
            task.add_done_callback(_seen)
        # One asker who gives up does not take the answer from the others.
        return await asyncio.shield(task)


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


class MemoMetricSource:
    """A metric source that remembers its answers."""

    def __init__(self, inner: MetricSource) -> None:
        self._inner, self._memo = inner, _Memo()

    @property
    def name(self) -> str:
        return self._inner.name

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        found: Sequence[Sample] = await self._memo.get((query, at), lambda: self._inner.instant(query, at))
        return found

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        ask = lambda: self._inner.range(query, start, end, step)  # noqa: E731
        found: Sequence[Series] = await self._memo.get((query, start, end, step), ask)
        return found


class MemoLogSource:
    """A log source that remembers its answers."""

    def __init__(self, inner: LogSource) -> None:
        self._inner, self._memo = inner, _Memo()

    @property
    def name(self) -> str:
        return self._inner.name

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        ask = lambda: self._inner.lines(query, start, end, limit)  # noqa: E731
        found: LogBatch = await self._memo.get((query, start, end, limit), ask)
        return found
