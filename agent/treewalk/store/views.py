"""What the pages look up: lists and their pages. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from treewalk.model.acting import UNMET
from treewalk.store.database import Database
from treewalk.store.memory import LIVE

_ROW = "severity, number, opened, sla, status, root_node, known_error, state, ending, why, updated, closed"
_LIVE = ", ".join("?" for _ in LIVE)


class Views:
    """Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def mark(self) -> tuple[Any, ...]:
        """Changes when an incident does."""
        updated = self.database.query("SELECT MAX(updated) AS updated FROM incidents")
        number = self.database.query("SELECT MAX(number) AS number FROM incidents")  # apart: each uses its own index
        return updated[0]["updated"], number[0]["number"]

    def mark_of(self, number: int) -> tuple[Any, ...]:
        """Changes when this incident does."""
        found = self.database.query(
            "SELECT state, updated, (SELECT MAX(id) FROM timeline WHERE incident = ?) AS line,"
            " (SELECT COUNT(*) FROM approvals WHERE incident = ? AND granted IS NOT NULL) AS answers"
            " FROM incidents WHERE number = ?",
            [number, number, number],
        )
        return tuple(found[0].values()) if found else ()

    def incidents(self, limit: int, before: int | None = None) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first, of those before a number where one is given."""
        where, values = ("WHERE number < ?", [before]) if before is not None else ("", [])
        return self.database.query(
            f"SELECT {_ROW} FROM incidents {where} ORDER BY number DESC LIMIT ?",  # noqa: S608
            [*values, limit],
        )

    def living(self) -> Sequence[Mapping[str, Any]]:
        """Incidents that are not closed, oldest first."""
        return self.database.query(
            f"SELECT {_ROW} FROM incidents WHERE state IN ({_LIVE}) ORDER BY number",  # noqa: S608
            [*LIVE],
        )

    def needing(self, since: float, limit: int) -> Sequence[Mapping[str, Any]]:
        """Incidents that ended since a time with a human needed, and that nobody has seen: the gravest first, then the
        newest."""
        return self.database.query(
            f"SELECT {_ROW} FROM incidents i WHERE updated >= ? AND state = 'closed' AND closed >= ?"  # noqa: S608
            f" AND ending IN ({', '.join('?' for _ in UNMET)}) AND NOT EXISTS (SELECT 1 FROM timeline t"
            " WHERE t.incident = i.number AND t.kind = 'acknowledged' AND t.at >= i.closed)"
            " ORDER BY coalesce(severity, 'P3'), number DESC LIMIT ?",
            [since, since, *UNMET, limit],
        )

    def resolved(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """What was fixed last, newest first."""
        return self.database.query(
            f"SELECT {_ROW} FROM incidents WHERE ending = 'resolved' ORDER BY closed DESC LIMIT ?",  # noqa: S608
            [limit],
        )

    def newest_of(self) -> Mapping[str, Sequence[int]]:
        """By SLA, its newest incident, and before it the newest whose measurement is known, if that is another one.

        Only columns that stand before the documents are read, so that a large memory costs little.
        """
        rows = self.database.query(
            "SELECT sla, MAX(number) AS newest, MAX(CASE WHEN status != 'unknown' THEN number END) AS told"
            " FROM incidents GROUP BY sla"
        )
        return {row["sla"]: tuple(dict.fromkeys(n for n in (row["newest"], row["told"]) if n)) for row in rows}

    def more_slas(self) -> Mapping[int, Sequence[str]]:
        """By living incident, the SLAs that share it."""
        rows = self.database.query(
            f"SELECT s.incident, s.sla FROM incident_slas s JOIN incidents i ON i.number = s.incident"  # noqa: S608
            f" WHERE i.state IN ({_LIVE}) ORDER BY s.since, s.sla",
            [*LIVE],
        )
        found: dict[int, list[str]] = {}
        for row in rows:
            found.setdefault(row["incident"], []).append(row["sla"])
        return found

    def severity(self, number: int) -> str | None:
        """How bad an incident is, where that was told."""
        rows = self.database.query("SELECT severity FROM incidents WHERE number = ?", [number])
        return rows[0]["severity"] if rows else None

    def question(self, number: int, digest: str) -> Mapping[str, Any] | None:
        """What was asked about one plan, and the answer to it."""
        rows = self.database.query("SELECT * FROM approvals WHERE incident = ? AND digest = ?", [number, digest])
        return rows[0] if rows else None

    def answered(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The questions that were answered last."""
        return self.database.query(
            "SELECT * FROM approvals WHERE granted IS NOT NULL ORDER BY decided DESC LIMIT ?", [limit]
        )

    def audit(self, limit: int, before: int | None = None) -> Sequence[Mapping[str, Any]]:
        """Rows of the audit, newest first, of those before a number where one is given."""
        where, values = ("WHERE seq < ?", [before]) if before is not None else ("", [])
        rows = self.database.query(
            f"SELECT seq, at, kind, incident, who, data FROM audit {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            [*values, limit],
        )
        return [{**row, "data": json.loads(row["data"])} for row in rows]
