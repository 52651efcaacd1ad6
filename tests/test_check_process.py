"""The process check against a real supervisord."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from treewalk.content.checks import builtin_checks
from treewalk.model.tree import CheckSpec, Node
from treewalk.model.verdict import Status, Verdict
from treewalk.sdk import Probe
from treewalk.stages.checkrun import run_check

from tests.support.sources import TableLogs, TableMetrics
from tests.support.supervisor import RunningSupervisord, running_supervisord
from tests.support.trees import HERE
from tests.test_checks_local import run

STEADY = "command=/bin/sleep 300"
PROGRAMS = {
    "steady": STEADY,
    "held": STEADY,
    "ended": STEADY,
    "never": f"{STEADY}\nautostart=false",
    "restless": 'command=/bin/sh -c "exit 3"\nstartretries=1000',
    "hopeless": 'command=/bin/sh -c "exit 3"\nstartretries=0',
    "absent": "command=/nowhere/at/all\nstartretries=0",
    "done": 'command=/bin/sh -c "sleep 1.2 && exit 4"\nautorestart=false',
    "twin": STEADY,
    "sick": 'command=/bin/sh -c "exit 3"\nstartretries=0',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSupervisord]:
    folder = tmp_path_factory.mktemp("supervisord")
    with running_supervisord(folder, PROGRAMS, {"workers": ["twin", "sick"]}) as running:
        running.wait_for("steady", "RUNNING")
        yield running


async def look(server: RunningSupervisord, process: str, min_uptime: str = "0s") -> Verdict:
    return await run("process", server=server.url, process=process, min_uptime=min_uptime)


async def test_a_process_that_runs_is_healthy_and_one_just_started_degraded(server: RunningSupervisord) -> None:
    assert (await look(server, "steady")).status is Status.HEALTHY
    verdict = await look(server, "steady", min_uptime="1h")
    assert verdict.status is Status.DEGRADED
    assert "was started" in verdict.reason


async def test_a_fatal_process_is_unhealthy_and_says_why_it_does_not_come_up(server: RunningSupervisord) -> None:
    server.wait_for("hopeless", "FATAL")
    verdict = await look(server, "hopeless")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.observed == "FATAL"
    assert "Exited too quickly" in verdict.reason
    assert verdict.onset == pytest.approx(time.time(), abs=30)
    server.wait_for("absent", "FATAL")
    assert "can't find command" in (await look(server, "absent")).reason


async def test_a_process_that_keeps_dying_is_unhealthy_while_supervisord_waits_to_retry(
    server: RunningSupervisord,
) -> None:
    server.wait_for("restless", "BACKOFF")
    verdict = await look(server, "restless")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.observed == "BACKOFF"


async def test_a_stopped_process_is_unhealthy_since_it_was_stopped(server: RunningSupervisord) -> None:
    server.wait_for("ended", "RUNNING")
    server.rpc.stopProcess("ended")
    verdict = await look(server, "ended")
    assert (verdict.status, verdict.observed) == (Status.UNHEALTHY, "STOPPED")
    assert verdict.onset == pytest.approx(time.time(), abs=5)
    never = await look(server, "never")
    assert (never.status, never.observed, never.onset) == (Status.UNHEALTHY, "STOPPED", None)


async def test_a_process_that_exited_says_with_which_status(server: RunningSupervisord) -> None:
    server.wait_for("done", "EXITED")
    verdict = await look(server, "done")
    assert verdict.status is Status.UNHEALTHY
    assert "exit code 4" in verdict.reason


async def test_a_process_held_by_a_signal_is_unhealthy_though_supervisord_calls_it_running(
    server: RunningSupervisord,
) -> None:
    pid = server.wait_for("held", "RUNNING")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        verdict = await look(server, "held")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert verdict.status is Status.UNHEALTHY
    assert "stopped by a signal" in verdict.reason
    assert (await look(server, "held")).status is Status.HEALTHY


async def test_of_a_group_the_worst_process_is_told(server: RunningSupervisord) -> None:
    server.wait_for("workers:sick", "FATAL")
    verdict = await run("process", server=server.url, fields={"supervisor_group": "workers"}, min_uptime="0s")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason.startswith("workers:sick is FATAL")
    server.wait_for("workers:twin", "RUNNING")
    one = {"supervisor_group": "workers", "supervisor_process": "twin"}
    assert (await run("process", server=server.url, fields=one, min_uptime="0s")).status is Status.HEALTHY


async def test_what_supervisord_does_not_know_is_unknown_by_its_name(server: RunningSupervisord) -> None:
    verdict = await run("process", server=server.url, group="nobody", process="worker")
    assert verdict.status is Status.UNKNOWN
    assert "nobody:worker" in verdict.reason
    assert (await run("process", server=server.url)).status is Status.UNKNOWN


async def test_a_supervisord_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    verdict = await run("process", server=f"unix://{tmp_path}/nothing.sock", process="x")
    assert verdict.status is Status.UNKNOWN
    assert "not reachable" in verdict.reason
    verdict = await run("process", server="/var/run/supervisor.sock", process="x")
    assert verdict.status is Status.UNKNOWN
    assert "unix:///path/to.sock or http://host:port" in verdict.reason


async def test_a_wrong_password_is_unknown_and_never_shown(tmp_path: Path) -> None:
    with running_supervisord(tmp_path, {"steady": STEADY}, login=("ops", "made-up")) as server:
        server.wait_for("steady", "RUNNING")
        ask = {"server": server.url, "process": "steady", "min_uptime": "0s", "username": "ops"}
        assert (await run("process", **ask, password="made-up")).status is Status.HEALTHY
        verdict = await run("process", **ask, password="quite-wrong")
    assert verdict.status is Status.UNKNOWN
    assert "401" in verdict.reason
    assert "quite-wrong" not in verdict.reason


async def test_a_supervisord_that_hangs_is_let_go_in_time(tmp_path: Path) -> None:
    with running_supervisord(tmp_path, {"steady": STEADY}) as server:
        probe = Probe(Node("n", HERE), time.time(), 300.0, 1.0, lambda _: TableMetrics(), lambda _: TableLogs())
        spec = CheckSpec("process", {"server": server.url, "process": "steady"}, HERE)
        server.process.send_signal(signal.SIGSTOP)
        try:
            verdict = await run_check(builtin_checks()["process"], probe, spec, 20.0)
        finally:
            server.process.send_signal(signal.SIGCONT)
    assert verdict.status is Status.UNKNOWN
    assert "not reachable: TimeoutError" in verdict.reason  # its thread has ended too
