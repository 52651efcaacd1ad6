"""The answers of the API, as their schemas. What is not named here is not promised to stay."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A JSON object of an answer."""

    model_config = ConfigDict(extra="forbid")


class Refusal(Shape):
    """Why a request was refused."""

    detail: str


class Taken(Shape):
    """What became of a message of alerts, once it was committed."""

    new: int
    repeated: int
    no_sla: int
    opened: list[int]
    joined: list[int]
    truncated: int
    problems: list[str]


class IncidentRow(Shape):
    """An incident in a list. `opened` is in Unix seconds."""

    number: int
    opened: float
    sla: str
    status: str
    root_node: str | None
    known_error: str | None
    state: str
    ending: str | None


class IncidentList(Shape):
    """The newest incidents first; `next` is what to give as `before` for those before them."""

    incidents: list[IncidentRow]
    next: int | None


class TimelineRow(Shape):
    """A line of an incident's timeline; `at` is in Unix seconds."""

    at: float
    kind: str
    text: str
    data: dict[str, Any]


class Timeline(Shape):
    """The lines of an incident, oldest first; `next` is what to give as `after` for those after them."""

    incident: int
    timeline: list[TimelineRow]
    next: int | None


class AlertRow(BaseModel):
    """An alert as it was kept. `because` says why it means its SLA, or none, and `hint` the line to add."""

    model_config = ConfigDict(extra="allow")
    id: int
    source: str
    fingerprint: str
    starts: float
    status: str
    name: str
    summary: str
    received: float
    last_seen: float
    seen: int
    mapped: bool
    because: str
    hint: str


class AlertList(Shape):
    """The newest alerts first; `next` is what to give as `before` for those before them."""

    alerts: list[AlertRow]
    next: int | None


class Life(Shape):
    """Where an incident stands, and its plan with the digest that an approval is bound to."""

    state: str
    ending: str | None
    why: str | None
    closed: float | None
    plan: dict[str, Any] | None
    digest: str | None
    outcome: dict[str, Any] | None


class Incident(BaseModel):
    """One incident: the diagnosis (docs/schemas/diagnosis.json) where there is one, its life, timeline and alerts."""

    model_config = ConfigDict(extra="allow")
    number: int
    sla: str
    opened: float
    life: Life
    timeline: list[TimelineRow]
    alerts: list[AlertRow]


class Question(Shape):
    """A plan that waits for a human; `asked` and `expires` are Unix seconds."""

    incident: int
    sla: str
    node: str | None
    question: str
    digest: str
    asked: float
    expires: float


class Questions(Shape):
    """All that waits for a human, the oldest question first."""

    approvals: list[Question]


class Answer(Shape):
    """A human's answer to the plan of that digest. `who` is a name of `policy.approval.approvers`; who shows a token of
    `server.users` is that person, and need not say so."""

    digest: str = Field(min_length=1, max_length=200)
    granted: bool
    who: str = Field(default="", max_length=200)


class Answered(Shape):
    """What became of an answer."""

    result: str


class Cancelled(Shape):
    """Whether the incident was ended by this; else it was closed before."""

    cancelled: bool


class AuditRow(Shape):
    """A row of the audit; `previous` and `hash` chain it to the one before. `at` is in Unix seconds."""

    seq: int
    at: float
    kind: str
    incident: int | None
    who: str
    data: Any
    previous: str
    hash: str


class AuditList(Shape):
    """Rows of the audit, oldest first; `next` is what to give as `after` for those after them."""

    rows: list[AuditRow]
    next: int | None


class SlaRow(Shape):
    """An SLA of the workspace."""

    name: str
    description: str
    limit: str | None
    window: str | None
    open_now: bool
    owner: str | None
    tags: dict[str, str]
    nodes: int


class SlaList(Shape):
    """SLAs by name; `next` is what to give as `after` for those after them."""

    slas: list[SlaRow]
    next: str | None


class TreeNode(Shape):
    """A node under an SLA; `depth` counts from 1."""

    name: str
    type: str
    description: str
    depth: int
    healthcheck: str | None
    depends_on: list[str]


class SlaTree(Shape):
    """Everything under an SLA, breadth first."""

    sla: SlaRow
    depends_on: list[str]
    nodes: list[TreeNode]


class KnownErrorRow(Shape):
    """A known error with its record."""

    id: str
    trust: str
    node: str | None
    root_node: str | None
    root_cause: str
    description: str
    category: str
    severity: str
    fix: str | None
    fires: int
    wins: int
    occurrence_count: int
    last_seen: float | None


class KnownErrorList(Shape):
    """Known errors by id; `next` is what to give as `after` for those after them."""

    known_errors: list[KnownErrorRow]
    next: str | None


class AffectedSla(Shape):
    """An SLA above a node, and a shortest way down to it."""

    sla: str
    description: str
    path: list[str]
    ways: int
    window: str | None
    open_now: bool
    owner: str | None
    tags: dict[str, str]


class Impact(Shape):
    """What breaks if these nodes go (docs/schemas/impact.json)."""

    schema_: str = Field(alias="schema")
    nodes: list[str]
    at: float
    blast_radius: dict[str, int]
    slas: list[AffectedSla]
    above: list[str]


class Killed(Shape):
    """Why nothing may run, or null; and what went wrong with one half of the switch, of which the other holds."""

    killed: str | None
    problems: list[str]


class Revived(Shape):
    """Whether the switch was on."""

    was_on: bool


class ReadOnlyWish(Shape):
    """Whether treewalk shall only look, and why."""

    on: bool
    why: str = Field(default="no reason given", max_length=500)


class ReadOnly(Shape):
    """Why treewalk only looks, or null."""

    read_only: str | None


class Problem(Shape):
    """What is wrong in a file, and where."""

    file: str
    line: int
    column: int
    message: str


class Reloaded(Shape):
    """How the last reading of configuration and content went. `at` is in Unix seconds."""

    ok: bool
    at: float
    who: str
    error: str
    problems: list[Problem]
    remarks: list[str]


class Status(Shape):
    """How the server is. `incidents` counts by state; `waiting` those that nobody began to work on."""

    version: str
    started: float
    ready: str
    slas: int
    nodes: int
    known_errors: int
    killed: str | None
    read_only: str | None
    watching: int
    waiting: int
    incidents: dict[str, int]
    reload: Reloaded | None


class Unprocessable(Shape):
    """Which parameter or field was not understood."""

    detail: Any
