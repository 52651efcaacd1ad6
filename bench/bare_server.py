"""What intake is held against: a FastAPI handler that only commits one row to SQLite, with fsync, for each request.

`python -m bench.bare_server FILE` prints its port and serves until it is terminated.
"""

from __future__ import annotations

import socket
import sqlite3
import sys

import uvicorn
from fastapi import FastAPI, Request


def build(path: str) -> FastAPI:
    """The application, with one connection, on its own loop: the least that a durable answer costs."""
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    api = FastAPI()

    @api.post("/webhooks/alertmanager")
    async def webhook(request: Request) -> dict[str, bool]:
        body = await request.body()
        database.execute("INSERT INTO messages (body) VALUES (?)", [body])
        database.commit()
        return {"ok": True}

    return api


def main() -> None:
    """Serve on any free port of loopback."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(build(sys.argv[1]), log_level="warning", access_log=False, server_header=False, ws="none")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
