"""A small platform for the pages: three SLAs, a pool of connections that runs full, and a mend that a human approves.

Everything in it is numbers that a fake Prometheus tells (`tests.crash.target`); `POST /mend/idle` empties the pool.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.crash.target import Target

NUMBERS = {
    # name: (when well, when broken)
    "entity_age_seconds": (12.0, 96.0),
    "redis_connected_clients": (201.0, 298.0),
    "redis_writer_lag": (140.0, 18400.0),
    "kafka_topic_age_seconds": (2.0, 2.0),
    "websocket_messages_per_second": (412.0, 410.0),
    "report_age_seconds": (1260.0, 1260.0),
    "report_rows": (84200.0, 84200.0),
}
BROKEN_FOR = 240.0  # seconds before now
SLA = "entity_data_freshness"
_TREE = """
metrics:
  entity_data_freshness:
    description: Age of the newest entity that a reader sees
    sla: {query: entity_age_seconds, threshold: 60s}
    alerts: [EntityDataStale]
    owner: data-platform
    tags: {tier: 1}
    depends_on:
      - node: redis_writer
        type: process
        description: Reads filtered events, writes them to Redis
        healthcheck: {method: promql, condition: redis_writer_lag < 10000}
        metrics: [redis_writer_lag]
        depends_on:
          - node: entity_topic
            type: kafka_topic
            healthcheck: {method: promql, condition: kafka_topic_age_seconds < 30}
            depends_on:
              - node: websocket_ingestion
                type: process
                healthcheck: {method: promql, condition: websocket_messages_per_second > 10}
                depends_on:
                  - node: upstream_feed
                    type: external
                    healthcheck: {method: promql, condition: upstream_feed_up == 1}
          - node: redis_instance
            type: redis
            description: The store that every reader asks
            alerts: [redis_connected_clients > 280]
            metrics: [redis_connected_clients]
  daily_report_age:
    description: Age of the report that the desk opens in the morning
    sla: {query: report_age_seconds, threshold: 1h}
    owner: analytics
    depends_on:
      - {node: report_job, type: job, healthcheck: {method: promql, condition: report_rows > 1000}}
      - redis_instance
  partner_feed_delay:
    description: Delay of what partners are sent
    sla: {query: partner_delay_seconds, threshold: 5m}
    depends_on:
      - {node: partner_gateway, type: process, healthcheck: {method: promql, condition: partner_gateway_up == 1}}
"""
_KNOWN = """
errors:
  - id: ke-redis-clients
    signature: {node: redis_instance, metric_condition: redis_connected_clients > 280}
    root_node: redis_instance
    root_cause: Idle clients fill the connection pool of Redis
    category: resource_exhaustion
    severity: high
    fix: {playbook: close_idle_clients}
  - id: ke-report-late
    signature: {node: report_job, metric_condition: report_rows < 1000}
    root_node: report_job
    root_cause: The report ran before its input was there
    category: scheduling
    trust: candidate
"""


class Platform(Target):
    """The numbers, and whether the pool is full. `slow` seconds go by before every answer."""

    slow = 0.0
    mended = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.broke = time.time() - BROKEN_FOR

    def pause(self) -> None:
        time.sleep(self.slow)

    @property
    def full(self) -> bool:
        return not self.calls["/mend/idle"]

    def value(self, query: str) -> float | None:
        found = next((name for name in NUMBERS if re.search(rf"\b{name}\b", query)), None)
        return None if found is None else NUMBERS[found][self.full]

    def then(self, query: str, value: float, at: float) -> float:
        found = next(name for name in NUMBERS if re.search(rf"\b{name}\b", query))
        well, broken = NUMBERS[found]
        since = at - self.broke
        wave = 1 + 0.04 * ((at * 0.618) % 1 - 0.5)
        if not self.full:
            self.mended = self.mended or time.time()
        if since < 0 or (self.mended and at >= self.mended):
            return well * wave
        return (well + (broken - well) * min(1.0, since / 90)) * wave


def write_platform(folder: Path, url: str, more: str = "") -> Path:
    """A workspace of this platform whose fix asks; anna may approve."""
    for name, file, text in (("trees", "platform.yaml", _TREE), ("known_errors", "platform.yaml", _KNOWN)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(text)
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "close_idle_clients.yaml").write_text(
        "name: close_idle_clients\nsteps:\n"
        f"- {{action: http_call, url: '{url}/mend/idle', allow: ['{url}/mend'], method: POST}}\n"
        "- {action: wait, duration: 200ms}\n"
        "verify: {check: redis_connected_clients < 280, sla: true, stable: 500ms, timeout: 20s}\n"
    )
    (folder / "treewalk.yaml").write_text(
        f"sources: {{prometheus: {{url: '{url}', timeout: 10s}}}}\n"
        "walk: {since: 5m, deadline: 30s, baseline: {baseline: 20m}}\n"
        "policy:\n  approval: {approvers: [anna]}\n  tiers: [{action: http_call, tier: ask}]\n"
        'server: {token: "${TREEWALK_TOKEN}"}\n' + more
    )
    return folder
