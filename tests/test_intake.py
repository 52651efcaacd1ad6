"""What is measured of an SLA itself."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from treewalk.model.quantity import parse_threshold
from treewalk.model.series import Sample, Series
from treewalk.model.tree import BaselineSpec, Sla
from treewalk.stages.intake import measure

from tests.support.trees import HERE

AT = 10_000.0


class Ages:
    """A metric source with a few series of an age in seconds, a minute apart, up to now."""

    name = "ages"

    def __init__(self, *series: list[float]) -> None:
        self.series = series

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        return [Sample({"n": str(i)}, at, values[-1]) for i, values in enumerate(self.series)]

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        return [
            Series({"n": str(i)}, array("d", [AT - 60 * k for k in reversed(range(len(values)))]), array("d", values))
            for i, values in enumerate(self.series)
        ]


@pytest.mark.parametrize(
    ("series", "onset"),
    [
        ([[5, 5, 90, 90]], AT - 60),
        ([[90, 5, 90, 90]], AT - 60),
        ([[90, 90, 90, 90]], None),
        ([[float("nan"), 90, 90, 90]], None),
        ([[5, 5, 90, 90], [90, 90, 90, 90]], None),
        ([[5, 5, 90, 90], [90, 90, 90, 5]], AT - 60),
        ([[5, 5, 5, 5]], None),
    ],
)
async def test_a_violation_older_than_what_was_looked_at_has_no_onset(
    series: list[list[float]], onset: float | None
) -> None:
    sla = Sla("fresh", "age", parse_threshold("60s"), None, None, (), HERE)
    found = await measure(sla, Ages(*series), AT, BaselineSpec())
    assert found.measurement.status == ("violated" if any(s[-1] > 60 for s in series) else "met")
    assert found.measurement.onset == onset
