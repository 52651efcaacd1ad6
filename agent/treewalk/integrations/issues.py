"""Escalations as issues of a tracker: one an incident, the same again when its SLA comes back within a day.

What belongs together is known by marks in the texts, invisible where the tracker shows them: searching for them before
anything is made is what keeps a crash from filing the same issue twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from treewalk.errors import SourceBadAnswer
from treewalk.model.message import Message

WITHIN = 86400.0  # seconds within which an SLA that comes back is told in the issue that is there
LONGEST = 60_000  # characters of a text


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue, or a comment at one: the number by which the tracker knows it, its text, when it was made."""

    id: str
    body: str
    created: float
    open: bool = True


class Tracker(Protocol):
    """What is needed of a tracker. Every method raises SourceError."""

    async def recent(self, since: float) -> Sequence[Issue]:
        """The issues that changed since a time (Unix seconds), newest first."""

    async def create(self, title: str, body: str) -> str: ...

    async def update(self, issue: str, title: str, body: str) -> None: ...

    async def reopen(self, issue: str) -> None: ...

    async def comments(self, issue: str) -> Sequence[Issue]: ...

    async def comment(self, issue: str, body: str) -> str: ...

    async def update_comment(self, issue: str, comment: str, body: str) -> None: ...


class IssueChannel:
    """A Notifier over a tracker. A message's id is `ISSUE`, or `ISSUE/COMMENT`."""

    edits = True

    def __init__(self, name: str, tracker: Tracker, now: float | None = None) -> None:
        self.name, self._tracker, self._now = name, tracker, now

    async def send(self, message: Message) -> str:
        """File an escalation, or find where it was filed already."""
        now = self._now if self._now is not None else datetime.now(UTC).timestamp()
        recent = await self._tracker.recent(now - WITHIN)
        mine, body = mark("incident", message.key), text(message)
        for issue in recent:
            if mine in issue.body:
                await self._tracker.update(issue.id, title(message), body)
                return issue.id
        again = [i for i in recent if i.created > now - WITHIN and any(m in i.body for m in sla_marks(message))]
        if not again:
            return await self._tracker.create(title(message), body)
        issue = again[0]
        for comment in await self._tracker.comments(issue.id):
            if mine in comment.body:
                await self._tracker.update_comment(issue.id, comment.id, body)
                return f"{issue.id}/{comment.id}"
        made = await self._tracker.comment(issue.id, body)
        if not issue.open:
            await self._tracker.reopen(issue.id)
        return f"{issue.id}/{made}"

    async def edit(self, id: str, message: Message) -> str | None:
        """Bring what was filed up to date."""
        issue, _, comment = id.partition("/")
        if comment:
            await self._tracker.update_comment(issue, comment, text(message))
        else:
            await self._tracker.update(issue, title(message), text(message))
        return None


def title(message: Message) -> str:
    """An issue's title: one line."""
    return message.rendered.title[:250]


def text(message: Message) -> str:
    """An issue's text with its marks."""
    marks = "\n".join([mark("incident", message.key), *sla_marks(message)])
    return f"{message.rendered.markdown[:LONGEST]}\n\n{marks}\n"


def sla_marks(message: Message) -> list[str]:
    """The marks of the SLAs that a message is about."""
    return [mark("sla", sla) for sla in message.slas]


def mark(kind: str, value: str) -> str:
    """An invisible mark. The value stands in it as a hash: a name could hold what ends a comment."""
    return f"<!-- treewalk:{kind}={sha256(value.encode()).hexdigest()[:24]} -->"


def when(text: str) -> float:
    """Unix seconds of the times that trackers write. Raises SourceBadAnswer."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        raise SourceBadAnswer("a tracker gave a time that cannot be read") from None


def iso(at: float) -> str:
    """A time as trackers read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
