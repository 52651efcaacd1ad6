"""What treewalk tells people: one message for each thing that is told, edited while it develops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["P1", "P2", "P3", "P4"]
SEVERITIES: tuple[Severity, ...] = ("P1", "P2", "P3", "P4")
MessageKind = Literal["incident", "escalation", "daily", "weekly", "notice"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One text in three forms. `title` is one line; all untrusted parts are redacted, and escaped where a form asks."""

    title: str
    text: str
    markdown: str
    html: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a human is asked: a plan, by its digest. `expires` is in Unix seconds."""

    incident: int
    digest: str
    text: str
    expires: float


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is to show. The same `key` is the same message: a later one replaces it where it can be edited.

    `question` stands while an answer is wanted; `over` when nothing more will come, but for `worse`: how often it got
    worse after that. `ending` is how an incident came to be over; `tags` are the SLA's.
    """

    key: str
    kind: MessageKind
    rendered: Rendered
    severity: Severity = "P3"
    incident: int | None = None
    slas: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    question: Question | None = None
    over: bool = False
    ending: str | None = None
    worse: int = 0
