"""A process is killed anywhere in an incident's life: nothing is lost, and what may not run twice does not.

What ran is counted at the server that was called, not in treewalk's own books.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.ledger import Ledger

from tests.crash.target import APPROVER, Target, running_target, write_meeting, write_workspace

pytestmark = pytest.mark.alone
RANDOM_KILLS = 200
NURSERIES = 3
EVERY = 7  # of the points of the longer road, to spare time, but for those around its actions
ACTS = 3 * 6  # points around two calls and the one that takes back: before and after intent, call and outcome
CHAIN = 8  # kills of one workspace, one after another
Job = Callable[..., dict[str, Any]]


class Nursery:
    """One process that forks those that are to be killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.nursery"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def run(self, workspace: Path, do: list[str] | str | None, **more: Any) -> dict[str, Any]:
        self.stdin.write(json.dumps({"workspace": str(workspace), "do": do, **more}) + "\n")
        self.stdin.flush()
        found: dict[str, Any] = json.loads(self.stdout.readline())
        return found

    def ready(self) -> None:
        assert json.loads(self.stdout.readline())["ready"]

    def close(self) -> None:
        self.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def nurseries() -> Iterator[Queue[Nursery]]:
    """Some of them, to be taken and given back."""
    made = [Nursery() for _ in range(NURSERIES)]
    free: Queue[Nursery] = Queue()
    for one in made:
        one.ready()
        free.put(one)
    yield free
    for one in made:
        one.close()


@contextmanager
def taken(nurseries: Queue[Nursery]) -> Iterator[Job]:
    one = nurseries.get()
    try:
        yield one.run
    finally:
        nurseries.put(one)


def check_books(workspace: Path, target: Target, stores: list[str]) -> list[str]:
    """Every incident is closed, nothing ran twice that must not, nothing is claimed that was not; how they ended."""
    database = SqliteDatabase(workspace / ".treewalk" / "memory.db")
    cases, endings = Casebook(database), []
    for store in stores:
        for part in "ab":
            assert target.calls[f"/mend/{store}/{part}"] <= 1, f"{store}/{part} was called twice"
    numbers = [row["number"] for row in database.query("SELECT number FROM incidents ORDER BY number")]
    for number in numbers:
        life = cases.life(number)
        assert life["state"] == "closed", f"incident {number} is {life['state']}"
        store = life["sla"].partition("_")[2]
        endings.append(life["ending"])
        if life["ending"] == "resolved":
            assert not target.broken(store)
        for row in Ledger(database).of(number):
            assert row["outcome"] is not None, f"{row['key']} has no outcome"
    assert database.query("SELECT node, incident FROM claims") == []
    assert Audit(database).verify()[1] == []
    database.close()
    return endings


def test_a_kill_at_every_recorded_point_loses_nothing_and_repeats_nothing(
    nurseries: Queue[Nursery], tmp_path: Path
) -> None:
    with running_target() as target, ThreadPoolExecutor(NURSERIES) as pool:
        whole = write_workspace(tmp_path / "whole", target.url, ["whole"])
        with taken(nurseries) as run:
            found = run(whole, ["fresh_whole"])
        assert found["code"] == 0
        assert check_books(whole, target, ["whole"]) == ["resolved"]
        assert found["points"] > 50

        def die_at(at: int) -> list[str]:
            workspace = write_workspace(tmp_path / f"p{at}", target.url, [f"p{at}"])
            with taken(nurseries) as run:
                assert run(workspace, [f"fresh_p{at}"], kill_at=at)["killed"], f"it did not die at point {at}"
                assert run(workspace, None)["code"] == 0
            return check_books(workspace, target, [f"p{at}"])

        seen = {ending for endings in pool.map(die_at, range(1, found["points"] + 1)) for ending in endings}
        assert seen == {"resolved", "escalated"}  # escalated: it is not known whether a call came through


@contextmanager
def answering(workspace: Path) -> Iterator[None]:
    """A human who says yes to whatever is asked, at once, over a connection of her own; listed, and not at a shell."""
    database, over = SqliteDatabase(workspace / ".treewalk" / "memory.db"), threading.Event()
    cases = Casebook(database)

    def answer() -> None:
        while not over.wait(0.02):
            for asked in cases.questions(time.time()):
                cases.answer(asked["incident"], asked["digest"], APPROVER, True, "web", time.time())

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        database.close()


def check_meeting(workspace: Path, target: Target, store: str) -> list[str]:
    """Of two incidents at one node one acted, with leave, and what it did was taken back once; how they ended."""
    endings = check_books(workspace, target, [store])
    called = [target.calls[f"/{path}/{store}/a"] for path in ("mend", "undo")]
    assert max(called) <= 1, f"{store} was called {called} times"
    database = SqliteDatabase(workspace / ".treewalk" / "memory.db")
    runs = database.query("SELECT incident, key, outcome FROM ledger ORDER BY intent_at, key")
    assert len({row["incident"] for row in runs}) <= 1, f"both acted: {[dict(row) for row in runs]}"
    outcomes = {row["key"].split(":", 2)[2]: row["outcome"] for row in runs}
    if outcomes.get("do:0") == "done":
        assert "undo:0" in outcomes, f"what was done was not taken back: {outcomes}"
    assert called[1] <= called[0]
    answers = database.query("SELECT incident, who, granted FROM approvals")
    assert {row["incident"] for row in runs} <= {row["incident"] for row in answers if row["granted"]}
    database.close()
    assert sorted(endings) == ["escalated", "merged"]
    return endings


def test_kills_where_a_human_is_asked_and_two_incidents_meet_undo_once_and_leave_nothing_behind(
    nurseries: Queue[Nursery], tmp_path: Path
) -> None:
    with running_target() as target, ThreadPoolExecutor(NURSERIES) as pool:

        def slas(store: str) -> list[str]:
            return [f"fresh_{store}", f"close_{store}"]

        whole = write_meeting(tmp_path / "whole", target.url, "whole")
        with answering(whole), taken(nurseries) as run:
            found = run(whole, slas("whole"))
        assert found["code"] == 0
        check_meeting(whole, target, "whole")
        assert [target.calls[f"/{path}"] for path in ("mend/whole/a", "mend/whole/c", "undo/whole/a")] == [1, 1, 1]
        assert found["points"] > 60

        def die_at(at: int, within: str | None) -> bool:
            """Die there, the second one beginning with the first or, every other time, while that one is proven."""
            store = f"m{within or ''}{at}"
            workspace = write_meeting(tmp_path / store, target.url, store)
            with answering(workspace), taken(nurseries) as run:
                found = run(workspace, slas(store), kill_at=at, kill_in=within, apart=at % 2 == 0)
                assert found["killed"] or found["code"] == 0
                assert run(workspace, None)["code"] == 0
            check_meeting(workspace, target, store)
            return bool(found["killed"])

        acts = pool.map(die_at, range(1, ACTS + 1), ["act"] * ACTS)
        points = range(1, found["points"] + 1, EVERY)
        others = pool.map(die_at, points, [None] * len(points))
        assert all(acts)
        # Which of the two comes first is not always the same, and with it the number of points.
        assert sum(others) >= len(points) - 3


def test_kills_at_random_instants_lose_nothing_and_repeat_nothing(nurseries: Queue[Nursery], tmp_path: Path) -> None:
    with running_target() as target, ThreadPoolExecutor(NURSERIES) as pool:

        def chain(number: int) -> tuple[int, int]:
            instants = random.Random(number)
            stores = [f"r{number}x{k}" for k in range(3)]
            workspace = write_workspace(tmp_path / f"r{number}", target.url, stores)
            job: list[str] | None = [f"fresh_{store}" for store in stores]
            kills = midway = 0
            with taken(nurseries) as run:
                for _ in range(CHAIN):
                    early = instants.random() < 0.2  # while it starts, or from its first step on
                    after = instants.uniform(0.02, 0.6)
                    found = run(workspace, job, kill_after=after, from_first=not early)
                    kills += found["killed"]
                    midway += found["killed"] and still_living(workspace)
                    job = None
                    if not found["killed"]:
                        break
                assert run(workspace, None)["code"] == 0
            check_books(workspace, target, stores)
            return kills, midway

        kills = midway = number = 0
        while kills < RANDOM_KILLS:
            for killed, within in pool.map(chain, range(number, number + 6)):
                kills, midway = kills + killed, midway + within
            number += 6
    assert kills >= RANDOM_KILLS
    assert midway >= RANDOM_KILLS // 4, "most kills hit nothing: the instants are too early or too late"


def still_living(workspace: Path) -> bool:
    path = workspace / ".treewalk" / "memory.db"
    if not path.exists():
        return False
    database = SqliteDatabase(path)
    found = bool(Casebook(database).living())
    database.close()
    return found
