"""An HTTP endpoint that has to answer."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from treewalk import (
    HttpUrl,
    Node,
    Probe,
    Seconds,
    Verdict,
    check,
    degraded,
    format_duration,
    healthy,
    shown_address,
    unhealthy,
    unknown,
    url_problem,
)

_MOST = 1_000_000  # bytes of a body that are looked at


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    where = params["url"] or node.fields.get("url")
    if not where:
        return "no address: give the healthcheck or the node a url"
    try:
        _right(200, params["status"])
    except ValueError:
        return f"status {params['status']!r} is none: write 200, '200-299', or a list"
    return None if params["url"] else url_problem(str(where), ("http", "https"))


@check("http", live=True, loads=("httpx",), needs=_needs)
async def http(
    probe: Probe,
    *,
    url: HttpUrl | None = None,
    verb: str = "GET",
    status: str | int | list[int] = "200-399",
    body_contains: str | None = None,
    max_latency: Seconds | None = None,
    headers: dict[str, str] | None = None,
    verify_tls: bool = True,
) -> Verdict:
    """An HTTP request gets an answer with the right status, in time.

    url            default: the node's field `url`; may hold ${ENV}
    verb           GET, HEAD, …
    status         what is right: 200, "200-299", or a list
    body_contains  a text that the body has to hold (its first megabyte)
    max_latency    slower than this is degraded
    headers        sent along; values may hold ${ENV}
    verify_tls     whether the certificate has to be valid
    """
    import httpx

    address = url or probe.field("url")
    if not address:
        return unknown("no address: give the healthcheck or the node a url")
    address = probe.secret(str(address))
    where = shown_address(address)
    sent = {name: probe.secret(value) for name, value in (headers or {}).items()}
    began = time.perf_counter()
    body = bytearray()
    try:
        asked = _client(verify_tls).stream(verb, address, headers=sent, timeout=probe.timeout)
        async with asked as answer:
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MOST:
                    break
    except httpx.TimeoutException:
        return unhealthy(f"{where} gives no answer within {format_duration(probe.timeout)}")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return unknown("the url is not one that can be asked; it begins with http:// or https://")
    except httpx.TransportError as error:
        return unhealthy(f"{where} is not reachable: {_why(error)}")
    took, answered = time.perf_counter() - began, str(answer.status_code)
    if not _right(answer.status_code, status):
        return unhealthy(f"{where} answered {answered}", observed=answered, expected=str(status))
    if body_contains is not None and body_contains.encode() not in body:
        return unhealthy(f"{where} answered a body without {body_contains!r}", expected=body_contains)
    if max_latency is not None and took > max_latency:
        limit = f"< {format_duration(max_latency)}"
        return degraded(f"{where} answers slowly", observed=format_duration(took), expected=limit)
    return healthy(f"{where} answered {answered} in {format_duration(took)}", observed=answered)


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, Any]] = WeakKeyDictionary()


def _client(verify: bool) -> Any:
    """The client of this event loop. It keeps no connection, so there is nothing to close; made once, because
    reading the authorities takes tens of milliseconds."""
    import httpx

    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if verify not in clients:
        nothing = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        clients[verify] = httpx.AsyncClient(
            verify=_tls(verify), follow_redirects=False, trust_env=False, limits=nothing
        )
    return clients[verify]


def _why(error: Exception) -> str:
    """In words where the kind of error says little by itself."""
    import httpx

    if not isinstance(error, httpx.ConnectError):
        return type(error).__name__
    said = str(error).lower()
    if "name or service" in said or "getaddrinfo" in said or "name resolution" in said or "nodename" in said:
        return "its name is not known"
    return "its certificate is refused" if "certificate" in said else "no connection"


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _right(actual: int, wanted: str | int | list[int]) -> bool:
    if isinstance(wanted, int):
        return actual == wanted
    if isinstance(wanted, list):
        return actual in wanted
    first, _, last = wanted.partition("-")
    return int(first) <= actual <= int(last or first)
