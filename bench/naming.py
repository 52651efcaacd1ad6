"""From webhook to root cause named: how long it takes on the sandbox's real platform, with a known error in place.

`python -m bench.naming` brings the sandbox up, breaks it, sends one alert after the other to `treewalk serve`, takes
everything down, prints a table and writes bench/out/naming.json. Nothing is fixed: the workspace is read-only.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from treewalk.sandbox.faults import all_faults, break_it
from treewalk.sandbox.platform import Sandbox

from tests.support.serving import Served

OUT = Path("bench/out")
FAULT, INCIDENTS, GOAL = "leaked_clients", 25, 1.0
TOKEN = "bench-token"
_SETTLE = 5.0  # seconds between the start of the server and the first alert


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        sandbox = Sandbox(Path(folder) / "platform")
        try:
            sandbox.up(_say)
            break_it(sandbox, FAULT, _say)
            taken = measure(sandbox)
        finally:
            sandbox.down(_say)
    p50, p95 = np.percentile(taken, [50, 95])
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "naming.json").write_text(json.dumps({"machine": machine, "seconds": taken}, indent=1))
    print(f"{machine}; {len(taken)} incidents of {FAULT}\n")
    print("| from webhook to root cause named | measured | goal |\n|---|---|---|")
    print(f"| p50 | {p50:.2f} s | ≤ {GOAL:g} s |\n| p95 | {p95:.2f} s | |")
    print(f"| the first one after the start | {taken[0]:.2f} s | |")


def measure(sandbox: Sandbox) -> list[float]:
    """The seconds of each incident: from before its message is sent until its diagnosis is written down."""
    settings = sandbox.workspace / "treewalk.yaml"
    text = settings.read_text().partition("server:")[0].replace("policy:\n", "policy:\n  read_only: true\n")
    settings.write_text(f"{text}server: {{token: {TOKEN}}}\n")
    served = Served(sandbox.workspace)
    try:
        url = served.url
        time.sleep(_SETTLE)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
            return [_one(client, number) for number in range(1, INCIDENTS + 1)]
    finally:
        served.kill()


def _one(client: httpx.Client, number: int) -> float:
    fault, now = all_faults()[FAULT], datetime.now(UTC)
    labels = {"alertname": "EntityDataStale", "sla": fault.sla}
    one = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": now.isoformat()}
    sent = time.time()
    answer = client.post("/webhooks/alertmanager", json={"version": "4", "status": "firing", "alerts": [one]})
    assert answer.json()["opened"] == [number], answer.text
    found = _closed(client, number)
    assert (found["root_cause"]["node"], found["known_error"]["id"]) == (fault.root, fault.known_error)
    return float(next(line["at"] for line in found["timeline"] if line["kind"] == "diagnosed") - sent)


def _closed(client: httpx.Client, number: int) -> Mapping[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/api/incidents/{number}").json()
        if found["life"]["state"] == "closed":
            return found
        time.sleep(0.2)
    raise AssertionError(f"incident {number} does not end: {found['life']}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
