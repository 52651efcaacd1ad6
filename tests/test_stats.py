import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.analysis.stats import counter_to_rate, deviation, thinned
from treewalk.model.tree import BaselineSpec

SPEC = BaselineSpec(window=600, baseline=7200, direction="both", threshold=5)
TIMES = np.arange(0, 7800 + 1, 15.0)
AT = 7800.0


def noise(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 5, len(TIMES))


def test_noise_is_not_an_anomaly():
    assert abs(deviation(TIMES, noise(), AT, SPEC).score) < 4


def test_a_level_shift_scores_high_and_its_onset_is_found():
    values = noise()
    values[TIMES > 7500] += 60
    found = deviation(TIMES, values, AT, SPEC)
    assert found.score > 8
    assert found.onset == pytest.approx(7500, abs=90)


def test_direction_decides_what_is_looked_for():
    values = noise()
    values[TIMES > 7500] -= 60
    assert deviation(TIMES, values, AT, SPEC).score < -8
    up = BaselineSpec(600, 7200, "up", 5)
    assert deviation(TIMES, values, AT, up).score < 4


def test_a_constant_baseline_does_not_make_a_small_change_infinite():
    values = np.full(len(TIMES), 100.0)
    values[TIMES > 7500] = 101
    assert abs(deviation(TIMES, values, AT, SPEC).score) < 1
    values[TIMES > 7500] = 300
    assert 5 < deviation(TIMES, values, AT, SPEC).score <= 20


def test_yesterdays_morning_is_not_news():
    times = np.arange(0, 2 * 86400 + 1500 + 1, 300.0)
    daily = 100 + 80 * np.sin(2 * np.pi * times / 86400 - 1.2)
    values = daily + np.random.default_rng(2).normal(0, 3, len(times))
    spec = BaselineSpec(1500, 2 * 86400, "both", 5)
    assert abs(deviation(times, values, times[-1], spec).score) < 4
    values[times > times[-1] - 1200] += 40
    assert deviation(times, values, times[-1], spec).score > 5


def test_too_little_data_is_none_not_zero():
    assert deviation(TIMES[:5], noise()[:5], 60, SPEC) is None
    assert deviation([], [], AT, SPEC) is None
    values = noise()
    values[TIMES > 7000] = math.nan
    assert deviation(TIMES, values, AT, SPEC) is None


def test_counters_become_rates_and_resets_do_not_go_negative():
    times = np.arange(0, 300, 10.0)
    counter = np.arange(0, 300, 10.0) * 2
    counter[15:] -= counter[15]
    _, rate = counter_to_rate("requests_total", times, counter)
    assert (rate >= 0).all()
    assert np.median(rate) == pytest.approx(2)


@pytest.mark.parametrize("asked", [6.0, 9.0, 12.0, 13.5, 18.0, 20.0])
def test_a_counter_asked_for_on_another_grid_than_it_is_sampled_on_has_no_beat_in_its_rate(asked):
    sampled = np.arange(0, 7500, 15.0)
    counter = np.cumsum(np.random.default_rng(6).normal(100, 3, len(sampled)) * 15)
    grid = np.arange(0, 7400, asked)
    seen = counter[np.searchsorted(sampled, grid, side="right") - 1]
    _, rate = counter_to_rate("requests_total", *thinned(grid, seen))
    assert rate.mean() == pytest.approx(100, rel=0.02)
    assert rate.std() < 9  # a beat alone would make it 30 to 50


def test_a_counter_that_slows_down_is_still_seen_to_when_it_is_asked_for_on_another_grid():
    sampled = np.arange(0, 7801, 15.0)
    per_second = np.where(sampled > 7500, 40.0, 100.0) + np.random.default_rng(7).normal(0, 3, len(sampled))
    grid = np.arange(0, 7801, 20.0)
    seen = np.cumsum(per_second * 15)[np.searchsorted(sampled, grid, side="right") - 1]
    found = deviation(*counter_to_rate("requests_total", *thinned(grid, seen)), AT, SPEC)
    assert found.score < -8
    assert found.onset == pytest.approx(7500, abs=90)


def test_a_series_asked_for_more_often_than_it_is_sampled_is_thinned_to_its_samples():
    times = np.arange(0, 7200, 50.0)
    slow = np.repeat(np.random.default_rng(4).normal(10, 1, 24), 6)
    kept, values = thinned(times, slow)
    assert len(kept) <= 26
    assert set(values) == set(slow)
    assert len(thinned(times, np.random.default_rng(5).normal(10, 1, len(times)))[0]) == len(times)
    assert len(thinned(times, np.full(len(times), 3.0))[0]) == len(times)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=60),
    st.integers(0, 2**32 - 1),
)
def test_any_numbers_give_a_finite_score_or_none(head, seed):
    values = noise(seed)
    values[-len(head) :] = head if head else values[-len(head) :]
    found = deviation(TIMES, values, AT, SPEC)
    assert found is None or math.isfinite(found.score)
