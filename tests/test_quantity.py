import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.quantity import format_duration, format_number, parse_duration, parse_threshold


@pytest.mark.parametrize(
    ("text", "op", "limit", "unit"),
    [
        ("60s", "<", 60, "seconds"),
        ("< 60s", "<", 60, "seconds"),
        ("1h30m", "<", 5400, "seconds"),
        ("250ms", "<", 0.25, "seconds"),
        ("> 80% of entities", ">", 0.8, "ratio"),
        ("80%", "<", 0.8, "ratio"),
        ("< 10,000 messages", "<", 10000, "count"),
        ("10,000", "<", 10000, "count"),
        (">= 3", ">=", 3, "count"),
        ("30GB", "<", 30e9, "bytes"),
        ("2GiB", "<", 2**31, "bytes"),
        (300, "<", 300, "count"),
    ],
)
def test_thresholds_read_as_people_write_them(text, op, limit, unit):
    found = parse_threshold(text)
    assert (found.op, found.limit, found.unit) == (op, pytest.approx(limit), unit)


@pytest.mark.parametrize("text", ["", "soon", "%", True, float("nan"), "10,00", "< < 3"])
def test_what_is_no_threshold_is_refused(text):
    with pytest.raises(ValueError, match="threshold"):
        parse_threshold(text)


def test_percent_can_be_declared_to_run_to_a_hundred():
    assert parse_threshold("> 80%", percent_as="percent").limit == 80


@given(st.text())
def test_any_text_is_a_threshold_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse_threshold(text).limit)


@given(st.floats(0.001, 1e9))
def test_durations_survive_formatting_within_their_precision(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=1)


@pytest.mark.parametrize("text", ["-5s", "5 minutes", "1h-3m", "nan", "inf", True])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_numbers_are_short_for_people():
    assert format_number(45000) == "45,000"
    assert format_number(1.23456) == "1.235"
