"""That somebody has seen an incident: a line in its timeline and in the audit."""

from __future__ import annotations

from treewalk.store.audit import append
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database


def acknowledge(database: Database, cases: Casebook, number: int, who: str, via: str, at: float) -> bool:
    """Keep it; False when that was done before and nobody was waited for since. Raises UsageError, StoreError."""
    cases.life(number)
    with database.writing() as db:
        rows = db.query(
            "SELECT kind FROM timeline WHERE incident = ? AND kind IN ('acknowledged', 'asking', 'closed', 'worse')"
            " ORDER BY id DESC LIMIT 1",
            [number],
        )
        if rows and rows[0]["kind"] == "acknowledged":
            return False
        cases.note_within(db, number, "acknowledged", f"{who[:200]} has seen it ({via})", at)
        append(db, at, "acknowledge", who, {"via": via}, number)
    return True
