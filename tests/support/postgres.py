"""A real PostgreSQL on loopback, in a folder of its own; as root it runs as the user postgres."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Its SQLAlchemy URL, with a password; stopped afterwards."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data = Path(f"/tmp/treewalk-postgres-{os.getpid()}-{folder.name}")
    data.mkdir(mode=0o700)
    if prefix:
        shutil.chown(data, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    word = data / "word"
    word.write_text("made-up")
    word.chmod(0o644)

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, cwd="/")

    try:
        run(str(binaries / "initdb"), "-D", f"{data}/db", "-U", "ops", "-A", "scram-sha-256", f"--pwfile={word}")
        options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
        run(str(binaries / "pg_ctl"), "-D", f"{data}/db", "-w", "-l", f"{data}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://ops:made-up@127.0.0.1:{port}/postgres"
        finally:
            run(str(binaries / "pg_ctl"), "-D", f"{data}/db", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data, ignore_errors=True)
