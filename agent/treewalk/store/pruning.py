"""What is old goes: documents and timelines of closed incidents, alerts, deliveries. Never the audit, the ledger, what
was learned, or how fixes did; and an incident's own row stays, so that numbers and summaries keep their meaning.

Each call is one small transaction, so that alerts that come in at the same time do not wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from treewalk.model.quantity import format_duration
from treewalk.store.database import Database, Writer

TOGETHER = 200  # rows that one transaction removes, of each kind
UNMAPPED = 10_000  # alerts of no SLA that are kept at the most, the newest
_INCIDENTS = (
    "SELECT number FROM incidents WHERE state IN ('closed', 'diagnosed') AND coalesce(closed, updated, opened) < ?"
    " AND (document != '' OR plan IS NOT NULL OR outcome IS NOT NULL) ORDER BY number LIMIT ?"
)
_ALERTS = (
    "SELECT id FROM alerts WHERE last_seen < ? AND NOT EXISTS (SELECT 1 FROM alert_incidents l"
    " JOIN incidents i ON i.number = l.incident WHERE l.alert = alerts.id AND NOT"
    " (i.state IN ('closed', 'diagnosed') AND coalesce(i.closed, i.updated, i.opened) < ?)) ORDER BY id LIMIT ?"
)
_UNMAPPED = (
    "SELECT id FROM alerts WHERE mapped = 0 AND last_seen >= ? AND id <"
    " (SELECT min(id) FROM (SELECT id FROM alerts WHERE mapped = 0 ORDER BY id DESC LIMIT ?) AS newest)"
    " ORDER BY id LIMIT ?"
)
_DELIVERIES = (
    "SELECT channel, key FROM deliveries WHERE updated < ? AND key != 'mark' AND state IN ('sent', 'failed')"
    " AND (incident IS NULL OR EXISTS (SELECT 1 FROM incidents i WHERE i.number = deliveries.incident"
    " AND i.state IN ('closed', 'diagnosed'))) LIMIT ?"
)
_ALL = 2**62


@dataclass(frozen=True)
class Pruned:
    """How many of each were, or would be, removed."""

    incidents: int = 0
    alerts: int = 0
    deliveries: int = 0

    @property
    def any(self) -> bool:
        return bool(self.incidents or self.alerts or self.deliveries)

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.incidents + other.incidents, self.alerts + other.alerts, self.deliveries + other.deliveries)

    def __str__(self) -> str:
        return f"documents of {self.incidents} incidents, {self.alerts} alerts, {self.deliveries} deliveries"


class Pruner:
    """Removes what is older than `keep` seconds. Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database, keep: float) -> None:
        self.database, self.keep = database, keep

    def would(self, now: float) -> Pruned:
        """How much there is to be removed."""
        before = now - self.keep
        found = (
            self.database.query(_INCIDENTS, [before, _ALL]),
            [
                *self.database.query(_ALERTS, [before, before, _ALL]),
                *self.database.query(_UNMAPPED, [before, UNMAPPED, _ALL]),
            ],
            self.database.query(_DELIVERIES, [before, _ALL]),
        )
        return Pruned(*(len(rows) for rows in found))

    def some(self, now: float) -> Pruned:
        """Remove a little; what was removed. Call it again until there is nothing left."""
        before = now - self.keep
        with self.database.writing() as db:
            return Pruned(self._incidents(db, before, now), self._alerts(db, before), self._deliveries(db, before))

    def _incidents(self, db: Writer, before: float, now: float) -> int:
        rows = db.query(_INCIDENTS, [before, TOGETHER])
        for row in rows:
            number = row["number"]
            db.execute("DELETE FROM timeline WHERE incident = ?", [number])
            db.execute(
                "UPDATE incidents SET document = '', words = sla, plan = NULL, outcome = NULL WHERE number = ?",
                [number],
            )
            db.execute(
                "INSERT INTO timeline (incident, at, kind, text, data) VALUES (?, ?, 'pruned', ?, '{}')",
                [number, now, f"what was kept of it was removed: it is older than {format_duration(self.keep)}"],
            )
        return len(rows)

    def _alerts(self, db: Writer, before: float) -> int:
        found = db.query(_ALERTS, [before, before, TOGETHER]) + db.query(_UNMAPPED, [before, UNMAPPED, TOGETHER])
        ids = {row["id"] for row in found}
        for id in ids:
            db.execute("DELETE FROM alert_incidents WHERE alert = ?", [id])
            db.execute("DELETE FROM alerts WHERE id = ?", [id])
        return len(ids)

    def _deliveries(self, db: Writer, before: float) -> int:
        rows = db.query(_DELIVERIES, [before, TOGETHER])
        for row in rows:
            db.execute("DELETE FROM deliveries WHERE channel = ? AND key = ?", [row["channel"], row["key"]])
        return len(rows)
