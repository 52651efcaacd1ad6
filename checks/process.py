"""A process under supervisord."""

from __future__ import annotations

import http.client
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from treewalk import (
    Node,
    Probe,
    Seconds,
    SourceRejected,
    SourceUnreachable,
    Verdict,
    check,
    degraded,
    format_duration,
    healthy,
    short,
    shown_address,
    unhealthy,
    unknown,
    url_problem,
)

_ORDER = ("FATAL", "BACKOFF", "EXITED", "STOPPED", "UNKNOWN", "STOPPING", "STARTING", "RUNNING")


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    problem = url_problem(params["server"], ("unix", "http", "https"))
    if problem:
        return f"server: {problem}"
    named = [params["group"], params["process"], *map(node.fields.get, ("supervisor_group", "supervisor_process"))]
    return None if any(named) else "no process named: give the node supervisor_group and supervisor_process"


@check("process", live=True, loads=("supervisor.xmlrpc",), needs=_needs)
def process(
    probe: Probe,
    *,
    server: str = "unix:///var/run/supervisor.sock",
    group: str | None = None,
    process: str | None = None,
    username: str | None = None,
    password: str | None = None,
    min_uptime: Seconds = 10.0,
) -> Verdict:
    """A process under supervisord runs, has run for a while, and is not stopped by a signal.

    server      unix:///path/to.sock or http://host:port of supervisord
    group       default: the node's supervisor_group
    process     default: the node's supervisor_process; without it every process of the group counts
    username    for supervisord's own authentication
    password    may hold ${ENV}
    min_uptime  a process younger than this has been restarted just now: degraded
    """
    group = group or probe.field("supervisor_group")
    name = process or probe.field("supervisor_process")
    if not group and not name:
        return unknown("no process named: give the node supervisor_group and supervisor_process")
    server = probe.secret(server)
    local = server.startswith("unix:")
    where = shown_address(server)
    everything = _ask(probe, server, username, password)
    mine = [p for p in everything if (not group or p["group"] == group) and (not name or p["name"] == name)]
    if not mine:
        wanted = ":".join(str(part) for part in (group, name) if part)
        return unknown(f"supervisord at {where} knows no process {wanted}")
    verdicts = [(_ORDER.index(p["statename"]), _judge(p, min_uptime, local=local)) for p in mine]
    bad = sorted((v for v in verdicts if v[1].status.troubled), key=lambda v: v[0])
    verdict = bad[0][1] if bad else verdicts[0][1]
    return verdict if local else replace(verdict, reason=f"{verdict.reason} (supervisord at {where})")


def _ask(probe: Probe, server: str, username: str | None, password: str | None) -> list[dict[str, Any]]:
    from supervisor.xmlrpc import SupervisorTransport

    secret = probe.secret(password) if password else None
    try:
        transport = SupervisorTransport(username, secret, server)
    except ValueError:
        raise SourceRejected("server has to be unix:///path/to.sock or http://host:port of supervisord") from None
    where = shown_address(server)
    _bound(transport, probe.timeout)
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    try:
        return proxy.supervisor.getAllProcessInfo()  # type: ignore[return-value]
    except xmlrpc.client.ProtocolError as error:
        raise SourceRejected(f"supervisord at {where} answered {error.errcode}; check username and password") from None
    except (OSError, http.client.HTTPException) as error:
        raise SourceUnreachable(f"supervisord at {where} is not reachable: {type(error).__name__}") from None
    except (xmlrpc.client.Fault, xmlrpc.client.ResponseError) as error:
        raise SourceRejected(f"supervisord at {where} refused: {short(str(error))}") from None
    finally:
        transport.close()


def _bound(transport: Any, timeout: float) -> None:
    """Give its connection a time-out, which it has none of: a supervisord that hangs would hold the thread for good."""
    connect = transport._get_connection

    def connected() -> Any:
        connection = connect()
        connection.timeout = timeout
        connection.connect()
        connection.sock.settimeout(timeout)
        return connection

    transport._get_connection = connected


def _judge(info: dict[str, Any], min_uptime: float, *, local: bool) -> Verdict:
    name, state = f"{info['group']}:{info['name']}", info["statename"]
    if state == "RUNNING":
        held = _held(int(info["pid"])) if local else None
        if held:
            return unhealthy(f"{name} is {held}", observed=held, expected="running")
        uptime = max(0.0, float(info["now"] - info["start"]))
        if uptime < min_uptime:
            return degraded(f"{name} was started {format_duration(uptime)} ago", observed="RUNNING", expected="RUNNING")
        return healthy(f"{name} runs for {format_duration(uptime)}", observed="RUNNING")
    ended = float(info["stop"]) or None
    why = info["spawnerr"] or (f"exit status {info['exitstatus']}" if state in ("EXITED", "BACKOFF") else "")
    reason = f"{name} is {state}" + (f": {why}" if why else "")
    if state == "STARTING":
        return degraded(reason, observed=state, expected="RUNNING")
    onset = ended if ended and ended <= time.time() else None
    return unhealthy(reason, observed=state, expected="RUNNING", onset=onset)


def _held(pid: int) -> str | None:
    """What the kernel says of a process that does not run although it is there (Linux, proc(5))."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    return {
        "T": "stopped by a signal (state T)",
        "t": "stopped by a debugger (state t)",
        "Z": "a zombie (state Z)",
    }.get(state)
