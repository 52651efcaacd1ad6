"""The audit: every decision, action and approval, append-only, each row holding the hash of the one before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treewalk.model.acting import canonical
from treewalk.store.cleaning import cleaned, cleaned_text
from treewalk.store.crosscheck import missing, witnesses
from treewalk.store.database import Database, Writer

FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is not as it was written: the row's number (None where no row can be named) and what is wrong."""

    seq: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.seq is None else f"row {self.seq}: {self.what}"


class Audit:
    """The audit table. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, at: float, kind: str, who: str, data: Mapping[str, Any], incident: int | None = None) -> int:
        """Append a row (redacted), committed when this returns; its number."""
        with self.database.writing() as db:
            return append(db, at, kind, who, data, incident)

    def rows(self, limit: int = 1000, incident: int | None = None) -> Sequence[Mapping[str, Any]]:
        """The newest rows, oldest of them first, with `data` as it was given (redacted)."""
        where, values = ("WHERE incident = ?", [incident]) if incident is not None else ("", [])
        found = self.database.query(
            f"SELECT * FROM audit {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            [*values, limit],
        )
        return [{**row, "data": json.loads(row["data"])} for row in reversed(found)]

    def verify(self, kept: str | None = None) -> tuple[int, list[Flaw]]:
        """How many rows there are, and everything that was changed, removed or inserted, as far as it can be told.

        The chain is held against itself, against the tables that are written with it, and against `kept`, the hash of
        a row that was noted elsewhere: without that, whoever rewrites the whole database is not found out.
        """
        tables = witnesses(self.database)  # before the rows: what comes meanwhile is not missed in them
        found = self.database.query(
            "SELECT audit.*, (SELECT seq FROM audit_head WHERE one = 1) AS head_seq,"
            " (SELECT hash FROM audit_head WHERE one = 1) AS head_hash FROM audit ORDER BY seq"
        )
        wrong = flaws(found, self.head() if not found else _head_beside(found[0]))
        wrong += [Flaw(None, what) for what in missing(found, tables)]
        if kept is not None and not any(row["hash"] == kept for row in found):
            wrong.append(
                Flaw(None, f"no row has the hash that was kept ({kept[:16]}…): the audit was cut or rewritten")
            )
        return len(found), wrong

    def head(self) -> Mapping[str, Any] | None:
        """The number and the hash of the last row, to be kept elsewhere; None where there is none."""
        found = self.database.query("SELECT seq, hash FROM audit_head WHERE one = 1")
        return found[0] if found else None


def _head_beside(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return {"seq": row["head_seq"], "hash": row["head_hash"]} if row["head_seq"] is not None else None


def append(db: Writer, at: float, kind: str, who: str, data: Mapping[str, Any], incident: int | None = None) -> int:
    """Append a row within a transaction that is open."""
    head = db.query("SELECT seq, hash FROM audit_head WHERE one = 1")
    seq, previous = (int(head[0]["seq"]) + 1, head[0]["hash"]) if head else (1, FIRST)
    text = canonical(cleaned(data))
    who = cleaned_text(who)
    row = {"seq": seq, "at": at, "kind": kind, "incident": incident, "who": who, "data": text, "previous": previous}
    digest = row_hash(row)
    db.execute(
        "INSERT INTO audit (seq, at, kind, incident, who, data, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [*row.values(), digest],
    )
    db.execute(
        "INSERT INTO audit_head (one, seq, hash) VALUES (1, ?, ?)"
        " ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        [seq, digest],
    )
    return seq


def row_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a row, the hash of the row before included."""
    fields = ("seq", "at", "kind", "incident", "who", "data", "previous")
    return hashlib.sha256(canonical([row[field] for field in fields]).encode()).hexdigest()


def flaws(rows: Sequence[Mapping[str, Any]], head: Mapping[str, Any] | None) -> list[Flaw]:
    """What is wrong with a chain, given what its head should be. Pure."""
    found: list[Flaw] = []
    previous, expected = FIRST, 1
    for row in rows:
        seq = int(row["seq"])
        if seq > expected:
            missing = f"row {expected}" if seq == expected + 1 else f"rows {expected} to {seq - 1}"
            found.append(Flaw(expected, f"{missing} removed"))
        if row_hash(row) != row["hash"]:
            found.append(Flaw(seq, "its content was changed"))
        elif seq == expected and row["previous"] != previous:
            found.append(Flaw(seq, "it was inserted or rewritten: it does not follow the row before it"))
        previous, expected = row["hash"], seq + 1
    if head is None:
        if rows:
            found.append(Flaw(expected - 1, "the head of the chain was removed"))
        return found
    if expected - 1 < int(head["seq"]):
        found.append(Flaw(expected, f"rows {expected} to {head['seq']} removed from the end"))
    elif expected - 1 > int(head["seq"]):
        found.append(Flaw(int(head["seq"]) + 1, "rows were inserted after the head of the chain"))
    elif rows and previous != head["hash"]:
        found.append(Flaw(expected - 1, "the last row is not the one that was written last"))
    return found
