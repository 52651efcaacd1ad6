"""What was learned: patterns with their trust, and how every fix has done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from treewalk.model.acting import Record, TriedFix
from treewalk.model.known import Trust
from treewalk.store.audit import append
from treewalk.store.database import Database

_SAME = "node = ? AND (known_error = ? OR playbook = ?)"  # for whichever SLA: a node that does not stay mended


def _same(fix: TriedFix) -> list[str | None]:
    return [fix.node, fix.known_error, fix.playbook]


class Lessons:
    """Learned patterns and records of fixes. Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def keep(self, id: str, document: Mapping[str, Any], incident: int | None, at: float, who: str) -> bool:
        """Keep a learned pattern as a candidate; False when there is one of that id."""
        with self.database.writing() as db:
            added = db.execute(
                "INSERT INTO learned (id, trust, document, incident, created, updated, who)"
                " VALUES (?, 'candidate', ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                [id, json.dumps(dict(document), allow_nan=False), incident, at, at, who],
            )
            if added:
                append(db, at, "learned", who, {"id": id}, incident)
        return bool(added)

    def learned(self) -> Sequence[Mapping[str, Any]]:
        """Every learned pattern: id, trust, document, incident, created."""
        rows = self.database.query("SELECT * FROM learned ORDER BY created, id")
        return [{**row, "document": json.loads(row["document"])} for row in rows]

    def learned_here(self, id: str) -> bool:
        """Whether treewalk learned it from an incident of its own; what was imported has none."""
        return bool(self.database.query("SELECT 1 FROM learned WHERE id = ? AND incident IS NOT NULL", [id]))

    def trusts(self) -> Mapping[str, Trust]:
        """What was decided about the trust in known errors, learned or written in files, by id."""
        return {row["id"]: row["trust"] for row in self.database.query("SELECT id, trust FROM trust")}

    def set_trust(self, id: str, trust: Trust, who: str, why: str, at: float) -> None:
        """Decide how far a known error is trusted from now on."""
        with self.database.writing() as db:
            db.execute(
                "INSERT INTO trust (id, trust, at, who, why) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET trust = excluded.trust, at = excluded.at, who = excluded.who, why = excluded.why",
                [id, trust, at, who, why[:500]],
            )
            db.execute("UPDATE learned SET trust = ?, updated = ? WHERE id = ?", [trust, at, id])
            append(db, at, "trust", who, {"id": id, "trust": trust, "why": why})

    def tried(self, fix: TriedFix, incident: int, result: str, seconds: float | None, at: float) -> None:
        """Keep how a fix ended: `won`, `failed` or `inconclusive`; once an incident."""
        with self.database.writing() as db:
            db.execute(
                "INSERT INTO fixes (known_error, playbook, node, sla, incident, at, result, seconds)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (incident) DO NOTHING",
                [fix.known_error, fix.playbook, fix.node, fix.sla, incident, at, result, seconds],
            )

    def returned(self, fix: TriedFix, incident: int, since: float) -> int:
        """This fix is needed again at its node: where it won since a time it did not fix. How often."""
        with self.database.writing() as db:
            changed: int = db.execute(
                f"UPDATE fixes SET result = 'returned' WHERE {_SAME} AND result = 'won' AND at >= ? AND incident < ?",  # noqa: S608
                [*_same(fix), since, incident],
            )
        return changed

    def broke_again(self, sla: str, incident: int, since: float) -> int:
        """An SLA is violated again, whatever breaks it: what won for it since a time did not last. How often."""
        with self.database.writing() as db:
            changed: int = db.execute(
                "UPDATE fixes SET result = 'returned' WHERE result = 'won' AND at >= ? AND incident < ? AND (sla = ?"
                " OR incident IN (SELECT incident FROM incident_slas WHERE sla = ?))",
                [since, incident, sla, sla],
            )
        return changed

    def history(self, fix: TriedFix, since: float) -> Sequence[Mapping[str, Any]]:
        """How this fix did since a time, oldest first."""
        return self.database.query(
            f"SELECT known_error, playbook, incident, at, result, seconds FROM fixes WHERE {_SAME}"  # noqa: S608
            " AND at >= ? ORDER BY at, id",
            [*_same(fix), since],
        )

    def records(self) -> Mapping[str, Mapping[str, Any]]:
        """By known error's id: fires, wins, failures in a row at the end, mean seconds of the wins."""
        rows = self.database.query(
            "SELECT known_error, result, seconds FROM fixes WHERE known_error IS NOT NULL ORDER BY at, id"
        )
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            one = found.setdefault(row["known_error"], {"fires": 0, "wins": 0, "failures": 0, "total": 0.0})
            won = row["result"] == "won"
            one["fires"] += 1
            one["wins"] += won
            one["failures"] = 0 if won else one["failures"] + 1
            one["total"] += (row["seconds"] or 0.0) if won else 0.0
        for one in found.values():
            total = one.pop("total")
            one["resolution_time_avg"] = total / one["wins"] if one["wins"] else None
        return found

    def record(self, id: str, trust: Trust) -> Record:
        """How the fix of one known error has done, for policy."""
        one = self.records().get(id, {})
        decided = self.trusts().get(id, trust)
        return Record(one.get("fires", 0), one.get("wins", 0), one.get("failures", 0), decided)
