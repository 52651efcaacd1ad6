"""Told to stop in the middle of an action: its outcome is written down where it ends in time; nothing else begins."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.ledger import Ledger
from treewalk.workflow.underway import Underway

from tests.crash.target import Target, running_target, write_workspace
from tests.support.serving import serving
from tests.test_serve import ENVIRON, SERVER, TOKEN, alertmanager, until, with_server


class Slow(Target):
    """It takes its time to mend."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.began = seconds, threading.Event()

    def mend(self, path: str) -> None:
        self.began.set()
        time.sleep(self.seconds)


def stopped_while_acting(workspace: Path, target: Slow) -> float:
    """Serve until an action runs, and stop it then; how many seconds that took."""
    with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
        client.post("/webhooks/alertmanager", json=alertmanager("one"))
        assert target.began.wait(40)
        began = time.monotonic()
        assert served.stop() == 0
        return time.monotonic() - began


def ended(workspace: Path, target: Slow) -> str:
    """How the incident ends when it is gone on with."""
    target.seconds = 0.0
    database = SqliteDatabase(workspace / ".treewalk" / "memory.db")
    cases = Casebook(database)
    with serving(workspace, environ=ENVIRON) as served:
        assert served.url
        until(lambda: cases.life(1)["state"] == "closed", "the incident's end")
    ending = str(cases.life(1)["ending"])
    database.close()
    return ending


def runs(workspace: Path) -> list[Any]:
    database = SqliteDatabase(workspace / ".treewalk" / "memory.db")
    found = [row["outcome"] for row in Ledger(database).of(1)]
    database.close()
    return found


def test_an_action_that_runs_when_it_is_told_to_stop_ends_and_is_written_down(tmp_path: Path) -> None:
    with running_target(Slow(3.0)) as target:
        assert isinstance(target, Slow)
        workspace = with_server(write_workspace(tmp_path / "w", target.url, ["one"]))
        assert 1.0 < stopped_while_acting(workspace, target) < 15.0
        assert runs(workspace) == ["done"]  # and the next one was not begun
        assert ended(workspace, target) == "resolved"
        assert (target.calls["/mend/one/a"], target.calls["/mend/one/b"]) == (1, 1)


def test_an_action_that_takes_longer_than_the_grace_goes_to_a_human(tmp_path: Path) -> None:
    with running_target(Slow(8.0)) as target:
        assert isinstance(target, Slow)
        short = SERVER.replace("server:\n", "server:\n  grace: 500ms\n")
        workspace = with_server(write_workspace(tmp_path / "w", target.url, ["one"]), short)
        assert stopped_while_acting(workspace, target) < 7.0
        assert runs(workspace) == [None]
        assert ended(workspace, target) == "escalated"
        assert target.calls["/mend/one/a"] <= 1


async def test_what_would_begin_after_the_stop_does_not() -> None:
    underway, begun = Underway(), list[str]()

    async def action(name: str, over: asyncio.Event) -> None:
        async with underway:
            begun.append(name)
            await over.wait()

    over = asyncio.Event()
    one = asyncio.create_task(action("one", over))
    await asyncio.sleep(0)
    stop = asyncio.create_task(underway.finish(5.0))
    await asyncio.sleep(0)
    two = asyncio.create_task(action("two", over))
    await asyncio.sleep(0.01)
    assert not stop.done()
    over.set()
    assert await stop == 0
    assert (begun, one.done(), two.done()) == (["one"], True, False)
    two.cancel()
    with pytest.raises(asyncio.CancelledError):
        await two
    underway.begin()
    await action("three", over)
    assert begun == ["one", "three"]


async def test_the_wait_for_what_runs_has_an_end() -> None:
    underway = Underway()
    async with underway:
        assert await underway.finish(0.01) == 1
