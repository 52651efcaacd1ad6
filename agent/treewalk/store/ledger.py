"""The ledger: an intent before each action, its outcome after, both on disk before anything else happens.

It is what makes an action run at most once: the intent's key can be written once only, whoever tries. An intent
without an outcome means that nobody knows whether it ran.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from treewalk.model.acting import LedgerEntry, PastAction, PlannedStep, RunOutcome, canonical
from treewalk.model.redact import redact
from treewalk.store.audit import append
from treewalk.store.cleaning import cleaned
from treewalk.store.database import Database

_LENGTH = "SELECT count(*) AS many FROM ledger"


class Ledger:
    """The ledger table. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many runs there were, by action and outcome (`begun` where nobody knows yet)."""
        rows = self.database.query(
            "SELECT action, coalesce(outcome, 'begun') AS outcome, count(*) AS many FROM ledger GROUP BY 1, 2"
        )
        return {(row["action"], row["outcome"]): int(row["many"]) for row in rows}

    def length(self) -> int:
        """How many runs were ever meant; none is ever removed."""
        return int(self.database.query(_LENGTH)[0]["many"])

    def intend(
        self, key: str, incident: int, step: PlannedStep, digest: str, worker: str, at: float, length: int | None = None
    ) -> LedgerEntry | None:
        """Write the intent to run a step, or find the one that is there already.

        None, and nothing is written, where there are more runs than `length`: what was decided when there were so
        many (limits, repeats) may be wrong by now.
        """
        facts = step.facts
        with self.database.writing() as db:
            known = db.query("SELECT 1 AS one FROM ledger WHERE key = ?", [key])
            if length is not None and not known and db.query(_LENGTH)[0]["many"] > length:
                return None
            written = db.execute(
                "INSERT INTO ledger (key, incident, action, node, params, digest, idempotent, cost, worker, intent_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                [
                    key,
                    incident,
                    step.kind,
                    step.node,
                    canonical(cleaned(step.params)),
                    digest,
                    int(bool(facts and facts.idempotent)),
                    facts.cost if facts else 0.0,
                    worker,
                    at,
                ],
            )
            if written:
                data = {"key": key, "action": step.kind, "node": step.node, "plan": digest}
                append(db, at, "intent", worker, data, incident)
                return LedgerEntry(key, True, worker, None, "", {})
            row = db.query("SELECT * FROM ledger WHERE key = ?", [key])[0]
        return _entry(row)

    def settle(
        self, key: str, outcome: RunOutcome, summary: str, data: Mapping[str, Any], worker: str, at: float
    ) -> None:
        """Write what came of it. What was settled once stays so."""
        with self.database.writing() as db:
            changed = db.execute(
                "UPDATE ledger SET outcome = ?, outcome_at = ?, summary = ?, data = ?"
                " WHERE key = ? AND outcome IS NULL",
                [outcome, at, redact(summary)[:2000], canonical(cleaned(data)), key],
            )
            if changed:
                incident = db.query("SELECT incident FROM ledger WHERE key = ?", [key])[0]["incident"]
                said = {"key": key, "outcome": outcome, "summary": summary[:2000]}
                append(db, at, "outcome", worker, said, incident)

    def of(self, incident: int) -> Sequence[Mapping[str, Any]]:
        """The runs of one incident, in order."""
        return self.database.query("SELECT * FROM ledger WHERE incident = ? ORDER BY intent_at, key", [incident])

    def left_by(self, worker: str) -> Sequence[Mapping[str, Any]]:
        """The runs that a process began and that have no outcome, of incidents that are closed: key, incident, action,
        node."""
        return self.database.query(
            "SELECT l.key, l.incident, l.action, l.node FROM ledger AS l JOIN incidents AS i ON i.number = l.incident"
            " WHERE l.worker = ? AND l.outcome IS NULL AND i.state = 'closed' ORDER BY l.intent_at, l.key",
            [worker],
        )

    def past(self, since: float, but: str = "") -> Sequence[PastAction]:
        """Every action that ran, or may have, since a time (Unix seconds); but not the run of that key."""
        rows = self.database.query(
            "SELECT action, node, intent_at, cost FROM ledger WHERE intent_at >= ? AND key != ?", [since, but]
        )
        return [PastAction(r["action"], r["node"], r["intent_at"], r["cost"]) for r in rows]

    def ended(self, since: float, but: int) -> Mapping[str, Sequence[int]]:
        """By node, the incidents of the runs that were begun since a time (Unix seconds) and have ended, one a run, in
        order; but not of that incident."""
        rows = self.database.query(
            "SELECT node, incident FROM ledger WHERE intent_at >= ? AND outcome IS NOT NULL AND incident != ?"
            " ORDER BY outcome_at, key",
            [since, but],
        )
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(row["node"], []).append(int(row["incident"]))
        return found

    def entry(self, key: str) -> LedgerEntry | None:
        """The run of that key, if it was ever meant."""
        rows = self.database.query("SELECT * FROM ledger WHERE key = ?", [key])
        return _entry(rows[0]) if rows else None

    def earlier(self, incident: int, step: PlannedStep, digest: str, phase: str) -> LedgerEntry | None:
        """The last run of this very action under another plan of the incident, in the same phase of it."""
        rows = self.database.query(
            "SELECT * FROM ledger WHERE incident = ? AND action = ? AND node = ? AND params = ? AND digest != ?"
            " AND key LIKE ? ORDER BY intent_at DESC, key LIMIT 1",
            [incident, step.kind, step.node, canonical(cleaned(step.params)), digest, f"%:{phase}:%"],
        )
        return _entry(rows[0]) if rows else None


def _entry(row: Mapping[str, Any]) -> LedgerEntry:
    data = json.loads(row["data"]) if row["data"] and row["data"].startswith("{") else {}
    return LedgerEntry(row["key"], False, row["worker"], row["outcome"], row["summary"] or "", data)
