"""A courier that is killed at random instants: no message is lost, and at most one a kill comes twice."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.outbox import Outbox

from tests.crash.target import running_target, write_workspace
from tests.support.messengers import postbox
from tests.support.serving import serving
from tests.test_courier import Office

KILLS = 25
INCIDENTS = 60


def until(done: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def carrier(workspace: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "tests.crash.carrier", str(workspace)], stdout=subprocess.PIPE)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_courier_killed_at_random_instants_loses_nothing(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with postbox() as box:
        box.statuses = [500 if dice.random() < 0.1 else 200 for _ in range(400)]
        (tmp_path / "treewalk.yaml").write_text(
            f"notify: {{channels: {{ops: {{url: '{box.url}'}}}}, timeout: 1s, tries: 100}}\n"
        )
        database = SqliteDatabase(tmp_path / ".treewalk" / "memory.db")
        cases, outbox = Casebook(database), Outbox(database)
        office = Office.__new__(Office)
        office.database, office.cases = database, cases

        class Now:
            def now(self) -> float:
                return time.time()

        office.clock = Now()  # type: ignore[assignment]
        process = carrier(tmp_path)
        living: list[int] = []
        opened = kills = 0
        until(lambda: outbox.read_up_to() is not None, "its first look")
        try:
            while opened < INCIDENTS or living or kills < KILLS:
                if opened < INCIDENTS and dice.random() < 0.7:
                    living.append(office.opened("orders"))
                    opened += 1
                if living and dice.random() < 0.5:
                    office.close(living.pop(dice.randrange(len(living))))
                time.sleep(dice.uniform(0, 0.05))
                if kills < KILLS and dice.random() < 0.35 and _carries(process):
                    time.sleep(dice.uniform(0, 0.08))
                    process.kill()
                    process.wait(timeout=10)
                    kills += 1
                    process = carrier(tmp_path)
            _carries(process)
            until(lambda: outbox.counts().get(("ops", "sent"), 0) == INCIDENTS, "the end of the queue", 120)
        finally:
            process.kill()
            process.wait(timeout=10)
        came = Counter(box.titles)
        closed = [t for t in came if " resolved" in t]
        assert len(closed) == INCIDENTS
        extra = sum(count - 1 for count in came.values())
        print(f"{sum(came.values())} posts, {kills} kills, {extra} came twice")
        assert extra <= kills


def _carries(process: "subprocess.Popen[bytes]") -> bool:
    """Wait until it has begun."""
    assert process.stdout
    return bool(process.stdout.readline()) or process.poll() is None


def test_a_server_tells_what_it_does_and_counts_it(tmp_path: Path) -> None:
    with running_target() as target, postbox() as box, postbox() as hanging:
        hanging.hang.clear()
        workspace = write_workspace(tmp_path / "w", target.url, ["one"])
        with (workspace / "treewalk.yaml").open("a") as file:
            file.write(
                f"notify: {{channels: {{ops: {{url: '{box.url}'}}, stuck: {{url: '{hanging.url}?rto=20'}}}}}}\n"
                "triage: {rules: [{when: \"sla like 'fresh_*' and known != null\", severity: P2}]}\n"
            )
        with serving(workspace) as served, httpx.Client(base_url=served.url) as client:
            sent = {"name": "Stale", "sla": "fresh_one", "starts_at": 1}
            assert client.post("/webhooks/generic", json=sent).json()["opened"] == [1]
            until(lambda: client.get("/api/incidents/1").json()["life"]["ending"] == "resolved", "its end")
            until(lambda: any("resolved" in title for title in box.titles), "the last form")
            assert all(title.startswith("P2 incident 1: fresh_one") for title in box.titles)
            metrics = client.get("/metrics").text
            assert 'treewalk_messages{channel="ops",state="sent"} 1.0' in metrics
            assert 'treewalk_messages_waiting{channel="stuck"} 1.0' in metrics
            assert 'treewalk_deliveries_tried_total{channel="ops",result="delivered"}' in metrics
        done = subprocess.run(
            [sys.executable, "-m", "treewalk", "--workspace", str(workspace), "notify", "list"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "ops" in done.stdout
        assert "sent" in done.stdout


def test_a_test_message_says_what_happened_to_each_channel(tmp_path: Path) -> None:
    with postbox() as box, postbox() as broken:
        broken.status = 500
        (tmp_path / "treewalk.yaml").write_text(
            f"notify: {{channels: {{ops: {{url: '{box.url}'}}, bad: {{url: '{broken.url}'}}}}}}\n"
        )
        command = [sys.executable, "-m", "treewalk", "--workspace", str(tmp_path), "notify", "test"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "ops              delivered" in done.stdout
        assert "NOT delivered: bad:" in done.stdout
        assert "very-secret-word" not in done.stdout + done.stderr
        assert len(box.posts) == 1
        assert subprocess.run([*command, "ops"], capture_output=True, check=False).returncode == 0
        wrong = subprocess.run([*command, "opps"], capture_output=True, text=True, check=False)
        assert "did you mean 'ops'?" in wrong.stderr
