"""A receiver of traces that speaks OTLP over HTTP, on a port of loopback."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """The spans that came, and everything that was sent as it came."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: dict[bytes, Any] = {}
        self.services: set[str] = set()
        self.raw = b""

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.services.add(named.get("service.name", ""))
            for scope in resource.scope_spans:
                self.spans |= {span.span_id: span for span in scope.spans}

    def named(self, start: str) -> list[Any]:
        """The spans whose name begins so."""
        return [span for span in list(self.spans.values()) if span.name.startswith(start)]

    def above(self, span: Any) -> list[str]:
        """The names of the spans that a span is part of, the nearest first."""
        found = []
        while (span := self.spans.get(span.parent_span_id)) is not None:
            found.append(span.name)
        return found


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that is gone afterwards."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
