"""How many messages a sender may send: a token bucket each, filled as time goes by. Pure but for what it remembers."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

WRONG_PER_SECOND, WRONG_BURST = 0.1, 20  # wrong secrets of one address
_SENDERS = 10_000  # that are remembered; the one that was silent longest is forgotten first


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` at a time (`at`, in seconds on a clock that never steps)."""

    tokens: float
    at: float


def take(bucket: Bucket, now: float, per_second: float, burst: float) -> tuple[Bucket, float]:
    """The bucket after one more message, and 0; or the bucket as it is and the seconds until one is let through."""
    tokens = min(burst, bucket.tokens + max(0.0, now - bucket.at) * per_second)
    if tokens >= 1.0:
        return Bucket(tokens - 1.0, now), 0.0
    return Bucket(tokens, now), (1.0 - tokens) / per_second


class Rate:
    """The buckets of all senders. `clock` gives seconds and never steps back."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self.per_second, self.burst, self._clock = per_second, float(burst), clock
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def wait(self, source: str, sender: str) -> int:
        """Whole seconds that this sender has to wait, 0 when its message is let through."""
        now, key = self._clock(), (source, sender)
        bucket, seconds = take(self._buckets.get(key, Bucket(self.burst, now)), now, self.per_second, self.burst)
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > _SENDERS:
            self._buckets.popitem(last=False)
        return math.ceil(seconds)
