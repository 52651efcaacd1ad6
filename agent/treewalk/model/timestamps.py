"""The time at the beginning of a log line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?"
)  # fmt: skip
_CLF = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})")
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)")
_EPOCH = re.compile(r"\[?(\d{10})(?:\.(\d{1,9}))?\b|\[?(\d{13})\b")
_JSON = re.compile(r'"(?:time|ts|timestamp|@timestamp|t)"\s*:\s*(?:"([^"]{8,40})"|(\d{10,13}(?:\.\d+)?))')
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_HEAD = 200  # characters in which the time has to begin


def find_time(line: str, zone: tzinfo = UTC, year: int | None = None, pattern: str | None = None) -> float | None:
    """Unix seconds of a line's own time, or None when it has none.

    ISO 8601, the formats of web servers and of syslog (which has no year: `year` gives it), Unix seconds or
    milliseconds, and the usual fields of JSON lines. `zone` is for times without one; `pattern` is a strptime
    format for anything else.
    """
    head = line[:_HEAD]
    try:
        if pattern is not None:
            return _by_pattern(head, pattern, zone)
        return _iso(head, zone) or _json(line[:2000], zone) or _web(head) or _syslog(head, zone, year) or _epoch(head)
    except (ValueError, OverflowError):
        return None


def _iso(text: str, zone: tzinfo) -> float | None:
    match = _ISO.search(text, 0, 60)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    offset = match[8]
    where: tzinfo = zone if offset is None else UTC
    moment = datetime(year, month, day, hour, minute, second, tzinfo=where).timestamp()
    if offset and offset != "Z":
        sign = -1 if offset[0] == "-" else 1
        moment -= sign * (int(offset[1:3]) * 3600 + int(offset[-2:]) * 60)
    return moment + (float(f"0.{match[7]}") if match[7] else 0.0)


def _web(text: str) -> float | None:
    match = _CLF.search(text)
    if not match or match[2] not in _MONTHS:
        return None
    clock = (int(match[4]), int(match[5]), int(match[6]))
    moment = datetime(int(match[3]), _MONTHS[match[2]], int(match[1]), *clock, tzinfo=UTC).timestamp()
    sign = -1 if match[7][0] == "-" else 1
    return moment - sign * (int(match[7][1:3]) * 3600 + int(match[7][3:5]) * 60)


def _syslog(text: str, zone: tzinfo, year: int | None) -> float | None:
    match = _SYSLOG.match(text)
    if not match or match[1] not in _MONTHS or year is None:
        return None
    clock = (int(match[3]), int(match[4]), int(match[5]))
    return datetime(year, _MONTHS[match[1]], int(match[2]), *clock, tzinfo=zone).timestamp()


def _epoch(text: str) -> float | None:
    match = _EPOCH.match(text)
    if not match:
        return None
    if match[3]:
        return int(match[3]) / 1000
    return int(match[1]) + (float(f"0.{match[2]}") if match[2] else 0.0)


def _json(text: str, zone: tzinfo) -> float | None:
    if not text.lstrip().startswith("{"):
        return None
    match = _JSON.search(text)
    if not match:
        return None
    if match[1]:
        return _iso(match[1], zone)
    number = float(match[2])
    return number / 1000 if number > 1e11 else number


def _by_pattern(text: str, pattern: str, zone: tzinfo) -> float | None:
    """The longest beginning of the line that the strptime format reads."""
    for length in range(min(len(text), 60), 3, -1):
        try:
            found = datetime.strptime(text[:length].strip(), pattern)  # noqa: DTZ007
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    return None
