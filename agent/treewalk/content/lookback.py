"""What a condition asks of the past and of its metrics: why it can never hold, or not soon enough. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from treewalk.model.condition import Condition
from treewalk.model.interval import Interval
from treewalk.model.quantity import Operator, format_duration, format_number

_FLIPPED: dict[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
# They count what is in the window: they fall only when the window has moved on.
_COUNTING = frozenset(
    {"increase", "rate", "changes", "resets", "sum_over_time", "count_over_time", "max_over_time", "stddev_over_time",
     "stdvar_over_time"}
)  # fmt: skip
_AVERAGING = frozenset({"avg_over_time", "quantile_over_time", "mad_over_time"})
_TWO_SAMPLES = frozenset({"increase", "rate", "irate", "delta", "idelta", "deriv", "predict_linear"})
_PASSING = frozenset(
    {"abs", "ceil", "floor", "round", "sqrt", "exp", "ln", "log2", "log10", "clamp", "clamp_min", "clamp_max", "sort",
     "sort_desc", "scalar", "vector", "label_replace", "label_join"}
)  # fmt: skip
_KEEPING = frozenset({"sum", "avg", "max", "min", "topk", "bottomk", "quantile"})
_NOT_NEGATIVE = frozenset({"increase", "rate", "irate", "changes", "resets"})
_ONE = frozenset({"absent", "absent_over_time", "present_over_time"})

Fault = tuple[str, float]  # what is wrong, and the seconds that would be enough; infinity: none are


@dataclass(frozen=True, slots=True)
class Limit:
    """One comparison with a number, turned so that the number stands on the right."""

    left: str
    interval: Interval
    text: str


def expression(condition: Condition) -> Any:
    """The condition as the parser's own tree."""
    import promql_parser

    return promql_parser.parse(condition.promql)


def too_late(condition: Condition, seconds: float) -> Fault | None:
    """Why a condition cannot show within so many seconds after a fix that the fix worked; None where it can.

    It looks only at a time before the fix, or its window reaches back before the fix and counts what was there.
    """
    return _impossible(expression(condition), lambda one: _stale(one, seconds) or _reaches_back(one, seconds))


def impossible(condition: Condition) -> str | None:
    """Why a condition can never become true, whatever the time; None where it may."""
    root = expression(condition)
    found = _impossible(root, lambda one: _never(_constant(one) or _out_of_bounds(one) or _counter_that_falls(one)))
    found = found or _impossible(root, lambda one: None, contradicts=True)
    return found[0] if found is not None else None


def too_few_samples(condition: Condition, interval: float) -> str | None:
    """Which function can never have the two samples that it needs, where one comes every `interval` seconds."""
    for call in _nodes(expression(condition)):
        if type(call).__name__ == "Call" and call.func.name in _TWO_SAMPLES:
            span = _span(call.args[0])
            if 0 < span < interval:
                return f"{call.func.name} over {format_duration(span)} never has the two samples that it needs"
    return None


def limits(condition: Condition) -> list[Limit] | None:
    """The comparisons with numbers that have to hold at once; None where it is not made of such alone."""
    found: list[Limit] = []
    for part in _conjuncts(expression(condition)):
        one = _limit(part)
        if one is None:
            return None
        found.append(one)
    return found


def asks_the_same(condition: Condition, other: Condition) -> bool:
    """Whether the condition can hold only where the other one holds too."""
    if condition.promql == other.promql:
        return True
    mine, theirs = limits(condition), limits(other)
    if mine is None or theirs is None:
        return False
    return all(any(m.left == t.left and m.interval.within(t.interval) for m in mine) for t in theirs)


def _impossible(node: Any, test: Callable[[Any], Fault | None], contradicts: bool = False) -> Fault | None:
    """What is wrong with the whole, from what is wrong with its comparisons."""
    node = _strip(node)
    if type(node).__name__ != "BinaryExpr":
        return None
    operator = str(node.op)
    if operator in _FLIPPED:
        return test(node)
    left = _impossible(node.lhs, test, contradicts)
    if operator == "unless":
        return left
    if operator not in ("and", "or"):
        return None
    right = _impossible(node.rhs, test, contradicts)
    if operator == "or":
        return min(left, right, key=lambda fault: fault[1]) if left and right else None
    both = [fault for fault in (left, right) if fault is not None]
    if both:
        return max(both, key=lambda fault: fault[1])
    return _never(_contradiction(node)) if contradicts else None


def _never(why: str | None) -> Fault | None:
    return None if why is None else (why, math.inf)


def _contradiction(node: Any) -> str | None:
    known: dict[str, Limit] = {}
    for part in _conjuncts(node):
        one = _limit(part)
        if one is None:
            continue
        before = known.get(one.left)
        if before is not None and before.interval.meet(one.interval).empty:
            return f"{before.text} and {one.text} never hold at once; leave one of them out"
        if before is not None:
            one = Limit(one.left, before.interval.meet(one.interval), f"{before.text} and {one.text}")
        known[one.left] = one
    return None


def _conjuncts(node: Any) -> Iterator[Any]:
    """The parts of an `and`; one that matches on chosen labels may join different series, and is left whole."""
    node = _strip(node)
    joined = type(node).__name__ == "BinaryExpr" and str(node.op) == "and"
    if joined and (node.modifier is None or node.modifier.matching is None):
        yield from _conjuncts(node.lhs)
        yield from _conjuncts(node.rhs)
    else:
        yield node


def _limit(node: Any) -> Limit | None:
    if type(node).__name__ != "BinaryExpr" or str(node.op) not in _FLIPPED:
        return None
    left, operator, right = _turned(node)
    value = _number(right)
    if value is None or operator == "!=":
        return None
    return Limit(str(_strip(left)), Interval.of(operator, value), f"{_show(left)} {operator} {format_number(value)}")


def _turned(node: Any) -> tuple[Any, str, Any]:
    """The sides of a comparison, a number on the right."""
    if _number(node.lhs) is not None:
        return node.rhs, _FLIPPED[str(node.op)], node.lhs
    return node.lhs, str(node.op), node.rhs


def _falls(node: Any) -> tuple[Any, bool | None]:
    """The side that has to move, and whether it has to fall; None where neither way is asked for."""
    left, operator, right = _turned(node)
    if operator == "!=":
        return left, None
    if operator == "==":
        value = _number(right)
        return left, None if value is None else value == 0
    return left, operator in ("<", "<=")


def _stale(node: Any, seconds: float) -> Fault | None:
    ages = list(_ages(node))
    if not ages or min(ages) <= seconds:
        return None
    if math.isinf(min(ages)):
        return "it looks at one moment that is fixed with @, and so never at the time after the fix", math.inf
    return f"it looks at what was {format_duration(min(ages))} ago, and so only at the time before the fix", min(ages)


def _ages(node: Any) -> Iterator[float]:
    """For every series in it, how old what it looks at is at least, in seconds."""
    name = type(node).__name__
    if name == "VectorSelector":
        yield _age(node)
    elif name == "SubqueryExpr":
        yield from (age + _age(node) for age in _ages(node.expr))
    else:
        for inner in _children(node):
            yield from _ages(inner)


def _age(node: Any) -> float:
    if node.at is not None and not str(node.at.type).endswith(("Start", "End")):
        return math.inf
    return float(node.offset.total_seconds()) if node.offset is not None else 0.0


def _reaches_back(node: Any, seconds: float) -> Fault | None:
    left, falls = _falls(node)
    if falls is None:
        return None
    sides = [(left, falls)] if _number(_turned(node)[2]) is not None else [(left, falls), (_turned(node)[2], not falls)]
    name, span = max((one for side in sides for one in _windows(*side)), key=lambda one: one[1], default=("", 0.0))
    if span <= seconds:
        return None
    return f"{name} looks back {format_duration(span)}, and so counts what was before the fix", span


def _windows(node: Any, falls: bool) -> Iterator[tuple[str, float]]:
    """The windows that have to move on before this can fall (or rise), with the function that looks at each."""
    node = _strip(node)
    match type(node).__name__:
        case "Call":
            name = node.func.name
            if name in _AVERAGING or (name in _COUNTING and falls) or (name == "min_over_time" and not falls):
                yield name, _span(node.args[-1])
            elif name == "histogram_quantile" and falls:
                yield from _windows(node.args[1], True)
            elif name in _PASSING:
                yield from _windows(node.args[0], falls)
        case "AggregateExpr" if str(node.op) in _KEEPING or (str(node.op) in ("stddev", "stdvar") and falls):
            yield from _windows(node.expr, falls)
        case "UnaryExpr":
            yield from _windows(node.expr, not falls)
        case "BinaryExpr" if str(node.op) in ("+", "-", "*", "/"):
            turned = any((_number(side) or 0.0) < 0 for side in (node.lhs, node.rhs)) and str(node.op) in ("*", "/")
            down = falls != turned
            yield from _windows(node.lhs, down)
            yield from _windows(node.rhs, down if str(node.op) in ("+", "*") else not down)


def _span(node: Any) -> float:
    """How many seconds back a window reaches from when it is asked, an offset with it."""
    node = _strip(node)
    if type(node).__name__ == "MatrixSelector":
        offset = node.vector_selector.offset
        return float(node.range.total_seconds() + (max(0.0, offset.total_seconds()) if offset is not None else 0.0))
    if type(node).__name__ == "SubqueryExpr":
        inner = max((_span(one) for one in _nodes(node.expr)), default=0.0)
        return float(node.range.total_seconds()) + max(0.0, _age(node) if node.at is None else 0.0) + inner
    return 0.0


def _constant(node: Any) -> str | None:
    names = {type(one).__name__ for one in _nodes(node)}
    clock = any(type(one).__name__ == "Call" and one.func.name != "vector" for one in _nodes(node))
    if "VectorSelector" in names or clock:
        return None
    return "it compares numbers and no metric, and so says the same whatever the fix did; compare a metric"


def _out_of_bounds(node: Any) -> str | None:
    left, operator, right = _turned(node)
    value = _number(right)
    if value is None or operator == "!=":
        return None
    if math.isnan(value):
        return "nothing compares with NaN"
    low, high = _bounds(left)
    if not Interval.of(operator, value).meet(Interval(low, high)).empty:
        return None
    kept = f"is never below {format_number(low)}" if high == math.inf else f"is {format_number(low)} or not there"
    kept = "is 0 or 1" if (low, high) == (0.0, 1.0) else kept
    return f"{_show(left)} {kept}, and without a series it is no data; compare it with what it can be"


def _bounds(node: Any) -> tuple[float, float]:
    """The least and the greatest that it can be, where it is there at all."""
    node = _strip(node)
    match type(node).__name__:
        case "Call" if node.func.name in _ONE:
            return 1.0, 1.0
        case "Call" if node.func.name == "count_over_time":
            return 1.0, math.inf
        case "Call" if node.func.name in _NOT_NEGATIVE:
            return 0.0, math.inf
        case "AggregateExpr" if str(node.op) == "group":
            return 1.0, 1.0
        case "AggregateExpr" if str(node.op) == "count":
            return 1.0, math.inf
        case "AggregateExpr" if str(node.op) in ("max", "min", "avg", "topk", "bottomk"):
            return _bounds(node.expr)
        case "AggregateExpr" if str(node.op) == "sum" and _bounds(node.expr)[0] >= 0:
            return _bounds(node.expr)[0], math.inf
        case "VectorSelector" if node.name == "up":
            return 0.0, 1.0
    return -math.inf, math.inf


def _counter_that_falls(node: Any) -> str | None:
    left, falls = _falls(node)
    if not falls or _number(_turned(node)[2]) is None:
        return None
    name = _counter(left)
    return None if name is None else f"{name} is a counter, which only rises; ask for its increase or rate"


def _counter(node: Any) -> str | None:
    """The counter that this stands and falls with, where there is one alone."""
    node = _strip(node)
    match type(node).__name__:
        case "VectorSelector":
            name = _metric(node)
            return name if name.endswith("_total") else None
        case "AggregateExpr" if str(node.op) in _KEEPING:
            return _counter(node.expr)
        case "Call" if node.func.name in _PASSING:
            return _counter(node.args[0])
        case "BinaryExpr" if str(node.op) in ("+", "*", "/") and (_number(node.rhs) or 0.0) > 0:
            return _counter(node.lhs)
    return None


def _metric(node: Any) -> str:
    if node.name:
        return str(node.name)
    named = [m.value for m in node.matchers.matchers if m.name == "__name__" and str(m.op).endswith("Equal")]
    return str(named[0]) if named else ""


def _strip(node: Any) -> Any:
    while type(node).__name__ == "ParenExpr":
        node = node.expr
    return node


def _number(node: Any) -> float | None:
    """The value of what is made of numbers alone."""
    node = _strip(node)
    match type(node).__name__:
        case "NumberLiteral":
            return float(node.val)
        case "UnaryExpr":
            inner = _number(node.expr)
            return None if inner is None else -inner
        case "BinaryExpr" if str(node.op) in ("+", "-", "*", "/"):
            left, right = _number(node.lhs), _number(node.rhs)
            if left is None or right is None or (right == 0 and str(node.op) == "/"):
                return None
            return {"+": left + right, "-": left - right, "*": left * right}.get(str(node.op), left / (right or 1.0))
    return None


def _nodes(node: Any) -> Iterator[Any]:
    """An expression and everything in it."""
    yield node
    for inner in _children(node):
        yield from _nodes(inner)


def _children(node: Any) -> Iterator[Any]:
    match type(node).__name__:
        case "BinaryExpr":
            yield from (node.lhs, node.rhs)
        case "Call":
            yield from node.args
        case "MatrixSelector":
            yield node.vector_selector
        case "AggregateExpr" | "ParenExpr" | "SubqueryExpr" | "UnaryExpr":
            yield node.expr


def _show(node: Any) -> str:
    return str(_strip(node)).replace("{}", "")
