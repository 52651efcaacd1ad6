"""Channels for tests: one in memory, and a real HTTP server that takes what apprise posts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from treewalk.model.message import Message


class Memo:
    """A Notifier that keeps what it was told. `trouble` is raised as long as it is set; `gate` holds it up."""

    def __init__(self, name: str = "memo", *, edits: bool = True) -> None:
        self.name, self.edits = name, edits
        self.sent: list[Message] = []
        self.edited: list[tuple[str, Message]] = []
        self.trouble: Callable[[], Exception] | None = None
        self.gate: asyncio.Event | None = None

    async def send(self, message: Message) -> str:
        await self._through()
        self.sent.append(message)
        return f"m{len(self.sent)}" if self.edits else ""

    async def edit(self, id: str, message: Message) -> str | None:
        await self._through()
        self.edited.append((id, message))
        return None

    async def _through(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble()

    @property
    def shown(self) -> list[str]:
        """Titles in the order in which they came."""
        return [m.rendered.title for m in self.sent]


class Postbox:
    """Posts that came to a server on loopback, and what it is to answer. `hang` makes it wait before it answers."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.status = 200
        self.hang = threading.Event()
        self.hang.set()
        self.lock = threading.Lock()
        self.port = 0

    @property
    def url(self) -> str:
        """The address for apprise."""
        return f"json://user:very-secret-word@127.0.0.1:{self.port}/in"

    @property
    def titles(self) -> list[str]:
        with self.lock:
            return [post["title"] for post in self.posts]


@contextmanager
def postbox() -> Iterator[Postbox]:
    """A server that takes posts."""
    box = Postbox()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            box.hang.wait(30)
            with box.lock:
                status = box.statuses.pop(0) if box.statuses else box.status
                if status == 200:
                    box.posts.append(json.loads(body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients are killed here."""

    server = Quiet(("127.0.0.1", 0), Handler)
    box.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        box.hang.set()
        server.shutdown()
        server.server_close()
