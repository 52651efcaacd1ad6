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
        ("5 min", "<", 300, "seconds"),
        ("< 5 mins", "<", 300, "seconds"),
        ("2 hours", "<", 7200, "seconds"),
        ("1 day", "<", 86400, "seconds"),
        ("30 sec", "<", 30, "seconds"),
        ("500 milliseconds", "<", 0.5, "seconds"),
        ("1 hour 30 minutes", "<", 5400, "seconds"),
        ("1h 30m", "<", 5400, "seconds"),
        ("60 s", "<", 60, "seconds"),
        ("10,000 ms", "<", 10, "seconds"),
        ("5 Minutes of lag", "<", 300, "seconds"),
        ("500ms p99", "<", 0.5, "seconds"),
        ("60s per batch", "<", 60, "seconds"),
        ("> 80 percent", ">", 0.8, "ratio"),
        ("> 80 % of entities", ">", 0.8, "ratio"),
        ("< 1% of 5xx", "<", 0.01, "ratio"),
        ("10k", "<", 10_000, "count"),
        ("1.5K messages", "<", 1500, "count"),
        ("> 2 M", ">", 2e6, "count"),
        ("3G", "<", 3e9, "count"),
        ("2 million", "<", 2e6, "count"),
        ("10 000", "<", 10_000, "count"),
        ("10_000", "<", 10_000, "count"),
        ("1 234 567 messages", "<", 1_234_567, "count"),
        ("100 MB", "<", 1e8, "bytes"),
        ("512 bytes", "<", 512, "bytes"),
        ("< 3 restarts (of the consumer)", "<", 3, "count"),
        ("< 100 in-flight messages", "<", 100, "count"),
    ],
)
def test_thresholds_read_as_people_write_them(text, op, limit, unit):
    found = parse_threshold(text)
    assert (found.op, found.limit, found.unit) == (op, pytest.approx(limit), unit)


@pytest.mark.parametrize("text", ["", "soon", "%", True, float("nan"), "10,00", "< < 3"])
def test_what_is_no_threshold_is_refused(text):
    with pytest.raises(ValueError, match="threshold"):
        parse_threshold(text)


@pytest.mark.parametrize(
    "text",
    [
        "100 MB/s",
        "5 month",
        "10 per second",
        "100/s",
        "5 errors per minute",
        "3 restarts in 5m",
        "3 restarts an hour",
        "10 Mbps",
        "5 M s",
        "5 H",
        "10 x",
        "80 per cent",
        "5 mintues",
        "5 secnds",
        "60s 80%",
        "5 or more",
        "10 at least",
        "10-20",
        "10 0000",
        "1h of 3",
        "2 dozen",
        "10 Ki",
    ],
)
def test_what_may_be_a_unit_and_is_not_understood_is_refused_with_the_way_out(text):
    with pytest.raises(ValueError, match=r"is not a threshold: .* is not understood; write a unit of ms, s, min"):
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
