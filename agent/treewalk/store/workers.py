"""Who works on incidents: a row for each process, kept fresh, so that the work of a dead one can be taken over."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from treewalk.store.database import Database

SILENT = 30.0  # seconds without a new sign of life after which a process on another host counts as dead


class Workers:
    """The table of processes. Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._seen: dict[str, tuple[float, float]] = {}  # the last sign of life of each, and when it was new here

    def register(self, id: str, at: float) -> None:
        """This process begins to work."""
        with self.database.writing() as db:
            db.execute(
                "INSERT INTO workers (id, host, pid, started, beat) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET beat = excluded.beat",
                [id, socket.gethostname(), os.getpid(), started(os.getpid()) or "", at],
            )

    def beat(self, id: str, at: float) -> None:
        """This process is alive, also where another one has taken it for dead."""
        with self.database.writing() as db:
            there = db.execute("UPDATE workers SET beat = ? WHERE id = ?", [at, id])
        if not there:
            self.register(id, at)

    def beaten(self, id: str) -> float | None:
        """When a process wrote its last sign of life; None for one that is not registered."""
        rows = self.database.query("SELECT beat FROM workers WHERE id = ?", [id])
        return float(rows[0]["beat"]) if rows else None

    def leave(self, id: str) -> None:
        """This process ends in good order and leaves nothing undone."""
        with self.database.writing() as db:
            db.execute("DELETE FROM workers WHERE id = ?", [id])

    def dead(self, at: float) -> Sequence[str]:
        """Processes that are gone: on this host by looking, elsewhere by their silence since this was first asked."""
        rows = self.database.query("SELECT * FROM workers ORDER BY id")
        return [str(row["id"]) for row in rows if self._gone(row, at)]

    def adopt(self, id: str, at: float) -> bool:
        """Become the heir of a dead process; whether this very call did. Its row then lives and dies with this process,
        so that an heir that dies in between has an heir itself. One that nobody knows can be adopted too."""
        own = [socket.gethostname(), os.getpid(), started(os.getpid()) or "", at]
        with self.database.writing() as db:
            rows = db.query("SELECT * FROM workers WHERE id = ?", [id])
            if not rows:
                insert = "INSERT INTO workers (host, pid, started, beat, id) VALUES (?, ?, ?, ?, ?)"
                added: int = db.execute(insert + " ON CONFLICT (id) DO NOTHING", [*own, id])
                return added == 1
            if not self._gone(rows[0], at):
                return False
            old = [rows[0][name] for name in ("host", "pid", "started", "beat")]
            changed: int = db.execute(
                "UPDATE workers SET host = ?, pid = ?, started = ?, beat = ?"
                " WHERE id = ? AND host = ? AND pid = ? AND started = ? AND beat = ?",
                [*own, id, *old],
            )
        return changed == 1

    def known(self) -> Collection[str]:
        """The processes in the table."""
        return {str(row["id"]) for row in self.database.query("SELECT id FROM workers")}

    def _gone(self, row: Mapping[str, Any], at: float) -> bool:
        if row["host"] == socket.gethostname():
            return started(int(row["pid"])) != str(row["started"])
        beat, since = self._seen.get(str(row["id"]), (None, at))
        if beat != row["beat"]:  # it changes: what the clock over there says, and how wrong it is, does not matter
            self._seen[str(row["id"])] = (float(row["beat"]), at)
            return False
        return at - since > SILENT

    def bury(self, id: str) -> None:
        """Take a process out of the table, once its work was taken over."""
        with self.database.writing() as db:
            db.execute("DELETE FROM workers WHERE id = ?", [id])


def started(pid: int) -> str | None:
    """When a process began, in whatever the system counts: with the id it names a process for good. None: gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _alive_elsewhere(pid)
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _alive_elsewhere(pid: int) -> str | None:
    """Where there is no /proc: whether there is a process of that id."""
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
