"""The metrics of a server that has worked are what a Prometheus expects, and count what happened."""

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.target import running_target, write_workspace
from tests.support.serving import serving
from tests.test_serve import ENVIRON, TOKEN, alertmanager, until, with_server


@pytest.mark.needs("promtool")
def test_metrics_after_an_incident(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = with_server(
            write_workspace(tmp_path / "w", target.url, ["one"]),
            "server: {token: '${TREEWALK_TOKEN}'}\nwatch: {interval: 100ms}\n",
        )
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            client.post("/webhooks/alertmanager", json=alertmanager("one")).raise_for_status()

            def closed() -> Any:
                found = client.get("/metrics").text
                return found if 'treewalk_incidents{state="closed"} 1.0' in found else None

            text = until(closed, "the incident's end")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    for line in (
        "treewalk_walk_seconds_count 1.0",
        'treewalk_verdicts_total{status="unhealthy"} 1.0',
        'treewalk_decisions_total{action="http_call",rule=',
        'treewalk_actions_total{action="http_call",outcome="done"} 3.0',
        "treewalk_incidents_waiting 0.0",
        'treewalk_llm_tokens_total{direction="in"} 0.0',
        "treewalk_reload_success 1.0",
        "treewalk_read_only 0.0",
        "treewalk_memory_up 1.0",
        "treewalk_watch_measurements_total{status=",
    ):
        assert line in text, f"{line}\n{text}"
