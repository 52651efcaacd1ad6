from datetime import UTC, datetime, time

import pytest
from treewalk.model.window import Window, parse_days


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_business_hours_follow_the_time_zone_through_daylight_saving():
    hours = Window("w", parse_days("mon-fri"), time(9), time(17, 30), "America/New_York")
    assert hours.contains(at("2026-01-05T14:00"))  # 09:00 in winter
    assert not hours.contains(at("2026-07-06T21:30"))  # 17:30 in summer, the end does not belong
    assert hours.contains(at("2026-07-06T13:00"))
    assert not hours.contains(at("2026-07-05T15:00"))  # a Sunday


def test_a_window_over_midnight_belongs_to_the_day_it_begins():
    night = Window("n", parse_days("fri"), time(22), time(6), "UTC")
    assert night.contains(at("2026-01-02T23:00"))
    assert night.contains(at("2026-01-03T05:59"))
    assert not night.contains(at("2026-01-02T05:00"))


def test_day_ranges_wrap():
    assert parse_days("fri-mon") == {4, 5, 6, 0}
    assert parse_days(["sat", "sun"]) == {5, 6}
    with pytest.raises(ValueError, match="weekday"):
        parse_days("noday")
