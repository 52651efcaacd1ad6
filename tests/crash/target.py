"""What the crash tests act on, and count at: a small server that is Prometheus to treewalk and mends what it is told.

Store K is broken until both `POST /mend/K/a` and `POST /mend/K/b` came. Every call is kept with its idempotency key.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

APPROVER = "ana"


class Target:
    """The calls that came, and what is broken."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.url = ""

    def broken(self, store: str) -> bool:
        return not all(self.calls[f"/mend/{store}/{part}"] for part in "ab")

    def value(self, query: str) -> float | None:
        found = re.search(r"(age|lag|broken)_(\w+?)(?:\{\})?(?:\s|$|\))", query)
        if found is None:
            return None
        bad = self.broken(found[2])
        return float(bad) if found[1] == "broken" else (90.0 if bad else 1.0)

    def pause(self) -> None:
        """What happens before every answer: nothing."""

    def mend(self, path: str) -> None:
        """What happens while it is told to mend something: nothing."""

    def then(self, query: str, value: float, at: float) -> float:
        """What it was at another time, when this is its value now."""
        return value if at > time.time() - 60 else min(value, 1.0)


class _Handler(BaseHTTPRequestHandler):
    target: Target
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.target.pause()
        parts = urlsplit(self.path)
        self._prometheus(parts.path, {k: v[-1] for k, v in parse_qs(parts.query).items()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        if path.startswith("/api/"):
            self.target.pause()
            self._prometheus(path, {k: v[-1] for k, v in parse_qs(body.decode()).items()})
            return
        self.target.mend(path)
        with self.target.lock:
            self.target.calls[path] += 1
        self._say({"ok": True})

    do_PUT = do_POST

    def _prometheus(self, path: str, params: dict[str, str]) -> None:
        value = self.target.value(params.get("query", ""))
        if value is None:
            data: Any = {"resultType": "vector", "result": []}
        elif path.endswith("query_range"):
            start, end = float(params["start"]), float(params["end"])
            step = max(float(params.get("step", "1").rstrip("s")), (end - start) / 500)
            times = [start + step * k for k in range(int((end - start) / step) + 1)]
            points = [[t, str(self.target.then(params["query"], value, t))] for t in times]
            data = {"resultType": "matrix", "result": [{"metric": {"__name__": "m"}, "values": points}]}
        else:
            data = {
                "resultType": "vector",
                "result": [{"metric": {"__name__": "m"}, "value": [time.time(), str(value)]}],
            }
        self._say({"status": "success", "data": data})

    def _say(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here; that their connections break is nothing to print."""


@contextmanager
def running_target(target: Target | None = None) -> Iterator[Target]:
    """A target, or the one that is given, on a port of loopback."""
    target = target or Target()
    handler = type("Handler", (_Handler,), {"target": target})
    server = _Quiet(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    target.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield target
    finally:
        server.shutdown()
        server.server_close()


def write_workspace(folder: Path, url: str, stores: list[str], store_url: str | None = None) -> Path:
    """A workspace with one SLA, one node and one known error for each store."""
    for name in ("trees", "known_errors"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shared = f"store: {{url: '{store_url}'}}\n" if store_url else ""
    (folder / "treewalk.yaml").write_text(
        f"sources: {{prometheus: {{url: '{url}', timeout: 10s}}}}\n{shared}"
        "walk: {since: 30s, deadline: 20s, baseline: {baseline: 2m}}\n"
        "policy:\n  tiers: [{action: http_call, tier: full}]\n  repeats: {first: 0s, most: 100}\n"
        "  limits: {per_node: 100, per_kind: 1000, total: 1000}\n"
    )
    steps = "".join(
        f"- {{action: http_call, url: '{url}/mend/{{{{ store }}}}/{part}', allow: ['{url}/mend'], method: {method},"
        f" repeatable: {again}}}\n"
        for part, method, again in (("a", "POST", "false"), ("c", "PUT", "true"), ("b", "POST", "false"))
    )
    (folder / "playbooks").mkdir(exist_ok=True)
    (folder / "playbooks" / "mend.yaml").write_text(
        f"name: mend\nparameters: {{store: {{type: text}}}}\nsteps:\n{steps}- {{action: wait, duration: 100ms}}\n"
        "verify: {sla: true, stable: 200ms, timeout: 5s}\n"
    )
    slas, errors = [], []
    for store in stores:
        slas.append(
            f"  fresh_{store}:\n    sla: {{query: age_{store}, threshold: 60s}}\n    depends_on:\n"
            f"    - node: store_{store}\n      healthcheck: {{method: promql, condition: broken_{store} < 1}}\n"
        )
        errors.append(
            f"- id: ke-{store}\n  signature: {{node: store_{store}, metric_condition: broken_{store} > 0}}\n"
            f"  root_node: store_{store}\n  root_cause: it is broken\n"
            f"  fix: {{playbook: mend, with: {{store: {store}}}}}\n"
        )
    (folder / "trees" / "main.yaml").write_text("metrics:\n" + "".join(slas))
    (folder / "known_errors" / "main.yaml").write_text("errors:\n" + "".join(errors))
    return folder


def write_meeting(folder: Path, url: str, store: str) -> Path:
    """A workspace with two SLAs over one node, and a fix of it that a human has to approve, that waits for policy
    between its calls, that does not help, and that is taken back."""
    for name in ("trees", "known_errors", "playbooks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "treewalk.yaml").write_text(
        f"sources: {{prometheus: {{url: '{url}', timeout: 10s}}}}\n"
        "walk: {since: 30s, deadline: 20s, baseline: {baseline: 2m}}\n"
        f"policy:\n  approval: {{expires: 5m, approvers: [{APPROVER}]}}\n"
        "  tiers: [{action: http_call, tier: ask}]\n  repeats: {first: 300ms, factor: 1, most: 100}\n"
        "  limits: {per_node: 100, per_kind: 1000, total: 1000}\n"
    )
    call = f"- {{action: http_call, url: '{url}/%s/{store}/%s', allow: ['{url}/%s'], method: %s, repeatable: %s}}\n"
    (folder / "playbooks" / "try.yaml").write_text(
        f"name: try\nsteps:\n{call % ('mend', 'a', 'mend', 'POST', 'false')}"
        f"{call % ('mend', 'c', 'mend', 'PUT', 'true')}"
        f"undo:\n{call % ('undo', 'a', 'undo', 'POST', 'false')}verify: {{sla: true, stable: 100ms, timeout: 400ms}}\n"
    )
    (folder / "trees" / "main.yaml").write_text(
        f"metrics:\n  fresh_{store}:\n    sla: {{query: age_{store}, threshold: 60s}}\n    depends_on:\n"
        f"    - node: store_{store}\n      healthcheck: {{method: promql, condition: broken_{store} < 1}}\n"
        f"  close_{store}:\n    sla: {{query: lag_{store}, threshold: 60s}}\n    depends_on: [store_{store}]\n"
    )
    (folder / "known_errors" / "main.yaml").write_text(
        f"errors:\n- id: ke-{store}\n  signature: {{node: store_{store}, metric_condition: broken_{store} > 0}}\n"
        f"  root_node: store_{store}\n  root_cause: it is broken\n  fix: {{playbook: try}}\n"
    )
    return folder
