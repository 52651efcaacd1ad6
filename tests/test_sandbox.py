"""Every fault of the sandbox, done to real programs, and what treewalk says of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from treewalk.app import App, DiagnoseOptions, replay
from treewalk.model.diagnosis import Diagnosis
from treewalk.sandbox.faults import all_faults, break_it, mend
from treewalk.sandbox.platform import Sandbox
from treewalk.stages.report import document, exit_code

pytestmark = pytest.mark.needs(
    "redis-server", "prometheus", "prometheus-alertmanager", "prometheus-redis-exporter"
)  # fmt: skip
FAULTS = all_faults()
TIMES = int(os.environ.get("SANDBOX_TIMES", "1"))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    found = Sandbox(tmp_path_factory.mktemp("sandbox") / "platform")
    found.up(print)
    yield found
    found.down(print)
    assert not found.folder.exists()


def look(sandbox: Sandbox, sla: str, record: Path | None = None) -> Diagnosis:
    async def diagnose() -> Diagnosis:
        async with App.open(sandbox.workspace) as app:
            return await app.diagnose(sla, DiagnoseOptions(record=record))

    return asyncio.run(diagnose())


def test_a_healthy_platform_has_no_culprit(sandbox: Sandbox) -> None:
    found = look(sandbox, "entity_data_freshness")
    assert (found.measurement.status, found.root_cause, exit_code(found)) == ("met", None, 0)


@pytest.mark.parametrize("name", list(FAULTS) * TIMES)
def test_every_fault_is_diagnosed_to_the_right_node(sandbox: Sandbox, name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    bundle = tmp_path / "bundle.json.gz"
    try:
        break_it(sandbox, name, print)
        found = look(sandbox, fault.sla, bundle)
    finally:
        mend(sandbox, print)
    assert (found.root_cause.node if found.root_cause else None) == fault.root
    assert (found.known_error.error.id if found.known_error else None) == fault.known_error
    assert exit_code(found) == (0 if fault.root is None else 1)
    again = document(asyncio.run(replay(bundle)))
    first = document(found)
    for volatile in (first, again):
        volatile.pop("timing")
    assert json.dumps(again, sort_keys=True) == json.dumps(first, sort_keys=True)


def test_the_command_line_tells_the_same_in_json(sandbox: Sandbox) -> None:
    command = [sys.executable, "-m", "treewalk", "--workspace", str(sandbox.workspace)]
    done = subprocess.run(
        [*command, "diagnose", "entity_data_freshness", "--format", "json", "-q"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "met"
    listed = subprocess.run([*command, "incidents", "list"], capture_output=True, text=True, check=True)
    assert "entity_data_freshness" in listed.stdout
    healthy = subprocess.run([*command, "doctor"], capture_output=True, text=True, check=True)
    assert healthy.stdout.count("ok  ") == 2
