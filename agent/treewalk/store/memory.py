"""The memory on SQLite, through sqlite-utils: every diagnosis, how known errors did, and full-text search."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treewalk.errors import StoreError, UsageError
from treewalk.model.diagnosis import Diagnosis

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 1
_BUSY = 10_000  # milliseconds to wait for another process


class MemoryStore:
    """One SQLite file, shared by several processes (WAL). Raises StoreError when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: Database | None = None

    def keep(self, diagnosis: Diagnosis, document: Mapping[str, Any]) -> int:
        """Save a diagnosis and count its known error; the new incident's number."""
        cause = diagnosis.root_cause
        known = diagnosis.known_error.error.id if diagnosis.known_error else None
        row = {
            "opened": diagnosis.timing.at,
            "sla": diagnosis.sla,
            "status": diagnosis.measurement.status,
            "root_node": cause.node if cause else None,
            "known_error": known,
            "document": json.dumps(document, allow_nan=False),
            "words": _words(document),
        }
        with self._database() as db, _writing(db):
            table = db.table("incidents").insert(row)
            number = int(table.last_pk or 0)
            if known is not None:
                db.execute(_COUNT, [known, diagnosis.timing.at, diagnosis.timing.at])
        return number

    def incidents(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first."""
        with self._database() as db:
            columns = "number, opened, sla, status, root_node, known_error"
            return list(db.query(f"SELECT {columns} FROM incidents ORDER BY number DESC LIMIT ?", [limit]))  # noqa: S608

    def incident(self, number: int) -> Mapping[str, Any]:
        """One incident's document, with its number. Raises UsageError when there is none."""
        with self._database() as db:
            rows = list(db.query("SELECT document FROM incidents WHERE number = ?", [number]))
        if not rows:
            raise UsageError(f"no incident number {number}; `treewalk incidents list` shows them")
        return {"number": number, **json.loads(rows[0]["document"])}

    def search(self, text: str, limit: int) -> Sequence[Mapping[str, Any]]:
        """Incidents whose words match, best first. Every word has to occur; the text is never query syntax."""
        words = [w for w in text.replace("\0", " ").split() if any(c.isalnum() for c in w)]
        if not words:
            return []
        quoted = " ".join('"' + w.replace('"', '""') + '"' for w in words)
        with self._database() as db:
            return list(
                db.query(
                    "SELECT number, opened, sla, status, root_node, known_error FROM incidents"
                    " JOIN incidents_fts ON incidents.number = incidents_fts.rowid"
                    " WHERE incidents_fts MATCH ? ORDER BY rank LIMIT ?",
                    [quoted, limit],
                )
            )

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """How often and when each known error was met."""
        with self._database() as db:
            rows = list(db.query("SELECT * FROM known_error_statistics"))
        return {row["id"]: row for row in rows}

    @contextmanager
    def _database(self) -> Iterator[Database]:
        """The open database; what SQLite complains of becomes a StoreError that says what to do."""
        try:
            if self._opened is None:
                self._opened = self._open()
            yield self._opened
        except (sqlite3.Error, OSError) as error:
            hint = (
                "move it away to begin a new one"
                if "malformed" in str(error) or "not a database" in str(error)
                else "check the disk and the rights"
            )
            raise StoreError(f"the memory {self.path} cannot be used: {error}; {hint}") from None

    def _open(self) -> Database:
        """Open the file, making it when it is new. Two first processes may collide while the journal is switched to
        WAL, which does not wait by itself; then it is tried again."""
        deadline = time.monotonic() + _BUSY / 1000
        while True:
            try:
                return self._connect()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _connect(self) -> Database:
        from sqlite_utils import Database

        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(self.path, timeout=_BUSY / 1000, check_same_thread=False)
        try:
            self.path.chmod(0o600)
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise StoreError(f"the memory {self.path} was written by a newer treewalk; update this one")
            db = Database(connection)
            if found < VERSION:
                _create(db)
        except BaseException:
            connection.close()
            raise
        return db


@contextmanager
def _writing(db: Database) -> Iterator[None]:
    """A transaction that holds the write lock from its beginning: one that takes it later cannot wait for it."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.conn.rollback()
        raise
    db.conn.commit()


def _create(db: Database) -> None:
    """The tables, unless another process has just made them."""
    with _writing(db):
        if db.conn.execute("PRAGMA user_version").fetchone()[0] < VERSION:
            for statement in _SCHEMA:
                db.conn.execute(statement)
            db.conn.execute(f"PRAGMA user_version = {VERSION}")


_COUNT = (
    "INSERT INTO known_error_statistics (id, occurrence_count, first_seen, last_seen) VALUES (?, 1, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET occurrence_count = occurrence_count + 1,"
    " first_seen = min(first_seen, excluded.first_seen),"
    " last_seen = max(last_seen, excluded.last_seen)"
)
_SCHEMA = (
    "CREATE TABLE incidents (number INTEGER PRIMARY KEY AUTOINCREMENT, opened REAL NOT NULL, sla TEXT NOT NULL,"
    " status TEXT NOT NULL, root_node TEXT, known_error TEXT, document TEXT NOT NULL, words TEXT NOT NULL)",
    "CREATE TABLE known_error_statistics (id TEXT PRIMARY KEY, occurrence_count INTEGER NOT NULL,"
    " first_seen REAL NOT NULL, last_seen REAL NOT NULL)",
    "CREATE VIRTUAL TABLE incidents_fts USING fts5(words, content='incidents', content_rowid='number')",
    "CREATE TRIGGER incidents_added AFTER INSERT ON incidents BEGIN"
    " INSERT INTO incidents_fts(rowid, words) VALUES (new.number, new.words); END",
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
    return " ".join(str(p) for p in parts if p)
