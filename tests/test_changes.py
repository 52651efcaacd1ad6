import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.analysis.changes import SHAPES, changes
from treewalk.analysis.stats import deviation
from treewalk.analysis.symptoms import in_all
from treewalk.model.tree import BaselineSpec

SPEC = BaselineSpec(window=600, baseline=7200)
TIMES = np.arange(0, 7800 + 1, 15.0)
AT = 7800.0
SINCE = 7500.0


def noise(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 5, len(TIMES))


def found(*values: np.ndarray):
    return changes([deviation(TIMES, x, AT, SPEC) for x in values], AT, SPEC.window)


def began(values: np.ndarray) -> float:
    """How much likelier a change within the reach is than all rival accounts, as a logarithm."""
    one = found(values)
    return float(in_all(one.begins[0]) - one.otherwise[0])


def test_a_loud_jump_is_known_to_the_sample():
    one = found(noise() + 60 * (TIMES >= SINCE))
    best = one.grid[int(one.begins[0].max(axis=0).argmax())]
    assert best == pytest.approx(SINCE, abs=15)


def test_the_moment_of_a_faint_jump_is_less_sure_than_that_of_a_loud_one():
    def moments(size: float) -> float:
        likely = np.exp(found(noise() + size * (TIMES >= SINCE)).begins[0][0])
        likely /= likely.sum()
        return float(1 / np.square(likely).sum())  # how many moments share the belief

    assert moments(6) > 2 * moments(60)


def test_noise_is_no_change():
    assert all(began(noise(seed)) < 1.5 for seed in range(20))


def test_what_changed_long_ago_or_is_over_did_not_begin_now():
    assert began(noise() + 60 * (TIMES >= SINCE)) > 10
    assert began(noise() + 60 * (TIMES >= AT - 2000)) < 0
    assert began(noise() + 60 * ((TIMES >= 7400) & (TIMES < 7500))) < 0


@pytest.mark.parametrize("shape", ["jump", "slope", "erratic"])
def test_the_shape_of_a_change_is_told(shape):
    on = TIMES >= SINCE
    course = {
        "jump": 60.0 * on,
        "slope": 90 * np.clip((TIMES - SINCE) / 300, 0, 1),
        "erratic": on * np.random.default_rng(5).normal(40, 60, len(TIMES)),
    }[shape]
    best = found(noise() + course).begins[0].max(axis=1)
    assert SHAPES[int(best.argmax())] == shape


def test_a_series_that_often_jumps_proves_less_by_jumping():
    calm = noise() + 40 * (TIMES >= SINCE)
    restless = noise() + 40 * ((TIMES // 300) % 3 == 0)
    restless[TIMES > 7200] = noise()[TIMES > 7200] + 40 * (TIMES[TIMES > 7200] >= SINCE)
    assert began(restless) < began(calm) / 2


def test_series_are_judged_alike_alone_and_together():
    shifted, coarse = noise(1) + 60 * (TIMES >= SINCE), deviation(TIMES[::4], noise(2)[::4], AT, SPEC)
    alone = changes([deviation(TIMES, shifted, AT, SPEC)], AT, SPEC.window)
    fine = deviation(TIMES, noise(3), AT, SPEC)
    together = changes([coarse, deviation(TIMES, shifted, AT, SPEC), fine], AT, SPEC.window)
    assert together.begins[1] == pytest.approx(alone.begins[0], abs=0.5)


def test_without_series_there_is_nothing():
    nothing = changes([], AT, SPEC.window)
    assert nothing.begins.shape[0] == 0
    assert nothing.grid[-1] == AT


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_any_numbers_give_finite_evidence(tail, seed):
    values = noise(seed)
    values[-len(tail) :] = tail
    one = found(values, np.full(len(TIMES), 3.0))
    assert np.isfinite(one.begins).all()
    assert np.isfinite(one.otherwise).all()
