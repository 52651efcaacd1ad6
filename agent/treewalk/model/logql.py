"""The part of LogQL that trees use: stream selectors, the four line filters, json and logfmt with label filters.

Whatever else LogQL can do is refused by name, so that a query never means less than it says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
    | (?P<op>\|=|\|~|!=|!~|=~|==|>=|<=|[|{},()=<>])
    | (?P<number>\d+(?:\.\d+)?(?:[a-zA-Z]+)?)
    | (?P<word>[A-Za-z_][\w:]*)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_LOGFMT = re.compile(r'([A-Za-z_][\w.\-]*)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_MATCH_OPS = ("=", "!=", "=~", "!~")
_NUMBER_OPS = ("==", ">", ">=", "<", "<=")


@dataclass(frozen=True, slots=True)
class Matcher:
    """`name op value`, for a stream's labels or for parsed ones."""

    name: str
    op: str
    value: str

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy it; a missing label is empty, and for a number nothing."""
        actual = labels.get(self.name, "")
        if self.op in _NUMBER_OPS:
            return _compare(actual, self.op, self.value)
        if self.op in ("=", "!="):
            return (actual == self.value) is (self.op == "=")
        return bool(_compiled(self.value).fullmatch(actual)) is (self.op == "=~")


@dataclass(frozen=True)
class LogQuery:
    """A parsed query: which streams, and what each line has to pass, in order."""

    matchers: tuple[Matcher, ...]
    stages: tuple[Callable[[str, dict[str, str]], bool], ...]

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a stream with these labels is asked for."""
        return all(m.holds(labels) for m in self.matchers)

    def matches(self, labels: Mapping[str, str], line: str) -> bool:
        """Whether a line of a selected stream passes every stage."""
        known = dict(labels)
        return all(stage(line, known) for stage in self.stages)


def parse(query: str) -> LogQuery:
    """A query of the supported part. Raises ValueError, naming what is not supported and where."""
    return _Parser(query).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0
        self.kind, self.value = "", ""
        self.next()

    def next(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            raise ValueError(f"LogQL: cannot read {self.text[self.position :][:20]!r} at column {self.position + 1}")
        self.start, self.position = match.start(match.lastgroup or 0), match.end()
        self.kind = match.lastgroup or "end"
        self.value = match[self.kind]

    def fail(self, expected: str) -> ValueError:
        found = self.value or "the end"
        return ValueError(f"LogQL: {expected} expected at column {self.start + 1}, found {found!r}")

    def take(self, value: str) -> None:
        if self.value != value or self.kind == "string":
            raise self.fail(repr(value))
        self.next()

    def query(self) -> LogQuery:
        if self.kind == "word":
            raise ValueError(f"LogQL: {self.value}(…) counts lines; log files answer only queries that select them")
        matchers = self.selector()
        stages = []
        while self.kind != "end":
            stages.append(self.stage())
        return LogQuery(matchers, tuple(stages))

    def selector(self) -> tuple[Matcher, ...]:
        self.take("{")
        found = []
        while self.value != "}":
            found.append(self.matcher(_MATCH_OPS))
            if self.value == ",":
                self.next()
            elif self.value != "}":
                raise self.fail("',' or '}'")
        self.take("}")
        if not any(m.op in ("=", "=~") and m.value not in ("", ".*") for m in found):
            raise ValueError("LogQL: at least one label has to be given that is not empty")
        return tuple(found)

    def matcher(self, ops: tuple[str, ...]) -> Matcher:
        if self.kind != "word":
            raise self.fail("a label name")
        name = self.value
        self.next()
        op = self.value
        if op not in ops:
            raise self.fail(" or ".join(ops))
        self.next()
        return Matcher(name, op, self.operand(op))

    def operand(self, op: str) -> str:
        if op in _NUMBER_OPS and self.kind == "number":
            value = self.value
            _number(value)
        elif op not in _NUMBER_OPS and self.kind == "string":
            value = _unquote(self.value)
            if "~" in op:
                _compiled(value)
        else:
            raise self.fail("a number" if op in _NUMBER_OPS else "a text in quotes")
        self.next()
        return value

    def stage(self) -> Callable[[str, dict[str, str]], bool]:
        op = self.value
        if op in ("|=", "!=", "|~", "!~"):
            self.next()
            return self.line_filter(op)
        self.take("|")
        if self.kind == "word" and self.value in ("json", "logfmt"):
            extract = _json_labels if self.value == "json" else _logfmt_labels
            self.next()
            if self.kind == "word" and self.value not in ("and", "or"):
                raise ValueError(
                    f"LogQL: parameters of a parser are not supported by log files (column {self.start + 1})"
                )
            return lambda line, labels: extract(line, labels)
        if self.kind == "word" and self._is_filter():
            return self.label_filter()
        raise ValueError(f"LogQL: '| {self.value}' is not supported by log files (column {self.start + 1})")

    def _is_filter(self) -> bool:
        ahead = _TOKEN.match(self.text, self.position)
        return ahead is not None and ahead["op"] in (*_MATCH_OPS, *_NUMBER_OPS)

    def line_filter(self, op: str) -> Callable[[str, dict[str, str]], bool]:
        needles = [self.needle()]
        while self.kind == "word" and self.value == "or":
            self.next()
            needles.append(self.needle())
        wanted = op.startswith("|")
        if op.endswith("="):
            return lambda line, labels: any(n in line for n in needles) is wanted
        patterns = [_compiled(n) for n in needles]
        return lambda line, labels: any(p.search(line) is not None for p in patterns) is wanted

    def needle(self) -> str:
        if self.kind != "string":
            raise self.fail("a text in quotes")
        value = _unquote(self.value)
        self.next()
        return value

    def label_filter(self) -> Callable[[str, dict[str, str]], bool]:
        """Filters joined by `and`, `,` (both bind tighter) and `or`."""
        ops = (*_MATCH_OPS, *_NUMBER_OPS)
        groups = [[self.matcher(ops)]]
        while self.value in ("and", "or", ",") and self.kind in ("word", "op"):
            joiner = self.value
            self.next()
            if joiner == "or":
                groups.append([])
            groups[-1].append(self.matcher(ops))
        return lambda line, labels: any(all(m.holds(labels) for m in group) for group in groups)


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError:
        return re.sub(r"\\(.)", r"\1", text[1:-1])


_patterns: dict[str, Any] = {}


def _compiled(pattern: str) -> Any:
    """RE2, so that no pattern is slow. Raises ValueError."""
    if pattern not in _patterns:
        import re2

        options = re2.Options()
        options.log_errors = False
        try:
            _patterns[pattern] = re2.compile(pattern, options)
        except re2.error:
            raise ValueError(f"LogQL: {pattern!r} is not a regular expression (RE2)") from None
    return _patterns[pattern]


def _number(text: str) -> float:
    from treewalk.model.quantity import parse_duration, parse_threshold

    try:
        return parse_duration(text)
    except ValueError:
        return parse_threshold(text).limit


def _compare(actual: str, op: str, limit: str) -> bool:
    from treewalk.model.quantity import compare

    try:
        value, bound = _number(actual), _number(limit)
    except ValueError:
        return False
    return compare(value, op, bound)  # type: ignore[arg-type]


def _json_labels(line: str, labels: dict[str, str]) -> bool:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        labels["__error__"] = "JSONParserErr"
        return True
    stack = [("", found)]
    while stack:
        prefix, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{prefix}_{k}" if prefix else str(k), v) for k, v in value.items())
        elif prefix and not isinstance(value, list) and value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            labels[f"{prefix}_extracted" if prefix in labels else re.sub(r"\W", "_", prefix)] = text
    return True


def _logfmt_labels(line: str, labels: dict[str, str]) -> bool:
    for match in _LOGFMT.finditer(line):
        name = re.sub(r"\W", "_", match[1])
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        labels[f"{name}_extracted" if name in labels else name] = value
    return True
