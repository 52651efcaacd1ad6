import numpy as np
from treewalk.analysis.comparing import Compared, compare_series
from treewalk.analysis.symptoms import in_all, symptoms
from treewalk.model.series import Series
from treewalk.model.tree import BaselineSpec

SPEC = BaselineSpec(window=600, baseline=7200)
TIMES = np.arange(0, 7800 + 1, 15.0)
AT = 7800.0


def series(node: str, metric: str, seed: int, shift: float = 0.0, since: float = 7500.0) -> list[Compared]:
    values = np.random.default_rng(seed).normal(100, 5, len(TIMES)) + shift * (since <= TIMES)
    return compare_series(node, f'{metric}{{node="{node}"}}', [Series({}, TIMES, values)], AT, SPEC)


def looked(compared, own=None) -> dict[str, float]:
    return {n: float(in_all(e)) for n, e in symptoms(compared, own, AT, SPEC.window).nodes.items()}


def test_one_of_several_series_is_enough_to_show_trouble():
    quiet = [c for i in range(3) for c in series("a", f"m{i}", i)]
    found = looked({"a": quiet + series("a", "queue", 9, shift=60), "b": [*quiet]})
    assert found["a"] > 1.5
    assert found["b"] < 0


def test_no_change_is_worth_more_than_what_a_coincidence_costs():
    loud = looked({"a": series("a", "queue", 1, shift=60)})["a"]
    louder = looked({"a": series("a", "queue", 1, shift=6000)})["a"]
    assert louder < loud + 0.1


def test_a_surge_that_comes_for_everybody_accuses_nobody():
    everybody = {f"n{i}": series(f"n{i}", "requests", i, shift=60) for i in range(8)}
    alone = {f"n{i}": series(f"n{i}", "requests", i, shift=60 if i == 0 else 0) for i in range(8)}
    assert looked(everybody)["n0"] < 1
    assert looked(alone)["n0"] > 2


def test_an_sla_that_did_not_change_says_nothing_about_when():
    flat = symptoms({}, series("sla", "sla", 3)[0], AT, SPEC.window).sla
    changed = symptoms({}, series("sla", "sla", 3, shift=60)[0], AT, SPEC.window).sla
    assert np.ptp(flat) < 1.5
    assert np.ptp(changed) > 4


def test_the_order_of_series_decides_nothing():
    mine = series("a", "cpu", 1) + series("a", "queue", 2, shift=40)
    one = symptoms({"a": mine, "b": series("b", "cpu", 4)}, None, AT, SPEC.window).nodes["a"]
    two = symptoms({"b": series("b", "cpu", 4), "a": mine[::-1]}, None, AT, SPEC.window).nodes["a"]
    assert (one == two).all()
