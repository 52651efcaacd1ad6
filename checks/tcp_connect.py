"""A port that has to accept connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from treewalk import (
    Address,
    Node,
    Probe,
    Verdict,
    address_problem,
    check,
    format_duration,
    healthy,
    unhealthy,
    unknown,
)


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    whole = params["address"] or node.fields.get("address") or node.fields.get("url")
    problem = address_problem(str(whole)) if whole else None
    if problem is None and _target(node.fields.get, params["address"], params["host"], params["port"]) is None:
        somewhere = whole or params["host"] or node.fields.get("host")
        if node.external and not somewhere:
            return None  # where others' systems are is not always known: the node is unknown and says so
        problem = "no port" if somewhere else "no address"
        problem += ": give the healthcheck `address: host:port`, or the node host and port"
    return problem


@check("tcp_connect", live=True, needs=_needs)
async def tcp_connect(
    probe: Probe, *, address: Address | None = None, host: str | None = None, port: int | None = None
) -> Verdict:
    """A TCP connection can be opened.

    address  host:port; default: host and port, here or as fields of the node, or the node's address or url
    host     name or IP address
    port     1 to 65535
    """
    target = _target(probe.field, address, host, port)
    if target is None:
        return unknown("no address: give the healthcheck `address: host:port`, or the node host and port")
    name, number = target
    where = f"{name}:{number}"
    try:
        async with asyncio.timeout(probe.timeout):
            _, writer = await asyncio.open_connection(name, number)
    except TimeoutError:
        return unhealthy(f"{where} does not accept a connection within {format_duration(probe.timeout)}")
    except OSError as error:
        return unhealthy(f"{where}: {_reason(error)}")
    writer.close()
    return healthy(f"{where} accepts connections")


def _target(
    field: Callable[[str], Any], address: str | None, host: str | None, port: int | None
) -> tuple[str, int] | None:
    whole = address or field("address") or field("url")
    name, number = host or field("host"), port or field("port")
    if whole:
        text = str(whole)
        parts = urlsplit(text if "://" in text else f"//{text}")
        name = parts.hostname or name
        number = parts.port or number or {"https": 443, "http": 80, "wss": 443, "ws": 80}.get(parts.scheme)
    return (str(name), int(number)) if name and number else None


def _reason(error: OSError) -> str:
    text = str(error.strerror or error)
    if "Connect call failed" in str(error) or "refused" in text.lower():
        return "connection refused"
    return text.lower()
