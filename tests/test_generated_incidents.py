"""A few generated incidents, so that ranking does not get worse unnoticed; docs/benchmarks.md has the whole set.

The floors leave room for chance: of so few, one more or less is a tenth.
"""

from __future__ import annotations

import pytest

from bench.incidents.generate import incidents
from bench.incidents.score import evaluate, summary

SEED = 2026  # none of those that were tuned on


@pytest.mark.parametrize("family", ["pipeline", "microservice"])
def test_the_culprit_of_a_generated_incident_is_found_whatever_the_order_of_the_files(family: str) -> None:
    results = [evaluate(incident) for incident in incidents(SEED, 10, 4, family)]
    found = summary(results)
    assert found["top1"] >= 0.7
    assert found["top3"] >= 0.9
    assert found["top1_shuffled"] == found["top1"]
    assert found["named_where_none"] == 0
    assert found["top1"] > found["naive_loudest_top1"]
