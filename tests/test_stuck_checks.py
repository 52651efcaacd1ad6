"""A check that blocks costs its node a verdict: not the deadline, not the result, not Ctrl-C, not the other checks."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from treewalk.app import App, DiagnoseOptions
from treewalk.errors import SourceTimeout
from treewalk.model.verdict import Status
from treewalk.threads import Threads, run

from tests.test_cli import ENVIRONMENT, treewalk

CHECKS = """\
import asyncio, sys, time
from treewalk import Probe, Verdict, check, healthy

@check("blocks")
def blocks(probe: Probe, *, seconds: float = 60.0) -> Verdict:
    time.sleep(seconds)
    return healthy("at last")

@check("blocks_by_itself")
async def blocks_by_itself(probe: Probe) -> Verdict:
    await asyncio.to_thread(time.sleep, 60)
    return healthy("at last")

@check("exits")
def exits(probe: Probe) -> Verdict:
    sys.exit(3)

@check("exits_async")
async def exits_async(probe: Probe) -> Verdict:
    sys.exit(3)

@check("stops_iterating")
def stops_iterating(probe: Probe) -> Verdict:
    next(iter(()))

@check("cancels")
async def cancels(probe: Probe) -> Verdict:
    raise asyncio.CancelledError
"""


def workspace(folder: Path, *nodes: dict[str, Any], **walk: Any) -> Path:
    """A workspace whose SLA `a` depends on these nodes; no source answers."""
    for name in ("trees", "checks"):
        (folder / name).mkdir(exist_ok=True)
    source = {"url": "http://127.0.0.1:9", "retries": 0}
    (folder / "treewalk.yaml").write_text(json.dumps({"sources": {"prometheus": source}, "walk": walk}))
    tree = {"metrics": {"a": {"sla": {"query": "age", "threshold": "60s"}, "depends_on": list(nodes)}}}
    (folder / "trees" / "a.yaml").write_text(json.dumps(tree))
    (folder / "checks" / "own.py").write_text(CHECKS)
    return folder


def node(name: str, method: str, **parameters: Any) -> dict[str, Any]:
    return {"node": name, "healthcheck": {"method": method, **parameters}}


@pytest.mark.parametrize("method", ["blocks", "blocks_by_itself"])
def test_a_check_that_blocks_costs_its_node_a_verdict_and_not_the_deadline(tmp_path: Path, method: str) -> None:
    workspace(tmp_path, node("stuck", method))
    began = time.monotonic()
    done = treewalk("diagnose", "a", "-q", "--deadline", "2s", "--format", "json", cwd=tmp_path)
    assert time.monotonic() - began < 20  # 60 s otherwise; two of them are the deadline, the rest is start-up
    assert done.returncode == 4
    assert json.loads(done.stdout)["verdicts"]["stuck"]["verdict"] == "unknown"


def test_a_rehearsal_does_not_wait_for_a_check_that_blocks(tmp_path: Path) -> None:
    workspace(tmp_path, node("stuck", "blocks_by_itself"), deadline="2s")
    began = time.monotonic()
    done = treewalk("fix", "a", "--dry-run", "--format", "json", cwd=tmp_path)
    assert time.monotonic() - began < 30  # 60 s otherwise
    assert (done.returncode, json.loads(done.stdout)["plan"]) == (1, None)


@pytest.mark.parametrize("method", ["blocks", "blocks_by_itself"])
def test_an_interrupt_ends_a_walk_while_a_check_blocks(tmp_path: Path, method: str) -> None:
    workspace(tmp_path, node("stuck", method))
    environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(tmp_path / "s"), "XDG_CACHE_HOME": str(tmp_path / "c")}
    command = [sys.executable, "-m", "treewalk", "diagnose", "a", "--deadline", "50s"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    assert any("unknown" in process.stderr.readline() for _ in range(2))  # measured: the walk is what comes next
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=20) == 130
    assert time.monotonic() - began < 5
    assert "Traceback" not in process.stderr.read()


async def test_sync_checks_overlap_as_far_as_the_walk_allows(tmp_path: Path) -> None:
    many = [node(f"n{i}", "blocks", seconds=0.2) for i in range(30)]
    async with App.open(workspace(tmp_path, *many, concurrency=32), environ={}) as app:
        found = await app.diagnose("a", DiagnoseOptions(keep=False))
    assert {v.status for v in found.verdicts.values()} == {Status.HEALTHY}
    assert found.timing.stages["walk"] < 3.0  # 6 s one after the other


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("exits", "SystemExit: 3"), ("exits_async", "SystemExit: 3"), ("stops_iterating", "StopIteration"),
        ("cancels", "cancelled"),
    ],
)  # fmt: skip
async def test_a_check_that_wants_to_end_everything_ends_itself(tmp_path: Path, method: str, says: str) -> None:
    async with App.open(workspace(tmp_path, node("n", method), node("m", "blocks", seconds=0)), environ={}) as app:
        found = await app.diagnose("a", DiagnoseOptions(keep=False))
    assert (found.verdicts["n"].status, found.verdicts["m"].status) == (Status.UNKNOWN, Status.HEALTHY)
    assert says in found.verdicts["n"].reason


async def test_a_check_that_hangs_at_every_look_is_not_begun_without_end() -> None:
    threads, end = Threads(), threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.run("n", end.wait), 0.01)
    assert threads.stuck("n") == 3
    with pytest.raises(SourceTimeout, match="earlier ones for n"):
        await threads.run("n", end.wait)
    assert await threads.run("m", lambda: 1) == 1  # others are looked at
    end.set()
    while threads.stuck("n"):
        await asyncio.sleep(0.001)
    assert await threads.run("n", lambda: 2) == 2


def test_what_is_in_a_thread_is_not_waited_for_at_the_end() -> None:
    end = threading.Event()

    async def main() -> int:
        assert await asyncio.to_thread(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        asyncio.get_running_loop().run_in_executor(None, end.wait, 30)
        return 7

    began = time.monotonic()
    assert run(main()) == 7
    assert time.monotonic() - began < 10
    end.set()
