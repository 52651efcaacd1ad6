"""Labels out of a log line, as LogQL's parsers make them, and the values that its label filters compare."""

from __future__ import annotations

import json
import math
import re
from typing import Literal, NoReturn

Unit = Literal["number", "duration", "bytes"]

_LOGFMT = re.compile(r'(?<![\w.\-])([A-Za-z_][\w.\-]*+)=(?:"((?:[^"\\]|\\.)*+)"|(\S*+))')
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_DURATION = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s?([kmgtpe]?i?b?)", re.IGNORECASE)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 64  # characters of a value that is still read as a quantity


class Fields(dict[str, str]):
    """A line's labels while it passes a query: those of its stream, then those that parsers add.

    A parsed name that the stream has already gets `_extracted` behind it. `failed` is set when a parser or a
    comparison could not read what it was given; the line then carries the label `__error__`.
    """

    def __init__(self, stream: dict[str, str]) -> None:
        super().__init__(stream)
        self._stream = frozenset(stream)
        self.failed = False

    def add(self, name: str, value: str) -> None:
        """A parsed label, under a name made of letters, digits and underscores."""
        safe = _UNSAFE.sub("_", name)
        if safe[:1].isdigit():
            safe = "_" + safe
        self[f"{safe}_extracted" if safe in self._stream else safe] = value

    def fail(self, why: str) -> None:
        """Mark the line. It is kept, as a Loki keeps it: only a filter on `__error__` or on a text drops it."""
        self.failed = True
        self["__error__"] = why


def add_json(line: str, fields: Fields) -> None:
    """Every leaf of a JSON object, nested names joined by an underscore; lists are left out."""
    try:
        found = json.loads(line, parse_int=str, parse_float=str, parse_constant=_not_json)
    except (ValueError, RecursionError):
        fields.fail("JSONParserErr")
        return
    if not isinstance(found, dict):
        fields.fail("JSONParserErr")
        return
    stack = [("", found)]
    while stack:
        prefix, value = stack.pop()
        for key, item in value.items():
            name = f"{prefix}_{key}" if prefix else key
            if isinstance(item, dict):
                stack.append((name, item))
            elif isinstance(item, bool):
                fields.add(name, "true" if item else "false")
            elif isinstance(item, str):
                fields.add(name, item.encode("utf-8", "replace").decode("utf-8"))  # JSON may hold half characters


def add_logfmt(line: str, fields: Fields) -> None:
    """Every `key=value` and `key="value"` of a line."""
    for match in _LOGFMT.finditer(line):
        fields.add(match[1], match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2]))


def quantity(text: str) -> tuple[float, Unit]:
    """What a label filter is compared with: `3`, `-0.5`, `250ms`, `1h30m`, `5KB`. Raises ValueError."""
    for unit in ("number", "duration", "bytes"):
        value = measure(text, unit)
        if value is not None:
            return value, unit
    raise ValueError(f"{text!r} is not a number, a duration or a size")


def measure(text: str, unit: Unit) -> float | None:
    """A label's text in a unit (durations in seconds, sizes in bytes), or None when it is not one."""
    text = text[: _LONGEST + 1].strip()
    if len(text) > _LONGEST:
        return None
    if unit == "number":
        return _finite(float(text)) if _NUMBER.fullmatch(text) else None
    if unit == "duration":
        if not _DURATION.fullmatch(text):
            return 0.0 if text == "0" else None
        size = sum(float(part[1]) * _SECONDS[part[2]] for part in _DURATION_PART.finditer(text))
        return -size if text.startswith("-") else size
    match = _BYTES.fullmatch(text)
    if not match:
        return None
    prefix = match[2].lower()
    base = 1024 if "i" in prefix else 1000
    return float(match[1]) * float(base ** (" kmgtpe".index(prefix[0]) if prefix and prefix[0] in "kmgtpe" else 0))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _not_json(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
