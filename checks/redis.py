"""A Redis server."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from treewalk import (
    Amount,
    Probe,
    RedisUrl,
    Seconds,
    Verdict,
    check,
    degraded,
    format_bytes,
    format_duration,
    healthy,
    short,
    shown_address,
    unhealthy,
    unknown,
)

_SMALL = 64_000_000  # bytes; below this a fragmentation ratio says nothing


@check("redis", live=True, extra="redis", loads=("redis",))
def redis(
    probe: Probe,
    *,
    url: RedisUrl | None = None,
    clients_degraded: Amount = 0.98,
    memory_degraded: Amount = 0.95,
    max_fragmentation: float = 1.5,
    max_latency: Seconds = 1.0,
) -> Verdict:
    """A Redis server answers, takes clients and writes, and has room.

    url                redis://host:port/0, may hold ${ENV}; default: host and port (6379) of the node
    clients_degraded   this share of maxclients or more is degraded
    memory_degraded    this share of maxmemory or more is degraded; full, with no eviction, is unhealthy
    max_fragmentation  more than this is degraded, once it uses 64 MB
    max_latency        a slower answer to PING is degraded
    """
    from redis import Redis
    from redis import exceptions as errors
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    address = _address(probe, url)
    if address is None:
        return unknown("no address: give the healthcheck `url: redis://host:port/0`, or the node a host")
    where = shown_address(address)
    try:
        client = Redis.from_url(
            address, socket_timeout=probe.timeout, socket_connect_timeout=probe.timeout, retry=Retry(NoBackoff(), 0)
        )
    except ValueError:
        return unknown(f"{where} is not the address of a Redis; write redis://host:port/0")
    began = time.perf_counter()
    try:
        client.ping()
        latency = time.perf_counter() - began
        info: dict[str, Any] = client.info()
    except errors.AuthenticationError:
        return unhealthy(
            f"{where} refuses the password" if url else f"{where} wants a password: give the healthcheck a url"
        )
    except errors.BusyLoadingError:
        return unhealthy(f"{where} is loading its data and serves nobody yet")
    except errors.TimeoutError:
        return unhealthy(f"{where} did not answer within {format_duration(probe.timeout)}")
    except errors.ConnectionError as error:
        refused = "max number of clients" in str(error)
        why = "refuses new clients: maxclients is reached" if refused else "does not accept a connection"
        return unhealthy(f"{where} {why}")
    except errors.ResponseError as error:
        busy = str(error).startswith("BUSY")
        said = "is kept busy by a script" if busy else f"answers with an error: {short(str(error), 100)}"
        return unhealthy(f"{where} {said}")
    finally:
        client.close()
    verdict = _judge(info, latency, clients_degraded, memory_degraded, max_fragmentation, max_latency)
    return replace(verdict, reason=f"{where} {verdict.reason}")


def _address(probe: Probe, url: str | None) -> str | None:
    """The URL to ask; None where nothing says which server is meant: that of this machine would be a guess."""
    if url:
        return probe.secret(url)
    host = probe.field("host")
    return f"redis://{quote(str(host))}:{probe.field('port', 6379)}/0" if host else None


def _judge(
    info: dict[str, Any], latency: float, clients: float, memory: float, fragmentation: float, max_latency: float
) -> Verdict:
    used, most = int(info["used_memory"]), int(info.get("maxmemory") or 0)
    if most and used >= most and info.get("maxmemory_policy") == "noeviction":
        return unhealthy(
            "refuses writes: its memory is full and it evicts nothing",
            observed=format_bytes(used),
            expected=f"< {format_bytes(most)}",
        )
    if info.get("role") == "slave" and info.get("master_link_status") != "up":
        return unhealthy("is a replica that has lost its master")
    connected, limit = int(info["connected_clients"]), int(info.get("maxclients") or 0)
    if limit and connected >= clients * limit:
        return degraded("is nearly out of clients", observed=str(connected), expected=f"< {limit}")
    if most and used >= memory * most:
        return degraded("is nearly out of memory", observed=format_bytes(used), expected=f"< {format_bytes(most)}")
    ratio = float(info.get("mem_fragmentation_ratio") or 1.0)
    if used > _SMALL and ratio > fragmentation:
        return degraded("has fragmented memory", observed=f"{ratio:.2f}", expected=f"< {fragmentation:g}")
    if latency > max_latency:
        return degraded(
            "answers slowly", observed=format_duration(latency), expected=f"< {format_duration(max_latency)}"
        )
    clients_text = f"{connected} of {limit}" if limit else str(connected)
    return healthy(f"answers in {format_duration(latency)}, {clients_text} clients, {format_bytes(used)}")
