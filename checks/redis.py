"""A Redis server."""

from __future__ import annotations

import time
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
    unhealthy,
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

    url                redis://host:port/0, may hold ${ENV}; default: host and port of the node, or 127.0.0.1:6379
    clients_degraded   this share of maxclients or more is degraded
    memory_degraded    this share of maxmemory or more is degraded; full, with no eviction, is unhealthy
    max_fragmentation  more than this is degraded, once it uses 64 MB
    max_latency        a slower answer to PING is degraded
    """
    from redis import Redis
    from redis import exceptions as errors
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    address = (
        probe.secret(url)
        if url
        else f"redis://{quote(str(probe.field('host', '127.0.0.1')))}:{probe.field('port', 6379)}/0"
    )
    client = Redis.from_url(
        address, socket_timeout=probe.timeout, socket_connect_timeout=probe.timeout, retry=Retry(NoBackoff(), 0)
    )
    began = time.perf_counter()
    try:
        client.ping()
        latency = time.perf_counter() - began
        info: dict[str, Any] = client.info()
    except errors.AuthenticationError:
        return (
            unhealthy("it refuses the password")
            if url
            else unhealthy("it wants a password: give the healthcheck a url")
        )
    except errors.BusyLoadingError:
        return unhealthy("it is loading its data and serves nobody yet")
    except errors.TimeoutError:
        return unhealthy(f"it did not answer within {format_duration(probe.timeout)}")
    except errors.ConnectionError as error:
        refused = "max number of clients" in str(error)
        return unhealthy(
            "it refuses new clients: maxclients is reached" if refused else "it does not accept a connection"
        )
    except errors.ResponseError as error:
        busy = str(error).startswith("BUSY")
        return unhealthy("a script keeps it busy" if busy else f"it answers with an error: {str(error)[:100]}")
    finally:
        client.close()
    return _judge(info, latency, clients_degraded, memory_degraded, max_fragmentation, max_latency)


def _judge(
    info: dict[str, Any], latency: float, clients: float, memory: float, fragmentation: float, max_latency: float
) -> Verdict:
    used, most = int(info["used_memory"]), int(info.get("maxmemory") or 0)
    if most and used >= most and info.get("maxmemory_policy") == "noeviction":
        return unhealthy(
            "its memory is full and it evicts nothing: it refuses writes",
            observed=format_bytes(used),
            expected=f"< {format_bytes(most)}",
        )
    if info.get("role") == "slave" and info.get("master_link_status") != "up":
        return unhealthy("it is a replica that has lost its master")
    connected, limit = int(info["connected_clients"]), int(info.get("maxclients") or 0)
    if limit and connected >= clients * limit:
        return degraded("nearly out of clients", observed=str(connected), expected=f"< {limit}")
    if most and used >= memory * most:
        return degraded("nearly out of memory", observed=format_bytes(used), expected=f"< {format_bytes(most)}")
    ratio = float(info.get("mem_fragmentation_ratio") or 1.0)
    if used > _SMALL and ratio > fragmentation:
        return degraded("its memory is fragmented", observed=f"{ratio:.2f}", expected=f"< {fragmentation:g}")
    if latency > max_latency:
        return degraded(
            "it answers slowly", observed=format_duration(latency), expected=f"< {format_duration(max_latency)}"
        )
    clients_text = f"{connected} of {limit}" if limit else str(connected)
    return healthy(f"answers in {format_duration(latency)}, {clients_text} clients, {format_bytes(used)}")
