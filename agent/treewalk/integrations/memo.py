"""Within one diagnosis every question is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from treewalk.model.series import LogBatch, Sample, Series
from treewalk.ports import LogSource, MetricSource

T = TypeVar("T")


@dataclass
class _Question:
    task: asyncio.Task[Any]
    waiting: int = 0


class _Memo:
    """Answers, errors included, by question. Several who ask at once share one task."""

    def __init__(self) -> None:
        self._questions: dict[Hashable, _Question] = {}

    async def get(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        question = self._questions.get(key)
        if question is None or question.task.cancelled():
            question = self._questions[key] = _Question(asyncio.create_task(ask()))
            question.task.add_done_callback(_seen)
        question.waiting += 1
        try:
            # One asker who gives up does not take the answer from the others.
            found: T = await asyncio.shield(question.task)
            return found
        finally:
            question.waiting -= 1
            if not question.waiting and not question.task.done():
                self._give_up(key, question)

    def _give_up(self, key: Hashable, question: _Question) -> None:
        """Nobody waits any more: end the call, and let whoever asks next ask anew."""
        question.task.cancel()
        if self._questions.get(key) is question:
            del self._questions[key]


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of an error that nobody was left to hear."""
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
        async def ask() -> Sequence[Sample]:
            return await self._inner.instant(query, at)

        return await self._memo.get((query, at), ask)

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        async def ask() -> Sequence[Series]:
            return await self._inner.range(query, start, end, step)

        return await self._memo.get((query, start, end, step), ask)


class MemoLogSource:
    """A log source that remembers its answers."""

    def __init__(self, inner: LogSource) -> None:
        self._inner, self._memo = inner, _Memo()

    @property
    def name(self) -> str:
        return self._inner.name

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        async def ask() -> LogBatch:
            return await self._inner.lines(query, start, end, limit)

        return await self._memo.get((query, start, end, limit), ask)
