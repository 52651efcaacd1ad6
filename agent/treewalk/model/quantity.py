"""Durations, amounts and thresholds as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
Unit = Literal["seconds", "ratio", "percent", "bytes", "count"]

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdwy]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_SIZE_UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?"
_THRESHOLD = re.compile(rf"\s*(<=|>=|==|!=|<|>)?\s*({_NUMBER})\s*(%|[A-Za-z]+)?(?:\s+(.*))?", re.DOTALL)


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

    `60s`, `< 60s`, `80%`, `> 80% of entities`, `10,000`, `< 10,000 messages`, `30GB`. Without an operator
    the value has to stay under the limit. A percentage is a ratio of 0–1 as Prometheus counts it, unless
    `percent_as` says that the measured value runs to 100. Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a threshold is written like 60s, 80%, 10,000 or '> 80% of entities'")
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError("a threshold has to be a finite number")
        return Threshold("<", float(value), "count", str(value))
    text = value.strip()
    duration = re.fullmatch(rf"\s*(<=|>=|==|!=|<|>)?\s*({_DURATION.pattern})(\s.*)?", text, re.DOTALL)
    if duration:
        return Threshold(_operator(duration[1]), parse_duration(duration[2]), "seconds", text)
    match = _THRESHOLD.fullmatch(text)
    if not match:
        raise ValueError(f"{value!r} is not a threshold; write it like 60s, 80%, 10,000 or '> 80% of entities'")
    op, number, unit_text = _operator(match[1]), float(match[2].replace(",", "")), match[3] or ""
    if not math.isfinite(number):
        raise ValueError("a threshold has to be a finite number")
    if unit_text == "%":
        return Threshold(op, number / 100 if percent_as == "ratio" else number, percent_as, text)
    if unit_text.lower() in _SIZE_UNITS:
        return Threshold(op, number * _SIZE_UNITS[unit_text.lower()], "bytes", text)
    return Threshold(op, number, "count", text)


def _operator(text: str | None) -> Operator:
    match text:
        case "<=" | ">=" | "==" | "!=" | ">":
            return text
        case _:
            return "<"
