"""Long lists, a page at a time. Times are Unix seconds; every method raises StoreError."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from treewalk.store.database import Database
from treewalk.store.inbox import shown

Rows = list[Mapping[str, Any]]
_COLUMNS = "number, opened, sla, status, root_node, known_error, state, ending"
END = 2**63 - 1


class Pages:
    """Incidents, alerts, timelines and the audit in pages."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def incidents(self, before: int, limit: int) -> Rows:
        """Incidents with a number below `before`, the newest first."""
        return list(
            self.database.query(
                f"SELECT {_COLUMNS} FROM incidents WHERE number < ? ORDER BY number DESC LIMIT ?",  # noqa: S608
                [before, limit],
            )
        )

    def alerts(self, before: int, limit: int, *, unmapped: bool = False) -> Rows:
        """Alerts with an id below `before`, the newest first; only those of no SLA, or all."""
        also = "AND mapped = 0" if unmapped else ""
        rows = self.database.query(
            f"SELECT * FROM alerts WHERE id < ? {also} ORDER BY id DESC LIMIT ?",  # noqa: S608
            [before, limit],
        )
        return [shown(row) for row in rows]

    def timeline(self, number: int, after: int, limit: int) -> tuple[Rows, int | None]:
        """Lines of an incident after the one named `after`, oldest first, and the last one's name if there are more."""
        rows = self.database.query(
            "SELECT id, at, kind, text, data FROM timeline WHERE incident = ? AND id > ? ORDER BY id LIMIT ?",
            [number, after, limit + 1],
        )
        more = rows[limit - 1]["id"] if len(rows) > limit else None
        names = ("at", "kind", "text")
        return [{**{n: row[n] for n in names}, "data": json.loads(row["data"])} for row in rows[:limit]], more

    def audit(self, after: int, limit: int) -> Rows:
        """Rows of the audit after a number, oldest first."""
        rows = self.database.query("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", [after, limit])
        return [{**row, "data": json.loads(row["data"])} for row in rows]


def following(rows: Sequence[Mapping[str, Any]], limit: int, key: str) -> Any:
    """What names the place where the next page begins, or None at the end. Ask for one row more than is shown."""
    return rows[limit - 1][key] if len(rows) > limit else None
