import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.analysis.asking import ask
from treewalk.model.condition import judge, parse_condition
from treewalk.model.series import Sample

from tests.support.sources import TableMetrics


def sample(value: float, **labels: str) -> Sample:
    return Sample({"__name__": "m", **labels}, 0.0, value)


@pytest.mark.parametrize(
    ("text", "promql"),
    [
        ("redis_connected_clients > 280", "redis_connected_clients > 280"),
        ("ws_reconnection_count increase > 3 in 5m", "increase(ws_reconnection_count[5m]) > 3"),
        ("ws_messages_received rate > 0", "rate(ws_messages_received[5m]) > 0"),
        ('lag{group="a"} increase >= 1,000 in 90s', 'increase(lag{group="a"}[90s]) >= 1000'),
    ],
)
def test_sugar_becomes_promql(text, promql):
    assert parse_condition(text).promql == promql


@pytest.mark.parametrize("text", ["up", "a >", "", "a > bool 3", "rm -rf /", "{{ 7*7 }} > 1"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(ValueError, match="condition"):
        parse_condition(text)


@given(st.text())
def test_any_text_is_a_condition_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert parse_condition(text).operands


async def test_missing_series_is_unknown_not_false():
    answer = await ask(TableMetrics(), parse_condition("redis_connected_clients > 280"), 0)
    assert answer.state == "unknown"
    assert "no data" in answer.reason


async def test_nan_is_unknown():
    source = TableMetrics(samples={"m": [sample(math.nan)]})
    assert (await ask(source, parse_condition("m > 1"), 0)).state == "unknown"


async def test_any_series_that_satisfies_it_counts_and_is_named():
    source = TableMetrics(samples={"m": [sample(1, host="a"), sample(9, host="b")]})
    answer = await ask(source, parse_condition("m > 5"), 0)
    assert answer.state == "holds"
    assert 'host="b"' in answer.reason


async def test_a_near_miss_says_what_the_value_was():
    source = TableMetrics(samples={"redis_connected_clients": [sample(201)]})
    answer = await ask(source, parse_condition("redis_connected_clients > 280"), 0)
    assert (answer.state, answer.reason) == ("not", "m was 201, needs > 280")


async def test_a_compound_condition_needs_data_for_every_operand_to_be_false():
    condition = parse_condition("a > 1 and b > 1")
    assert (await ask(TableMetrics(samples={"a": [sample(0)]}), condition, 0)).state == "unknown"
    both = TableMetrics(samples={"a": [sample(0)], "b": [sample(0)]})
    assert (await ask(both, condition, 0)).state == "not"
    held = TableMetrics(samples={condition.promql: [sample(2)]})
    assert (await ask(held, condition, 0)).state == "holds"


def test_an_answer_without_labels_is_told_by_its_query() -> None:
    condition = parse_condition("sum(stream_lag) > 100")
    assert judge(condition, [Sample({}, 0.0, 147.0)]).reason == "sum(stream_lag) is 147"
