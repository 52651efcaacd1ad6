"""A human decides how far a known error is trusted: promote, retire, suspend. The CLI and the pages call this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from treewalk.errors import UsageError
from treewalk.model.known import KnownError, Trust
from treewalk.model.tree import nearest

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.operations.incidents import Operations


async def promote(
    operations: Operations, id: str, seconds: float, who: str, *, force: bool = False
) -> tuple[bool, str]:
    """Trust a known error, unless it also fires on healthy days or that cannot be told.

    It is tested on so many seconds of the past first, and on no less than a day; `force` says that a human takes that
    upon themselves. Whether it was done, and why. Raises UsageError for an unknown one, StoreError.
    """
    return await operations.learning.promote(known_error(operations.app, id), seconds, who, force=force)


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
