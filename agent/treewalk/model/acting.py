"""Plans, decisions and what came of them: the nouns of changing the world. Frozen data, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from treewalk.model.known import Trust


class Autonomy(StrEnum):
    """How far treewalk may go by itself, from the least restricted to what nobody may do."""

    FULL = "full"
    AFTER = "after"
    KNOWN = "known"
    ASK = "ask"
    NEVER = "never"

    @property
    def strictness(self) -> int:
        return list(Autonomy).index(self)


class ChangeClass(StrEnum):
    """What a change does, as far as the never tier cares. `decide` refuses every one of `NEVER_CLASSES`."""

    DELETES_DATA = "deletes data"
    CLUSTER_OPERATION = "operates on a broker cluster"
    ALTERS_SCHEMA = "alters a schema"
    RUNS_SHELL = "runs a shell"
    GRANTS_RIGHTS = "grants rights"
    STOPS_HOST = "stops a host"
    UNPROVEN = "is not known to be harmless"  # of a program that can destroy data


NEVER_CLASSES = frozenset(ChangeClass)
"""The never tier is code: a workspace may forbid more, and cannot take anything out of it."""


@dataclass(frozen=True, slots=True)
class ActionFacts:
    """What an action with given parameters says of itself.

    `touches` are words for what it changes (`process consumer`, `redis 127.0.0.1:6379`), `classes` what it does as
    far as the never tier cares, `cost` in whatever unit the workspace counts (default 0).
    """

    kind: str
    tier: Autonomy
    idempotent: bool
    reversible: bool
    touches: tuple[str, ...] = ()
    classes: frozenset[ChangeClass] = frozenset()
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action did: one line for people, values for programs, and, where it can be taken back, how."""

    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)
    undo: Mapping[str, Any] | None = None  # {"action": kind, …parameters}, only when it is reversible


@dataclass(frozen=True, slots=True)
class VerifySpec:
    """How a fix is proven: a condition (PromQL or its sugar), the SLA itself, or both, held for `stable` seconds
    within `timeout` seconds. `node` is whose metric source is asked."""

    check: str | None = None
    sla: bool = True
    node: str | None = None
    timeout: float = 60.0
    stable: float = 5.0


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step with everything filled in. `kind` is an action, `wait`, `verify` or `escalate_if_failed`.

    `params` are plain data, secrets still references (`${NAME}`), `node` the one that it acts on.
    """

    index: int
    kind: str
    node: str
    params: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = ""
    facts: ActionFacts | None = None
    verify: VerifySpec | None = None
    seconds: float = 0.0  # of a wait

    @property
    def changes(self) -> bool:
        """Whether it is an action, and not part of the flow itself."""
        return self.facts is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one incident. Its digest binds approvals to this very plan."""

    sla: str
    node: str
    title: str
    steps: tuple[PlannedStep, ...]
    verify: VerifySpec
    undo: tuple[PlannedStep, ...] = ()
    known_error: str | None = None
    playbook: str | None = None
    basis: Literal["known", "remedy"] = "known"
    cost: float = 0.0

    @property
    def digest(self) -> str:
        """SHA-256 over everything in the plan, as hexadecimal text."""
        return hashlib.sha256(canonical(plan_to_json(self)).encode()).hexdigest()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node that it acts on, sorted."""
        return tuple(sorted({self.node, *(s.node for s in self.steps if s.changes)}))


@dataclass(frozen=True, slots=True)
class Approval:
    """What a named human said about one plan. `at` and `expires` are Unix seconds."""

    digest: str
    who: str
    granted: bool
    at: float
    expires: float
    via: str = "cli"


@dataclass(frozen=True, slots=True)
class PastAction:
    """One action that ran (or may have run), for rates and repeats. `at` is Unix seconds."""

    kind: str
    node: str
    at: float
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """How the fix of a known error has done: `fires` tries that ended, `wins` of them verified and lasting, and
    `failures` in a row at the end (a symptom that came back and an inconclusive check count as failures)."""

    fires: int = 0
    wins: int = 0
    failures: int = 0
    trust: Trust = "trusted"


@dataclass(frozen=True)
class Context:
    """Everything that a decision looks at; times are Unix seconds, spans seconds.

    `evidence` is "unknown" when the node or the SLA could not be looked at; `unhealthy_for` None when it is not
    known for how long; `blast` the SLAs above the node; `rehearsed` whether the preview succeeded; `undo` whether the
    step takes back what was done.
    """

    now: float
    node: str
    node_type: str = ""
    basis: Literal["known", "remedy"] = "known"
    record: Record | None = None
    evidence: Literal["complete", "unknown"] = "complete"
    unhealthy_for: float | None = None
    digest: str = ""
    approval: Approval | None = None
    past: Sequence[PastAction] = ()
    spent: float = 0.0  # cost of this incident so far
    blast: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    rehearsed: bool = True
    undo: bool = False
    killed: str | None = None  # why the kill switch is on
    read_only: bool = False


Ruling = Literal["proceed", "wait", "ask", "refuse"]
RULINGS: tuple[Ruling, ...] = ("proceed", "wait", "ask", "refuse")


SWITCHES = frozenset({"kill switch", "read only"})
"""Rules that refuse everything for as long as a switch is on, and nothing in particular."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one rule said."""

    rule: str
    ruling: Ruling
    because: str
    seconds: float = 0.0  # how long to wait, where it says wait


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a step may run. `rule` and `because` are those of the rule that decided, `lines` of every rule."""

    ruling: Ruling
    rule: str
    because: str
    seconds: float = 0.0
    tier: Autonomy = Autonomy.ASK
    lines: tuple[Line, ...] = ()

    @property
    def held(self) -> bool:
        """Refused by nothing but a switch that somebody can turn off again: what was begun waits for that."""
        refusing = {line.rule for line in self.lines if line.ruling == "refuse"}
        return bool(refusing) and refusing <= SWITCHES


RunOutcome = Literal["done", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One run of one step. `fresh` says that this very call wrote the intent; `outcome` is None while it runs, or
    when a crash left it so."""

    key: str
    fresh: bool
    worker: str
    outcome: RunOutcome | None
    summary: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one step. "unknown" means that nobody knows whether it was done: a human has to look."""

    outcome: RunOutcome
    summary: str
    undo: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TriedFix:
    """Which fix at which node, and for which SLA it was done. It is the same one at the same node when it is of the
    same known error or the same playbook, whichever SLA it was for."""

    sla: str
    node: str
    known_error: str | None = None
    playbook: str | None = None


LOST = ("failed", "inconclusive", "returned")
"""Results of a fix that did not fix. The other one is `won`."""

Ending = Literal[
    "resolved",
    "not_resolved",
    "escalated",
    "refused",
    "cancelled",
    "no_fault_found",
    "merged",
    "rehearsed",
    "diagnosed",
]
WELL: frozenset[Ending] = frozenset({"resolved", "no_fault_found"})
"""Endings after which nobody has to do anything."""
UNMET: frozenset[Ending] = frozenset({"escalated", "refused", "not_resolved"})
"""Endings after which treewalk is done and a human is needed."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What proving a fix showed. `before` and `after` are texts for people by what was looked at."""

    result: Literal["holds", "failed", "inconclusive"]
    reason: str
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for the same data. Raises ValueError for NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON data, from which `plan_from_json` makes an equal one."""
    data = asdict(plan)
    for step in (*data["steps"], *data["undo"]):
        if step["facts"]:
            step["facts"]["classes"] = sorted(step["facts"]["classes"])
    found: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return found


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """A plan from its JSON data."""
    steps = tuple(_step_from_json(s) for s in data["steps"])
    undo = tuple(_step_from_json(s) for s in data["undo"])
    return Plan(**{**data, "steps": steps, "undo": undo, "verify": VerifySpec(**data["verify"])})


def _step_from_json(data: Mapping[str, Any]) -> PlannedStep:
    facts = data["facts"]
    if facts is not None:
        facts = ActionFacts(
            **{
                **facts,
                "tier": Autonomy(facts["tier"]),
                "touches": tuple(facts["touches"]),
                "classes": frozenset(ChangeClass(c) for c in facts["classes"]),
            }
        )
    verify = VerifySpec(**data["verify"]) if data["verify"] is not None else None
    return PlannedStep(**{**data, "facts": facts, "verify": verify})
