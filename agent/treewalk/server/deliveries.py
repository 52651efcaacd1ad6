"""Metrics of what was told to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from treewalk.errors import TreewalkError
from treewalk.store.outbox import STATES

if TYPE_CHECKING:
    from treewalk.messages.courier import Courier

_RESULTS = ("delivered", "tried", "failed")
_WAITING = ("due", "held", "sending")


class DeliveryMeasures(Collector):
    """Numbers of one courier and of its outbox."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    def follow(self, courier: Courier) -> None:
        """Go on with another courier."""
        self._courier = courier

    def collect(self) -> Iterator[Metric]:
        tries = CounterMetricFamily(
            "treewalk_deliveries_tried", "Deliveries that were tried, by result.", labels=("channel", "result")
        )
        begun = dict.fromkeys(((c, r) for c in self._courier.channels for r in _RESULTS), 0)  # else no increase to 1
        for (channel, result), count in sorted({**begun, **self._courier.results}.items()):
            tries.add_metric([channel, result], count)
        yield tries
        messages = GaugeMetricFamily("treewalk_messages", "Messages by state.", labels=("channel", "state"))
        queue = GaugeMetricFamily("treewalk_messages_waiting", "Messages not delivered yet.", labels=("channel",))
        try:
            counts = self._courier.outbox.counts()
        except TreewalkError:  # treewalk_memory_up says so
            return
        for channel in sorted({*self._courier.channels, *(name for name, _ in counts)}):
            for state in STATES:
                messages.add_metric([channel, state], counts.get((channel, state), 0))
            queue.add_metric([channel], sum(counts.get((channel, state), 0) for state in _WAITING))
        yield from (messages, queue)

    def describe(self) -> Iterator[Metric]:
        return iter(())
