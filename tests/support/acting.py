"""A desk of fakes around a real store: a world that can be broken, and actions that touch only it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy, ChangeClass
from treewalk.model.condition import Answer
from treewalk.model.diagnosis import Diagnosis, Findings, Measurement, RootCause, Suspect, Timing
from treewalk.model.known import Fix, FixStep, KnownError, Match, Signature
from treewalk.model.place import Place
from treewalk.model.playbook import Playbook
from treewalk.model.policy import Policy, Repeats
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.ports import Hands
from treewalk.stages.plan import Shelf
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.ledger import Ledger
from treewalk.store.lessons import Lessons
from treewalk.workflow.desk import Desk

from tests.support.clocks import StandingClock
from tests.support.trees import make_tree

HERE = Place("here.yaml")


class World:
    """What is broken and what was done to it. `mends` says whether an action repairs it, `fails` what one raises."""

    def __init__(self) -> None:
        self.broken, self.visible, self.mends = True, True, True
        self.fails: Exception | None = None
        self.preview_fails = False
        self.else_broken: set[str] = set()  # SLAs that are violated whatever is mended
        self.did: list[tuple[str, Mapping[str, Any]]] = []
        self.before_run: Callable[[], None] = lambda: None


class MendParameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    how: str = "gently"


class Mend:
    """An action on the world; subclasses differ in what they say of themselves."""

    kind: ClassVar[str] = "mend"
    tier: ClassVar[Autonomy] = Autonomy.FULL
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = True
    parameters: ClassVar[type[BaseModel]] = MendParameters
    classes: ClassVar[frozenset[ChangeClass]] = frozenset()
    undo: ClassVar[str] = "unmend"

    def __init__(self, world: World) -> None:
        self.world = world

    def facts(self, params: Any) -> ActionFacts:
        return ActionFacts(self.kind, self.tier, self.idempotent, self.reversible, classes=self.classes, cost=1.0)

    async def preview(self, params: Any, hands: Hands) -> str:
        if self.world.preview_fails:
            raise SourceRejected("there is nothing to mend")
        return f"would {self.kind} {params.how}"

    async def run(self, params: Any, hands: Hands) -> ActionResult:
        self.world.before_run()
        self.world.did.append((self.kind, params.model_dump()))
        if self.world.fails is not None:
            raise self.world.fails
        if self.world.mends and self.kind != "unmend":
            self.world.broken = False
        undo = {"action": self.undo, "how": "back"} if self.reversible else None
        return ActionResult(f"did {self.kind} {params.how}", {}, undo)


class MendAsked(Mend):
    kind = "mend_asked"
    tier = Autonomy.ASK


class MendLater(Mend):
    kind = "mend_later"
    tier = Autonomy.AFTER


class MendTwice(Mend):
    kind = "mend_twice"
    idempotent = True


class MendSetting(Mend):
    """Taken back by itself, as a setting is."""

    kind = "mend_setting"
    undo = "mend_setting"


class MendAskedSetting(MendSetting):
    kind = "mend_asked_setting"
    undo = "mend_asked_setting"
    tier = Autonomy.ASK


class Unmend(Mend):
    kind = "unmend"
    reversible = False


class MendForbidden(Mend):
    kind = "mend_forbidden"
    classes = frozenset({ChangeClass.DELETES_DATA})


KINDS = {
    one.kind: one
    for one in (Mend, MendAsked, MendLater, MendTwice, MendForbidden, MendSetting, MendAskedSetting, Unmend)
}
FAILURES = {"failed": ActionFailed("it did not"), "unknown": SourceTimeout("nobody knows")}


class Plainly:
    """Durable steps that are not recorded; the names of those that ran are kept."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def step(self, name: str, function: Callable[[], Awaitable[Any]]) -> Any:
        self.names.append(name)
        return await function()


def error_with(*steps: Mapping[str, Any], id: str = "ke-1", trust: Any = "trusted") -> KnownError:
    """A known error at `store` with these steps."""
    written = tuple(FixStep(s["action"], {k: v for k, v in s.items() if k != "action"}, HERE) for s in steps)
    return KnownError(id, Signature(node="store"), "it is full", Fix("automated", written), HERE, "store", trust=trust)


class Scene:
    """One SLA `freshness` over `reader` over `store`, which is broken by a known error."""

    def __init__(self, folder: Path, *steps: Mapping[str, Any], policy: Policy | None = None) -> None:
        self.world, self.clock = World(), StandingClock(1_700_000_000.0)
        self.database = SqliteDatabase(folder / "memory.db")
        self.cases, self.ledger = Casebook(self.database), Ledger(self.database)
        self.lessons, self.audit = Lessons(self.database), Audit(self.database)
        self.error: KnownError | None = error_with(*(steps or [{"action": "mend"}]))
        self.policy = policy or Policy(repeats=Repeats(first=0.0, most=100))
        self.killed: str | None = None
        self.read_only = False
        self.blames = "store"
        self.seen: dict[str, Verdict] = {}  # verdicts of nodes that are not as the rest
        self.actions: dict[str, Any] = dict(KINDS)
        self.learned: list[Mapping[str, Any]] = []
        self.playbooks: dict[str, Playbook] = {}
        self.refuted: str | None = None  # why a candidate cannot be trusted
        self.blamed = True  # whether a diagnosis finds a culprit at all
        self.tree: Tree = make_tree({"reader": ["store"], "store": []})

    @property
    def sla(self) -> str:
        return self.tree.sla.name

    def desk(self) -> Desk:
        return Desk(
            cases=self.cases,
            books=self.ledger,
            records=self.lessons,
            journal=self.audit,
            clock=self.clock,
            policy=self.policy,
            shelf=Shelf(self.playbooks, lambda kind: self.actions[kind](self.world)),
            tree=lambda name: replace(self.tree, sla=replace(self.tree.sla, name=name)),
            known=self.known,
            look=self.look,
            measure=self.measure,
            metrics=lambda name: None,  # type: ignore[arg-type,return-value]
            ask=self.ask,
            blast=lambda node: 1,
            killed=lambda: self.killed,
            read_only=lambda: self.read_only,
            hands=lambda key: Hands(str, 5.0, key),
            learn=self.learn,
            promote=self.promote,
            worker="worker-1",
            poll=1.0,
        )

    def known(self) -> Mapping[str, KnownError]:
        if self.error is None:
            return {}
        trust = self.lessons.trusts().get(self.error.id, self.error.trust)
        return {self.error.id: replace(self.error, trust=trust)}

    async def measure(self, sla: str) -> Measurement:
        await asyncio.sleep(0)
        if not self.world.visible:
            return Measurement("unknown", "nobody answers")
        if self.world.broken or sla in self.world.else_broken:
            return Measurement("violated", "90s against < 60s", 90.0, "90s", "60s", self.clock.now() - 30)
        return Measurement("met", "1s against < 60s", 1.0, "1s", "60s")

    async def ask(self, source: Any, condition: Any, at: float) -> Answer:
        return Answer("not" if self.world.broken else "holds", "the store is looked at")

    async def look(self, sla: str, number: int) -> Diagnosis:
        measured, now = await self.measure(sla), self.clock.now()
        status = Status.UNHEALTHY if self.world.broken else Status.HEALTHY
        verdict = Verdict(status, "full", when=now, onset=now - 30)
        cause = RootCause(self.blames, "it is full", "known" if self.error else "reasoned", 0.9)
        match = Match(self.error, self.blames, ()) if self.error else None
        suspect = Suspect(self.blames, ("reader", "store"), 1, 5.0, {}, verdict)
        broken = self.world.broken and self.blamed
        verdicts = {"reader": verdict, "store": verdict, **self.seen}
        return Diagnosis(
            sla, measured, verdicts, (suspect,) if broken else (),
            cause if broken else None, match if broken else None, (), (), Findings(), (), Timing(now, now, 0.1),
        )  # fmt: skip

    async def promote(self, id: str, because: str) -> tuple[bool, str]:
        if self.refuted is None:
            self.lessons.set_trust(id, "trusted", "treewalk", because, self.clock.now())
        return self.refuted is None, self.refuted or because

    async def learn(self, document: Mapping[str, Any], number: int, at: float) -> Mapping[str, Any]:
        self.learned.append(document)
        self.lessons.keep(document["id"], document, number, at, "treewalk")
        return {"id": document["id"], "said": f"learned {document['id']}"}
