"""Whole diagnoses on bad days: unknown with the reason, within the deadline, and nothing left running."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from treewalk.app import App, DiagnoseOptions, replay
from treewalk.model.verdict import Status
from treewalk.stages.report import exit_code

from tests.support.answers import (
    Answering,
    answering,
    broken_off,
    dripping,
    dropped,
    endless,
    free_port,
    half_json,
    hanging,
    html,
    reply,
    status,
)

NODES = 40
TREE = {
    "metrics": {
        "freshness": {
            "sla": {"query": "age_seconds", "threshold": "60s"},
            "depends_on": [
                {
                    "node": f"n{i}",
                    "healthcheck": {"method": "promql", "condition": f"up{i} == 1"},
                    "alerts": [f"clients{i} > 280"],
                    "logs": {"loki_query": f'{{container_name="n{i}"}}'},
                    "metrics": [f"m{i}"],
                }
                for i in range(NODES)
            ],
        }
    }
}
NAN = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "NaN"]}]}}
DAYS: dict[str, tuple[Any, str]] = {
    "503": (status(503, "starting"), "503"),
    "html": (html(), "not JSON"),
    "half a json": (half_json(), "not JSON"),
    "not a number": (reply(NAN), "no data|NaN"),
    "100 MB": (endless(100), "more than 1 MB"),
    "dropped": (dropped(), "closed the connection|reset"),
    "broken off": (broken_off(), "in the middle"),
    "silent": (hanging(), "no answer|deadline"),
    "dripping": (dripping(), "no answer|deadline"),
}


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as made:
        yield made


def workspace(root: Path, url: str) -> Path:
    (root / "trees").mkdir(parents=True)
    (root / "trees" / "freshness.yaml").write_text(json.dumps(TREE))
    source = {"url": url, "timeout": "1s", "retries": 1, "max_bytes": 1_000_000}
    (root / "treewalk.yaml").write_text(json.dumps({"sources": {"prometheus": source, "loki": source}}))
    return root


@pytest.mark.parametrize("day", DAYS)
async def test_every_node_is_unknown_with_the_reason_within_the_deadline(
    day: str, server: Answering, tmp_path: Path
) -> None:
    say, words = DAYS[day]
    server.on("*", say)
    async with App.open(workspace(tmp_path / "ops", server.url), environ={}) as app:
        async with asyncio.timeout(15):  # hangs otherwise; the deadline itself is 4 s
            diagnosis = await app.diagnose("freshness", DiagnoseOptions(deadline=4, keep=False))
    assert {v.status for v in diagnosis.verdicts.values()} == {Status.UNKNOWN}
    assert diagnosis.measurement.status == "unknown"
    assert diagnosis.root_cause is None
    silent = day in ("503", "dropped", "broken off", "silent", "dripping")
    assert exit_code(diagnosis) == (4 if silent else 3), "what answers nonsense or nothing new was reached"
    reasons = [v.reason for v in diagnosis.verdicts.values()]
    assert all(reasons)
    assert any(any(w in reason for w in words.split("|")) for reason in reasons)
    if day in ("503", "dropped", "silent", "dripping"):  # the breaker spares a dead source most of the questions
        assert len(server.seen) < 4 * NODES
    async with asyncio.timeout(5):  # generators that were broken off are closed by the loop a moment later
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


async def test_with_nobody_there_the_walk_ends_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    async with App.open(workspace(tmp_path / "ops", f"http://127.0.0.1:{free_port()}"), environ={}) as app:
        diagnosis = await app.diagnose("freshness", DiagnoseOptions(deadline=30, keep=False))
    assert time.monotonic() - began < 15
    assert {v.status for v in diagnosis.verdicts.values()} == {Status.UNKNOWN}
    assert "connection refused" in diagnosis.measurement.reason


EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


async def test_a_source_that_is_up_and_has_no_data_was_reached(server: Answering, tmp_path: Path) -> None:
    server.on("*", reply(EMPTY))
    bundle = tmp_path / "bundle.json"
    async with App.open(workspace(tmp_path / "ops", server.url), environ={}) as app:
        found = await app.diagnose("freshness", DiagnoseOptions(deadline=4, keep=False, record=bundle))
    assert {v.status for v in found.verdicts.values()} == {Status.UNKNOWN}
    assert (exit_code(found), exit_code(await replay(bundle))) == (3, 3)


@pytest.mark.parametrize(
    "healthcheck",
    [{"method": "http", "url": "http://127.0.0.1:9/", "headers": {"x": "${NOT_THERE}"}}, {"method": "crashes"}],
    ids=["a missing secret", "every check crashes"],
)
async def test_where_no_source_was_asked_none_is_said_to_be_unreachable(
    healthcheck: dict[str, Any], tmp_path: Path
) -> None:
    sla = {"sla": {"threshold": "5s"}, "depends_on": [{"node": "a", "healthcheck": healthcheck}]}
    for name, content in (
        ("treewalk.yaml", ""),
        ("trees/t.yaml", json.dumps({"metrics": {"freshness": sla}})),
        ("checks/c.py", "from treewalk import check\n@check('crashes')\nasync def c(probe): raise KeyError('x')\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    async with App.open(tmp_path, environ={}) as app:
        found = await app.diagnose("freshness", DiagnoseOptions(keep=False))
    assert found.verdicts["a"].status is Status.UNKNOWN
    assert exit_code(found) == 3


async def test_a_silent_source_is_unreachable_in_the_replay_too(server: Answering, tmp_path: Path) -> None:
    server.on("*", hanging())
    bundle = tmp_path / "bundle.json"
    async with App.open(workspace(tmp_path / "ops", server.url), environ={}) as app:
        found = await app.diagnose("freshness", DiagnoseOptions(deadline=2, keep=False, record=bundle))
    assert (exit_code(found), exit_code(await replay(bundle))) == (4, 4)


@pytest.mark.parametrize("say", [hanging(), dripping(headers_too=True)], ids=["silent", "dripping"])
def test_an_interrupt_ends_it_and_leaves_nothing_running(say: Any, server: Answering, tmp_path: Path) -> None:
    server.on("*", say)
    root = workspace(tmp_path / "ops", server.url)
    settings = json.loads((root / "treewalk.yaml").read_text())
    for source in settings["sources"].values():
        source["timeout"] = "50s"
    (root / "treewalk.yaml").write_text(json.dumps(settings))
    command = [
        sys.executable,
        "-m",
        "treewalk",
        "--workspace",
        str(root),
        "diagnose",
        "freshness",
        "--deadline",
        "100s",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 30
        while not server.seen and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
