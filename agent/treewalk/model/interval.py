"""The numbers that satisfy a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers that satisfy a comparison; an open end does not belong to it."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    @property
    def empty(self) -> bool:
        return not self.low <= self.high or (self.low == self.high and (self.low_open or self.high_open))

    def meet(self, other: Interval) -> Interval:
        """The numbers that are in both."""
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Interval(low, high, low_open, not closed)

    def within(self, other: Interval) -> bool:
        """Whether every number of this one is in the other."""
        return self.meet(other) == self

    @classmethod
    def of(cls, operator: str, value: float) -> Interval:
        """The numbers x for which `x operator value` holds; of `<`, `<=`, `>`, `>=`, and `==` for all else."""
        if math.isnan(value):
            return cls(math.inf, -math.inf)
        match operator:
            case "<" | "<=":
                return cls(high=value, high_open=operator == "<")
            case ">" | ">=":
                return cls(low=value, low_open=operator == ">")
            case _:
                return cls(value, value)
