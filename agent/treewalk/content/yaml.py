"""Strict YAML in which every value knows its place.

Built from the event stream of ruamel.yaml's C parser, with a stack of its own: composing 10,000 nodes takes under
two seconds, and no depth of nesting can exhaust Python's. Scalars follow the core schema of YAML 1.2; what looks
like a date or a base-60 number stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treewalk.model.place import Place, Problem

MAX_BYTES = 20_000_000
MAX_DEPTH = 2000
MAX_EXPANDED = 2_000_000

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
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
    keys: dict[str, Place] | None = None  # of a mapping: where each key stands

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def key_place(self, key: str) -> Place:
        """Where a key of this mapping stands; the mapping itself where it has no such key."""
        return (self.keys or {}).get(key, self.place)

    def plain(self) -> Any:
        """The value as ordinary lists, dicts and scalars."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

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

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column = line, column


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


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=False).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        here = text.splitlines()[line - 1][column - 1 : column] if line <= len(text.splitlines()) else ""
        raise _Stop(line, column, _plain_words(error.problem or error.context or "not YAML", here)) from None
    except YAMLError as error:
        raise _Stop(1, 1, f"not YAML: {' '.join(str(error).split())[:200]}") from None


def _plain_words(problem: str, here: str) -> str:
    if here == "\t":
        return "a tab is used for indentation; YAML wants spaces"
    if "mapping values are not allowed" in problem:
        return "a ': ' stands where no key can; quote the text, or check the indentation"
    if "did not find expected key" in problem or "expected <block end>" in problem:
        return "the indentation does not fit what stands above"
    if "alias" in problem and "undefined" in problem:
        return "an alias refers to an anchor that is not defined above"
    return f"not YAML: {problem}"


def _build(text: str, name: str, problems: list[Problem]) -> Item | None:
    builder = _Builder(name, problems)
    for event in _events(text):
        builder.take(event)
    return builder.root


class _Builder:
    """Builds Items from parser events, one open container on the stack for each level."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name, self.problems = name, problems
        self.root: Item | None = None
        self.documents = 0
        self.stack: list[tuple[Item, str | None]] = []  # the container and its anchor
        self.pending: list[str | None] = []  # the key that waits for its value, per container
        self.anchors: dict[str, Item] = {}
        self.expanded = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        mark = event.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if kind == "ScalarEvent":
            self._refuse_tag(event, line, column)
            item = Item(_scalar(event), self.name, line, column)
            if event.anchor:
                self.anchors[event.anchor] = item
            self._add(item)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._refuse_tag(event, line, column)
            if len(self.stack) >= MAX_DEPTH:
                raise _Stop(line, column, f"nested deeper than {MAX_DEPTH} levels")
            value: Any = {} if kind == "MappingStartEvent" else []
            self.stack.append((Item(value, self.name, line, column, keys={} if value == {} else None), event.anchor))
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
        tag = str(event.tag) if event.tag else ""
        if tag and tag not in ("!", "tag:yaml.org,2002:str"):
            raise _Stop(line, column, f"the tag {tag} is not allowed; write the value without it")

    def _alias(self, anchor: str, line: int, column: int) -> None:
        if any(name == anchor for _, name in self.stack):
            raise _Stop(line, column, f"the alias *{anchor} stands inside of its own anchor")
        if anchor not in self.anchors:
            raise _Stop(line, column, f"the alias *{anchor} refers to an anchor that is not defined above")
        target = self.anchors[anchor]
        self.expanded += target.size
        if self.expanded > MAX_EXPANDED:
            raise _Stop(line, column, f"aliases expand to more than {MAX_EXPANDED:,} values")
        self._add(Item(target.value, self.name, line, column, target.size, target.keys))

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
        if isinstance(container.value, list):
            container.value.append(item)
            return
        key = self.pending[-1]
        if key is None:
            self.pending[-1] = self._key(item)
            return
        self.pending[-1] = None
        if key in container.value:
            first = container.key_place(key)
            self.problems.append(
                Problem(self._last_key, f"the key {key!r} is given twice (first in line {first.line})")
            )
            return
        container.value[key] = item
        assert container.keys is not None
        container.keys[key] = self._last_key

    def _key(self, item: Item) -> str:
        self._last_key = item.place
        if isinstance(item.value, dict | list):
            raise _Stop(item.line, item.column, f"{item.kind} cannot be a key")
        if isinstance(item.value, str):
            return item.value
        return (
            "" if item.value is None else str(item.value).lower() if isinstance(item.value, bool) else str(item.value)
        )

    _last_key: Place = Place("")


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
            (item.keys or {}).setdefault(key, part.key_place(key))


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style in ("'", '"', "|", ">") or event.tag:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in "+-.0123456789":
        if _INT.fullmatch(text) and len(text) < 400:
            return int(text, 0)
        if _FLOAT.fullmatch(text) and len(text) < 400:
            return float(text)
    return text
