"""Proof that a fix worked: fresh looks at the SLA and at the fix's own check, until they hold for a stated time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from treewalk.model.acting import Verification, VerifySpec
from treewalk.model.condition import Answer
from treewalk.model.diagnosis import Measurement
from treewalk.model.quantity import format_duration
from treewalk.ports import Clock

Look = Callable[[], Awaitable[Mapping[str, Answer]]]
_SHORTEST, _LONGEST = 0.25, 5.0  # seconds between two looks


def sla_answer(measurement: Measurement) -> Answer:
    """An SLA's measurement as the answer to "is it met?"."""
    state = {"met": "holds", "violated": "not", "unknown": "unknown"}[measurement.status]
    return Answer(state, measurement.reason)  # type: ignore[arg-type]


async def verify(
    spec: VerifySpec,
    look: Look,
    clock: Clock,
    before: Mapping[str, str],
    stop: Callable[[], str | None] = lambda: None,
) -> Verification:
    """Look again and again until everything holds for `spec.stable` seconds, or `spec.timeout` seconds are over.

    `look` gives an answer for each thing that has to hold (at least one). What cannot be looked at never counts as
    held. `stop` gives a reason to end early. A proof that ends without "no" and without a stable "yes" is inconclusive.
    """
    began, held_since = clock.monotonic(), None
    pause = min(_LONGEST, max(_SHORTEST, spec.stable / 4))
    while True:
        seen = await look()
        now = clock.monotonic()
        open_ones = {name: one for name, one in seen.items() if one.state != "holds"}
        held_since = None if open_ones or not seen else (now if held_since is None else held_since)
        after = {name: one.reason for name, one in seen.items()}
        spent = now - began
        if held_since is not None and now - held_since >= spec.stable:
            return Verification("holds", _held(spec), before, after, spent)
        why = stop()
        if why is not None:
            return Verification("inconclusive", why, before, after, spent)
        if spent >= spec.timeout:
            result, reason = _late(spec, open_ones, bool(seen))
            return Verification(result, reason, before, after, spent)
        await clock.sleep(min(pause, max(0.01, spec.timeout - spent)))


def whole_proof(steps: Sequence[Verification], final: Verification | None) -> Verification | None:
    """What is told of a fix: what its steps' checks and the plan's proof looked at, with the result of the last one.

    A step that held proves no plan whose own proof was never come to. None where nothing was looked at. Pure.
    """
    every = [*steps, *([final] if final is not None else [])]
    if not every:
        return None
    last = every[-1]
    if final is None and last.result == "holds":
        last = replace(last, result="inconclusive", reason=f"the plan broke off; of its step: {last.reason}")
    before = {name: text for one in every for name, text in one.before.items()}
    after = {name: text for one in every for name, text in one.after.items()}
    return replace(last, before=before, after=after)


def _held(spec: VerifySpec) -> str:
    return f"it has held for {format_duration(spec.stable)}" if spec.stable else "it holds"


def _late(
    spec: VerifySpec, open_ones: Mapping[str, Answer], looked: bool
) -> tuple[Literal["failed", "inconclusive"], str]:
    within = f"within {format_duration(spec.timeout)}"
    if not looked:
        return "inconclusive", "there was nothing to look at"
    failed = {name: one for name, one in open_ones.items() if one.state == "not"}
    if failed:
        name, one = next(iter(failed.items()))
        return "failed", f"{name} did not hold {within}: {one.reason}"
    if open_ones:
        name, one = next(iter(open_ones.items()))
        return "inconclusive", f"{name} could not be told {within}: {one.reason}"
    return "inconclusive", f"it held at the end, and not yet for {format_duration(spec.stable)}"
