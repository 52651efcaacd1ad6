"""A watch that cannot see says so to people: through the courier, once, and again when it is over."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from treewalk.messages.courier import Notices
from treewalk.messages.telling import blind_message
from treewalk.stages.blindness import Blind, develop, document, notices_of

if TYPE_CHECKING:
    from treewalk.store.outbox import Outbox

_NAME = "watch"
_RENEW, _LEFT = 20.0, 60.0  # seconds after which what stands is claimed again, and counts as left by its process
Seen = Callable[[], tuple[Mapping[str, Blind], Collection[str]]]


class Blindness:
    """What there is to tell of a watch. `seen` gives the SLAs that it cannot measure now, and those that it can.

    Of several servers on one memory, that one tells which noticed first; another goes on when it is gone. What stands
    is kept in the memory, so that a restart neither tells it again nor leaves it standing.
    """

    def __init__(self, outbox: Outbox, seen: Seen, settle: Callable[[], float]) -> None:
        self._outbox, self._seen, self._settle = outbox, seen, settle
        self._owner = uuid.uuid4().hex

    def standing(self) -> Mapping[str, Blind]:
        """The SLAs that were said to be blind and are not known to be seen. Raises StoreError."""
        kept = self._outbox.kept(_NAME)
        notices = notices_of(kept.data) if kept else ()
        return {name: one for notice in notices for name, one in notice.slas.items() if one.until is None}

    def __call__(self, at: float) -> Notices | None:
        """What is new at a time; None for nothing. Raises StoreError."""
        kept = self._outbox.kept(_NAME)
        before = notices_of(kept.data) if kept else ()
        if kept is not None and before and kept.owner != self._owner and at < kept.at + _LEFT:
            return None
        blind, measured = self._seen()
        now = develop(before, blind, measured, at, self._settle())
        fresh = kept is not None and kept.owner == self._owner and at < kept.at + _RENEW
        if now == before and (fresh or not now):
            return None
        messages = tuple(blind_message(one) for one in now if one.ripe)
        return Notices(_NAME, self._owner, kept, document([one for one in now if not one.over]), messages)
