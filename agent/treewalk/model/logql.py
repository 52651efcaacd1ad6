"""The part of LogQL that trees use: stream selectors, the four line filters, json and logfmt with label filters.

Whatever else LogQL can do is refused by name, so that a query never means less than it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from treewalk.model.logfields import Fields, Unit, add_json, add_logfmt, measure, quantity
from treewalk.model.quantity import Operator, compare

_SPACE = r"(?:\s|\#[^\n]*+)*+"  # white space and comments
_TOKEN = re.compile(
    _SPACE
    + r"""(?:
      (?P<string>"(?:[^"\\\n]|\\.)*+"|`[^`]*+`)
    | (?P<op>\|=|\|~|\|>|!=|!~|!>|=~|==|>=|<=|[|{}(),=<>\[\]])
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+(?![\w.]))?(?:[a-zA-Zµ][\w.µ]*+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_:]*+)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_TEXT_OPS = ("=", "!=", "=~", "!~")
_NUMBER_OPS = ("==", "=", "!=", ">", ">=", "<", "<=")
_ALL_OPS = ("=", "!=", "=~", "!~", "==", ">", ">=", "<", "<=")
_DEEPEST = 50  # nested parentheses
_MADE_BY_LOKI = ("detected_level", "service_name")

Stage = Callable[[str, Fields], bool]


@dataclass(frozen=True, slots=True)
class Matcher:
    """`name op "text"`, for a stream's labels or for parsed ones. A missing label is an empty text."""

    name: str
    op: str
    value: str

    def holds(self, labels: Mapping[str, str]) -> bool:
        actual = labels.get(self.name, "")
        if self.op in ("=", "!="):
            return (actual == self.value) is (self.op == "=")
        return bool(_whole(self.value).fullmatch(actual)) is (self.op == "=~")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name op 3`, `name op 250ms`, `name op 5KB`. A missing label never holds.

    A label that is no such quantity marks the line as failed and keeps it, as a Loki does.
    """

    name: str
    op: Operator
    limit: float
    unit: Unit

    def holds(self, fields: Fields) -> bool:
        if fields.failed:
            return True
        if self.name not in fields:
            return False
        value = measure(fields[self.name], self.unit)
        if value is None:
            fields.fail("LabelFilterErr")
            return True
        return compare(value, self.op, self.limit)


@dataclass(frozen=True)
class LogQuery:
    """A parsed query: which streams, and what each line has to pass, in order."""

    matchers: tuple[Matcher, ...]
    stages: tuple[Stage, ...] = field(repr=False)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a stream with these labels is asked for."""
        return all(m.holds(labels) for m in self.matchers)

    def matches(self, labels: Mapping[str, str], line: str) -> bool:
        """Whether a line of a selected stream passes every stage."""
        fields = Fields(dict(labels))
        return all(stage(line, fields) for stage in self.stages)


def parse(query: str) -> LogQuery:
    """A query of the supported part. Raises ValueError, naming what is not supported and where."""
    return _Parser(query).query()


def not_logql(query: str) -> str | None:
    """Why a text is no LogQL at all, or None. What merely goes beyond log files is for a Loki to judge."""
    if "{" not in query:
        return 'LogQL: a query selects streams, such as {container="redis"}'
    if not query.lstrip().startswith("{"):
        return None  # a metric query, or a comment before: not judged here
    try:
        parser = _Parser(query)
        parser.selector()
    except ValueError as error:
        return str(error)
    rest = query[parser.start :].lstrip()
    if rest and rest[0] not in "|!#":
        return f"LogQL: '|' or the end expected behind the selector, found {rest[:20]!r}"
    return None


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.position, self.start = text, 0, 0
        self.kind, self.value = "", ""
        self.next()

    def next(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            rest = re.sub(rf"\A{_SPACE}", "", self.text[self.position :])
            raise ValueError(f"LogQL: cannot read {rest[:20]!r} at column {len(self.text) - len(rest) + 1}")
        self.kind = match.lastgroup or "end"
        self.start, self.position = match.start(self.kind), match.end()
        self.value = match[self.kind]

    def fail(self, expected: str) -> ValueError:
        found = repr(self.value[:40]) if self.value else "the end"
        return ValueError(f"LogQL: {expected} expected at column {self.start + 1}, found {found}")

    def unsupported(self, what: str) -> ValueError:
        return ValueError(f"LogQL: {what} is not supported by log files (column {self.start + 1})")

    def is_op(self, *values: str) -> bool:
        return self.kind == "op" and self.value in values

    def is_word(self, *values: str) -> bool:
        return self.kind == "word" and self.value in values

    def take(self, value: str) -> None:
        if not self.is_op(value):
            raise self.fail(repr(value))
        self.next()

    def query(self) -> LogQuery:
        if self.kind == "word":
            raise self.unsupported(f"the metric query {self.value}(…)")
        matchers = self.selector()
        stages = []
        while self.kind != "end":
            stages.append(self.stage())
        return LogQuery(matchers, tuple(stages))

    def selector(self) -> tuple[Matcher, ...]:
        self.take("{")
        found: list[Matcher] = []
        while not self.is_op("}"):
            found.append(self.matcher(self.name()))
            if self.is_op(","):
                self.next()
            elif not self.is_op("}"):
                raise self.fail("',' or '}'")
        self.next()
        if all(m.holds({}) for m in found):
            raise ValueError('LogQL: a selector needs one label that may not be empty, such as {container="redis"}')
        return tuple(found)

    def name(self) -> str:
        if self.kind != "word":
            raise self.fail("a label name")
        name = self.value
        self.next()
        return name

    def matcher(self, name: str) -> Matcher:
        op = self.value
        if not self.is_op(*_TEXT_OPS):
            raise self.fail(" or ".join(_TEXT_OPS))
        self.next()
        return Matcher(name, op, self.text_value(whole="~" in op))

    def text_value(self, *, whole: bool = False) -> str:
        """A text in quotes; `whole` when it is a pattern for a label's whole value."""
        if self.is_word("ip"):
            raise self.unsupported("ip(…)")
        if self.kind != "string":
            raise self.fail("a text in quotes")
        value = self.unquote()
        if whole:
            _whole(value)
        self.next()
        return value

    def unquote(self) -> str:
        """The text of a string token, escapes read as LogQL reads them."""

        def one(match: re.Match[str]) -> str:
            code = match[1]
            if code in _ESCAPED:
                return _ESCAPED[code]
            number = int(code, 8) if len(code) == 3 and code[0] != "x" else int(code[1:], 16) if code[1:] else -1
            if not 0 <= number < 0x110000 or 0xD800 <= number < 0xE000:
                where = self.start + match.start() + 2
                raise ValueError(f"LogQL: unknown escape {match[0]!r} at column {where}; backticks need no escapes")
            return chr(number)

        return self.value[1:-1] if self.value.startswith("`") else _ESCAPE.sub(one, self.value[1:-1])

    def stage(self) -> Stage:
        if self.is_op("|=", "!=", "|~", "!~"):
            return self.line_filter()
        if self.is_op("|>", "!>"):
            raise self.unsupported(f"the pattern filter {self.value}")
        if self.is_op("["):
            raise self.unsupported("a range, which belongs to a metric query,")
        self.take("|")
        if self.is_word("json", "logfmt"):
            return self.parser()
        if self.is_op("(") or (self.kind == "word" and self.filter_follows()):
            return self.label_filter(0)
        if self.kind == "end":
            raise self.fail("a stage")
        raise self.unsupported(f"'| {self.value}'")

    def filter_follows(self) -> bool:
        ahead = _TOKEN.match(self.text, self.position)
        return ahead is not None and ahead["op"] in _ALL_OPS

    def parser(self) -> Stage:
        add = add_json if self.value == "json" else add_logfmt
        self.next()
        if self.kind != "end" and not self.is_op("|", "|=", "!=", "|~", "!~", "|>", "!>", "["):
            raise self.unsupported("a parser with parameters")

        def stage(line: str, fields: Fields) -> bool:
            add(line, fields)
            return True

        return stage

    def line_filter(self) -> Stage:
        op = self.value
        self.next()
        needles = [self.text_value()]
        while self.is_word("or"):
            self.next()
            needles.append(self.text_value())
        wanted = op.startswith("|")
        if op.endswith("="):
            return lambda line, fields: any(n in line for n in needles) is wanted
        patterns = [_compiled(n) for n in needles]
        return lambda line, fields: any(p.search(line) is not None for p in patterns) is wanted

    def label_filter(self, depth: int) -> Stage:
        """Filters joined by `and` or `,` (both bind tighter) and `or`, with parentheses."""
        groups = [[self.label_term(depth)]]
        while self.is_word("and", "or") or self.is_op(","):
            if self.value == "or":
                groups.append([])
            self.next()
            groups[-1].append(self.label_term(depth))
        return lambda line, fields: any(all(term(line, fields) for term in group) for group in groups)

    def label_term(self, depth: int) -> Stage:
        if self.is_op("("):
            if depth >= _DEEPEST:
                raise self.unsupported(f"a depth of more than {_DEEPEST} parentheses")
            self.next()
            inner = self.label_filter(depth + 1)
            self.take(")")
            return inner
        if self.is_word(*_MADE_BY_LOKI):
            raise self.unsupported(f"the label {self.value}, which a Loki makes by itself,")
        name = self.name()
        ahead = _TOKEN.match(self.text, self.position)
        if self.is_op(*_NUMBER_OPS) and ahead is not None and ahead["number"] is not None:
            return self.comparison(name)
        if self.is_op("==", ">", ">=", "<", "<="):
            self.next()
            raise self.fail("a number, a duration or a size")
        matcher = self.matcher(name)
        return lambda line, fields: matcher.holds(fields)

    def comparison(self, name: str) -> Stage:
        op: Any = "==" if self.value == "=" else self.value
        self.next()
        try:
            limit, unit = quantity(self.value)
        except ValueError:
            raise self.fail("a number, a duration or a size") from None
        self.next()
        comparison = Comparison(name, op, limit, unit)
        return lambda line, fields: comparison.holds(fields)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    """RE2, so that no pattern is slow. Raises ValueError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        raise ValueError(f"LogQL: {pattern!r} is not a regular expression (RE2)") from None


def _whole(pattern: str) -> Any:
    """A pattern for the whole of a label's value, in which a dot may be a line break."""
    _compiled(pattern)
    return _compiled(f"(?s:{pattern})")
