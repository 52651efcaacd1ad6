"""Random contexts to decide in, each from one seed, and ways to restrict what they allow."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import time
from random import Random
from typing import Any

from treewalk.model.acting import (
    ActionFacts,
    Approval,
    Autonomy,
    ChangeClass,
    Context,
    PastAction,
    PlannedStep,
    Record,
)
from treewalk.model.policy import (
    Bound,
    Costs,
    Limits,
    Maintenance,
    Policy,
    Repeats,
    Returns,
    Scope,
    TierRule,
)
from treewalk.model.window import Span, Window
from treewalk.stages.decide import decide

KINDS = ("process_restart", "container_restart", "redis_config_set")
NODES = ("consumer", "store_redis", "topic")
TYPES = ("process", "infrastructure", "")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
NOW = 1_790_000_000.0

Question = tuple[PlannedStep, Context, Policy]


def question(seed: int) -> Question:
    """A step, a context and a policy; the same ones for the same seed."""
    r = Random(seed)
    kind, node = r.choice(KINDS), r.choice(NODES)
    now = NOW + r.uniform(-1e8, 1e8)
    calm = r.random() < 0.6  # most of what could restrict is left out, so that single rules get to decide
    tier = r.choice(tuple(Autonomy)[:4]) if calm or r.random() < 0.9 else Autonomy.NEVER
    classes = frozenset(r.sample(tuple(ChangeClass), 1)) if not calm and r.random() < 0.1 else frozenset()
    facts = ActionFacts(kind, tier, r.random() < 0.5, r.random() < 0.5, classes=classes, cost=r.choice((0.0, 1.0, 5.0)))
    at = node if r.random() < 0.9 else r.choice(NODES)
    step = PlannedStep(0, kind, at, facts=facts)
    return step, _context(r, now, node, calm), _policy(r, now, calm)


def _context(r: Random, now: float, node: str, calm: bool) -> Context:
    past = tuple(
        PastAction(r.choice(KINDS), r.choice(NODES), now - r.uniform(0, 7200))
        for _ in range(r.choice((0, 0, 0, 1, 2, 6)))
    )
    return Context(
        now=now,
        node=node,
        node_type=r.choice(TYPES),
        basis=r.choice(("known", "known", "remedy")),
        record=_record(r, calm) if calm or r.random() < 0.8 else None,
        evidence="complete" if calm or r.random() < 0.8 else "unknown",
        unhealthy_for=r.choice((1e4 if calm else None, r.uniform(0, 900), r.uniform(0, 900), 1e5)),
        digest=r.choice(("d1", "d1", "d2", "")),
        approval=approval(r, now) if r.random() < 0.5 else None,
        past=past,
        spent=r.choice((0.0, 3.0)),
        blast=r.randrange(5),
        tags={"tier": r.choice("123")} if r.random() < 0.5 else {},
        rehearsed=calm or r.random() < 0.9,
        killed="by hand" if not calm and r.random() < 0.07 else None,
        read_only=not calm and r.random() < 0.07,
    )


def _record(r: Random, calm: bool) -> Record:
    fires = r.randrange(10 if calm else 0, 30)
    trust = "trusted" if calm or r.random() < 0.7 else r.choice(("candidate", "suspended", "retired"))
    return Record(fires, r.randint(fires // 2 if calm else 0, fires), 0 if calm else r.choice((0, 1, 3)), trust)  # type: ignore[arg-type]


def approval(r: Random, now: float) -> Approval:
    """An approval, about every second of which answers nothing."""
    asked = now + (-r.uniform(0, 600) if r.random() < 0.9 else 60)
    return Approval(
        digest="d1" if r.random() < 0.9 else r.choice(("d2", "")),
        who=r.choice(("ana", "ana", "ben", "")),
        granted=r.random() < 0.9,
        at=asked,
        expires=now + r.choice((1800.0, 1800.0, 1800.0, -1.0, 0.0)),
        via=r.choice(("cli", "cli", "telegram")),
    )


def _policy(r: Random, now: float, calm: bool) -> Policy:
    def rare(chance: float) -> bool:
        return not calm and r.random() < chance

    return Policy(
        tiers=tuple(_tier(r, calm) for _ in range(r.choice((0, 0, 1, 2)))),
        forbid=(scope(r),) if rare(0.2) else (),
        ask=(scope(r),) if rare(0.2) else (),
        freeze=(window(r, now),) if rare(0.2) else (),
        maintenance=(Maintenance(window(r, now), (r.choice((*NODES, "*", "type:process")),)),) if rare(0.2) else (),
        limits=Limits(r.choice((1, 3, 9)), r.choice((1, 6, 9)), r.choice((2, 12)), r.choice((600.0, 3600.0))),
        repeats=Repeats(
            r.choice((600.0, 3600.0)), r.choice((1, 3)), r.choice((0.0, 60.0, 1800.0)), r.choice((1.0, 2.0))
        ),
        costs=Costs(r.choice((None, None, 2.0)), r.choice((None, None, 4.0))),
        blast_radius=r.choice((None, None, 2)),
        rehearse=r.random() < 0.8,
        known=Bound(r.choice((0.0, 0.0, 0.5)), r.choice((0, 0, 5))),
        returns=Returns(3600.0, r.choice((1, 3))),
        approvers=r.choice(((), ("ana",), ("ana", "ben"))),
        after=r.choice((0.0, 300.0)),
        read_only=rare(0.07),
    )


def _tier(r: Random, calm: bool) -> TierRule:
    tier = r.choice(tuple(Autonomy)[:4]) if calm or r.random() < 0.9 else Autonomy.NEVER
    return TierRule(scope(r), tier, r.choice((None, 0.0, 60.0, 600.0)))


def scope(r: Random) -> Scope:
    """What a rule may be about."""
    return Scope(
        r.choice((None, *KINDS, "*_restart")),
        r.choice((None, None, *NODES, "type:process", "store_*")),
        {"tier": "1"} if r.random() < 0.2 else {},
    )


def window(r: Random, now: float) -> Window | Span:
    """A window that is open at about every second moment."""
    if r.random() < 0.5:
        start = now + r.uniform(-7200, 3600)
        return Span("span", start, start + r.uniform(1, 7200))
    days = frozenset(r.sample(range(7), r.randint(1, 7)))
    return Window("window", days, time(r.randrange(24)), time(r.randrange(24)), r.choice(ZONES))


Restriction = Callable[[Random, Question], Question]


def _on_policy(change: Callable[[Random, PlannedStep, Context, Policy], dict[str, Any]]) -> Restriction:
    def restricted(r: Random, asked: Question) -> Question:
        step, context, policy = asked
        return step, context, replace(policy, **change(r, step, context, policy))

    return restricted


def _on_context(change: Callable[[Random, Context], dict[str, Any]]) -> Restriction:
    def restricted(r: Random, asked: Question) -> Question:
        step, context, policy = asked
        return step, replace(context, **change(r, context)), policy

    return restricted


def _stricter_tier(r: Random, asked: Question) -> Question:
    """The rule that counts, with a stricter tier and a wait that is not shorter."""
    step, context, policy = asked
    assert step.facts is not None
    rule = policy.tier_of(step.kind, step.facts.tier, context.node, context.node_type, context.tags)
    tier = r.choice(tuple(Autonomy)[rule.tier.strictness :])
    wait = policy.after if rule.after is None and rule.tier is Autonomy.AFTER else rule.after or 0.0
    new = TierRule(rule.scope, tier, wait + r.choice((0.0, 100.0)))
    kept = tuple(new if one is rule else one for one in policy.tiers)
    return step, context, replace(policy, tiers=kept if rule in policy.tiers else (*policy.tiers, new))


def _costlier(r: Random, asked: Question) -> Question:
    step, context, policy = asked
    assert step.facts is not None
    return replace(step, facts=replace(step.facts, cost=step.facts.cost + 2)), context, policy


def _classed(r: Random, asked: Question) -> Question:
    step, context, policy = asked
    assert step.facts is not None
    facts = replace(step.facts, classes=step.facts.classes | {r.choice(tuple(ChangeClass))})
    return replace(step, facts=facts), context, policy


def _limits(r: Random, step: PlannedStep, context: Context, policy: Policy) -> dict[str, Any]:
    now = policy.limits
    which = r.choice(("per_node", "per_kind", "total"))
    return {"limits": replace(now, **{which: max(0, getattr(now, which) - 2)}, period=now.period * r.choice((1, 2)))}


def _repeats(r: Random, step: PlannedStep, context: Context, policy: Policy) -> dict[str, Any]:
    now = policy.repeats
    changed = r.choice(
        (
            {"most": max(0, now.most - 1)},
            {"first": now.first + 60},
            {"factor": now.factor + 1},
            {"within": now.within * 2},
        )
    )
    return {"repeats": replace(now, **changed)}


def _record_worse(r: Random, context: Context) -> dict[str, Any]:
    record = context.record
    if record is None:
        return {}
    worse = (
        {"trust": r.choice(("candidate", "suspended", "retired"))},
        {"failures": record.failures + 2},
        {"wins": max(0, record.wins - 3)},
    )
    return {"record": replace(record, **r.choice(worse))}


RESTRICTIONS: dict[str, Restriction] = {
    "forbid": _on_policy(lambda r, s, c, p: {"forbid": (*p.forbid, scope(r))}),
    "ask": _on_policy(lambda r, s, c, p: {"ask": (*p.ask, scope(r))}),
    "freeze": _on_policy(lambda r, s, c, p: {"freeze": (*p.freeze, window(r, c.now))}),
    "maintenance": _on_policy(lambda r, s, c, p: {"maintenance": (*p.maintenance, Maintenance(window(r, c.now)))}),
    "tier": _stricter_tier,
    "after": _on_policy(lambda r, s, c, p: {"after": p.after + 100}),
    "limits": _on_policy(_limits),
    "repeats": _on_policy(_repeats),
    "cost per action": _on_policy(lambda r, s, c, p: {"costs": replace(p.costs, per_action=0.5)}),
    "cost per incident": _on_policy(lambda r, s, c, p: {"costs": replace(p.costs, per_incident=0.5)}),
    "cost": _costlier,
    "class": _classed,
    "blast radius": _on_policy(lambda r, s, c, p: {"blast_radius": r.randint(0, p.blast_radius or 0)}),
    "rehearse": _on_policy(lambda r, s, c, p: {"rehearse": True}),
    "success": _on_policy(lambda r, s, c, p: {"known": Bound(max(p.known.success, r.random()), p.known.fires + 1)}),
    "tries": _on_policy(lambda r, s, c, p: {"returns": replace(p.returns, tries=1)}),
    "approvers": _on_policy(lambda r, s, c, p: {"approvers": p.approvers[1:]}),
    "read only": _on_policy(lambda r, s, c, p: {"read_only": True}),
    "told to look only": _on_context(lambda r, c: {"read_only": True}),
    "killed": _on_context(lambda r, c: {"killed": "by hand"}),
    "blast": _on_context(lambda r, c: {"blast": c.blast + 2}),
    "spent": _on_context(lambda r, c: {"spent": c.spent + 3}),
    "not rehearsed": _on_context(lambda r, c: {"rehearsed": False}),
    "record": _on_context(_record_worse),
    "no record": _on_context(lambda r, c: {"record": None}),
    "evidence": _on_context(lambda r, c: {"evidence": "unknown"}),
    "no approval": _on_context(lambda r, c: {"approval": None}),
    "one more action": _on_context(
        lambda r, c: {"past": (*c.past, PastAction(r.choice(KINDS), r.choice(NODES), c.now - r.uniform(0, 3600)))}
    ),
    "unhealthy for less": _on_context(
        lambda r, c: {} if c.unhealthy_for is None else {"unhealthy_for": c.unhealthy_for * r.random()}
    ),
}


def fingerprint(first: int, count: int) -> str:
    """SHA-256 over the decisions of many seeds."""
    told = hashlib.sha256()
    for seed in range(first, first + count):
        told.update(json.dumps(asdict(decide(*question(seed)))).encode())
    return told.hexdigest()


if __name__ == "__main__":
    print(fingerprint(int(sys.argv[1]), int(sys.argv[2])))
