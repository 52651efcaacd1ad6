"""Webhooks of Grafana's own alerting, which are shaped like Alertmanager's with fields added."""

from __future__ import annotations

from treewalk.integrations.webhook import grouped
from treewalk.model.alert import Parsed


def parse(body: bytes) -> Parsed:
    """The alerts of one message. Raises UsageError when it is none."""
    return grouped(body, "grafana")
