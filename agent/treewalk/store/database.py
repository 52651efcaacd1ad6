"""The two databases that the memory can live in, behind one small face: SQLite (through sqlite-utils) and PostgreSQL.

SQL is written once, with `?` for values. All writing is one at a time: SQLite by its write lock, PostgreSQL by an
advisory lock, so that a hash chain or a claim is never made twice.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from treewalk.errors import StoreError
from treewalk.model.redact import redact
from treewalk.store.schema import POSTGRES, SQLITE_STEPS, VERSION

_BUSY = 10_000  # milliseconds to wait for another process
_STILL = 30_000  # milliseconds between two statements of one transaction, after which PostgreSQL ends it
_LOCK = 0x747265657761  # the advisory lock that all writers take

Row = Mapping[str, Any]
Values = Sequence[Any]


class Database(Protocol):
    """A database that is opened on first use. Every method raises StoreError with what to do."""

    dialect: str

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a reading statement."""

    def writing(self) -> Any:
        """A context of one transaction, whose value is a Writer; committed to disk when it ends well."""

    def close(self) -> None:
        """Close the connection. Safe to call twice."""


class Writer(Protocol):
    """Statements within one transaction."""

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a statement, as mappings. Raises StoreError."""

    def execute(self, sql: str, values: Values = ()) -> int:
        """How many rows a statement changed."""


def database(path: Path, url: str | None = None) -> Database:
    """The database at a URL (`postgresql://…`), or else the SQLite file."""
    return PostgresDatabase(url) if url else SqliteDatabase(path)


class SqliteDatabase:
    """One SQLite file, shared by several processes (WAL, full synchronisation)."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: Any = None
        self._lock = threading.RLock()

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a statement, as mappings. Raises StoreError."""
        with self._database() as db:
            return list(db.query(sql, _storable(values)))

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A transaction: all of it or nothing. Raises StoreError."""
        with self._database() as db:
            db.conn.execute("BEGIN IMMEDIATE")  # the write lock from the beginning: taken later, it cannot wait
            try:
                yield _SqliteWriter(db)
            except BaseException:
                db.conn.rollback()
                raise
            db.conn.commit()

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        with self._lock:
            if self._opened is not None:
                self._opened.conn.close()
                self._opened = None

    @contextmanager
    def _database(self) -> Iterator[Any]:
        """The open database; what SQLite complains of becomes a StoreError that says what to do."""
        with self._lock:
            try:
                if self._opened is None:
                    self._opened = self._open()
                yield self._opened
            except (sqlite3.Error, OSError) as error:
                broken = "malformed" in str(error) or "not a database" in str(error)
                hint = "move it away to begin a new one" if broken else "check the disk and the rights"
                raise StoreError(f"the memory {self.path} cannot be used: {error}; {hint}") from None

    def _open(self) -> Any:
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

    def _connect(self) -> Any:
        from sqlite_utils import Database as Utilities

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
            if found < VERSION:
                _migrate(connection)
            return Utilities(connection)
        except BaseException:
            connection.close()
            raise


class _SqliteWriter:
    def __init__(self, db: Any) -> None:
        self._db = db

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a statement, as mappings. Raises StoreError."""
        # Not by sqlite-utils: its query takes the statement apart first, which costs more than to run it.
        found = self._db.conn.execute(sql, _storable(values))
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]

    def execute(self, sql: str, values: Values = ()) -> int:
        """Run a statement; how many rows it changed. Raises StoreError."""
        return int(self._db.conn.execute(sql, _storable(values)).rowcount)


def _migrate(connection: sqlite3.Connection) -> None:
    """The tables of this version, unless another process has just made them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        for step in range(found, VERSION):
            for statement in SQLITE_STEPS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(VERSION, found)}")
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


class PostgresDatabase:
    """A PostgreSQL that several treewalks share."""

    dialect = "postgres"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._lock = threading.RLock()

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a statement, as mappings. Raises StoreError."""
        with self._cursor() as cursor:
            cursor.execute(_numbered(sql), _storable(values))
            return list(cursor.fetchall())

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A transaction: all of it or nothing. Raises StoreError."""
        with self._cursor() as cursor, self._connection.transaction():
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            yield _PostgresWriter(cursor)

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            import psycopg
        except ImportError:
            raise StoreError("store.url needs the extra: pip install 'treewalk-agent[postgres]'") from None
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self._connect()
                with self._connection.cursor() as cursor:
                    yield cursor
            except psycopg.Error as error:
                if isinstance(error, psycopg.OperationalError) and self._connection is not None:
                    self._connection.close()
                said = redact(str(error)).strip().splitlines()
                raise StoreError(
                    f"the memory {redact(self._url)} cannot be used: {said[0] if said else type(error).__name__}"
                ) from None

    def _connect(self) -> Any:
        import psycopg
        from psycopg.rows import dict_row

        connection = psycopg.connect(self._url, autocommit=True, row_factory=dict_row, connect_timeout=10)
        # Else a process that stands still (a paused machine) would hold the lock of all writers for as long.
        connection.execute(f"SET idle_in_transaction_session_timeout = {_STILL}")
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            for statement in POSTGRES:
                cursor.execute(statement)
        return connection


class _PostgresWriter:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a statement, as mappings. Raises StoreError."""
        self._cursor.execute(_numbered(sql), _storable(values))
        return list(self._cursor.fetchall())

    def execute(self, sql: str, values: Values = ()) -> int:
        """Run a statement; how many rows it changed. Raises StoreError."""
        self._cursor.execute(_numbered(sql), _storable(values))
        return int(self._cursor.rowcount)


def _storable(values: Values) -> list[Any]:
    """Values as both databases take them: a text that is not Unicode (half a pair) is mended."""
    return [_mended(value) if isinstance(value, str) and not value.isascii() else value for value in values]


def _mended(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _numbered(sql: str) -> str:
    """The statement with psycopg's marks for values. Statements are treewalk's own and hold no other `?` or `%`."""
    return sql.replace("?", "%s")
