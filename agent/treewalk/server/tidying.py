"""Once a day a server removes what is old, a little at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from treewalk.model.redact import redact
from treewalk.store.pruning import Pruned, Pruner

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations

_DAY = 86400.0
_BREATH = 0.05  # seconds between two transactions, for those who wait to write


async def tidy(operations: Callable[[], Operations], workflows: Any, say: Callable[[str], None]) -> None:
    """Remove what is older than `store.keep` now and once a day, until it is cancelled."""
    while True:
        app = operations().app
        keep = app.workspace.settings.store.keep
        if keep is not None:
            try:
                removed = await prune(Pruner(app.database, keep), app.clock.now())
                living = [one["number"] for one in await asyncio.to_thread(operations().cases.living)]
                forgotten = await workflows.forget(app.clock.now() - keep, living)
            except Exception as error:  # noqa: BLE001  tomorrow is another day
                say(f"what is old could not be removed: {redact(str(error))}")
            else:
                if removed.any or forgotten:
                    say(f"older than store.keep and removed: {removed}, {forgotten} workflows")
        await app.clock.sleep(_DAY)


async def prune(pruner: Pruner, now: float) -> Pruned:
    """Remove everything that is old; what was removed. Raises StoreError."""
    total = Pruned()
    while True:
        one = await asyncio.to_thread(pruner.some, now)
        if not one.any:
            return total
        total += one
        await asyncio.sleep(_BREATH)
