"""Conditions over named facts, as `triage:` writes them: parsed once, checked against the facts that exist, evaluated.

    remaining < -50% and blast >= 3 or tags.tier == 1 and not window.NIGHT

What is not known makes a comparison unknown, and unknown is carried on as in SQL: it never counts as true.
Own code of a page: docs/decisions/080-triage-expressions.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from treewalk.model.quantity import parse_duration
from treewalk.model.tree import nearest

Value = float | str | bool | tuple["Value", ...] | None
Kind = Literal["number", "text", "truth", "label", "nothing", "list"]
Facts = Mapping[str, Value]
MAX_LENGTH, MAX_DEPTH = 2000, 50
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:%|ms|s|m|h|d|w)?(?![\w.%]))|(?P<text>"[^"]*"|'[^']*')"""
    r"""|(?P<name>[A-Za-z_]\w*(?:\.[\w-]+)*)|(?P<mark>==|!=|<=|>=|[<>()\[\],-]))"""
)
_WORDS = ("and", "or", "not", "in", "like", "true", "false", "null")


class ExpressionError(ValueError):
    """What is wrong with an expression, and at which character of it (from 0)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Names:
    """The facts that an expression may speak of: `plain` by name, and prefixes such as `tags.` whose second part is
    free, or one of a list."""

    plain: Mapping[str, Kind]
    prefixes: Mapping[str, tuple[Kind, tuple[str, ...] | None]]

    def kind(self, name: str) -> Kind | str:
        """The kind of a fact. Raises ValueError with the nearest right name."""
        if name in self.plain:
            return self.plain[name]
        head, _, rest = name.partition(".")
        if rest and head in self.prefixes:
            kind, known = self.prefixes[head]
            if known is None or rest in known:
                return kind
            raise ValueError(f"there is no {name}{_hint(rest, known, head + '.')}")
        shown = [*self.plain, *(f"{prefix}.…" for prefix in self.prefixes)]
        close = nearest(name if not rest else head, [*self.plain, *self.prefixes], 1)
        tail = f".{rest or '…'}" if close and close[0] in self.prefixes else ""
        hint = f"did you mean {close[0]}{tail}?" if close else f"there is {', '.join(shown)}"
        raise ValueError(f"there is no fact {name!r}; {hint}")


def _hint(word: str, known: tuple[str, ...], prefix: str) -> str:
    close = nearest(word, known, 1)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; there is {', '.join(prefix + k for k in known)}" if known else "; none is defined"


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition that was understood. `text` is as it was written."""

    text: str
    _holds: Callable[[Facts], bool | None]

    def holds(self, facts: Facts) -> bool | None:
        """Whether it is true of these facts; None where that cannot be known. Never raises."""
        return self._holds(facts)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of an expression: what it gives, and of which kind that is."""

    kind: Kind
    value: Callable[[Facts], Value]
    offset: int
    shown: str


def parse(text: str, names: Names) -> Expression:
    """An expression that is about these names only. Raises ExpressionError with the place."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters", 0)
    parser = _Parser(list(_tokens(text)), names, len(text))
    part = parser.either(0)
    if parser.here is not None:
        raise ExpressionError(f"{parser.here.text!r} was not expected here", parser.here.offset)
    value = _truth(part)
    return Expression(text, lambda facts: _as_bool(value(facts)))


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            hint = "; equality is written ==" if text[at] == "=" else ""
            if text[at] in "\"'":
                hint = "; this quote is not closed"
            elif text[at].isdigit():
                hint = "; a number is written like 3, 0.5, 20% or 5m"
            raise ExpressionError(f"{text[at]!r} means nothing here{hint}", at)
        kind = found.lastgroup or ""
        word = found[kind]
        yield _Token("word" if kind == "name" and word in _WORDS else kind, word, found.start(kind))
        at = found.end()


class _Parser:
    """Recursive descent: or, and, not, comparison, value. Its depth is bounded."""

    def __init__(self, tokens: list[_Token], names: Names, end: int) -> None:
        self._tokens, self._names, self._end, self._at = tokens, names, end, 0

    @property
    def here(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self, wanted: str) -> _Token:
        token = self.here
        if token is None:
            raise ExpressionError(f"it ends where {wanted} is expected", self._end)
        self._at += 1
        return token

    def _take(self, *texts: str) -> _Token | None:
        token = self.here
        if token is None or token.kind not in ("word", "mark") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            at = self.here.offset if self.here else self._end
            raise ExpressionError(f"{text!r} is missing here", at)

    def either(self, depth: int) -> _Part:
        parts = [self._both(depth)]
        while self._take("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else _joined(parts, stop=True)

    def _both(self, depth: int) -> _Part:
        parts = [self._negation(depth)]
        while self._take("and"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else _joined(parts, stop=False)

    def _negation(self, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels", self.here.offset if self.here else 0)
        token = self._take("not")
        if token is None:
            return self._comparison(depth)
        inner = _truth(self._negation(depth + 1))
        return _Part("truth", lambda facts: _not(_as_bool(inner(facts))), token.offset, "not …")

    def _comparison(self, depth: int) -> _Part:
        left = self._value(depth)
        sign = self._take(*_OPERATORS, "in", "like")
        negated = False
        if sign is None and self.here and self.here.text == "not":
            self._at += 1
            sign, negated = self._take("in", "like"), True
            if sign is None:
                raise ExpressionError("`not` between two values is followed by in or like", left.offset)
        if sign is None:
            return left
        part = _compared(left, sign, self._value(depth))
        return _Part("truth", lambda facts: _not(_as_bool(part(facts))) if negated else part(facts), left.offset, "…")

    def _value(self, depth: int) -> _Part:
        token = self._next("a value")
        if token.text == "(" and token.kind == "mark":
            part = self.either(depth + 1)
            self._expect(")")
            return part
        if token.text == "[" and token.kind == "mark":
            return self._list(token, depth)
        if token.text == "-" and token.kind == "mark":
            number = self._next("a number")
            if number.kind != "number":
                raise ExpressionError("a minus stands before a number only", token.offset)
            return _constant(-_number(number.text), "number", token)
        if token.kind == "number":
            return _constant(_number(token.text), "number", token)
        if token.kind == "text":
            return _constant(token.text[1:-1], "text", token)
        if token.text in ("true", "false"):
            return _constant(token.text == "true", "truth", token)
        if token.text == "null":
            return _constant(None, "nothing", token)
        if token.kind == "name":
            return self._fact(token)
        raise ExpressionError(f"{token.text!r} stands where a value is expected", token.offset)

    def _fact(self, token: _Token) -> _Part:
        try:
            kind = self._names.kind(token.text)
        except ValueError as error:
            raise ExpressionError(str(error), token.offset) from None
        name = token.text
        return _Part(kind, lambda facts: facts.get(name), token.offset, name)  # type: ignore[arg-type]

    def _list(self, opened: _Token, depth: int) -> _Part:
        parts: list[_Part] = []
        while self._take("]") is None:
            if parts:
                self._expect(",")
            part = self._value(depth + 1)
            if part.kind not in ("number", "text"):
                raise ExpressionError("a list holds numbers or texts in quotes", part.offset)
            parts.append(part)
        values = tuple(part.value({}) for part in parts)
        return _Part("list", lambda facts: values, opened.offset, "[…]")


def _constant(value: Value, kind: Kind, token: _Token) -> _Part:
    return _Part(kind, lambda facts: value, token.offset, token.text)


def _number(text: str) -> float:
    if text.endswith("%"):
        return float(text[:-1]) / 100
    return parse_duration(text)  # a bare number is itself


def _truth(part: _Part) -> Callable[[Facts], Value]:
    if part.kind != "truth":
        raise ExpressionError(f"{part.shown} is not true or false by itself: compare it with something", part.offset)
    return part.value


def _as_bool(value: Value) -> bool | None:
    return value if isinstance(value, bool) else None


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _joined(parts: list[_Part], *, stop: bool) -> _Part:
    """`or` (stop at the first true) and `and` (stop at the first false), with unknowns in between."""
    values = [_truth(part) for part in parts]

    def value(facts: Facts) -> Value:
        found = [_as_bool(one(facts)) for one in values]
        if stop in found:
            return stop
        return None if None in found else not stop

    return _Part("truth", value, parts[0].offset, "…")


def _compared(left: _Part, sign: _Token, right: _Part) -> Callable[[Facts], Value]:
    _check_kinds(left, sign, right)
    one, other, operator = left.value, right.value, sign.text
    if "nothing" in (left.kind, right.kind):
        return lambda facts: ((one(facts) is None) == (other(facts) is None)) == (operator == "==")
    label = "label" in (left.kind, right.kind)

    def value(facts: Facts) -> Value:
        a, b = one(facts), other(facts)
        if a is None or b is None:
            return None
        if operator == "like":
            return fnmatchcase(str(a), str(b))
        if operator == "in":
            return any(_order(a, each, "==", label) for each in b) if isinstance(b, tuple) else None
        return _order(a, b, operator, label)

    return value


def _check_kinds(left: _Part, sign: _Token, right: _Part) -> None:
    """Refuse what could never be true: a text against a number, an order of truths."""
    kinds = (left.kind, right.kind)
    if sign.text == "in":
        if right.kind != "list" or left.kind not in ("number", "text", "label"):
            raise ExpressionError('`in` takes a list: sla in ["orders", "stock"]', right.offset)
    elif sign.text == "like":
        if left.kind not in ("text", "label") or right.kind != "text":
            raise ExpressionError('`like` takes a text with * and ?: sla like "orders_*"', right.offset)
    elif "list" in kinds:
        raise ExpressionError("a list stands after `in` only", sign.offset)
    elif "nothing" in kinds:
        if sign.text not in ("==", "!="):
            raise ExpressionError(f"null can be compared by == and != only, not by {sign.text}", sign.offset)
    elif "label" in kinds:
        if "truth" in kinds:
            raise ExpressionError("a label is text or a number, not true or false", sign.offset)
    elif kinds[0] != kinds[1]:
        names = {"truth": "true/false"}
        told = " with ".join(f"{p.shown} ({names.get(p.kind, 'a ' + p.kind)})" for p in (left, right))
        raise ExpressionError(f"this compares {told}", sign.offset)
    elif kinds[0] == "truth" and sign.text not in ("==", "!="):
        raise ExpressionError(f"true and false have no order: {sign.text}", sign.offset)


def _order(a: Value, b: Value, operator: str, label: bool) -> bool | None:
    """Compare two values. A label is text, and a number where the other side is one and it reads as one."""
    if label and (isinstance(a, float) or isinstance(b, float)):
        a, b = _numeric(a), _numeric(b)
        if a is None or b is None:
            return True if operator == "!=" else False if operator == "==" else None
    if (isinstance(a, float) and a != a) or (isinstance(b, float) and b != b):
        return None
    match operator:
        case "==":
            return a == b
        case "!=":
            return a != b
        case "<":
            return a < b  # type: ignore[operator]
        case "<=":
            return a <= b  # type: ignore[operator]
        case ">":
            return a > b  # type: ignore[operator]
        case _:
            return a >= b  # type: ignore[operator]


def _numeric(value: Value) -> float | None:
    try:
        return float(value) if isinstance(value, float | str) else None
    except ValueError:
        return None
