"""A courier as a process of its own, over a memory that others write to; tests/test_courier_crash.py kills it.

This process loads everything once. For each line that it reads it forks a courier, and says its process id.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import apprise  # noqa: F401  loaded before the first fork
from treewalk.app import App
from treewalk.messages.channels import courier_of
from treewalk.operations.incidents import Operations


async def carry(workspace: Path, parent: int) -> None:
    """Carry messages until it is killed, or nobody is there any more."""
    async with App.open(workspace) as app:
        courier = courier_of(Operations(app), lambda text: None)
        courier.poll, courier.lease = 0.02, 0.2
        task = asyncio.create_task(courier.run())
        while os.getppid() == parent:
            await asyncio.sleep(0.5)
        os._exit(task.done())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    courier_of(Operations(App.open(Path(sys.argv[1]))), lambda text: None)  # loads what is loaded late
    for _ in sys.stdin:
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            asyncio.run(carry(Path(sys.argv[1]), parent))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
