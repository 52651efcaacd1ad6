"""The whole loop on a real platform, by the command that a user runs: broken, found, fixed, proven, remembered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from treewalk.sandbox.faults import all_faults, break_it, mend
from treewalk.sandbox.platform import Sandbox
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.ledger import Ledger

pytestmark = [
    pytest.mark.needs("redis-server", "prometheus", "prometheus-alertmanager", "prometheus-redis-exporter"),
    pytest.mark.alone,
    pytest.mark.platform,
]
SLA = "entity_data_freshness"


@pytest.fixture
def sandbox(platform: Sandbox) -> Iterator[Sandbox]:
    """With an empty memory before, and mended after."""
    shutil.rmtree(platform.workspace / ".treewalk", ignore_errors=True)
    yield platform
    database = SqliteDatabase(memory(platform))
    assert Audit(database).verify()[1] == []
    database.close()


def memory(sandbox: Sandbox) -> Path:
    return sandbox.workspace / ".treewalk" / "memory.db"


@contextmanager
def broken(sandbox: Sandbox, fault: str) -> Iterator[float]:
    """With a fault done; when it was done (Unix seconds)."""
    began = time.time()
    try:
        break_it(sandbox, fault, print)
        yield began
    finally:
        mend(sandbox, print)


def start(sandbox: Sandbox, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "treewalk", "--workspace", str(sandbox.workspace), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def treewalk(sandbox: Sandbox, *arguments: str) -> tuple[int, str]:
    process = start(sandbox, *arguments)
    out, err = process.communicate(timeout=120)
    print(err)
    return process.returncode, out


def fix(sandbox: Sandbox, sla: str = SLA) -> dict[str, Any]:
    _, out = treewalk(sandbox, "fix", sla, "--format", "json")
    found: dict[str, Any] = json.loads(out)
    print("\n".join(f"{row['kind']}: {row['text']}" for row in found["timeline"]))
    return found


def known_error(sandbox: Sandbox, number: int) -> str | None:
    database = SqliteDatabase(memory(sandbox))
    found: str | None = Casebook(database).life(number)["known_error"]
    database.close()
    return found


def actions(sandbox: Sandbox, number: int) -> list[str]:
    database = SqliteDatabase(memory(sandbox))
    found = [f"{row['action']} {row['outcome']}" for row in Ledger(database).of(number)]
    database.close()
    return found


def keep_time(fault: str, round: int, began: float, found: dict[str, Any]) -> None:
    """For docs/benchmarks.md: TREEWALK_LOOP_TIMES names a file that takes one line a fix."""
    if path := os.environ.get("TREEWALK_LOOP_TIMES"):
        with Path(path).open("a") as stream:
            stream.write(f"{fault} {round} {found['ending']} {found['closed'] - began:.1f}\n")


def test_a_backtest_finds_a_false_alarm_and_promotion_needs_force(sandbox: Sandbox, tmp_path: Path) -> None:
    pack = tmp_path / "others.yaml"
    pack.write_text(
        "errors:\n- id: any-client\n  signature: {node: store_redis, metric_condition: redis_connected_clients > 0}\n"
        "  root_cause: somebody is connected\n  fix: {type: escalate}\n"
        "- id: never\n  signature: {node: store_redis, metric_condition: redis_connected_clients > 100000}\n"
        "  root_cause: nearly everybody is connected\n  fix: {type: escalate}\n"
    )
    assert treewalk(sandbox, "memory", "import", str(pack))[0] == 0
    test = ("memory", "backtest", "others/any-client", "--since", "2m", "--format", "json")
    # Times of trouble excuse a firing: until the faults of earlier tests are long enough ago, there is no false alarm.
    sandbox.wait_for(lambda: treewalk(sandbox, *test)[0] == 1, 120, print, "a time when all was well")
    assert json.loads(treewalk(sandbox, *test)[1])["false_alarms"]
    assert treewalk(sandbox, "memory", "backtest", "others/never", "--since", "2m")[0] == 0
    code, out = treewalk(sandbox, "memory", "promote", "others/any-client", "--since", "2m")
    assert (code, "not promoted" in out) == (1, True)
    assert treewalk(sandbox, "memory", "promote", "others/any-client", "--force")[0] == 2
    assert treewalk(sandbox, "memory", "promote", "others/any-client", "--force", "--who", "ann")[0] == 0
    assert treewalk(sandbox, "memory", "promote", "others/never", "--since", "2m")[0] == 0


@pytest.mark.parametrize(
    ("fault", "done", "second"),
    [
        ("consumer_stopped", ["process_restart done"], "learned-consumer_process"),
        ("poison_message", ["redis_skip_message done", "process_restart done"], "learned-stream_consumer"),
        ("redis_full", ["redis_max_memory done"], "sb-full"),
    ],
)
def test_a_fault_is_fixed_proven_remembered_and_then_known(
    sandbox: Sandbox, fault: str, done: list[str], second: str
) -> None:
    for round in (1, 2):
        with broken(sandbox, fault) as began:
            found = fix(sandbox)
            keep_time(fault, round, began, found)
            assert found["ending"] == "resolved"
            assert actions(sandbox, found["incident"]) == done
            proof = found["outcome"]["proof"]
            assert "against < 5s" in proof["before"][SLA]
            assert proof["result"] == "holds"
            assert sandbox.measured()[SLA][1] is True  # by Prometheus, not by treewalk
    known = known_error(sandbox, found["incident"])
    assert known is not None
    assert known.startswith(second)
    rows = json.loads(treewalk(sandbox, "memory", "list", "--format", "json")[1])["known_errors"]
    record = next(row for row in rows if row["id"] == known)
    assert (record["trust"], record["fires"]) == ("trusted", 2)
    assert record["occurrence_count"] >= 1
    assert record["resolution_time_avg"] is None or record["resolution_time_avg"] > 0


def test_one_cause_of_two_slas_is_mended_once(sandbox: Sandbox) -> None:
    with broken(sandbox, "leaked_clients") as began:
        both = [start(sandbox, "fix", sla, "--format", "json") for sla in (SLA, "consumer_lag")]
        answers = [json.loads(one.communicate(timeout=120)[0]) for one in both]
        for found in answers:
            print(found)
        keep_time("leaked_clients", 1, began, answers[0])
    assert [found["ending"] for found in answers] == ["resolved", "resolved"]
    numbers = {found["incident"] for found in answers}
    did = [action for number in sorted(numbers) for action in actions(sandbox, number)]
    assert did == ["redis_kill_idle_clients done"], "one cause is mended once"
    whole = "\n".join(row["text"] for found in answers for row in found["timeline"])
    if len(numbers) == 1:  # one became a part of the other
        assert "is violated by the same node" in whole
    else:  # it came when the other was at its proof already
        assert "mended it" in whole or "by itself" in whole or "the SLA is met" in whole


def test_a_crash_loop_is_restarted_once_and_then_escalated(sandbox: Sandbox) -> None:
    with broken(sandbox, "consumer_crash_loop") as began:
        found = fix(sandbox)
        keep_time("consumer_crash_loop", 1, began, found)
    assert found["ending"] == "escalated"
    assert len(actions(sandbox, found["incident"])) == 1
    assert known_error(sandbox, found["incident"]) == "sb-crash-variable"


def test_a_fix_that_does_not_last_is_tried_three_times(sandbox: Sandbox) -> None:
    endings, done = [], 0
    with broken(sandbox, "leak_returns"):
        for _ in range(4):
            found = fix(sandbox)
            endings.append(found["ending"])
            done += len(actions(sandbox, found["incident"]))
            if found["ending"] == "resolved":
                sandbox.wait_for(lambda: sandbox.measured()[SLA][1] is False, 60, print, "the fault to return")
    assert endings == ["resolved", "resolved", "resolved", "escalated"]
    assert done == 3
    rows = json.loads(treewalk(sandbox, "memory", "list", "--format", "json")[1])["known_errors"]
    assert next(row for row in rows if row["id"] == "sb-clients")["trust"] == "suspended"


def test_a_dry_run_changes_nothing(sandbox: Sandbox) -> None:
    with broken(sandbox, "derived_stopped"):
        code, out = treewalk(sandbox, "fix", "derived_completeness", "--dry-run", "--format", "json")
        found = json.loads(out)
        assert code == 0
        assert [step["kind"] for step in found["steps"]] == ["process_restart"]
        assert "would restart derived:derived" in found["steps"][0]["told"]
        assert sandbox.processes()["derived"] == "STOPPED"
        assert json.loads(treewalk(sandbox, "incidents", "list", "--format", "json")[1])["incidents"] == []


def test_every_fault_of_the_loop_is_one_of_the_sandbox() -> None:
    assert {"leak_returns", "leaked_clients", "poison_message", "redis_full"} <= set(all_faults())
