"""Processes that are to be killed: forked from one that has imported everything, so that each is there at once.

Reads jobs as JSON lines from stdin, answers each with one JSON line. A job: `workspace`; `do`: a list of SLAs to fix at
once, null to resume, or `stay` to work until the file `until` is there; `kill_at`: the number of the point to die at,
of those of the kind `kill_in` where that is given (`step`, `act`: an action and its lines in the ledger, `case`);
`apart`: the first one of the list is begun, and the others once it is being proven;
`kill_after`: seconds until it is killed, from its start, or with `from_first` from the first point that it passes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

_PROVEN = ("verifying", "closed")  # an incident whose actions are done
_points = 0
_kill_at: int | None = None
_kill_in: str | None = None
_first: int | None = None  # a pipe that is told of the first point


def point(kind: str) -> None:
    """One place where a process may die; it does at the one that was asked for."""
    global _points
    if _points == 0 and _first is not None:
        os.write(_first, b"!")
    _points += _kill_in in (None, kind)
    if _points == _kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


def _instrument() -> None:
    """Points around every durable step, every line of the ledger, and every action."""
    from treewalk.actions.http import HttpCall
    from treewalk.integrations import durable
    from treewalk.store.casebook import Casebook
    from treewalk.store.ledger import Ledger

    step = durable._Steps.step

    async def stepped(self: Any, name: str, function: Any) -> Any:
        async def inner() -> Any:
            point("step")
            result = await function()
            point("step")
            return result

        result = await step(self, name, inner)
        point("step")
        return result

    durable._Steps.step = stepped  # type: ignore[method-assign]
    for owner, name in ((Ledger, "intend"), (Ledger, "settle"), (Casebook, "close"), (Casebook, "planned")):
        setattr(owner, name, _around(getattr(owner, name), "act" if owner is Ledger else "case"))
    run = HttpCall.run

    async def ran(self: Any, params: Any, hands: Any) -> Any:
        point("act")
        result = await run(self, params, hands)
        point("act")
        return result

    HttpCall.run = ran  # type: ignore[method-assign]


def _around(function: Any, kind: str) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        point(kind)
        result = function(*args, **kwargs)
        point(kind)
        return result

    return wrapped


def _child(job: dict[str, Any]) -> int:
    global _kill_at, _kill_in
    _kill_at, _kill_in = job.get("kill_at"), job.get("kill_in")
    from treewalk.app import App
    from treewalk.operations.incidents import Operations

    async def work() -> None:
        async with App.open(Path(job["workspace"])) as app:
            operations = Operations(app, poll=0.05)
            if job["do"] is None:
                await operations.crew.resume()
                return
            if job["do"] == "stay":
                async with operations.crew.working():
                    while not Path(job["until"]).exists():
                        await asyncio.sleep(0.05)
                return
            async with operations.crew.working() as workflows:
                numbers = [operations.open(sla, "a test") for sla in job["do"]]
                for number in numbers:
                    await workflows.start(number)
                    while job.get("apart") and operations.cases.life(numbers[0])["state"] not in _PROVEN:
                        await asyncio.sleep(0.02)
                for number in numbers:
                    await operations.crew.until_closed(number)

    asyncio.run(work())
    return 0


def _serve(job: dict[str, Any]) -> dict[str, Any]:
    global _first
    reading, writing = os.pipe()
    passed, _first = os.pipe()
    os.set_blocking(passed, False)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _child(job)
        except BaseException as error:  # noqa: BLE001  whatever it is: the parent reads the code
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
        os.write(writing, json.dumps(_points).encode())
        os._exit(code)
    os.close(writing)
    limit = job.get("kill_after")
    counted_from = None if job.get("from_first") else began
    killed = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if counted_from is None and _told(passed):
            counted_from = time.monotonic()
        due = limit is not None and counted_from is not None and time.monotonic() - counted_from > limit
        if due or time.monotonic() - began > 90:
            os.kill(child, signal.SIGKILL)
            killed, limit = True, None
        time.sleep(0.002)
    os.close(passed)
    os.close(_first)
    _first = None
    points = os.read(reading, 100)
    os.close(reading)
    return {
        "killed": killed or os.WIFSIGNALED(status),
        "code": os.waitstatus_to_exitcode(status),
        "points": int(points) if points else None,
        "seconds": time.monotonic() - began,
    }


def _told(pipe: int) -> bool:
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False


def main() -> None:
    os.nice(10)  # what runs beside it keeps time; the moment of a kill does not matter
    import dbos
    import dbos._sys_db_sqlite  # noqa: F401
    import httpx  # noqa: F401
    import jinja2.sandbox  # noqa: F401
    import prometheus_api_client  # noqa: F401
    import promql_parser  # noqa: F401
    import re2  # noqa: F401
    import ruamel.yaml  # noqa: F401
    import sqlite_utils  # noqa: F401
    import treewalk.diagnosing
    import treewalk.integrations.prometheus
    import treewalk.operations.incidents
    import treewalk.store.lessons
    import treewalk.store.workers  # noqa: F401
    from treewalk.actions import ACTIONS, action
    from treewalk.content.workspace import load_workspace

    load_workspace(None, example=True)
    for kind in ACTIONS:
        action(kind)
    _instrument()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
