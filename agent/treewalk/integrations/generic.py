"""Webhooks of anything else: a small JSON, described in docs/serve.md.

    {"name": "OrdersStale", "sla": "orders_freshness", "status": "firing", "summary": "no order for 9 minutes"}

or a list of such, or `{"alerts": [...]}`.
"""

from __future__ import annotations

from typing import Any

from treewalk.errors import UsageError
from treewalk.integrations.webhook import (
    MAX_ALERTS,
    clean,
    given_name,
    json_of,
    long_table,
    moment,
    of_labels,
    read,
    status_of,
    summary_of,
    table,
    text_of,
)
from treewalk.model.alert import Alert, Parsed


def parse(body: bytes) -> Parsed:
    """The alerts of one message. Raises UsageError when it is none."""
    data = json_of(text_of(body, "a generic sender"), "a generic sender")
    entries = data.get("alerts", [data]) if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise UsageError('the message has to be one alert, a list of them, or {"alerts": [...]}')
    return read(entries, _entry, max(0, len(entries) - MAX_ALERTS))


def _entry(number: int, entry: Any) -> Alert | str:
    if not isinstance(entry, dict):
        return f"alert {number} is no object"
    status = status_of(entry["status"]) if "status" in entry else "firing"
    if status is None:
        return f"alert {number} is neither firing nor resolved but {clean(entry['status'], 40)!r}"
    labels, notes = table(entry.get("labels")), long_table(entry.get("annotations"))
    sla = clean(entry.get("sla"))
    if sla:
        labels["sla"] = sla
    name = clean(entry.get("name")) or labels.get("alertname") or sla
    if not name:
        return f"alert {number} has neither name nor sla"
    return Alert(
        source="generic",
        fingerprint=given_name(entry.get("id")) or of_labels(entry.get("labels"), labels, name),
        status=status,
        name=name,
        labels=labels,
        annotations=notes,
        starts_at=moment(entry.get("starts_at")),
        ends_at=moment(entry.get("ends_at")) if status == "resolved" else None,
        summary=clean(entry.get("summary")) or summary_of(notes),
    )
