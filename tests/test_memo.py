"""Within one diagnosis every question is asked once, whoever asks and whoever gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from treewalk.errors import SourceUnreachable
from treewalk.integrations.memo import MemoLogSource, MemoMetricSource
from treewalk.model.series import LogBatch, LogLine, Sample

from tests.support.sources import TableLogs, TableMetrics


class Waiting(TableMetrics):
    """Answers when `go` is set; counts those it is busy with."""

    def __init__(self, error: SourceUnreachable | None = None) -> None:
        super().__init__(samples={"up": [Sample({}, 0, 1.0)]}, error=error)
        self.go, self.busy = asyncio.Event(), 0

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        self.busy += 1
        try:
            await self.go.wait()
            return await super().instant(query, at)
        finally:
            self.busy -= 1


async def _started(*asked: object) -> list[asyncio.Task[object]]:
    tasks = [asyncio.create_task(a) for a in asked]  # type: ignore[arg-type]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_an_equal_question_is_asked_once_and_another_one_again() -> None:
    inner = TableMetrics(series={"up": [(0.0, 1.0)]})
    memo = MemoMetricSource(inner)
    first = await memo.instant("up", 10)
    assert await memo.instant("up", 10) == first
    await memo.instant("up", 11)
    await memo.range("up", 0, 10, 5)
    await memo.range("up", 0, 10, 5)
    assert inner.asked == ["up", "up", "up"]
    assert memo.name == inner.name


async def test_log_questions_too() -> None:
    inner = TableLogs({"q": [LogLine(5.0, "x")]})
    memo = MemoLogSource(inner)
    batch = await memo.lines("q", 0, 10, 5)
    inner.table.clear()
    assert await memo.lines("q", 0, 10, 5) is batch
    assert await memo.lines("q", 0, 10, 6) == LogBatch(())


async def test_those_who_ask_at_once_share_one_call() -> None:
    inner = Waiting()
    memo = MemoMetricSource(inner)
    tasks = await _started(*(memo.instant("up", 0) for _ in range(20)))
    assert inner.busy == 1
    inner.go.set()
    results = await asyncio.gather(*tasks)
    assert inner.asked == ["up"]
    assert all(r is results[0] for r in results)


async def test_an_error_is_remembered() -> None:
    inner = TableMetrics(error=SourceUnreachable("down"))
    memo = MemoMetricSource(inner)
    for _ in range(3):
        with pytest.raises(SourceUnreachable, match="down"):
            await memo.instant("up", 0)
    assert inner.asked == ["up"]


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    inner = Waiting()
    memo = MemoMetricSource(inner)
    first, second = await _started(memo.instant("up", 0), memo.instant("up", 0))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    inner.go.set()
    assert await second
    assert inner.asked == ["up"]


async def test_when_all_give_up_the_call_ends_and_can_be_made_anew() -> None:
    inner = Waiting()
    memo = MemoMetricSource(inner)
    tasks = await _started(memo.instant("up", 0), memo.instant("up", 0))
    for task in tasks:
        task.cancel()
    again = asyncio.create_task(memo.instant("up", 0))  # asked before the old call has ended
    await asyncio.gather(*tasks, return_exceptions=True)
    inner.go.set()
    assert await again
    assert inner.busy == 0


async def test_an_error_that_nobody_waits_for_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    inner = Waiting(error=SourceUnreachable("down"))
    memo = MemoMetricSource(inner)
    (task,) = await _started(memo.instant("up", 0))
    inner.go.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert caplog.text == ""
