"""Log lines that say the same, put together: templates by masking what varies.

Masking and not a learning parser: on the sandbox's and other real lines it separates errors as well, needs no
state, and gives the same template for the same line every time (docs/decisions/031-templates.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from treewalk.model.evidence import LogGroup
from treewalk.model.series import LogLine

MAX_TEXT = 16_000  # characters of an entry that are read at all; it may have many rows
MAX_LINE = 4000  # characters looked at; a longer line says nothing more
MAX_SAMPLE = 300
_TEMPLATE_LENGTH = 200

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])")
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_UNIT = r"(?:ns|us|µs|ms|s|m|h|d|[kKMGT]i?B|B)"
MASK = re.compile(r"<(time|id|hex|ip|n|text)>")
"""What stands in a template for something that varies."""


def _mask(pattern: str) -> re.Pattern[str]:
    """Digits are 0 to 9, as in the patterns that are made of templates."""
    return re.compile(pattern.replace(r"\d", "[0-9]"))


_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (MASK, "<text>"),  # what looks like a mask and was written so
    (_mask(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (_mask(r"\b\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?"), "<time>"),
    (_mask(rf"\b(?:[A-Z][a-z]{{2}} )?(?:{_MONTH}) {{1,2}}\d{{1,2}} {_CLOCK}(?: \d{{4}}\b)?"), "<time>"),
    (_mask(rf"\b\d{{1,2}} (?:{_MONTH}) \d{{4}} {_CLOCK}"), "<time>"),
    (_mask(rf"\b\d{{4}}/\d\d/\d\d {_CLOCK}"), "<time>"),
    (_mask(rf"\b{_CLOCK}\b"), "<time>"),
    (_mask(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (_mask(r"(?<=-)(?=[a-f0-9]{0,10}\d)[a-f0-9]{8,10}-[a-z0-9]{5}\b"), "<id>"),  # the end of a pod's name
    (_mask(r"\b0x[0-9a-fA-F]{1,16}\b"), "<hex>"),
    (_mask(r"\b(?=[0-9a-f]{0,63}\d)(?=[0-9a-f]{0,63}[a-f])[0-9a-f]{8,64}\b"), "<hex>"),
    (_mask(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "<ip>"),
    (_mask(r"(?<![\w:])(?=[0-9a-fA-F:]{0,39}\d)(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{1,4}(?![\w:])"), "<ip>"),
    (_mask(rf"(?<![\w.])[-+]?\d+(?:[.,:]\d+)*(?:{_UNIT}(?!\w)|%)?(?=$|[^\w])"), "<n>"),
    # one word in quotes, where it is not the value of a field
    (_mask(r"(?<=[\s(=])(?<!: )(?<!, )(?:'[^'\s]{1,100}'|(?<!=)\"[^\"\s]{1,100}\")(?!\s?:)"), "<text>"),
    (_mask(r"(?<=[A-Za-z_-])\d+\b"), "<n>"),
)
_WORDS = r"ERROR|ERR|FATAL|CRITICAL|CRIT|PANIC|EMERG|ALERT|SEVERE"
_FIELD = r"\b(?:level|lvl|severity|levelname)\"?\s?[=:]\s?\"?"
_END = r"(?=[\s\]\):|>]|$)"
_LOUD = re.compile(rf"(?:^|[\s\[\(|<])(?:{_WORDS}){_END}|^[EF]\d{{4}} \d\d:|^<[0-3]>|{_FIELD}(?i:{_WORDS})\b")
_CALM = re.compile(
    rf"(?:^|[\s\[\(|<])(?:TRACE|DEBUG|INFO|NOTICE|(?i:trace|debug|info|notice)(?=[\]:])){_END}"
    rf"|^I\d{{4}} \d\d:|{_FIELD}(?i:trace|debug|info|notice)\b"
)
_PROSE = re.compile(r"(?:^|[^\w.=/-])(?:error|err|fatal|critical|panic)s?(?![\w.=/])", re.IGNORECASE)
_NONE = re.compile(
    r"\b(?:0|no|zero|without(?: any)?) errors?\b"
    r"|\berrors?(?:[ _-]?(?:count|rate|total))?[\"']?\s?[=:]\s?(?:0(?:\.0{1,9})?%?(?![\w.])|null|none|nil|false|\"\")",
    re.IGNORECASE,
)
_EXCEPTION = re.compile(
    r"\b(?:Traceback \(most recent call last\)|panic:|segfault|Segmentation fault|core dumped|Out ?[Oo]f ?[Mm]emory"
    r"|OOM(?:Killed)?\b|Killed process|FAILED\b|[Ff]ailed with (?:an )?(?:exception|error)|exit (?:status|code) [1-9]"
    r"|[A-Za-z_][\w.]{0,100}(?:Error|Exception|Interrupt)(?:\s*[:(]|$)|command not allowed"
    r"|max number of clients reached|[Cc]onnection (?:refused|reset|lost)|[Tt]imed out|permission denied)"
)
# What a process says when it dies, on lines without a level below one that has one.
_CRASH = re.compile(
    r"\nTraceback \(most recent call last\)|\npanic: |\nFatal Python error|\nSegmentation fault|\nCaused by: "
    r"|\nException in thread |\n[\w.]{1,100}(?:Error|Exception): "
)
_NAMED = re.compile(r"[A-Za-z_][\w.]{0,200}(?:: |:?$)")
_LABELS = ("detected_level", "level", "severity", "lvl")
_BAD_LEVELS = frozenset(("error", "err", "fatal", "critical", "crit", "panic", "emerg", "alert", "severe"))
_CALM_LEVELS = frozenset(("trace", "debug", "info", "notice", "information"))


def readable(text: str) -> str:
    """A stranger's text as people see it: no ANSI sequences, control characters as spaces, only line breaks stay.

    Log patterns are searched in this, and learned from it.
    """
    text = text[:MAX_TEXT]
    if text.isprintable():
        return text
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return "\n".join(row if row.isprintable() else _printable(row) for row in text.split("\n"))


def clean(text: str) -> str:
    """Text from a stranger without ANSI sequences and control characters, line breaks and tabs as spaces."""
    text = readable(text)[:MAX_LINE]
    return text if text.isprintable() else _printable(text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def template(line: str) -> str:
    """What lines of the same kind have in common: numbers, times, identifiers and addresses masked."""
    text = clean(line)
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    """The beginning of a template; a mask is in it whole or not at all."""
    if len(text) <= _TEMPLATE_LENGTH:
        return text
    split = [m.start() for m in MASK.finditer(text) if m.start() < _TEMPLATE_LENGTH < m.end()]
    return text[: split[0] if split else _TEMPLATE_LENGTH]


def is_error(text: str, labels: Mapping[str, str] | None = None) -> bool:
    """Whether a line reports an error: by its own level, its labels, or the look of an exception."""
    head = readable(text)[:MAX_LINE]
    level = _own_level(head.split("\n", 1)[0])
    if level is not None:
        return level or bool(_CRASH.search(head))
    for name in _LABELS:
        given = (labels or {}).get(name, "").lower()
        if given in _BAD_LEVELS:
            return True
        if given in _CALM_LEVELS:
            return bool(_EXCEPTION.search(head))
    return bool(_PROSE.search(_NONE.sub(" ", head)) or _EXCEPTION.search(head))


def _own_level(row: str) -> bool | None:
    """Whether the level that a line gives itself is bad; of several the first. None when it gives none."""
    loud, calm = _LOUD.search(row), _CALM.search(row[:200])
    if loud is not None and (calm is None or loud.start() <= calm.start()):
        return True
    return None if calm is None else False


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
    """The row that names the error: of a trace the exception, else the first."""
    head = readable(text)
    rows = [row for row in head.splitlines() if row.strip()]
    if len(rows) < 2:
        return head
    causes = [row for row in rows[1:] if row.startswith("Caused by: ")]
    if causes:
        return causes[-1].removeprefix("Caused by: ")
    if "Traceback (most recent call last)" in head:
        named = [row for row in rows[1:] if _NAMED.match(row)]
        return named[-1] if named else rows[-1]
    thrown = [row for row in rows[1:] if _EXCEPTION.match(row)]
    return thrown[0] if thrown and not _EXCEPTION.search(rows[0]) else rows[0]


def _group(node: str, key: str, members: Sequence[LogLine], redact: Callable[[str], str]) -> LogGroup:
    newest = max(members, key=lambda line: line.time)
    sample = " ".join(redact(clean(_telling(newest.text))).split())[:MAX_SAMPLE]
    times = [line.time for line in members]
    return LogGroup(node, redact(key), sample, len(members), min(times), max(times))
