"""A sender of webhooks in a process of its own: so many connections at once, each waits for its answer.

`python -m bench.sender PORT CONNECTIONS FILE`: FILE holds one JSON body a line. Prints the seconds that all of it took,
the milliseconds of every answer, and how many answers had which status, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TOKEN = "bench-token"


async def connection(port: int, bodies: Iterator[bytes], taken: list[float], statuses: Counter[str]) -> None:
    """Send one body after the other over one connection that is kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in bodies:
        began = time.perf_counter()
        writer.write(
            b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        taken.append(1000 * (time.perf_counter() - began))
        statuses[head[9:12].decode()] += 1
    writer.close()


async def main() -> None:
    """Send everything."""
    port, connections, path = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    bodies = iter(await asyncio.to_thread(lambda: path.read_bytes().splitlines()))
    taken: list[float] = []
    statuses: Counter[str] = Counter()
    began = time.perf_counter()
    await asyncio.gather(*(connection(port, bodies, taken, statuses) for _ in range(connections)))
    print(json.dumps({"seconds": time.perf_counter() - began, "taken": taken, "statuses": statuses}))


if __name__ == "__main__":
    asyncio.run(main())
