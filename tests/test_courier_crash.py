"""A courier that is killed at random instants: no message is lost, and at most one a kill comes twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.crash.target import running_target, write_workspace
from tests.support.messengers import postbox
from tests.support.serving import serving
from tests.test_courier import Office

ROUNDS = 12  # each ends with a kill
EACH = 10  # incidents a round


def until(done: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


class Carrier:
    """Couriers, one after the other, each a process that is killed."""

    def __init__(self, workspace: Path) -> None:
        command = [sys.executable, "-m", "tests.crash.carrier", str(workspace)]
        self._nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = 0

    def start(self) -> None:
        assert self._nursery.stdin
        assert self._nursery.stdout
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        self.pid = int(self._nursery.stdout.readline())

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.pid = 0

    def end(self) -> None:
        self.kill()
        self._nursery.kill()
        self._nursery.wait(timeout=10)


class _Now:
    def now(self) -> float:
        return time.time()


def test_a_courier_killed_at_random_instants_loses_nothing(tmp_path: Path) -> None:
    dice = random.Random(1)
    with postbox() as box:
        box.statuses = [500 if dice.random() < 0.1 else 200 for _ in range(200)]
        (tmp_path / "treewalk.yaml").write_text(
            f"notify: {{channels: {{ops: {{url: '{box.url}?rto=9'}}}}, timeout: 10s, tries: 100}}\n"
        )
        office = Office(tmp_path / ".treewalk")
        office.clock = _Now()  # type: ignore[assignment]
        carrier = Carrier(tmp_path)
        carrier.start()
        until(lambda: office.outbox.read_up_to() is not None, "its first look")
        living: list[int] = []
        try:
            for _ in range(ROUNDS):
                before = len(box.titles)
                closing = [living.pop(0) for _ in range(len(living) // 2)]
                living += [office.opened("orders") for _ in range(EACH)]
                for number in closing:
                    office.close(number)
                goal = before + dice.randrange(1, 8)
                until(lambda goal=goal: len(box.titles) >= goal, "a few posts")  # type: ignore[misc]
                time.sleep(dice.uniform(0, 0.05))
                carrier.kill()
                carrier.start()
            for number in living:
                office.close(number)

            def done() -> bool:
                ends = {t for t in box.titles if " resolved" in t}
                return len(ends) == ROUNDS * EACH and set(office.outbox.counts()) == {("ops", "sent")}

            until(done, "the end of the queue", 120)
        finally:
            carrier.end()
        came = Counter(box.titles)
        twice = sum(count - 1 for count in came.values())
        print(f"{sum(came.values())} posts, {ROUNDS} kills, {twice} came twice")
        assert twice <= ROUNDS


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
