"""What a period amounts to: minutes lost, spans, questions. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.period import (
    Case,
    Question,
    Rows,
    Shared,
    answers,
    clipped,
    counts,
    losses,
    lost,
    period,
    spread,
    union,
)

WHOLE = st.integers(-100, 1100).map(float)
SPANS = st.lists(st.tuples(WHOLE, WHOLE), max_size=20)
DAY = 86400.0


def covered(spans: list[tuple[float, float]], second: int) -> bool:
    return any(a <= second < b for a, b in spans)


@given(SPANS)
def test_a_union_covers_the_same_time_and_does_not_overlap(spans: list[tuple[float, float]]) -> None:
    found = union(spans)
    assert all(a < b for a, b in found)
    assert all(one[1] < two[0] for one, two in pairwise(found))
    assert all(covered(found, k) == covered(spans, k) for k in range(-100, 1101, 7))
    assert union([*found, *spans]) == found


@given(SPANS, WHOLE, WHOLE)
def test_never_more_is_lost_than_the_period_has_and_never_less_than_nothing(
    spans: list[tuple[float, float]], start: float, end: float
) -> None:
    seconds = lost(spans, start, end)
    assert 0 <= seconds <= max(0.0, end - start)
    assert seconds == sum(covered(clipped(spans, start, end), k) for k in range(-100, 1100))


@given(SPANS, st.lists(WHOLE, min_size=3, max_size=3))
def test_what_two_halves_lost_is_what_the_whole_lost(spans: list[tuple[float, float]], times: list[float]) -> None:
    start, middle, end = sorted(times)
    assert lost(spans, start, end) == lost(spans, start, middle) + lost(spans, middle, end)


CASES = st.builds(
    Case,
    number=st.integers(1, 99),
    sla=st.sampled_from("ab"),
    opened=WHOLE,
    closed=st.none() | WHOLE,
    status=st.sampled_from(["violated", "met", "unknown"]),
    ending=st.sampled_from(["resolved", "escalated", "merged"]),
    in_window=st.booleans(),
    onset=st.none() | WHOLE,
    shared=st.lists(
        st.builds(Shared, st.sampled_from("ac"), WHOLE, st.sampled_from(["violated", "unknown"])), max_size=2
    ).map(tuple),
)


@given(st.lists(CASES, max_size=10), st.lists(WHOLE, min_size=3, max_size=3, unique=True), WHOLE)
def test_two_halves_of_a_period_add_up_to_it(cases: list[Case], times: list[float], now: float) -> None:
    start, middle, end = sorted(times)
    rows = Rows(tuple(cases))
    whole, first, second = (period(rows, a, b, now) for a, b in ((start, end), (start, middle), (middle, end)))
    assert len(whole.opened) == len(first.opened) + len(second.opened)
    assert len(whole.closed) == len(first.closed) + len(second.closed)
    for sla in "abc":
        each = [next((x.seconds for x in one.losses if x.sla == sla), 0.0) for one in (whole, first, second)]
        assert 0 <= each[0] == each[1] + each[2] <= end - start
    assert sum(whole.severities.values()) == len(whole.opened)


@given(st.lists(st.floats(0, 1e6), max_size=30), st.integers(0, 3))
def test_half_are_within_the_median_and_nine_of_ten_within_the_90th_percentile(spans: list[float], more: int) -> None:
    found = spread(spans, more)
    assert (found.known, found.unknown) == (len(spans), more)
    if not spans:
        assert found.median is found.p90 is None
        return
    assert found.median is not None
    assert found.p90 in spans
    assert 2 * sum(s <= found.median for s in spans) >= len(spans)
    assert 10 * sum(s <= found.p90 for s in spans) >= 9 * len(spans)


def test_the_trouble_counts_from_its_onset_and_a_living_one_until_now() -> None:
    cases = [
        Case(1, "a", 100, 200, "violated", "closed", "resolved", onset=40.0),
        Case(2, "a", 150, 260, "violated", "closed", "resolved"),  # overlaps the first
        Case(3, "b", 900, None, "violated", "acting"),
        Case(4, "c", 100, 200, "met", "closed", "no_fault_found"),
        Case(5, "d", 100, 200, "violated", "closed", "resolved", in_window=False),
    ]
    found = period(Rows(tuple(cases)), 50, 2000, 1000).losses
    assert [(x.sla, x.seconds, x.at_least) for x in found] == [("a", 210, False), ("b", 100, False)]


def test_an_sla_that_joined_an_incident_goes_on_in_it() -> None:
    cases = [
        Case(1, "a", 100, 400, "violated", "closed", "resolved", shared=(Shared("b", 200, "violated"),)),
        Case(2, "b", 120, 200, "violated", "closed", "merged"),
    ]
    assert {x.sla: (x.seconds, x.at_least) for x in losses(cases, 0, 1000)} == {"a": (300, False), "b": (280, False)}


def test_what_ended_unmended_or_was_not_measured_is_at_least_so_long() -> None:
    cases = [
        Case(1, "a", 100, 400, "violated", "closed", "escalated"),
        Case(2, "b", 100, 400, "unknown", "closed", "escalated"),
    ]
    found = {x.sla: (x.seconds, x.at_least, x.unknown) for x in losses(cases, 0, 1000)}
    assert found == {"a": (300, True, 0), "b": (0, True, 1)}


def test_a_time_to_detect_that_is_not_known_is_counted_as_unknown() -> None:
    one = Case(1, "a", 100, 160, "violated", "closed", "resolved", began=70.0, diagnosed=True, known_error="ke")
    two = Case(2, "a", 200, 260, "violated", "closed", "escalated", diagnosed=True)
    later = replace(one, number=3, opened=300.0, closed=None, began=400.0, diagnosed=False)  # a clock that is ahead
    found = period(Rows((one, two, later)), 0, 1000, 2000)
    assert (found.detect.known, found.detect.unknown, found.detect.median) == (1, 2, 30)
    assert (found.resolve.known, found.resolve.unknown, found.resolve.p90) == (1, 1, 60)
    assert (found.known, found.diagnosed) == (1, 2)
    assert [case.number for case in found.living] == [3]


def test_a_question_is_answered_expired_moot_or_waits() -> None:
    asked = [
        Question(10, 100, True, 50),
        Question(10, 100, False, 50),
        Question(10, 100),
        Question(10, 100, closed=60),
        Question(10, 2000),
        Question(10, 100, True, 50, closed=60),
        Question(-10, 5, True, -1),  # answered before
    ]
    found = answers(asked, 0, 1000)
    assert (found.asked, found.approved, found.denied, found.expired, found.moot, found.waiting) == (6, 2, 1, 1, 1, 1)
    assert answers(asked, 0, 40).waiting == 6


def test_incidents_are_counted_between_edges() -> None:
    assert counts([0, 5, 10, 19.9, 20], [0, 10, 20]) == (2, 2)
    assert counts([], [0, 1]) == (0,)


def test_a_period_ends_after_it_starts() -> None:
    with pytest.raises(ValueError, match="ends after"):
        period(Rows(), 1, 1, 1)
    empty = period(Rows(), 0, DAY, -5)
    assert (empty.until, empty.lost, empty.losses) == (0, 0, ())
    assert not math.isnan(empty.lost)
