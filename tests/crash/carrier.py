"""A courier as a process of its own, over a memory that others write to; tests/test_courier_crash.py kills it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from treewalk.app import App
from treewalk.channels import courier_of
from treewalk.operations import Operations


async def main(workspace: Path) -> None:
    """Carry messages until it is killed."""
    async with App.open(workspace) as app:
        courier = courier_of(Operations(app), lambda text: print(text, flush=True))
        courier.poll, courier.lease = 0.02, 0.2
        print("carrying", flush=True)
        await courier.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
