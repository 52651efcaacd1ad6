"""Who works on incidents: a row for each process, kept fresh, so that the work of a dead one can be taken over."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from treewalk.store.database import Database

SILENT = 30.0  # seconds without a sign of life after which a process on another host counts as dead


class Workers:
    """The table of processes. Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def register(self, id: str, at: float) -> None:
        """This process begins to work."""
        with self.database.writing() as db:
            db.execute(
                "INSERT INTO workers (id, host, pid, started, beat) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET beat = excluded.beat",
                [id, socket.gethostname(), os.getpid(), started(os.getpid()) or "", at],
            )

    def beat(self, id: str, at: float) -> None:
        """This process is alive."""
        with self.database.writing() as db:
            db.execute("UPDATE workers SET beat = ? WHERE id = ?", [at, id])

    def leave(self, id: str) -> None:
        """This process ends in good order and leaves nothing undone."""
        with self.database.writing() as db:
            db.execute("DELETE FROM workers WHERE id = ?", [id])

    def dead(self, at: float) -> Sequence[str]:
        """Processes that are gone: on this host by looking, elsewhere by their silence."""
        rows, host = self.database.query("SELECT * FROM workers ORDER BY id"), socket.gethostname()
        found = []
        for row in rows:
            here = row["host"] == host
            if (started(int(row["pid"])) != row["started"]) if here else (at - row["beat"] > SILENT):
                found.append(str(row["id"]))
        return found

    def bury(self, id: str) -> bool:
        """Take a dead process out of the table; whether this very call did, so that one heir takes its work over."""
        with self.database.writing() as db:
            return bool(db.execute("DELETE FROM workers WHERE id = ?", [id]))


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
