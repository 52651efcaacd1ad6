"""Alerts that an incident was given when its proof was over: the proof says nothing of what they tell."""

from __future__ import annotations

from treewalk.store.database import Writer


def came_late(db: Writer, number: int) -> str | None:
    """The last alert that came to an incident after its plan was proven, or None. By the order of the timeline's lines,
    which is the order of the transactions; clocks of several hosts would not tell."""
    look = "SELECT max(id) AS last FROM timeline WHERE incident = ? AND kind = 'verified' AND text LIKE ?"
    proven = db.query(look, [number, "holds: %"])[0]["last"]
    if proven is None:
        return None
    late = "SELECT text FROM timeline WHERE incident = ? AND kind = 'alert' AND id > ? ORDER BY id DESC LIMIT 1"
    rows = db.query(late, [number, proven])
    return str(rows[0]["text"]) if rows else None
