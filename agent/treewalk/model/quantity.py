"""Durations, amounts and thresholds as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
Unit = Literal["seconds", "ratio", "percent", "bytes", "count"]

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdwy]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_SPELLED_DURATIONS = {
    word: seconds
    for words, seconds in (
        ("msec msecs millisecond milliseconds", 0.001),
        ("sec secs second seconds", 1.0),
        ("min mins minute minutes", 60.0),
        ("hr hrs hour hours", 3600.0),
        ("day days", 86400.0),
        ("week weeks", 604800.0),
        ("year years", 31536000.0),
    )
    for word in words.split()
}
_PERCENT = {"%", "percent", "pct"}
_SIZE_UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "byte": 1, "bytes": 1,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_TIMES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_SPELLED_TIMES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_SPACES = ", _\u00a0\u202f"  # between thousands
_THOUSANDS = rf"\d{{1,3}}(?:(?P<comma>[{_SPACES}])\d{{3}}(?:(?P=comma)\d{{3}})*)?(?!\d)"
_NUMBER = rf"[+-]?(?:{_THOUSANDS}|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?"
_WORD = r"%|[^\W\d_]+(?![^\W\d]|/)"
_THRESHOLD = re.compile(
    rf"(?P<op><=|>=|==|!=|<|>)?\s*(?P<number>{_NUMBER})\s*(?P<word>{_WORD})?(?P<rest>.*)", re.DOTALL
)
_NEXT_DURATION = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({_WORD})(.*)", re.DOTALL)
_NOUN = re.compile(r"[^\W\d_](?:[^\W\d]|['’-])*|p\d{1,3}|[1-5]xx")
_SHORT_NOUNS = {"of", "in", "on", "for", "by", "a", "an", "the", "per", "old"}
# Words that would change what the number means. A month has no length; the others are no base unit of Prometheus.
_NOT_UNDERSTOOD = frozenset(
    re.findall(
        r"\w+",
        """month months quarter quarters hourly daily weekly monthly yearly hundred hundreds dozen dozens cent trillion
        thousands millions billions mln bln mio mrd lakh crore microsecond microseconds usec nanosecond nanoseconds nsec
        permille ppm ppb bit bits kbit mbit gbit bps kbps mbps gbps qps rps tps iops khz mhz ghz hertz celsius
        fahrenheit degrees kilobyte kilobytes megabyte megabytes gigabyte gigabytes terabyte terabytes
        least most more less fewer than over under above below minimum maximum max and plus minus times""",
    )
)
_UNIT_WORDS = {*_SPELLED_DURATIONS, *_SPELLED_TIMES, *_PERCENT, *_SIZE_UNITS, *_NOT_UNDERSTOOD}
_LONG_UNIT_WORDS = sorted(word for word in (*_SPELLED_DURATIONS, *_SPELLED_TIMES, *_PERCENT, "bytes") if len(word) > 4)


def parse_duration(value: str | int | float) -> float:
    """Seconds in a duration such as `30s`, `1h30m`, `250ms`, `2d`; a bare number is seconds.

    The units are those of Prometheus. Raises ValueError for anything else, negatives included.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):  # a key left empty is None
        raise ValueError("a duration is written like 30s, 5m or 1h30m")
    if isinstance(value, int | float):
        seconds = float(value)
    else:
        text = value.strip()
        if _DURATION.fullmatch(text):
            seconds = sum(float(n) * _DURATION_UNITS[u] for n, u in _DURATION_PART.findall(text))
        else:
            try:
                seconds = float(text)
            except ValueError:
                raise ValueError(f"{value!r} is not a duration; write it like 30s, 5m or 1h30m") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is not a duration; it has to be finite and not negative")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest exact-enough form of a duration, for people: 0.25 → `250ms`, 5400 → `1h30m`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.3g}ms" if seconds else "0s"
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def format_number(value: float) -> str:
    """A number for people: at most four significant digits, no exponent where it can be helped."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 node`, `3 nodes`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit that a value has to keep: `value op limit` is the good state.

    `limit` is in base units (seconds, bytes, a ratio for `ratio`, 0–100 for `percent`).
    `text` is what the user wrote.
    """

    op: Operator
    limit: float
    unit: Unit
    text: str

    def holds(self, value: float) -> bool:
        """Whether the value keeps the limit. NaN keeps nothing: ask for it before."""
        return compare(value, self.op, self.limit)

    def show(self, value: float) -> str:
        """The value in the unit of the limit, for people: `73s`, `84.2%`, `298`."""
        if not math.isfinite(value):
            return str(value)
        if self.unit == "seconds":
            return format_duration(value)
        if self.unit == "ratio":
            return f"{value * 100:.4g}%"
        if self.unit == "percent":
            return f"{value:.4g}%"
        if self.unit == "bytes":
            return format_bytes(value)
        return format_number(value)

    def __str__(self) -> str:
        return f"{self.op} {self.show(self.limit)}"


def format_bytes(value: float) -> str:
    """A size for people, in decimal units: 30000000000 → `30GB`."""
    for suffix, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}B"


def compare(value: float, op: Operator, limit: float) -> bool:
    """`value op limit` with the meaning PromQL gives the operators."""
    match op:
        case "<":
            return value < limit
        case "<=":
            return value <= limit
        case ">":
            return value > limit
        case ">=":
            return value >= limit
        case "==":
            return value == limit
        case "!=":
            return value != limit


def parse_threshold(value: str | int | float, percent_as: Literal["ratio", "percent"] = "ratio") -> Threshold:
    """A threshold as people write it.

    `60s`, `< 5 min`, `1 hour 30 minutes`, `80%`, `> 80% of entities`, `10,000`, `10 000`, `10k`, `< 10,000 messages`,
    `30GB`. Without an operator the value has to stay under the limit. A percentage is a ratio of 0–1 as Prometheus
    counts it, unless `percent_as` says that the measured value runs to 100. Nouns may follow and change nothing; what
    may be a unit and is none of these is refused. Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a threshold is written like 60s, 80%, 10,000 or '> 80% of entities'")
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError("a threshold has to be a finite number")
        return Threshold("<", float(value), "count", str(value))
    text = value.strip()
    match = _THRESHOLD.fullmatch(text)
    if not match:
        raise ValueError(f"{value!r} is not a threshold; write it like 60s, 80%, 10,000 or '> 80% of entities'")
    number = float(re.sub(f"[{_SPACES}]", "", match["number"]))
    limit, unit, rest = _measured(number, match["word"] or "", match["rest"], percent_as)
    if not math.isfinite(limit):
        raise ValueError("a threshold has to be a finite number")
    _refuse_what_is_no_noun(text, rest)
    return Threshold(_operator(match["op"]), limit, unit, text)


def _measured(number: float, word: str, rest: str, percent_as: Literal["ratio", "percent"]) -> tuple[float, Unit, str]:
    """A number with the word behind it in base units, and what is left to be read."""
    if (size := _seconds_in(word)) is not None:
        seconds = number * size
        while (more := _NEXT_DURATION.fullmatch(rest)) and (size := _seconds_in(more[2])) is not None:
            seconds, rest = seconds + float(more[1]) * size, more[3]
        return seconds, "seconds", rest
    if word.lower() in _PERCENT:
        return (number / 100 if percent_as == "ratio" else number), percent_as, rest
    if word.lower() in _SIZE_UNITS:
        return number * _SIZE_UNITS[word.lower()], "bytes", rest
    times = _TIMES.get(word) or _SPELLED_TIMES.get(word.lower())
    return (number * times, "count", rest) if times else (number, "count", word + rest)


def _seconds_in(word: str) -> float | None:
    """A duration's unit in seconds: the short ones as Prometheus writes them, the others in either case."""
    return _DURATION_UNITS.get(word) or _SPELLED_DURATIONS.get(word.lower())


def _refuse_what_is_no_noun(text: str, rest: str) -> None:
    """Nouns may follow a threshold. A unit that is passed over would make it another threshold."""
    for word in rest.split():
        bare = word.strip("().,;:\"'")
        if _NOUN.fullmatch(bare) and not _may_be_a_unit(bare):
            continue
        raise ValueError(
            f"{text!r} is not a threshold: {word!r} is not understood; "
            "write a unit of ms, s, min, h, d, w, y, %, kB, MB, GB, TB, KiB, MiB, GiB, TiB, k, M, G or none, "
            "and the number as the query measures it"
        )


def _may_be_a_unit(word: str) -> bool:
    low = word.lower()
    if word in _SHORT_NOUNS:
        return False
    return len(low) < 3 or low in _UNIT_WORDS or bool(get_close_matches(low, _LONG_UNIT_WORDS, 1, 0.85))


def _operator(text: str | None) -> Operator:
    match text:
        case "<=" | ">=" | "==" | "!=" | ">":
            return text
        case _:
            return "<"
