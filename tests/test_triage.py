"""How grave an incident is, is said by rules that are parsed and checked, never run as code."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.expression import ExpressionError, parse
from treewalk.model.message import SEVERITIES
from treewalk.model.quantity import parse_threshold
from treewalk.model.triage import Triage, TriageRule, names, remaining, severity

NAMES = names(["NIGHT", "OFFICE"])
FACTS = {
    "sla": "orders_eu",
    "measured": 90.0,
    "threshold": 60.0,
    "remaining": -0.5,
    "blast": 3.0,
    "repeats": 0.0,
    "known": None,
    "category": "resource_exhaustion",
    "in_window": True,
    "hour": 4.0,
    "tags.tier": "1",
    "tags.team": "payments",
    "window.NIGHT": True,
    "window.OFFICE": False,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("remaining < 0", True),
        ("remaining <= -50%", True),
        ("measured > 1m", True),
        ("measured > 1.5m", False),
        ("blast >= 3 and window.NIGHT", True),
        ("not window.NIGHT or blast > 3", False),
        ("tags.tier == 1", True),
        ('tags.tier == "1"', True),
        ("tags.tier in [1, 2]", True),
        ("tags.tier < 2", True),
        ("tags.team != 1", True),
        ("tags.team > 1", None),
        ('tags.team not in ["web"]', True),
        ("tags.region == 1", None),
        ("tags.region == null", True),
        ("known == null", True),
        ("known != null", False),
        ('known == "ke-001"', None),
        ('not (known == "ke-001")', None),
        ('known == "ke-001" or blast == 3', True),
        ('known == "ke-001" and blast == 4', False),
        ('sla like "orders_*"', True),
        ('sla not like "orders_*"', False),
        ("sla in ['stock', 'orders_eu']", True),
        ("in_window == true", True),
        ("not not window.NIGHT", True),
        ("(hour < 6 or hour >= 22) and in_window", True),
    ],
)
def test_an_expression_says_yes_no_or_unknown(text: str, holds: bool | None) -> None:
    assert parse(text, NAMES).holds(FACTS) is holds


@pytest.mark.parametrize(
    ("text", "offset", "said"),
    [
        ("remaning < 0", 0, "did you mean remaining?"),
        ("tag.tier == 1", 0, "did you mean tags.tier?"),
        ("blast > 1 and window.NIHGT", 14, "did you mean window.NIGHT?"),
        ("blast = 1", 6, "equality is written =="),
        ("blast > ", 8, "it ends where a value is expected"),
        ("blast > 1 1", 10, "'1' was not expected here"),
        ("(blast > 1", 10, "')' is missing"),
        ("blast", 0, "is not true or false by itself"),
        ("sla == 1", 4, "this compares sla (a text) with 1 (a number)"),
        ("known > null", 6, "null can be compared"),
        ('sla like ["a"]', 9, "`like` takes a text"),
        ('sla in "a"', 7, "`in` takes a list"),
        ("in_window > true", 10, "have no order"),
        ('sla == "a', 7, "this quote is not closed"),
        ("blast > 1x", 8, "a number is written like"),
        ("__import__('os')", 0, "there is no fact"),
        ("sla.__class__ == 'x'", 0, "there is no fact"),
        ("", 0, "it ends where"),
        ("(" * 60, 51, "nested deeper"),
        ("not " * 60, 204, "nested deeper"),
        ("x" * 3000, 0, "longer than"),
    ],
)
def test_a_wrong_expression_is_told_at_its_character(text: str, offset: int, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, NAMES)
    assert said in str(caught.value)
    assert caught.value.offset == offset


@given(st.text(max_size=60) | st.lists(st.sampled_from([*"()[]<>=!,-'\"", "and", "or", "not", "in", "like", "blast",
       "sla", "tags.x", "null", "true", "3", "5m", "20%", " "]), max_size=20).map(" ".join))  # fmt: skip
def test_any_text_is_an_expression_or_an_error_with_a_place_in_it(text: str) -> None:
    try:
        found = parse(text, NAMES)
    except ExpressionError as error:
        offset: int | None = error.offset
    else:
        offset = None
        assert found.holds(FACTS) in (True, False, None)
        assert found.holds({}) in (True, False, None)
    assert offset is None or 0 <= offset <= len(text)


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.none()


@given(NUMBERS, NUMBERS)
def test_comparisons_are_those_of_numbers_and_unknown_without_one(a: float | None, b: float | None) -> None:
    facts = {"measured": a, "threshold": b}
    known = a is not None and b is not None and not math.isnan(a) and not math.isnan(b)
    for sign, right in (("<", lambda: a < b), (">=", lambda: a >= b), ("==", lambda: a == b), ("!=", lambda: a != b)):
        assert parse(f"measured {sign} threshold", NAMES).holds(facts) is (right() if known else None)


@given(st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=2), st.sampled_from(["and", "or"]))
def test_and_and_or_carry_what_is_unknown(sides: list[bool | None], word: str) -> None:
    facts = {"in_window": sides[0], "window.NIGHT": sides[1]}
    found = parse(f"in_window {word} window.NIGHT", NAMES).holds(facts)
    swapped = parse(f"window.NIGHT {word} in_window", NAMES).holds(facts)
    negated = parse(f"not (not in_window {'or' if word == 'and' else 'and'} not window.NIGHT)", NAMES).holds(facts)
    decided = word == "or"
    expected = decided if decided in sides else None if None in sides else not decided
    assert found is swapped is negated is expected


RULES = st.lists(
    st.tuples(st.sampled_from(["blast > 2", "remaining < 0", 'known == "x"', "tags.tier == 1", "window.OFFICE"]),
              st.sampled_from(SEVERITIES)), max_size=6,
)  # fmt: skip


@given(RULES, st.sampled_from(SEVERITIES), st.floats(0, 9), NUMBERS)
def test_the_first_rule_that_certainly_holds_decides(
    rules: list[tuple[str, str]], default: str, blast: float, left: float | None
) -> None:
    facts = {**FACTS, "blast": blast, "remaining": left}
    triage = Triage(tuple(TriageRule(parse(text, NAMES), grave) for text, grave in rules), default)  # type: ignore[arg-type]
    found = severity(triage, facts)
    held = [(text, grave) for text, grave in rules if parse(text, NAMES).holds(facts) is True]
    assert (found.rule, found.severity) == (held[0] if held else (None, default))


@given(st.floats(0.1, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["<", "<=", ">", ">="]))
def test_what_remains_is_negative_exactly_where_the_threshold_is_broken(limit: float, value: float, sign: str) -> None:
    found = remaining(value, parse_threshold(f"{sign} {limit:f}"))
    threshold = parse_threshold(f"{sign} {limit:f}")
    assert found is not None
    assert threshold.holds(value) == (found >= 0 if "=" in sign else found > 0)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_remains_of_nothing_known_is_unknown(value: float | None) -> None:
    assert remaining(value, parse_threshold("< 60s")) is None
    assert remaining(1.0, parse_threshold("< 0")) is None
    assert remaining(1.0, None) is None
