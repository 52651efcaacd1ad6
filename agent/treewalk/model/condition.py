"""The one room that turns every way of writing a condition into PromQL, and judges the answer.

A condition is PromQL with a comparison (`redis_connected_clients > 280`), or the sugar
`metric increase > 3 in 5m` and `metric rate > 0` (over 5m unless said). An empty answer to a comparison
means "false" and "no such series" alike, so the operands are looked at as well: no data is unknown, not false.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from treewalk.model.quantity import Operator, compare, format_number, parse_duration
from treewalk.model.series import Sample

_SUGAR = re.compile(
    r"(?P<metric>[A-Za-z_:][\w:]*(?:\{[^{}]*\})?)\s+(?P<how>increase|rate)\s*"
    r"(?P<op><=|>=|==|!=|<|>)\s*(?P<limit>[-+\d.eE_,]+%?)(?:\s+in\s+(?P<window>\w+))?"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A yes/no question to Prometheus.

    `text` is what the user wrote and `promql` what is asked. Where it is one comparison with a number, `left`
    is its left side and `op`, `limit` the rest, so that the value can be shown; else `left` is None.
    `operands` are the left sides of every comparison in it: each has to have data for the answer to be "false".
    """

    text: str
    promql: str
    left: str | None
    op: Operator | None
    limit: float | None
    operands: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Answer:
    """How a condition stands: holds, does not, or could not be told; `sample` is the series that decided."""

    state: Literal["holds", "not", "unknown"]
    reason: str
    sample: Sample | None = None


def parse_condition(text: str) -> Condition:
    """Turn a condition into PromQL. Raises ValueError with the parser's own words and what would be right."""
    import promql_parser

    source = text.strip()
    sugar = _SUGAR.fullmatch(source)
    if sugar:
        window = sugar["window"] or "5m"
        parse_duration(window)
        limit = sugar["limit"].replace(",", "").replace("_", "")
        source = f"{sugar['how']}({sugar['metric']}[{window}]) {sugar['op']} {limit}"
    try:
        expression = promql_parser.parse(source)
    except ValueError as error:
        raise ValueError(f"not a condition: {error}; write PromQL such as 'redis_connected_clients > 280'") from None
    if re.search(r"\bbool\b", _unquoted(source)):
        raise ValueError("leave 'bool' out of a condition: an empty answer already means that it does not hold")
    operands = tuple(dict.fromkeys(_operands(expression)))
    if not operands:
        raise ValueError("a condition compares something, such as 'redis_connected_clients > 280'")
    left, op, limit_value = _simple(expression)
    return Condition(text.strip(), source, left, op, limit_value, operands)


def judge(condition: Condition, samples: Sequence[Sample]) -> Answer:
    """How a one-comparison condition stands, given the instant answer to its left side.

    Any series that satisfies it counts, and is named. No series, or only NaN, is unknown.
    """
    if condition.op is None or condition.limit is None:
        raise ValueError("only a condition with one comparison can be judged from its left side")
    real = [s for s in samples if not math.isnan(s.value)]
    if not real:
        why = "no data" if not samples else "only NaN"
        return Answer("unknown", f"{why} for {condition.left}")
    for sample in sorted(real, key=lambda s: s.value, reverse=condition.op in (">", ">=")):
        if compare(sample.value, condition.op, condition.limit):
            return Answer("holds", f"{sample.name or condition.left} is {format_number(sample.value)}", sample)
    nearest = min(real, key=lambda s: abs(s.value - (condition.limit or 0.0)))
    reason = (
        f"{nearest.name or condition.left} was {format_number(nearest.value)}, "
        f"needs {condition.op} {format_number(condition.limit)}"
    )
    return Answer("not", reason, nearest)


_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")


def _show(expression: object) -> str:
    """An expression as text, without the empty `{}` that the parser puts behind a bare metric name."""
    text = str(expression)
    parts, last = [], 0
    for quoted in _QUOTED.finditer(text):
        parts += [text[last : quoted.start()].replace("{}", ""), quoted[0]]
        last = quoted.end()
    return "".join([*parts, text[last:].replace("{}", "")])


def _unquoted(text: str) -> str:
    return _QUOTED.sub("", text)


def _strip(expression: object) -> object:
    import promql_parser

    while isinstance(expression, promql_parser.ParenExpr):
        expression = expression.expr
    return expression


def _is_comparison(expression: object) -> bool:
    import promql_parser

    return isinstance(expression, promql_parser.BinaryExpr) and str(expression.op) in ("<", "<=", ">", ">=", "==", "!=")


def _operands(expression: object) -> list[str]:
    import promql_parser

    expression = _strip(expression)
    if not isinstance(expression, promql_parser.BinaryExpr):
        return []
    if _is_comparison(expression):
        sides = [expression.lhs, expression.rhs]
        return [_show(s) for s in sides if not isinstance(_strip(s), promql_parser.NumberLiteral)]
    return _operands(expression.lhs) + _operands(expression.rhs)


def _simple(expression: object) -> tuple[str | None, Operator | None, float | None]:
    import promql_parser

    expression = _strip(expression)
    if not isinstance(expression, promql_parser.BinaryExpr) or not _is_comparison(expression):
        return None, None, None
    limit = _number(_strip(expression.rhs))
    if limit is None:
        return None, None, None
    return _show(expression.lhs), str(expression.op), limit  # type: ignore[return-value]


def _number(expression: object) -> float | None:
    import promql_parser

    if isinstance(expression, promql_parser.NumberLiteral):
        return float(expression.val)
    if isinstance(expression, promql_parser.UnaryExpr):
        inner = _number(_strip(expression.expr))
        return None if inner is None else -inner
    return None
