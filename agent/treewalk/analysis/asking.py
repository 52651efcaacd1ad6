"""Putting a condition to a metric source: the one place where PromQL conditions are asked."""

from __future__ import annotations

import math

from treewalk.model.condition import Answer, Condition, judge
from treewalk.model.quantity import format_number
from treewalk.ports import MetricSource


async def ask(source: MetricSource, condition: Condition, at: float) -> Answer:
    """How a condition stands at a time (Unix seconds).

    One comparison with a number is judged from its left side, in one query. Anything else is asked whole; when
    the answer is empty every operand has to have data for it to be "not", else it is unknown. Raises SourceError.
    """
    if condition.left is not None:
        return judge(condition, await source.instant(condition.left, at))
    found = [s for s in await source.instant(condition.promql, at) if not math.isnan(s.value)]
    if found:
        sample = found[0]
        return Answer("holds", f"{sample.name or condition.text} is {format_number(sample.value)}", sample)
    for operand in condition.operands:
        if not any(not math.isnan(s.value) for s in await source.instant(operand, at)):
            return Answer("unknown", f"no data for {operand}")
    return Answer("not", f"{condition.text} does not hold")
