"""Strict YAML in which every value knows its place.

Built from the event stream of ruamel.yaml's C parser (docs/decisions/010), with a stack of its own: composing 10,000
nodes takes under two seconds, and no depth of nesting can exhaust Python's. Scalars follow the core schema of YAML
1.2; what looks like a date or a base-60 number stays text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treewalk.model.place import Place, Problem

MAX_BYTES = 20_000_000
MAX_DEPTH = 2000
MAX_EXPANDED = 200_000
MAX_PLAIN_DEPTH = 100
MAX_PURE = 5_000_000

_INT = re.compile(r"[-+]?[0-9]{1,300}")
_INT_OF_BASE = re.compile(r"0o[0-7]{1,300}|0x[0-9a-fA-F]{1,240}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(slots=True, eq=False)
class Item:
    """A value with its place. `value` is a scalar, a list of Items, or a dict of Items by key."""

    value: Any
    file: str
    line: int
    column: int
    size: int = 1
    keys: dict[str, Item] | None = None  # of a mapping: its keys, for their places
    height: int = 0  # levels beneath it
    raw: str | None = None  # of a number, a truth value or nothing: how it is written

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def key_place(self, key: str) -> Place:
        """Where a key of this mapping stands; the mapping itself where it has no such key."""
        return (self.keys or {}).get(key, self).place

    def plain(self) -> Any:
        """The value as ordinary lists, dicts and scalars. Raises ValueError on more levels than data of people has."""
        if self.height > MAX_PLAIN_DEPTH:
            raise ValueError(f"nested deeper than {MAX_PLAIN_DEPTH} levels")
        return self._plain()

    def _plain(self) -> Any:
        if isinstance(self.value, dict):
            return {key: item._plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item._plain() for item in self.value]
        return self.value

    def text(self) -> str:
        """A scalar as it is written; a mapping or a list in Python's words."""
        return str(self.value) if self.raw is None else self.raw

    @property
    def kind(self) -> str:
        """What it is, in the words of YAML."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return {str: "text", bool: "true/false", int: "a number", float: "a number"}.get(type(self.value), "empty")


class _Stop(Exception):
    """The file cannot be read any further."""

    def __init__(self, line: int, column: int, message: str, *, colon: bool = False) -> None:
        super().__init__(message)
        self.line, self.column = line, column
        self.colon = colon  # the C parser stumbled over a ':' that YAML 1.2 allows


def read(path: Path, name: str, problems: list[Problem]) -> Item | None:
    """The content of a YAML file; None when it cannot be read at all, with the reason in `problems`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(Problem(Place(name), f"cannot be read: {error.strerror}"))
        return None
    return parse(data, name, problems)


def parse(data: bytes, name: str, problems: list[Problem]) -> Item | None:
    """Like `read`, from bytes."""
    try:
        return _build(_decode(data), name, problems)
    except _Stop as stop:
        problems.append(Problem(Place(name, stop.line, stop.column), str(stop)))
        return None


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Stop(1, 1, f"larger than {MAX_BYTES // 1_000_000} MB; split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise _Stop(line, column, "not text in UTF-8") from None
    strange = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        column = strange.start() - text.rfind("\n", 0, strange.start())
        raise _Stop(line, column, f"control character {strange[0]!r} does not belong into a text file")
    return text


def _events(text: str, *, pure: bool) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=pure).parse(text)
    except MarkedYAMLError as error:
        raise _explain(error, text) from None
    except YAMLError as error:
        raise _Stop(1, 1, f"not YAML: {' '.join(str(error).split())[:200]}") from None
    except (ValueError, OverflowError, IndexError, AttributeError, AssertionError) as error:
        # Only the Python parser, on escapes and directives that it does not check.
        raise _Stop(1, 1, f"not YAML: {' '.join(str(error).split())[:200]}") from None


def _explain(error: Any, text: str) -> _Stop:
    """A parser error at the place that a person has to look at."""
    problem, context = str(error.problem or error.context or "nothing known"), str(error.context or "")
    begun = "quote" if "quoted scalar" in context else "bracket" if "parsing a flow" in context else None
    mark, opening = error.problem_mark or error.context_mark, error.context_mark
    if begun and opening and ("end of stream" in problem or "expected ','" in problem):
        if begun == "quote" or mark.line > text.rstrip().count("\n"):
            return _Stop(opening.line + 1, opening.column + 1, f"the {begun} that opens here is not closed")
        message = f"a comma or the end of the bracket of {opening.line + 1}:{opening.column + 1} is missing before this"
        return _Stop(mark.line + 1, mark.column + 1, message)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.split("\n")
    here = lines[line - 1][column - 1 : column] if line <= len(lines) else ""
    return _Stop(line, column, _plain_words(problem, here), colon="found unexpected ':'" in problem)


def _plain_words(problem: str, here: str) -> str:
    if "found unexpected ':'" in problem:
        return "a ':' inside of { } or [ ]; quote the text"
    if here == "\t":
        return "a tab is used for indentation; YAML wants spaces"
    if "mapping values are not allowed" in problem:
        return "a ': ' stands where no key can; quote the text, or check the indentation"
    if "did not find expected key" in problem or "expected <block end>" in problem:
        return "the indentation does not fit what stands above"
    if "alias" in problem and "undefined" in problem:
        return "an alias refers to an anchor that is not defined above"
    if "cannot start any token" in problem:
        return f"a value cannot begin with {here!r}; quote it"
    return f"not YAML: {problem}"


def _build(text: str, name: str, problems: list[Problem]) -> Item | None:
    """Items from events of the C parser; of the Python one, 20 times slower, where the C one knows too little.

    The C parser refuses `{url: http://127.0.0.1:9090}`, which YAML 1.2 allows and people write.
    """
    try:
        return _run(_Builder(name, problems), text, pure=False)
    except _Stop as stop:
        if not stop.colon or len(text) > MAX_PURE:
            raise
    return _run(_Builder(name, problems), text, pure=True)


def _run(builder: _Builder, text: str, *, pure: bool) -> Item | None:
    problems, builder.problems = builder.problems, []
    try:
        for event in _events(text, pure=pure):
            builder.take(event)
    except _Stop as stop:
        if pure or not stop.colon:
            problems += builder.problems
        raise
    problems += builder.problems
    return builder.root


class _Builder:
    """Builds Items from parser events, one open container on the stack for each level."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name, self.problems = name, problems
        self.root: Item | None = None
        self.documents = 0
        self.stack: list[tuple[Item, str | None]] = []  # the container and its anchor
        self.pending: list[tuple[str, Item] | None] = []  # the key that waits for its value, per container
        self.anchors: dict[str, Item] = {}
        self.expanded = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        mark = event.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if kind == "ScalarEvent":
            if event.tag:
                self._refuse_tag(event, line, column)
            if not event.value.isascii() and _SURROGATE.search(event.value):
                raise _Stop(line, column, "half of a character (\\ud800 to \\udfff) is not text")
            value = _scalar(event)
            item = Item(value, self.name, line, column, raw=None if isinstance(value, str) else event.value)
            if event.anchor:
                self.anchors[event.anchor] = item
            self._add(item)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if event.tag:
                self._refuse_tag(event, line, column)
            if len(self.stack) >= MAX_DEPTH:
                raise _Stop(line, column, f"nested deeper than {MAX_DEPTH} levels")
            mapping = kind == "MappingStartEvent"
            empty = Item({} if mapping else [], self.name, line, column, keys={} if mapping else None)
            self.stack.append((empty, event.anchor))
            self.pending.append(None)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._close()
        elif kind == "AliasEvent":
            self._alias(event.anchor, line, column)
        elif kind == "DocumentStartEvent":
            self.documents += 1
            if self.documents > 1:
                raise _Stop(line, column, "a second document (---) begins here; one file holds one")

    def _refuse_tag(self, event: Any, line: int, column: int) -> None:
        tag = str(event.tag)
        if tag not in ("!", "tag:yaml.org,2002:str"):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise _Stop(line, column, f"the tag {shown} is not allowed; write the value without it")

    def _alias(self, anchor: str, line: int, column: int) -> None:
        if any(name == anchor for _, name in self.stack):
            raise _Stop(line, column, f"the alias *{anchor} stands inside of its own anchor")
        if anchor not in self.anchors:
            raise _Stop(line, column, f"the alias *{anchor} refers to an anchor that is not defined above")
        target = self.anchors[anchor]
        self.expanded += target.size
        if self.expanded > MAX_EXPANDED:
            raise _Stop(line, column, f"aliases expand to more than {MAX_EXPANDED:,} values")
        if len(self.stack) + target.height > MAX_DEPTH:
            raise _Stop(line, column, f"nested deeper than {MAX_DEPTH} levels")
        self._add(Item(target.value, self.name, line, column, target.size, target.keys, target.height, target.raw))

    def _close(self) -> None:
        item, anchor = self.stack.pop()
        self.pending.pop()
        if isinstance(item.value, dict) and "<<" in item.value:
            _merge(item, self.problems)
        if anchor:
            self.anchors[anchor] = item
        self._add(item)

    def _add(self, item: Item) -> None:
        if not self.stack:
            self.root = item
            return
        container, _ = self.stack[-1]
        container.size += item.size
        if item.height >= container.height:
            container.height = item.height + 1
        if isinstance(container.value, list):
            container.value.append(item)
            return
        waiting = self.pending[-1]
        if waiting is None:
            self.pending[-1] = (self._key(item), item)
            return
        self.pending[-1] = None
        key, written = waiting
        if key in container.value:
            first = container.key_place(key)
            self.problems.append(Problem(written.place, f"the key {key!r} is given twice (first in line {first.line})"))
            return
        container.value[key] = item
        assert container.keys is not None
        container.keys[key] = written

    @staticmethod
    def _key(item: Item) -> str:
        if isinstance(item.value, dict | list):
            raise _Stop(item.line, item.column, f"{item.kind} cannot be a key")
        return item.text()


def _merge(item: Item, problems: list[Problem]) -> None:
    """The merge key `<<`: what is given beside it wins."""
    source = item.value.pop("<<")
    parts = source.value if isinstance(source.value, list) else [source]
    for part in parts:
        if not isinstance(part.value, dict):
            problems.append(Problem(source.place, "'<<' merges mappings; this is not one"))
            continue
        for key, value in part.value.items():
            item.value.setdefault(key, value)
            written: Item = part.keys[key] if part.keys and key in part.keys else part
            (item.keys or {}).setdefault(key, written)


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style in ("'", '"', "|", ">") or event.tag:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in "+-.0123456789":
        if _INT.fullmatch(text):
            return int(text)
        if _INT_OF_BASE.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
    return text
