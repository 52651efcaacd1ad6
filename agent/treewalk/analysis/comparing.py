"""Fetching series and putting them against their own past: where `stats` meets a metric source."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from treewalk.analysis.stats import Deviation, counter_to_rate, deviation, thinned
from treewalk.model.evidence import Anomaly
from treewalk.model.series import Series
from treewalk.model.tree import BaselineSpec
from treewalk.ports import MetricSource

MAX_SERIES = 20  # of one query; the ones that deviate most are kept
_PLAIN = re.compile(r"\s*([A-Za-z_:][\w:]*)\s*(?:\{.*\})?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Compared:
    """One series of a node: the finding as data, and the standardised series behind it for the ranking."""

    anomaly: Anomaly
    deviation: Deviation


def step_for(spec: BaselineSpec) -> float:
    """Seconds between points so that a window has about thirty and a whole range stays under 11,000."""
    whole = spec.window + spec.baseline
    return max(1.0, round(max(spec.window / 30, whole / 5000)))


async def compare_queries(
    source: MetricSource, node: str, queries: Sequence[str], at: float, spec: BaselineSpec
) -> list[Compared]:
    """Every series of the queries against its own past; series without enough data are left out.

    Raises the first SourceError when no query could be answered at all.
    """
    start = at - spec.window - spec.baseline
    answers = await asyncio.gather(
        *(source.range(query, start, at, step_for(spec)) for query in queries), return_exceptions=True
    )
    failures = [a for a in answers if isinstance(a, BaseException)]
    if failures and len(failures) == len(answers):
        raise failures[0]
    found: list[Compared] = []
    for query, answer in zip(queries, answers, strict=True):
        if not isinstance(answer, BaseException):
            found.extend(compare_series(node, query, answer, at, spec))
    return found


def compare_series(node: str, query: str, answer: Sequence[Series], at: float, spec: BaselineSpec) -> list[Compared]:
    """The series of one answer against their own past, at most MAX_SERIES, the most deviating first. Pure."""
    found = []
    for series in answer:
        plain = _PLAIN.fullmatch(query)
        sampled = thinned(series.times, series.values)
        times, values = counter_to_rate(plain[1], *sampled) if plain else sampled
        judged = deviation(times, values, at, spec)
        if judged is not None:
            found.append(Compared(_anomaly(node, query, series, judged), judged))
    found.sort(key=lambda c: -abs(c.anomaly.score))
    return found[:MAX_SERIES]


def _anomaly(node: str, query: str, series: Series, judged: Deviation) -> Anomaly:
    return Anomaly(
        node=node,
        query=query,
        series=series.name or query,
        score=judged.score,
        level=judged.level,
        baseline=judged.center,
        spread=judged.spread,
        relative=judged.relative,
        onset=judged.onset,
        points=judged.points,
    )
