"""Log lines that say the same, put together: templates by masking what varies.

Masking and not a learning parser: on the sandbox's and other real lines it separates errors as well, needs no
state, and gives the same template for the same line every time (docs/decisions/031-templates.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from treewalk.model.evidence import LogGroup
from treewalk.model.series import LogLine

MAX_LINE = 4000  # characters looked at; a longer line says nothing more
MAX_SAMPLE = 300
_TEMPLATE_LENGTH = 200

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])")
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?"), "<time>"),
    (re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}\d{1,2} \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\b"), "<time>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]{1,16}\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-f]{0,63}\d)(?=[0-9a-f]{0,63}[a-f])[0-9a-f]{8,64}\b"), "<hex>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "<ip>"),
    (re.compile(r"(?<![\w.])[-+]?\d+(?:[.,:]\d+)*(?=$|[^\w]|(?:ns|us|µs|ms|s|m|h|d|%|[kKMGT]i?B|B)\b)"), "<n>"),
    (re.compile(r"(?<=[A-Za-z_-])\d+\b"), "<n>"),
)
_WORDS = r"ERROR|ERR|FATAL|CRITICAL|CRIT|PANIC|EMERG|ALERT|SEVERE"
_FIELD = r"\b(?:level|lvl|severity|levelname)\"?\s?[=:]\s?\"?"
_LEVEL = re.compile(rf"(?:^|[^\w.=/-])(?:{_WORDS})(?![\w.=/])|{_FIELD}(?:{_WORDS})\b", re.IGNORECASE)
_STRICT = re.compile(rf"(?:^|[\s\[\(|<])(?:{_WORDS}|E)(?=[\s\]\):|>]|$)")
_EXCEPTION = re.compile(
    r"\b(?:Traceback \(most recent call last\)|panic:|segfault|Segmentation fault|core dumped|OutOfMemory|OOM\b"
    r"|[A-Za-z_][\w.]{0,100}(?:Error|Exception|Interrupt)\b\s*[:(]|command not allowed|max number of clients reached"
    r"|[Cc]onnection (?:refused|reset|lost)|[Tt]imed out|permission denied)"
)
_CALM_LEVEL = re.compile(
    r"(?:^|[\s\[\(|<])(?:TRACE|DEBUG|INFO|NOTICE)(?=[\s\]\):|>]|$)"
    rf"|{_FIELD}(?:trace|debug|info|notice)\b",
    re.IGNORECASE,
)
_LABELS = ("detected_level", "level", "severity", "lvl")
_BAD_LEVELS = frozenset(("error", "err", "fatal", "critical", "crit", "panic", "emerg", "alert", "severe"))
_CALM_LEVELS = frozenset(("trace", "debug", "info", "notice", "information"))


def clean(text: str) -> str:
    """Text from a stranger without ANSI sequences and control characters, line breaks and tabs as spaces."""
    text = _ANSI.sub("", text[:MAX_LINE])
    return "".join(c if c.isprintable() else " " for c in text)


def template(line: str) -> str:
    """What lines of the same kind have in common: numbers, times, identifiers and addresses masked."""
    text = clean(line)
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return " ".join(text.split())[:_TEMPLATE_LENGTH]


def is_error(text: str, labels: Mapping[str, str] | None = None) -> bool:
    """Whether a line reports an error: by its own level, its labels, or the look of an exception."""
    head = text[:MAX_LINE]
    if _STRICT.search(head):
        return True
    if _CALM_LEVEL.search(head[:200]):
        return False
    for name in _LABELS:
        level = (labels or {}).get(name, "").lower()
        if level in _BAD_LEVELS:
            return True
        if level in _CALM_LEVELS:
            return bool(_EXCEPTION.search(head))
    return bool(_LEVEL.search(head) and not re.search(r"\b(?:0|no|without) errors?\b", head, re.IGNORECASE)) or bool(
        _EXCEPTION.search(head)
    )


def group_errors(node: str, lines: Sequence[LogLine], redact: Callable[[str], str]) -> tuple[LogGroup, ...]:
    """The error lines of a node grouped by template: most frequent first, then the earliest.

    A trace over several lines counts by its last one, which names the exception. Samples are redacted and short.
    """
    groups: dict[str, list[LogLine]] = {}
    for line in lines:
        if is_error(line.text, line.labels):
            groups.setdefault(template(_telling(line.text)), []).append(line)
    found = [_group(node, key, members, redact) for key, members in groups.items()]
    return tuple(sorted(found, key=lambda g: (-g.count, g.first, g.template)))


def _telling(text: str) -> str:
    head = text[: MAX_LINE * 4]
    if "Traceback (most recent call last)" in head:
        rows = [row for row in head.splitlines() if row.strip()]
        return rows[-1] if rows else head
    return head.split("\n", 1)[0]


def _group(node: str, key: str, members: Sequence[LogLine], redact: Callable[[str], str]) -> LogGroup:
    newest = max(members, key=lambda line: line.time)
    sample = " ".join(redact(clean(_telling(newest.text))).split())[:MAX_SAMPLE]
    times = [line.time for line in members]
    return LogGroup(node, redact(key), sample, len(members), min(times), max(times))
