"""The memory: every diagnosis, how known errors did, and full-text search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from treewalk.errors import UsageError
from treewalk.model.diagnosis import Diagnosis
from treewalk.store.database import Database, SqliteDatabase, Writer
from treewalk.store.schema import VERSION
from treewalk.store.unmet import met

__all__ = ["VERSION", "MemoryStore"]
LIVE = ("open", "diagnosing", "planned", "waiting", "asking", "acting", "verifying")
"""States of an incident that is not over."""
_NEVER = 1e18  # Unix seconds
_COLUMNS = "number, opened, sla, status, root_node, known_error, state, ending"


class MemoryStore:
    """What was diagnosed. A path stands for a SQLite file. Every method raises StoreError."""

    def __init__(self, database: Database | Path) -> None:
        self.database: Database = SqliteDatabase(database) if isinstance(database, Path) else database

    def keep(self, diagnosis: Diagnosis, document: Mapping[str, Any]) -> int:
        """Save a diagnosis and count its known error; the new incident's number."""
        with self.database.writing() as db:
            number = int(
                db.query(
                    "INSERT INTO incidents (opened, sla, status, document, words) VALUES (?, ?, '', '', '')"
                    " RETURNING number",
                    [diagnosis.timing.at, diagnosis.sla],
                )[0]["number"]
            )
            write_diagnosis(db, number, diagnosis, document)
            if diagnosis.measurement.status == "met":
                met(db, [diagnosis.sla], diagnosis.timing.at)
        return number

    def incidents(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first."""
        return self.database.query(
            f"SELECT {_COLUMNS} FROM incidents ORDER BY number DESC LIMIT ?",  # noqa: S608
            [limit],
        )

    def incident(self, number: int) -> Mapping[str, Any]:
        """One incident's document, with its number and life. Raises UsageError when there is none."""
        found = self.database.query("SELECT * FROM incidents WHERE number = ?", [number])
        if not found:
            raise UsageError(f"no incident number {number}; `treewalk incidents list` shows them")
        row = found[0]
        document = json.loads(row["document"]) if row["document"] else {}
        life = {
            "state": row["state"],
            "ending": row["ending"],
            "why": row["why"],
            "closed": row["closed"],
            "plan": json.loads(row["plan"]) if row["plan"] else None,
            "digest": row["digest"],
            "outcome": json.loads(row["outcome"]) if row["outcome"] else None,
        }
        return {"number": number, "sla": row["sla"], "opened": row["opened"], **document, "life": life}

    def search(self, text: str, limit: int) -> Sequence[Mapping[str, Any]]:
        """Incidents whose words match, best first. Every word has to occur; the text is never query syntax."""
        words = [w for w in text.replace("\0", " ").split() if any(c.isalnum() for c in w)]
        if not words:
            return []
        if self.database.dialect == "postgres":
            return self.database.query(
                f"SELECT {_COLUMNS} FROM incidents, plainto_tsquery('simple', ?) AS wanted"  # noqa: S608
                " WHERE to_tsvector('simple', words) @@ wanted"
                " ORDER BY ts_rank(to_tsvector('simple', words), wanted) DESC LIMIT ?",
                [" ".join(words), limit],
            )
        quoted = " ".join('"' + w.replace('"', '""') + '"' for w in words)
        return self.database.query(
            f"SELECT {_COLUMNS} FROM incidents"  # noqa: S608
            " JOIN incidents_fts ON incidents.number = incidents_fts.rowid"
            " WHERE incidents_fts MATCH ? ORDER BY rank LIMIT ?",
            [quoted, limit],
        )

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """How often and when each known error was met."""
        return {row["id"]: row for row in self.database.query("SELECT * FROM known_error_statistics")}


def write_diagnosis(db: Writer, number: int, diagnosis: Diagnosis, document: Mapping[str, Any]) -> None:
    """Put a diagnosis into an incident's row, and count its known error: a violation once, however often looked at."""
    cause = diagnosis.root_cause
    known = diagnosis.known_error.error.id if diagnosis.known_error else None
    at = diagnosis.timing.at
    counted = known is not None and _counted(db, number, diagnosis.sla, known, at, diagnosis.measurement.onset)
    db.execute(
        "UPDATE incidents SET status = ?, root_node = ?, known_error = ?, document = ?, words = ? WHERE number = ?",
        [
            diagnosis.measurement.status,
            cause.node if cause else None,
            known,
            json.dumps(document, allow_nan=False),
            _words(document),
            number,
        ],
    )
    if known is not None:
        db.execute(_COUNT, [known, at, at, 0 if counted else 1])


def _counted(db: Writer, number: int, sla: str, known: str, at: float, onset: float | None) -> bool:
    """Whether a known error was counted already for this incident, or for another record of the same violation: one of
    the SLA that lives, or lived on after the violation's onset."""
    marks = ", ".join("?" for _ in LIVE)
    return bool(
        db.query(
            "SELECT 1 AS one FROM incidents WHERE known_error = ? AND (number = ? OR (sla = ? AND opened <= ?"  # noqa: S608
            f" AND (state IN ({marks}) OR coalesce(closed, opened) >= ?))) LIMIT 1",
            [known, number, sla, at, *LIVE, _NEVER if onset is None else onset],
        )
    )


_COUNT = (
    "INSERT INTO known_error_statistics (id, occurrence_count, first_seen, last_seen) VALUES (?, 1, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET occurrence_count = known_error_statistics.occurrence_count + ?,"
    " first_seen = CASE WHEN excluded.first_seen < known_error_statistics.first_seen"
    " THEN excluded.first_seen ELSE known_error_statistics.first_seen END,"
    " last_seen = CASE WHEN excluded.last_seen > known_error_statistics.last_seen"
    " THEN excluded.last_seen ELSE known_error_statistics.last_seen END"
)


def _words(document: Mapping[str, Any]) -> str:
    """What full-text search looks through."""
    cause, known = document.get("root_cause") or {}, document.get("known_error") or {}
    parts = [
        document["sla"],
        cause.get("node", ""),
        cause.get("reason", ""),
        known.get("id", ""),
        known.get("root_cause", ""),
    ]
    for evidence in document["evidence"]:
        parts += [evidence["summary"], *evidence["samples"]]
    return " ".join(str(p) for p in parts if p).replace("\0", " ")
