"""The server's own metrics, for a Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from treewalk.errors import TreewalkError
from treewalk.store.casebook import LIVE
from treewalk.store.inbox import Accepted, Inbox

if TYPE_CHECKING:
    from treewalk.operations import Operations

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measures:
    """What is counted while serving, and what is looked up when it is asked for."""

    def __init__(self, operations: Operations, inbox: Inbox) -> None:
        self.registry = CollectorRegistry()
        self._alerts = Counter(
            "treewalk_alerts_accepted", "Alerts taken in, by sender and what they were.", ("source", "what"),
            registry=self.registry,
        )  # fmt: skip
        self._refused = Counter(
            "treewalk_webhooks_refused", "Messages that were not taken in.", ("source", "why"), registry=self.registry
        )
        self.registry.register(_Looked(operations, inbox))

    def accepted(self, source: str, result: Accepted) -> None:
        """Count one message that was taken in."""
        for what, count in (
            ("new", result.new - result.unmapped),
            ("repeated", result.repeated),
            ("no_sla", result.unmapped),
        ):
            if count:
                self._alerts.labels(source, what).inc(count)

    def refused(self, source: str, why: str) -> None:
        """Count one that was not."""
        self._refused.labels(source, why).inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text form."""
        return bytes(generate_latest(self.registry))


class _Looked(Collector):
    """Numbers that live in the memory and in the sources."""

    def __init__(self, operations: Operations, inbox: Inbox) -> None:
        self._operations, self._inbox = operations, inbox

    def collect(self) -> Iterator[Metric]:
        incidents = GaugeMetricFamily("treewalk_incidents", "Incidents by state.", labels=("state",))
        up = GaugeMetricFamily("treewalk_memory_up", "Whether the memory can be read.")
        killed = GaugeMetricFamily("treewalk_kill_switch", "Whether the kill switch is on.")
        try:
            found = self._inbox.incidents_by_state()
            for state in dict.fromkeys((*LIVE, "closed", *found)):
                incidents.add_metric([state], found.get(state, 0))
            killed.add_metric([], float(self._operations.killed() is not None))
            up.add_metric([], 1.0)
        except TreewalkError:  # the other numbers are still worth having
            up.add_metric([], 0.0)
        yield from (incidents, up, killed, self._sources())

    def _sources(self) -> Metric:
        errors = CounterMetricFamily(
            "treewalk_source_errors", "Calls to outside systems that failed.", labels=("kind", "source", "error")
        )
        for (kind, name, error), count in self._operations.app.sources.failures().items():
            errors.add_metric([kind, name, error], count)
        return errors

    def describe(self) -> Iterator[Metric]:
        return iter(())
