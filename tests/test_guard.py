"""The guard before every outside system: what is asked again, when it stops asking, and what it never holds up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from treewalk.errors import (
    CircuitOpen,
    SettingsError,
    SourceBadAnswer,
    SourceError,
    SourceRejected,
    SourceTimeout,
    SourceUnreachable,
)
from treewalk.integrations.clock import SystemClock
from treewalk.integrations.guard import Breaker, Guard
from treewalk.threads import in_thread

from tests.support.clocks import StandingClock


class Script:
    """Answers in the order given, the last one for ever; counts how often it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self) -> Any:
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def guard(clock: Any = None, **given: Any) -> Guard:
    return Guard("it", clock or StandingClock(), dice=random.Random(7), **given)


DOWN = SourceUnreachable("down")


async def test_an_answer_goes_straight_through() -> None:
    script = Script("fine")
    assert await guard().call(script) == "fine"
    assert script.asked == 1


@pytest.mark.parametrize("error", [DOWN, SourceTimeout("late")])
async def test_what_may_pass_is_asked_again_with_growing_jitter(error: SourceError) -> None:
    clock, script = StandingClock(), Script(error, error, error, "fine")
    assert await guard(clock, retries=3, first_wait=0.2).call(script) == "fine"
    assert len(clock.slept) == 3
    assert all(0 <= waited <= 0.2 * 2**i for i, waited in enumerate(clock.slept))
    assert len(set(clock.slept)) == 3


@pytest.mark.parametrize("error", [SourceRejected("bad query"), SourceBadAnswer("html"), SettingsError("no token")])
async def test_what_will_not_pass_is_asked_once(error: Exception) -> None:
    script = Script(error)
    with pytest.raises(type(error)):
        await guard(retries=5).call(script)
    assert script.asked == 1


async def test_retries_are_bounded_and_the_last_error_is_told() -> None:
    script = Script(SourceUnreachable("first"), SourceUnreachable("last"))
    with pytest.raises(SourceUnreachable, match="last"):
        await guard(retries=1).call(script)
    assert script.asked == 2


async def test_the_time_out_bounds_the_call_with_all_its_retries() -> None:
    made = Guard("it", SystemClock(), timeout=0.05, retries=1_000_000, first_wait=0.001)
    with pytest.raises(SourceTimeout, match="it gave no answer within 50ms"):
        await made.call(Script(DOWN))


class TestBreaker:
    async def test_it_opens_after_failures_in_a_row_and_says_when_it_asks_again(self) -> None:
        script = Script(DOWN)
        made = guard(retries=0)
        await _fail(made, script, 5)
        with pytest.raises(CircuitOpen, match="it failed 5 times in a row; asked again in 15s"):
            await made.call(script)
        assert script.asked == 5

    async def test_one_success_between_starts_the_count_again(self) -> None:
        made = guard(retries=0)
        await _fail(made, Script(DOWN), 4)
        await made.call(Script("fine"))
        await _fail(made, Script(DOWN), 4)
        assert await made.call(Script("fine")) == "fine"

    async def test_a_refused_question_is_no_failure_of_the_source(self) -> None:
        made = guard(retries=0)
        for _ in range(20):
            with pytest.raises(SourceRejected):
                await made.call(Script(SourceRejected("bad query")))

    async def test_after_the_pause_one_probe_goes_through_while_others_wait(self) -> None:
        clock, asked = StandingClock(), asyncio.Event()
        made = guard(clock, retries=0)
        await _fail(made, Script(DOWN), 5)
        clock.at += 16

        async def slow() -> str:
            await asked.wait()
            return "back"

        probe = asyncio.create_task(made.call(slow))
        await asyncio.sleep(0)
        with pytest.raises(CircuitOpen):
            await made.call(Script("fine"))
        asked.set()
        assert await probe == "back"
        assert await made.call(Script("fine")) == "fine"

    async def test_a_probe_that_fails_keeps_it_open(self) -> None:
        clock = StandingClock()
        made = guard(clock, retries=0)
        await _fail(made, Script(DOWN), 5)
        clock.at += 16
        await _fail(made, Script(DOWN), 1)
        with pytest.raises(CircuitOpen):
            await made.call(Script("fine"))

    async def test_a_probe_that_is_given_up_does_not_shut_it_for_ever(self) -> None:
        clock = StandingClock()
        made = guard(clock, retries=0)
        await _fail(made, Script(DOWN), 5)
        clock.at += 16
        await _cancelled(made, asyncio.Event().wait)
        clock.at += 16
        assert await made.call(Script("fine")) == "fine"

    async def test_those_who_queue_behind_a_dead_source_are_told_at_once(self) -> None:
        script = Script(DOWN)
        made = guard(retries=0, concurrency=1)
        results = await asyncio.gather(*(made.call(script) for _ in range(50)), return_exceptions=True)
        assert script.asked == 5
        assert sum(isinstance(r, CircuitOpen) for r in results) == 45

    async def test_it_learns_from_callers_less_patient_than_the_time_out(self) -> None:
        clock = StandingClock()
        made = guard(clock, timeout=10, retries=0, breaker=Breaker(failures=1))
        await _cancelled(made, asyncio.Event().wait, lambda: setattr(clock, "at", clock.at + 6))
        with pytest.raises(CircuitOpen):
            await made.call(Script("fine"))

    async def test_a_caller_who_leaves_at_once_says_nothing_about_the_source(self) -> None:
        made = guard(timeout=10, breaker=Breaker(failures=1))
        await _cancelled(made, asyncio.Event().wait)
        assert await made.call(Script("fine")) == "fine"


async def test_no_more_than_the_bound_run_at_once() -> None:
    running, most, go = 0, 0, asyncio.Event()

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    made = guard(concurrency=3)
    tasks = [asyncio.create_task(made.call(work)) for _ in range(10)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*tasks)
    assert most == 3


async def test_waiting_for_a_free_place_is_not_the_sources_slowness() -> None:
    made = Guard("it", SystemClock(), timeout=0.2, concurrency=1)

    async def work() -> None:
        await asyncio.sleep(0.05)

    await asyncio.gather(*(made.call(work) for _ in range(8)))  # 0.4 s in all


async def test_cancellation_gives_the_place_back() -> None:
    made = guard(concurrency=1)
    await _cancelled(made, asyncio.Event().wait)
    assert await made.call(Script("fine")) == "fine"


async def test_a_thread_hands_over_results_and_errors() -> None:
    def fails() -> None:
        raise ValueError("in the thread")

    assert await in_thread(lambda: 42, lambda: None) == 42
    with pytest.raises(ValueError, match="in the thread"):
        await in_thread(fails, lambda: None)


async def _fail(made: Guard, script: Script, times: int) -> None:
    for _ in range(times):
        with pytest.raises(SourceUnreachable):
            await made.call(script)


async def _cancelled(
    made: Guard, work: Callable[[], Awaitable[Any]], meanwhile: Callable[[], None] = lambda: None
) -> None:
    task = asyncio.create_task(made.call(work))
    await asyncio.sleep(0)
    meanwhile()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
