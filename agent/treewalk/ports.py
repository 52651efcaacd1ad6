"""Everything that can be plugged in, on one page.

Each Protocol has one or two methods. An implementation stands at an edge (integrations/, actions/, store/,
the workspace's checks/), is wired up in app.py and nowhere else, and raises only `SourceError`s.
Times are Unix seconds, durations seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from treewalk.model.acting import (
    ActionFacts,
    ActionResult,
    Approval,
    Autonomy,
    LedgerEntry,
    PastAction,
    Plan,
    PlannedStep,
    Record,
    RunOutcome,
    TriedFix,
)
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.known import Trust
from treewalk.model.message import Message
from treewalk.model.series import LogBatch, Sample, Series

if TYPE_CHECKING:
    from pydantic import BaseModel


@runtime_checkable
class Clock(Protocol):
    """Time and sleep, so that nothing below the edges reads the clock itself."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps, for measuring how long something took."""

    async def sleep(self, seconds: float) -> None: ...


@runtime_checkable
class MetricSource(Protocol):
    """A Prometheus, or something that answers like one."""

    @property
    def name(self) -> str: ...

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        """The value of every series at a time. A scalar answer is one sample with `scalar` set."""

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        """Values from start to end, both included, a step apart. Missing values are left out, NaN kept."""


@runtime_checkable
class LogSource(Protocol):
    """A Loki, or files that answer like one."""

    @property
    def name(self) -> str: ...

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        """The newest `limit` lines of a LogQL log query with start <= time < end."""


class Inspectable(Protocol):
    """A source that can tell how it is, for `treewalk doctor`."""

    async def inspect(self) -> Mapping[str, str]:
        """What could be learned: version, rights, latency. Raises SourceError when it cannot be reached."""


class Store(Protocol):
    """The memory: what was diagnosed, and how each known error has done."""

    def keep(self, diagnosis: Diagnosis, document: Mapping[str, Any]) -> int:
        """Save a diagnosis (document: its JSON form, redacted); the new incident's number."""

    def incidents(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first: number, sla, status, root_node, known_error, opened (Unix seconds)."""

    def incident(self, number: int) -> Mapping[str, Any]:
        """One incident's whole document. Raises UsageError when there is none of that number."""

    def search(self, text: str, limit: int) -> Sequence[Mapping[str, Any]]:
        """Full-text search over incidents, best first."""

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """By known error's id: occurrence_count, first_seen, last_seen (Unix seconds)."""


@dataclass(frozen=True)
class Hands:
    """What an action may use besides its parameters.

    `resolve` fills in `${NAME}`, `file:PATH` and `connection:NAME`; `timeout` is in seconds; `key` names this very
    run of this very step, for targets that take an idempotency key.
    """

    resolve: Callable[[str], str]
    timeout: float = 30.0
    key: str = ""


class Action(Protocol):
    """One kind of change to the world. Client libraries are imported where they are used.

    `parameters` (pydantic, extra fields forbidden) is its schema. `idempotent` says that running it twice is the
    same as once; only such an action may be run again when it is not known whether it ran.
    """

    kind: ClassVar[str]
    tier: ClassVar[Autonomy]
    idempotent: ClassVar[bool]
    reversible: ClassVar[bool]
    parameters: ClassVar[type[BaseModel]]

    def facts(self, params: Any) -> ActionFacts:
        """What it would do with these parameters, told without looking at the world. Pure."""

    async def preview(self, params: Any, hands: Hands) -> str:
        """What it would do, in one line, found out by reading only. Raises SourceError when it could not run."""

    async def run(self, params: Any, hands: Hands) -> ActionResult:
        """Do it. Raises ActionFailed when it certainly did nothing or failed, SourceTimeout when nobody knows."""


class Durable(Protocol):
    """Runs the steps of an incident so that a crash neither loses nor repeats what was recorded."""

    async def step(self, name: str, function: Callable[[], Awaitable[Any]]) -> Any:
        """The recorded result of a step (JSON data), or what the function gives now, recorded."""


class Cases(Protocol):
    """Incidents while they live. Times are Unix seconds; every method raises StoreError."""

    def life(self, number: int) -> Mapping[str, Any]:
        """An incident's number, sla, state, ending, why, opened, closed …"""

    def enter(self, number: int, state: Any, text: str, at: float, data: Mapping[str, Any] | None = None) -> bool:
        """Move it to a state, with a line in its timeline; False when it is closed."""

    def note(self, number: int, kind: str, text: str, at: float, data: Mapping[str, Any] | None = None) -> None:
        """A line in its timeline."""

    def diagnosed(self, number: int, diagnosis: Diagnosis, document: Mapping[str, Any], text: str, at: float) -> None:
        """Keep what was found."""

    def planned(self, number: int, plan: Plan, at: float) -> bool:
        """Keep the plan; False when the incident is closed already."""

    def close(self, number: int, ending: str, why: str, at: float, outcome: Mapping[str, Any]) -> bool:
        """Close it and give its nodes free, unless an action of it still runs there."""

    def claim(self, number: int, nodes: Sequence[str], at: float) -> int | None:
        """Take nodes, all or none; the other incident at work that has one of them."""

    def at_work(self, number: int) -> bool:
        """Whether an incident lives, or was closed while an action of it still runs."""

    def mending(self, number: int, nodes: Sequence[str]) -> int | None:
        """Another incident that is acting on one of these nodes, or proving that it helped."""

    def same_cause(self, number: int, node: str, since: float) -> int | None:
        """Another incident, of other SLAs, whose root cause is this node too: at work at the same time, or escalated
        after a time and not met since."""

    def met(self, slas: Sequence[str], at: float) -> None:
        """SLAs were measured and are met: no incident that ended leaves them unmet any more."""

    def merge(self, number: int, into: int, why: str, at: float) -> bool:
        """Make an incident a part of another: its SLAs and alerts go there, and it is closed. False: either is."""

    def slas(self, number: int) -> Sequence[str]:
        """The SLAs of an incident, its own first."""

    def give_back(self, number: int, sla: str, why: str, at: float) -> int:
        """Take an SLA out of an incident, and open one of its own for it; its number."""

    def ask(self, number: int, digest: str, question: str, at: float, expires: float) -> float:
        """Put a plan to a human; when the question expires."""

    def approval(self, number: int, digest: str) -> Approval | None:
        """The answer to a plan, if any."""

    def switch(self, name: str) -> str | None:
        """Why a switch is on, or None."""


class Books(Protocol):
    """The ledger: an intent before each action, its outcome after."""

    def intend(
        self, key: str, incident: int, step: PlannedStep, digest: str, worker: str, at: float, length: int | None = None
    ) -> LedgerEntry | None:
        """Write the intent to run a step, or find the one that is there. None: there are more than `length` runs."""

    def length(self) -> int:
        """How many runs were ever meant."""

    def settle(
        self, key: str, outcome: RunOutcome, summary: str, data: Mapping[str, Any], worker: str, at: float
    ) -> None:
        """Write what came of it."""

    def of(self, incident: int) -> Sequence[Mapping[str, Any]]:
        """The runs of one incident, in order."""

    def past(self, since: float, but: str = "") -> Sequence[PastAction]:
        """Every action that ran, or may have, since a time; but not the run of that key."""

    def ended(self, since: float, but: int) -> Mapping[str, Sequence[int]]:
        """By node, the incidents of the runs that were begun since a time and have ended, one a run, in order; but not
        of that incident."""

    def entry(self, key: str) -> LedgerEntry | None:
        """The run of that key, if it was ever meant."""

    def earlier(self, incident: int, step: PlannedStep, digest: str, phase: str) -> LedgerEntry | None:
        """The last run of this very action (kind, node, parameters) under another plan of the incident, in the same
        phase (`do`, `undo`)."""


class Records(Protocol):
    """What was learned, and how every fix has done."""

    def keep(self, id: str, document: Mapping[str, Any], incident: int | None, at: float, who: str) -> bool:
        """Keep a learned pattern as a candidate; False when there is one of that id."""

    def set_trust(self, id: str, trust: Trust, who: str, why: str, at: float) -> None:
        """Decide how far a known error is trusted."""

    def tried(self, fix: TriedFix, incident: int, result: str, seconds: float | None, at: float) -> None:
        """Keep how a fix ended, once an incident."""

    def returned(self, fix: TriedFix, incident: int, since: float) -> int:
        """Mark wins of a fix that is needed again at its node; how many."""

    def broke_again(self, sla: str, incident: int, since: float) -> int:
        """Mark wins for an SLA that is violated again; how many."""

    def history(self, fix: TriedFix, since: float) -> Sequence[Mapping[str, Any]]:
        """How a fix did since a time, oldest first."""

    def record(self, id: str, trust: Trust) -> Record:
        """How the fix of one known error has done."""


class Notifier(Protocol):
    """A channel to people. Raises SourceError where a message was certainly not delivered."""

    @property
    def name(self) -> str: ...

    @property
    def edits(self) -> bool:
        """Whether a message that was sent can be replaced; where not, only its first and last form are sent."""

    async def send(self, message: Message) -> str:
        """Deliver a message; the name by which it can be edited, empty where it cannot."""

    async def edit(self, id: str, message: Message) -> str | None:
        """Replace a message that was delivered; its new name, where it was gone and had to be sent anew."""


@dataclass(frozen=True)
class Answer:
    """What became of a human's answer. `approval` is the answer that counts, if any; `asking` whether the incident
    asks something now that nobody has answered."""

    result: Literal["recorded", "already", "expired", "not asked", "not allowed", "read-only"]
    approval: Approval | None = None
    asking: bool = False


@dataclass(frozen=True)
class Standing:
    """How things stand: why nothing may run, if so; incidents that live; questions that nobody has answered."""

    killed: str | None
    read_only: bool
    living: Sequence[Mapping[str, Any]]
    questions: Sequence[Mapping[str, Any]]


class Switchboard(Protocol):
    """What people may do from a chat. `who` is a name that was checked. Every method raises StoreError and blocks."""

    def answer(self, number: int, digest: str, who: str, granted: bool, via: str) -> Answer:
        """Answer what an incident asks about the plan of that digest (its first 32 characters or more)."""

    def acknowledge(self, number: int, who: str, via: str) -> bool:
        """Keep that somebody has seen an incident; False when that was kept before. Raises UsageError."""

    def details(self, number: int) -> Mapping[str, Any]:
        """An incident's document with its plan (`life`) and its `timeline`. Raises UsageError when there is none."""

    def incidents(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first."""

    def standing(self) -> Standing:
        """How things stand."""

    def kill(self, who: str, why: str) -> Sequence[str]:
        """Stop everything; what went wrong with one of its two halves. Raises StoreError when neither could be had."""

    def revive(self, who: str, said: float) -> bool | None:
        """Let things run again; whether the switch was on. None: it was thrown after this was said (Unix seconds)."""

    def refused(self, kind: str, who: str, data: Mapping[str, Any], incident: int | None = None) -> None:
        """Keep in the audit what somebody tried who may not."""


class Journal(Protocol):
    """The audit."""

    def add(self, at: float, kind: str, who: str, data: Mapping[str, Any], incident: int | None = None) -> int:
        """Append a row; its number."""


CheckFunction = Callable[..., Awaitable[Any] | Any]  # (probe, *, parameters) -> Verdict
