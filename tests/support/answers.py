"""A small HTTP server that answers what it was told to, for clients of systems that cannot be had here.

    with answering() as server:
        server.on("/api/v1/query", reply({"status": "success"}), times=1)
        server.on("/api/v1/query", status(503, "starting"))
        ... ask server.url ...
        assert server.seen[0].params["query"] == "up"

Rules are tried in the order given; a rule with `times` is used up after so many requests. Every request is kept in
`seen`. Besides good answers it can be slow, drip, break off, drop the connection, redirect, or send without end.
Nothing here sleeps for long: a handler that hangs is let go when the server stops.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Say = Callable[["Handler"], None]


@dataclass(frozen=True)
class Seen:
    """One request as it came in; `params` are those of the query string, the last of several."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Rule:
    path: str
    say: Say
    times: int | None = None
    when: Callable[[Seen], bool] = field(default=lambda seen: True)


def reply(body: Any, code: int = 200, kind: str | None = None, headers: Mapping[str, str] | None = None) -> Say:
    """A whole answer: bytes and str as they stand, anything else as JSON."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    content = kind or ("text/plain" if isinstance(body, bytes | str) else "application/json")

    def say(handler: Handler) -> None:
        handler.head(code, content, len(data), headers)
        handler.wfile.write(data)

    return say


def status(code: int, text: str = "") -> Say:
    """An error in plain text."""
    return reply(text, code)


def html(code: int = 200) -> Say:
    """What a proxy or a login page answers."""
    return reply("<!doctype html><html><body><h1>Sign in</h1></body></html>", code, "text/html")


def half_json(text: str = '{"status":"success","data":{"resultType":"vec') -> Say:
    """A complete HTTP answer whose JSON stops in the middle."""
    return reply(text, kind="application/json")


def broken_off(text: str = '{"status":"success","data":', promised: int = 10_000) -> Say:
    """The connection closes in the middle of the body."""

    def say(handler: Handler) -> None:
        handler.head(200, "application/json", promised)
        handler.wfile.write(text.encode())
        handler.drop()

    return say


def dropped() -> Say:
    """The connection closes with no answer."""
    return lambda handler: handler.drop()


def hanging() -> Say:
    """No answer until the server stops."""

    def say(handler: Handler) -> None:
        handler.wait()

    return say


def dripping(headers_too: bool = False) -> Say:
    """An answer that never ends and never pauses long: one byte every 20 ms, from the body or already the headers."""

    def say(handler: Handler) -> None:
        if not headers_too:
            handler.head(200, "application/json", 1_000_000)
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not handler.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    return say


def endless(megabytes: int = 100, start: bytes = b'{"status":"success","data":{"result":[') -> Say:
    """A body of so many megabytes, made as it is sent."""

    def say(handler: Handler) -> None:
        block = b'{"metric":{},"value":[1,"1"]},' * 35_000
        handler.head(200, "application/json", megabytes * 1_000_000)
        handler.wfile.write(start)
        left = megabytes * 1_000_000 - len(start)
        while left > 0:
            handler.wfile.write(block[:left])
            left -= len(block)

    return say


def redirect(location: str) -> Say:
    """A redirect to somewhere else."""
    return reply("", 302, headers={"Location": location})


def contract(file: Path) -> tuple[str, Say, Mapping[str, Any]]:
    """Path, answer and request of a recorded contract."""
    recorded = json.loads(file.read_text("utf-8"))
    response = recorded["response"]
    say = reply(response["body"], response["status"], response["content_type"])
    return recorded["request"]["path"], say, recorded["request"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body, sent apart, wait 40 ms for each other
    server: Answering

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, parts.path, params, {k.lower(): v for k, v in self.headers.items()}, body)
        say = self.server.choose(seen)
        with contextlib.suppress(OSError, ssl.SSLError):
            say(self)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def head(self, code: int, kind: str, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def drop(self) -> None:
        """Close the connection now."""
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float | None = None) -> bool:
        """Until the server stops, or so long; whether it stops."""
        stopping = self.server.stopping.wait(seconds)
        self.close_connection = self.close_connection or stopping
        return stopping

    def log_message(self, *args: Any) -> None:
        """Quiet."""


class Answering(ThreadingHTTPServer):
    """The server; `url` is where it listens."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.tls, self.seen, self.rules = tls, [], []
        self.stopping, self._lock = threading.Event(), threading.Lock()

    seen: list[Seen]
    rules: list[Rule]

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def on(
        self, path: str, say: Say, *, times: int | None = None, when: Callable[[Seen], bool] | None = None
    ) -> Answering:
        """Answer requests for a path (`*` for any) so."""
        self.rules.append(Rule(path, say, times, when or (lambda seen: True)))
        return self

    def replay(self, file: Path) -> Mapping[str, Any]:
        """Answer as a contract was recorded; its request."""
        path, say, request = contract(file)
        self.on(path, say)
        return request

    def choose(self, seen: Seen) -> Say:
        with self._lock:
            self.seen.append(seen)
            for rule in self.rules:
                if rule.path in ("*", seen.path) and rule.times != 0 and rule.when(seen):
                    rule.times = None if rule.times is None else rule.times - 1
                    return rule.say
        return status(404, "404 page not found\n")

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are what is tested."""


@contextlib.contextmanager
def answering(tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Answering]:
    """The server, running; stopped at the end with everything that still hangs in it."""
    server = Answering(tls, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
