"""Actions on processes of a real supervisord."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from treewalk.errors import ActionFailed, SourceError, SourceRejected, SourceTimeout, SourceUnreachable

from tests.support.actions import hands, preview, run
from tests.support.hostile import HOSTILE
from tests.support.supervisor_rpc import USER, WORD, Supervisor, running_supervisor

KINDS = ("process_restart", "process_start", "process_stop")
PROGRAMS = {
    "steady": "command=sleep 600\nstartsecs=0",
    "broken": "command=/nowhere/at/all\nautostart=false\nstartsecs=1\nstartretries=0",
    "dying": "command=sh -c 'exit 3'\nautostart=false\nstartsecs=1\nstartretries=0\nautorestart=false",
}


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    with running_supervisor(PROGRAMS) as found:
        yield found


def state(supervisor: Supervisor, name: str = "steady") -> Any:
    return supervisor.look.getProcessInfo(name)


async def test_a_restart_gives_a_new_process_and_a_preview_gives_none(supervisor: Supervisor) -> None:
    where = {"process": "steady", "server": supervisor.socket}
    before = state(supervisor)["pid"]
    assert await preview("process_restart", **where) == "would restart steady, which is RUNNING"
    assert state(supervisor)["pid"] == before
    result = await run("process_restart", **where)
    assert result.data == {"state": "RUNNING", "pid": state(supervisor)["pid"]}
    assert state(supervisor)["pid"] != before
    result = await run("process_restart", group="steady", **where)
    assert result.summary == "restarted steady:steady, which was RUNNING"


async def test_what_runs_is_not_started_and_what_is_stopped_is_not_stopped_again(supervisor: Supervisor) -> None:
    where = {"process": "steady", "server": supervisor.socket}
    before = state(supervisor)["pid"]
    assert (await run("process_start", **where)).summary == "steady runs already"
    assert state(supervisor)["pid"] == before
    result = await run("process_stop", **where)
    assert result.data["state"] == "STOPPED"
    undo = dict(result.undo or {})
    assert (await run(undo.pop("action"), **undo)).data["state"] == "RUNNING"
    await run("process_stop", **where)
    again = await run("process_stop", **where)
    assert (again.summary, again.undo) == ("steady did not run", None)
    assert (await run("process_restart", **where)).summary == "restarted steady, which was STOPPED"
    assert state(supervisor)["statename"] == "RUNNING"


@pytest.mark.parametrize("name", ["broken", "dying"])
@pytest.mark.parametrize("kind", ["process_restart", "process_start"])
async def test_a_program_that_cannot_run_is_a_failure(supervisor: Supervisor, kind: str, name: str) -> None:
    with pytest.raises(ActionFailed, match=f"{name} does not start"):
        await run(kind, process=name, server=supervisor.socket)


async def test_the_password_is_used_and_a_wrong_one_is_told_without_showing_it(supervisor: Supervisor) -> None:
    params = {"process": "steady", "server": supervisor.http, "username": USER, "password": "${WORD}"}
    assert "RUNNING" in await preview("process_stop", hands(**{"${WORD}": WORD}), **params)
    before = state(supervisor)["pid"]
    for kind in KINDS:
        with pytest.raises(SourceRejected, match="check username and password") as caught:
            await run(kind, hands(**{"${WORD}": "guessed-word"}), **params)
        assert "guessed-word" not in str(caught.value)
    assert state(supervisor)["pid"] == before


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_there_is_unreachable_and_no_address_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gone = [f"unix://{tmp_path}/no.sock", f"unix://{tmp_path}/file", f"unix://{tmp_path}/file/x", "http://127.0.0.1:1"]
    gone.append("unix:///" + "x" * 200)
    for server in gone:
        for go in (preview, run):
            with pytest.raises(SourceUnreachable, match="not reachable"):
                await go(kind, process="steady", server=server)
    for server in ("ftp://x", "http://", "http://h:port", "steady", "file:x"):
        with pytest.raises(SourceRejected, match="not an address of supervisord"):
            await run(kind, process="steady", server=server)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_is_not_known_is_refused(supervisor: Supervisor, kind: str) -> None:
    for go in (preview, run):
        with pytest.raises(SourceRejected, match="BAD_NAME"):
            await go(kind, process="nobody", server=supervisor.socket)


@pytest.mark.parametrize("which", ["socket", "http"])
async def test_a_supervisord_that_hangs_is_given_up_on(supervisor: Supervisor, which: str) -> None:
    params = {"process": "steady", "server": getattr(supervisor, which), "username": USER, "password": WORD, "grace": 0}
    os.kill(supervisor.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(SourceTimeout, match="not known"):
            await run("process_stop", hands(timeout=0.5), **params)
        assert time.monotonic() - began < 5
    finally:
        os.kill(supervisor.pid, signal.SIGCONT)
    for _ in range(100):  # what it was asked is done late: nobody could have known
        if state(supervisor)["statename"] == "STOPPED":
            break
        time.sleep(0.05)
    assert (await run("process_start", **params)).data["state"] == "RUNNING"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_hostile_texts_stay_texts(supervisor: Supervisor, text: str) -> None:
    before = state(supervisor)["pid"]
    whole = {"process": "steady", "server": supervisor.http, "username": USER, "password": WORD}
    for name in ("process", "group", "server", "username", "password"):
        for kind in KINDS:
            with pytest.raises((ValidationError, ActionFailed, SourceError)):
                await run(kind, **{**whole, name: text})
    assert state(supervisor)["pid"] == before
