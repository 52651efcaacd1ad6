"""A container of Docker, or of what speaks its API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from treewalk import (
    Node,
    Probe,
    SourceUnreachable,
    Verdict,
    check,
    degraded,
    healthy,
    shown_address,
    unhealthy,
    unknown,
)

_SOCKET = "unix:///var/run/docker.sock"  # what an engine is asked at when nothing else is said


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    named = params["name"] or node.fields.get("container")
    return None if named else "no container named: give the node `container: NAME`"


@check("container", live=True, loads=("docker",), needs=_needs)
def container(
    probe: Probe, *, name: str | None = None, base_url: str | None = None, max_restarts: int | None = None
) -> Verdict:
    """A container runs and is healthy.

    name          default: the node's field `container`
    base_url      of the engine, such as unix:///var/run/docker.sock; default: from the environment
    max_restarts  more restarts than this are degraded
    """
    wanted = name or probe.field("container")
    if not wanted:
        return unknown("no container named: give the node `container: NAME`")
    where = base_url or os.environ.get("DOCKER_HOST") or _SOCKET
    details = _inspect(probe, str(wanted), base_url, shown_address(where))
    verdict = _judge(str(wanted), details, max_restarts)
    if where == _SOCKET:
        return verdict
    return replace(verdict, reason=f"{verdict.reason} (the engine at {shown_address(where)})")


def _judge(wanted: str, details: dict[str, Any] | None, max_restarts: int | None) -> Verdict:
    if details is None:
        return unhealthy(f"there is no container {wanted}", expected="running")
    state = details.get("State") or {}
    status = str(state.get("Status", "unknown"))
    if status != "running":
        killed = ", out of memory" if state.get("OOMKilled") else ""
        reason = f"{wanted} is {status} (exit code {state.get('ExitCode', '?')}{killed})"
        return unhealthy(reason, observed=status, expected="running")
    health = str((state.get("Health") or {}).get("Status") or "")
    if health == "unhealthy":
        return unhealthy(f"{wanted} runs, but its own health check fails", observed=health, expected="healthy")
    restarts = int(details.get("RestartCount") or 0)
    if max_restarts is not None and restarts > max_restarts:
        return degraded(
            f"{wanted} was restarted {restarts} times", observed=str(restarts), expected=f"<= {max_restarts}"
        )
    if health == "starting":
        return degraded(f"{wanted} is starting", observed=health, expected="healthy")
    return healthy(f"{wanted} runs", observed=status)


def _inspect(probe: Probe, name: str, base_url: str | None, where: str) -> dict[str, Any] | None:
    """What the engine says of a container; None when there is none of that name."""
    import docker
    import requests

    try:
        client = (
            docker.DockerClient(base_url=base_url, timeout=int(probe.timeout) or 1)
            if base_url
            else docker.from_env(timeout=int(probe.timeout) or 1)
        )
        try:
            return dict(client.api.inspect_container(name))
        finally:
            client.close()
    except docker.errors.NotFound:
        return None
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise SourceUnreachable(f"the container engine at {where} is not reachable: {_why(error)}") from None


def _why(error: Exception) -> str:
    """The innermost cause in few words: the client wraps everything into errors of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
