"""Every fault of the sandbox, done to real programs, and what treewalk says of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from treewalk.app import App, DiagnoseOptions, replay
from treewalk.model.diagnosis import Diagnosis
from treewalk.sandbox.faults import all_faults, break_it, mend
from treewalk.sandbox.platform import Sandbox
from treewalk.stages.report import document, exit_code

pytestmark = [
    pytest.mark.needs("redis-server", "prometheus", "prometheus-alertmanager", "prometheus-redis-exporter"),
    pytest.mark.alone,
    pytest.mark.platform,
]
FAULTS = all_faults()
TIMES = int(os.environ.get("SANDBOX_TIMES", "1"))


@pytest.fixture(scope="module")
def sandbox(platform: Sandbox) -> Sandbox:
    return platform


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
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["status"] == "met"
    listed = subprocess.run([*command, "incidents", "list"], capture_output=True, text=True, check=True)
    assert "entity_data_freshness" in listed.stdout
    healthy = subprocess.run([*command, "doctor"], capture_output=True, text=True, check=True)
    assert healthy.stdout.count("ok  ") == 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "treewalk", "sandbox", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def of_the_sandbox(folder: Path) -> list[int]:
    """The ids of every process that belongs to a sandbox's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes().split(b"\0") + (entry / "cmdline").read_bytes().split(b"\0")
            inside = (entry / "cwd").readlink().is_relative_to(folder)  # Redis writes over its environment
        except OSError:
            continue
        if inside or {f"SANDBOX_DIR={folder}".encode(), f"{folder}/supervisord.conf".encode()} & set(words):
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("verb", [("up",), ("down",), ("break", "feed_down"), ("mend",)])
@pytest.mark.parametrize("state", ['{"serial": 1}', '{"ports": {"web": 80}}', "[]", "rubbish"])
def test_a_folder_with_another_programs_state_file_is_left_alone(
    tmp_path: Path, verb: tuple[str, ...], state: str
) -> None:
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "mine.txt").write_text("keep")
    run(*verb, "--dir", str(tmp_path))
    assert (tmp_path / "state.json").read_text() == state
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt", "state.json"]


@pytest.mark.parametrize("verb", [("break", "feed_down"), ("mend",)])
def test_what_needs_a_sandbox_says_that_there_is_none(tmp_path: Path, verb: tuple[str, ...]) -> None:
    done = run(*verb, "--dir", str(tmp_path / "none"))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "treewalk sandbox up" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["with space", "%s", "x" * 100], ids=["space", "percent", "long"])
def test_a_folder_that_supervisord_cannot_take_is_refused_at_once(tmp_path: Path, name: str) -> None:
    done = run("up", "--dir", str(tmp_path / name))
    assert done.returncode == 2
    assert "--dir" in done.stderr
    assert "PATH" not in done.stderr
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "p"
    command = [sys.executable, "-m", "treewalk", "sandbox", "demo", "--dir", str(folder)]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup it would be ignored from the start
    ) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "waiting for" in line:
                break
        demo.send_signal(number)
        demo.stderr.read()
    assert demo.returncode == 130
    assert of_the_sandbox(folder) == []
    assert not folder.exists()


def test_a_killed_supervisord_is_said_and_cleaned_up(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "platform")  # one of its own, because it does not survive this
    sandbox.up(print)
    os.kill(int((sandbox.folder / "supervisord.pid").read_text()), signal.SIGKILL)
    for verb in (("break", "feed_down"), ("mend",)):
        done = run(*verb, "--dir", str(sandbox.folder))
        assert (done.returncode, "sandbox down" in done.stderr) == (2, True)
    assert len(of_the_sandbox(sandbox.folder)) > 5
    assert run("down", "--dir", str(sandbox.folder)).returncode == 0
    assert of_the_sandbox(sandbox.folder) == []
    assert not sandbox.folder.exists()
