"""The time at the beginning of a log line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

LATEST = 221_845_392_000.0  # Unix seconds: the year 9000; later times do not fit into every calendar on the way

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?"
)  # fmt: skip
_SLASHED = re.compile(r"(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?")  # nginx, Go
_REDIS = re.compile(r"(?:\d{1,10}:[A-Z] )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_APACHE = re.compile(r"\[[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? (\d{4})\]")
_GLOG = re.compile(r"[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6})\b")
_CLF = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})")
_SYSLOG = re.compile(r"(?:<\d{1,3}>)?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)")
_EPOCH = re.compile(r"(?:\[|(?:ts|time|timestamp)=)?([12]\d{9})(\d{3}|\d{6}|\d{9})?(?:\.(\d{1,9}))?(?![\w.])")
_JSON = re.compile(r'"(?:time|ts|timestamp|@timestamp|t)"\s*:\s*(?:"([^"]{8,40})"|([12]\d{9,18}(?:\.\d+)?))')
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_HEAD = 200  # characters in which the time has to begin


def find_time(line: str, zone: tzinfo = UTC, year: int | None = None, pattern: str | None = None) -> float | None:
    """Unix seconds of a line's own time, or None when it has none.

    ISO 8601, the formats of web servers, Redis, glog and syslog (the last two have no year: `year` gives it), Unix
    time in seconds down to nanoseconds, and the usual fields of JSON lines. `zone` is for times without one;
    `pattern` is a strptime format for anything else.
    """
    head = line[:_HEAD]
    try:
        if pattern is not None:
            return _by_pattern(head, pattern, zone)
        for found in _readings(line, head, zone, year):
            if found is not None:
                return found
    except (ValueError, OverflowError):
        return None
    return None


def _readings(line: str, head: str, zone: tzinfo, year: int | None) -> Iterator[float | None]:
    """Each way to read a time: those that stand at the very beginning first."""
    if head[4:5] == "-":
        yield _iso(head, zone)
    yield _json(line[:2000], zone)
    yield _epoch(head)
    for pattern, order in (
        (_SLASHED, (1, 2, 3, 4, 5, 6, 7)),
        (_REDIS, (3, 2, 1, 4, 5, 6, 7)),
        (_APACHE, (7, 1, 2, 3, 4, 5, 6)),
        (_GLOG, (0, 1, 2, 3, 4, 5, 6)),
        (_SYSLOG, (0, 1, 2, 3, 4, 5, None)),
    ):
        yield _fields(pattern.match(head), order, zone, year)
    yield _iso(head, zone)
    yield _web(head)


def _fields(match: re.Match[str] | None, order: tuple[int | None, ...], zone: tzinfo, year: int | None) -> float | None:
    """The time of a match; `order` has its groups for year (0: none), month, day, hour, minute, second, fraction."""
    if match is None:
        return None
    texts = [match[group] if group else None for group in order]
    named = texts[1] or ""
    month = _MONTHS.get(named) or (int(named) if named.isdecimal() else None)
    written = int(texts[0]) if texts[0] else year
    if month is None or written is None:
        return None
    day, hour, minute, second = (int(text or 0) for text in texts[2:6])
    moment = datetime(written, month, day, hour, minute, second, tzinfo=zone).timestamp()
    return moment + (float(f"0.{texts[6]}") if texts[6] else 0.0)


def _iso(text: str, zone: tzinfo) -> float | None:
    match = _ISO.search(text, 0, 60)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    where: tzinfo = zone if offset is None else UTC
    clock = (int(hour), int(minute), int(second))
    moment = datetime(int(year), int(month), int(day), *clock, tzinfo=where).timestamp()
    if offset and offset != "Z":
        sign = -1 if offset[0] == "-" else 1
        moment -= sign * (int(offset[1:3]) * 3600 + int(offset[-2:]) * 60)
    return moment + (float(f"0.{fraction}") if fraction else 0.0)


def _web(text: str) -> float | None:
    match = _CLF.search(text)
    if not match or match[2] not in _MONTHS:
        return None
    clock = (int(match[4]), int(match[5]), int(match[6]))
    moment = datetime(int(match[3]), _MONTHS[match[2]], int(match[1]), *clock, tzinfo=UTC).timestamp()
    sign = -1 if match[7][0] == "-" else 1
    return moment - sign * (int(match[7][1:3]) * 3600 + int(match[7][3:5]) * 60)


def _epoch(text: str) -> float | None:
    """Seconds, or milli-, micro- or nanoseconds, as a bare number at the beginning."""
    match = _EPOCH.match(text)
    if not match:
        return None
    return float(f"{match[1]}.{match[2] or match[3] or 0}")


def _json(text: str, zone: tzinfo) -> float | None:
    if not text.lstrip().startswith("{"):
        return None
    match = _JSON.search(text)
    if not match:
        return None
    if match[1]:
        return _iso(match[1], zone)
    number = float(match[2])
    while number > 1e11:  # milli-, micro- or nanoseconds
        number /= 1000
    return number


def _by_pattern(text: str, pattern: str, zone: tzinfo) -> float | None:
    """The longest beginning of the line that the strptime format reads."""
    for length in range(min(len(text), 60), 3, -1):
        try:
            found = datetime.strptime(text[:length].strip(), pattern)  # noqa: DTZ007
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    return None
