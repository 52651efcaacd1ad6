"""A human decides how far a known error is trusted: promote, retire, suspend. The CLI and the pages call this."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from treewalk.errors import UsageError
from treewalk.model.known import KnownError, Trust
from treewalk.model.tree import nearest

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.operations import Operations


LEAST = 86400.0
"""Seconds of the past that a promotion is tested on at the least."""
_PATIENCE = 60.0  # seconds that a test may take when nobody asked for it


async def promote(
    operations: Operations, id: str, seconds: float, who: str, *, force: bool = False, because: str = ""
) -> tuple[bool, str]:
    """Trust a known error, unless it also fires on healthy days or that cannot be told.

    It is tested on so many seconds of the past first, and on no less than a day; `force` says that a human takes that
    upon themselves. Whether it was done, and why. Raises UsageError for an unknown one, StoreError.
    """
    app = operations.app
    error = known_error(app, id)
    now = app.clock.now()
    tested = await operations.learning.backtest(error, now - max(seconds, LEAST), now)
    if not force and (tested.false or tested.gaps):
        count = len(tested.false)
        why = f"it fired {count} times when all was well" if count else f"it could not be tested: {tested.gaps[0]}"
        return False, why
    why = f"tested on {tested.told}" if not force else "promoted by force"
    why = f"{because}; {why}" if because else why
    operations.lessons.set_trust(id, "trusted", who, why, app.clock.now())
    return True, why


async def promote_by_record(operations: Operations, id: str, because: str) -> tuple[bool, str]:
    """Trust what treewalk learned here by itself, for its record, after the same test as when a human promotes it.

    What another team learned, or a human wrote, is a human's to promote. Whether it was done, and why. Raises
    UsageError, StoreError.
    """
    if not operations.lessons.learned_here(id):
        return False, "it was not learned here, so that a human has to promote it"
    try:
        async with asyncio.timeout(_PATIENCE):
            return await promote(operations, id, LEAST, "treewalk", because=because)
    except TimeoutError:
        return False, f"it could not be tested within {_PATIENCE:.0f}s"


def set_trust(operations: Operations, id: str, trust: Trust, who: str) -> None:
    """Decide about a known error by hand. Raises UsageError for an unknown one, StoreError."""
    known_error(operations.app, id)
    operations.lessons.set_trust(id, trust, who, "by hand", operations.app.clock.now())


def known_error(app: App, id: str) -> KnownError:
    """The known error of that id. Raises UsageError with the nearest ones."""
    known: Mapping[str, KnownError] = app.known_errors()
    if id not in known:
        raise UsageError(f"no known error {id!r}", nearest(id, known))
    return known[id]
