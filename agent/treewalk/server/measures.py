"""The server's own metrics, for a Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from treewalk import __version__
from treewalk.errors import TreewalkError
from treewalk.model.diagnosis import Measurement
from treewalk.model.events import Event, NodeJudged, StageDone
from treewalk.ports import Journal
from treewalk.store.inbox import Accepted, Inbox
from treewalk.store.memory import LIVE

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations
    from treewalk.server.reloading import Reload

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)


class Measures:
    """What is counted while serving, and what is looked up when it is asked for."""

    def __init__(self, operations: Callable[[], Operations], inbox: Inbox, sources: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._alerts = self._counter(
            "treewalk_alerts_accepted", "Alerts taken in, by sender and what they were.", "source", "what"
        )
        self._cut = self._counter(
            "treewalk_alerts_truncated", "Alerts that a sender, or a bound, left out of a message.", "source"
        )
        self._lost = self._counter(
            "treewalk_alerts_not_understood", "Alerts of a message that was taken in, that could not be read.", "source"
        )
        for source in sources:  # from the beginning, so that the first one is an increase
            self._cut.labels(source)
            self._lost.labels(source)
        self._refused = self._counter("treewalk_webhooks_refused", "Messages that were not taken in.", "source", "why")
        self._verdicts = self._counter("treewalk_verdicts", "Verdicts on nodes.", "status")
        self._decisions = self._counter(
            "treewalk_decisions", "Decisions of the policy about steps.", "action", "ruling", "rule"
        )
        self._watched = self._counter("treewalk_watch_measurements", "Measurements of the watch.", "status")
        tokens = self._counter("treewalk_llm_tokens", "Tokens that a language model was sent and gave.", "direction")
        for direction in ("in", "out"):
            tokens.labels(direction)
        self._walk = Histogram(
            "treewalk_walk_seconds", "How long walks of a tree took.", buckets=_SECONDS, registry=self.registry
        )
        self._reload = Gauge(
            "treewalk_reload_success", "Whether the last reading of the files was good.", registry=self.registry
        )
        self._reloaded = Gauge(
            "treewalk_reload_timestamp_seconds", "When the files in force were read.", registry=self.registry
        )
        self._reload.set(1)
        self._reloaded.set_to_current_time()
        self.registry.register(_Looked(operations, inbox))

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def accepted(self, source: str, result: Accepted) -> None:
        """Count one message that was taken in."""
        for what, count in (
            ("new", result.new - result.unmapped),
            ("repeated", result.repeated),
            ("no_sla", result.unmapped),
        ):
            if count:
                self._alerts.labels(source, what).inc(count)

    def missed(self, source: str, truncated: int, lost: int) -> None:
        """Count what of a message was left out and what could not be read."""
        self._cut.labels(source).inc(truncated)
        self._lost.labels(source).inc(lost)

    def refused(self, source: str, why: str) -> None:
        """Count one that was not."""
        self._refused.labels(source, why).inc()

    def seen(self, event: Event) -> None:
        """Count what happens during a diagnosis."""
        if isinstance(event, NodeJudged):
            self._verdicts.labels(event.verdict.status.value).inc()
        elif isinstance(event, StageDone) and event.name == "walk":
            self._walk.observe(event.seconds)

    def measured(self, sla: str, found: Measurement) -> None:
        """Count a measurement of the watch."""
        self._watched.labels(found.status).inc()

    def reloaded(self, found: Reload) -> None:
        """Note how a reading of the files went."""
        self._reload.set(float(found.ok))
        if found.ok:
            self._reloaded.set(found.at)

    def counting(self, journal: Journal) -> Journal:
        """A journal that counts the decisions written into it."""
        return _Counting(journal, self._decided)

    def _decided(self, data: Mapping[str, Any]) -> None:
        self._decisions.labels(str(data.get("step")), str(data.get("ruling")), str(data.get("rule"))).inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text form."""
        return bytes(generate_latest(self.registry))


class _Counting:
    def __init__(self, journal: Journal, decided: Callable[[Mapping[str, Any]], None]) -> None:
        self._journal, self._decided = journal, decided

    def add(self, at: float, kind: str, who: str, data: Mapping[str, Any], incident: int | None = None) -> int:
        if kind == "decision":
            self._decided(data)
        return self._journal.add(at, kind, who, data, incident)


class _Looked(Collector):
    """Numbers that live in the memory and in the sources."""

    def __init__(self, operations: Callable[[], Operations], inbox: Inbox) -> None:
        self._operations, self._inbox = operations, inbox

    def collect(self) -> Iterator[Metric]:
        about = GaugeMetricFamily("treewalk_build_info", "Which treewalk this is.", labels=("version",))
        about.add_metric([__version__], 1.0)
        yield about
        up = GaugeMetricFamily("treewalk_memory_up", "Whether the memory can be read.")
        try:
            yield from list(self._remembered())
            up.add_metric([], 1.0)
        except TreewalkError:  # the other numbers are still worth having
            up.add_metric([], 0.0)
        yield from (up, self._sources())

    def _remembered(self) -> Iterator[Metric]:
        operations = self._operations()
        incidents = GaugeMetricFamily("treewalk_incidents", "Incidents by state.", labels=("state",))
        found = self._inbox.incidents_by_state()
        for state in dict.fromkeys((*LIVE, "closed", *found)):
            incidents.add_metric([state], found.get(state, 0))
        yield incidents
        actions = CounterMetricFamily("treewalk_actions", "Actions that were begun.", labels=("action", "outcome"))
        for (action, outcome), many in operations.ledger.counts().items():
            actions.add_metric([action, outcome], many)
        yield actions
        for name, about, value in (
            ("treewalk_incidents_waiting", "Incidents that nobody began to work on.", found.get("open", 0)),
            ("treewalk_kill_switch", "Whether the kill switch is on.", operations.killed() is not None),
            ("treewalk_read_only", "Whether treewalk only looks.", operations.read_only() is not None),
        ):
            yield GaugeMetricFamily(name, about, value=float(value))

    def _sources(self) -> Metric:
        errors = CounterMetricFamily(
            "treewalk_source_errors", "Calls to outside systems that failed.", labels=("kind", "source", "error")
        )
        for (kind, name, error), count in self._operations().app.sources.failures().items():
            errors.add_metric([kind, name, error], count)
        return errors

    def describe(self) -> Iterator[Metric]:
        return iter(())
