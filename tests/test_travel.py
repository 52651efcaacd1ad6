import random

import numpy as np
import pytest
from treewalk.analysis import travel
from treewalk.analysis.changes import SHAPES
from treewalk.analysis.travel import Seen, Story, accounts, children_first

MOMENTS = 40
QUIET = np.full((len(SHAPES), MOMENTS), -2.0)


def change(moment: int, shape: str = "jump") -> np.ndarray:
    """A change that is seen well: at a moment, in a shape."""
    near = np.full((len(SHAPES), MOMENTS), -2.0)
    near[SHAPES.index(shape), moment] = 7.0
    near[SHAPES.index(shape), moment - 1 : moment + 2] = np.maximum(
        near[SHAPES.index(shape), moment - 1 : moment + 2], 3
    )
    return near


def story(below, seen, sla=None, tops=("top",)) -> Story:
    signs = {name: s if isinstance(s, Seen) else Seen(s) for name, s in seen.items()}
    flat = np.zeros((len(SHAPES), MOMENTS))
    return Story(below, tops, signs, flat if sla is None else sla, 15.0, 15.0, 600.0)


def totals(told: Story) -> dict[str, float]:
    return {n: a.own + a.path + a.sla + a.beneath for n, a in accounts(told, told.below).items()}


CHAIN = {"top": ["middle"], "middle": ["bottom"], "bottom": []}


def test_the_origin_accounts_for_all_that_follows_upward():
    found = totals(story(CHAIN, {"top": change(24), "middle": change(22), "bottom": change(20)}))
    assert found["bottom"] > found["middle"] > found["top"]


def test_what_began_after_its_dependents_is_not_their_origin():
    found = totals(story(CHAIN, {"top": change(21), "middle": change(20), "bottom": change(30)}))
    assert max(found, key=found.__getitem__) == "middle"


def test_a_change_of_another_shape_explains_less():
    alike = accounts(story(CHAIN, {"middle": change(22, "slope"), "bottom": change(20, "slope")}), ["bottom"])
    unlike = accounts(story(CHAIN, {"middle": change(22, "slope"), "bottom": change(20, "jump")}), ["bottom"])
    assert alike["bottom"].path > unlike["bottom"].path


def test_a_stranger_that_nothing_above_follows_stays_behind():
    below = {"top": ["service", "stranger"], "service": ["cause"], "stranger": [], "cause": []}
    told = story(below, {"top": change(23), "service": change(22), "cause": change(20), "stranger": change(10)})
    found = totals(told)
    assert max(found, key=found.__getitem__) == "cause"
    assert found["stranger"] < found["cause"] - 2


def test_a_silent_origin_is_found_by_what_all_follow_above_it_and_none_beneath():
    below = {"top": ["left", "right"], "left": ["shared"], "right": ["shared"], "shared": ["leaf"], "leaf": []}
    seen = {"top": change(24), "left": change(22), "right": change(22), "leaf": QUIET}
    found = totals(story(below, seen))
    assert max(found, key=found.__getitem__) == "shared"


def test_an_effect_much_larger_than_its_cause_speaks_against_the_cause():
    def path(size: float) -> float:
        seen = {"middle": Seen(change(22), size=60.0), "bottom": Seen(change(20), size=size)}
        return accounts(story(CHAIN, seen), ["bottom"])["bottom"].path

    assert path(50.0) == pytest.approx(path(200.0))
    assert path(4.0) < path(50.0) - 1


def test_starvation_beneath_is_a_consequence_unless_it_was_declared():
    seen = {"middle": change(20), "bottom": change(24)}
    assert accounts(story(CHAIN, seen), ["middle"])["middle"].beneath > 0.5
    declared = {"middle": change(20), "bottom": Seen(change(24), told=True)}
    assert accounts(story(CHAIN, declared), ["middle"])["middle"].beneath == 0


def test_the_sla_speaks_for_the_origin_whose_trouble_arrives_in_time():
    below = {"top": ["a", "b"], "a": [], "b": []}
    seen = {"a": change(20), "b": change(35)}
    sla = np.zeros((len(SHAPES), MOMENTS)) - 4
    sla[:, 21:24] = 2.5
    found = accounts(story(below, seen, sla), ["a", "b"])
    assert found["a"].sla > found["b"].sla + 1


def test_order_and_batches_decide_nothing(monkeypatch):
    dice = random.Random(4)
    names = [f"n{i}" for i in range(30)]
    below = {n: [m for m in names[i + 1 :] if dice.random() < 0.15] for i, n in enumerate(names)}
    seen = {n: change(dice.randrange(5, 35)) if dice.random() < 0.4 else QUIET for n in names}
    whole = accounts(story(below, seen, tops=("n0",)), names)
    mixed = {n: dice.sample(below[n], len(below[n])) for n in dice.sample(names, len(names))}
    assert accounts(story(mixed, seen, tops=("n0",)), reversed(names)) == whole
    monkeypatch.setattr(travel, "_BATCH", 7)
    batched = accounts(story(below, seen, tops=("n0",)), names)
    for name in names:
        assert batched[name].path == pytest.approx(whole[name].path, abs=1e-9)
        assert batched[name].beneath == pytest.approx(whole[name].beneath, abs=1e-9)


def test_children_come_first_at_any_depth():
    deep = {f"n{i:04}": [f"n{i + 1:04}"] if i < 1999 else [] for i in range(2000)}
    assert children_first(deep)[0] == "n1999"
