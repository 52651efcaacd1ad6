"""Webhooks of Alertmanager (version 4 of its message, 0.25 and later).

A group may hold firing and resolved alerts together; groups are sent again and again, so what comes twice is the same.
"""

from __future__ import annotations

from treewalk.integrations.webhook import grouped
from treewalk.model.alert import Parsed


def parse(body: bytes) -> Parsed:
    """The alerts of one message. Raises UsageError when it is none."""
    return grouped(body, "alertmanager")
