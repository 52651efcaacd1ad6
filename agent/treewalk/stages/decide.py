"""Whether a step may run: one pure function over data. The strictest of all rules decides, and each is told.

An approval answers what would be asked, and nothing else: it lifts no refusal and shortens no wait. What is not known
(a time, a cost, a record that is not a number) counts against the step, never for it. What takes back is not held up by
the bounds on how often things are done: what it undoes ran a moment ago, at the same node and often by the same action.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from treewalk.model.acting import (
    NEVER_CLASSES,
    RULINGS,
    ActionFacts,
    Autonomy,
    Context,
    Decision,
    Line,
    PastAction,
    PlannedStep,
    Record,
)
from treewalk.model.policy import Policy, Scope, TierRule, node_fits
from treewalk.model.quantity import format_duration

_Z = 1.959964  # the 97.5th percentile of the normal distribution, for a two-sided 95 % interval
_DAY = 86400.0
APPROVAL_COUNTS = 4 * 3600.0  # seconds for which an answer counts: long enough for the waits of a plan
_YEAR_10000 = 253402300800.0  # no calendar goes further, so no window could be looked up


def decide(step: PlannedStep, context: Context, policy: Policy) -> Decision:
    """Whether this step may run now. Pure: same step, context and policy, same decision.

    A step that changes nothing (wait, verify) is stopped by the kill switch only; whoever carries it out holds it.
    """
    if step.facts is None:
        line: Line = _kill_switch(context) or Line("flow", "proceed", "it changes nothing")
        return Decision(line.ruling, line.rule, line.because, tier=Autonomy.FULL, lines=(line,))
    rule = policy.tier_of(step.kind, step.facts.tier, context.node, context.node_type, context.tags)
    said = (look(step, step.facts, context, policy, rule) for look in _RULES)
    lines = [_answered(line, context, policy) for line in said if line is not None]
    worst = max(lines, key=lambda one: RULINGS.index(one.ruling))  # the first of equals
    seconds = max((one.seconds for one in lines if one.ruling == "wait"), default=0.0)
    return Decision(
        worst.ruling, worst.rule, worst.because, seconds if worst.ruling == "wait" else 0.0, rule.tier, tuple(lines)
    )


def success_bound(record: Record) -> float:
    """The lower bound of a success rate, Wilson's score interval at 95 %; 0 without a try.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    n = record.fires
    if n <= 0:
        return 0.0
    p = min(max(record.wins, 0), n) / n
    centre = p + _Z * _Z / (2 * n)
    spread = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + _Z * _Z / n))


def backoff(times: int, first: float, factor: float) -> float:
    """Seconds to wait before doing something again that was done `times` times; at most a day."""
    if times <= 0:
        return 0.0
    seconds = min(_DAY, first)
    for _ in range(min(times - 1, 64)):
        seconds = min(_DAY, seconds * factor)  # bounded at each step: a large factor would overflow
    return float(seconds)


def _answered(line: Line, context: Context, policy: Policy) -> Line:
    """A question that a named human has answered for this very plan is settled.

    It has to be answered in time; what was approved is then carried out to its end, unless that takes too long. The
    answer may bear a time that has not come yet: it was given where another clock goes ahead of this one.
    """
    approval = context.approval
    if line.ruling != "ask" or approval is None:
        return line
    valid = (
        approval.granted
        and policy.may_approve(approval.who, approval.via)
        and bool(context.digest)
        and approval.digest == context.digest
        and approval.at < approval.expires
        and context.now - approval.at < APPROVAL_COUNTS
    )
    return Line(line.rule, "proceed", f"{line.because}; {approval.who} approved this plan") if valid else line


def _meant(scope: Scope, step: PlannedStep, context: Context) -> bool:
    """Whether a scope means this step, by the node that the context is about or the one that the step acts on."""
    return any(
        scope.fits(step.kind, node, context.node_type, context.tags)
        for node in dict.fromkeys((context.node, step.node))
    )


def _kill_switch(context: Context) -> Line | None:
    if context.killed is None:
        return None
    return Line("kill switch", "refuse", f"the kill switch is on: {context.killed}")


_Rule = Callable[[PlannedStep, ActionFacts, Context, Policy, TierRule], Line | None]


def _killed(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    return _kill_switch(context)


def _read_only(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    if context.read_only or policy.read_only:
        return Line("read only", "refuse", "treewalk is set to look and not to touch")
    return None


def _clock(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    return None if _has_time(context) else Line("clock", "refuse", "it is not known what time it is")


def _has_time(context: Context) -> bool:
    return 0 <= context.now < _YEAR_10000  # false for NaN


def _never(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    found = sorted(facts.classes & NEVER_CLASSES)
    if found:
        return Line("never tier", "refuse", f"it {' and '.join(found)}; no setting and no approval allows that")
    if rule.tier is Autonomy.NEVER or facts.tier is Autonomy.NEVER:
        return Line("never tier", "refuse", f"never: {rule.scope}")
    return None


def _forbidden(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    for scope in policy.forbid:
        if _meant(scope, step, context):
            return Line("forbid", "refuse", f"treewalk.yaml forbids {scope}")
    return None


def _frozen(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    for window in policy.freeze if _has_time(context) else ():
        if window.contains(context.now):
            return Line("change freeze", "refuse", f"changes are frozen in {window.name} ({window})")
    return None


def _maintained(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    for one in policy.maintenance if _has_time(context) else ():
        if not one.window.contains(context.now):
            continue
        for node in dict.fromkeys((context.node, step.node)):
            if any(node_fits(wanted, node, context.node_type) for wanted in one.nodes):
                return Line("maintenance", "refuse", f"{node} is under maintenance in {one.window.name}")
    return None


def _rehearsed(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    if policy.rehearse and not context.rehearsed:
        return Line("rehearsal", "refuse", "its rehearsal did not succeed, and policy wants one")
    return None


def _tier(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    name, where = f"tier {rule.tier.value}", f"{rule.scope}"
    if rule.tier is Autonomy.FULL:
        return Line(name, "proceed", f"{where} may run")
    if rule.tier is Autonomy.AFTER:
        return _after(name, context, policy.after if rule.after is None else rule.after)
    if rule.tier is Autonomy.KNOWN:
        if context.basis == "known" and context.record is not None and context.record.trust == "trusted":
            return Line(name, "proceed", "it is the fix of a trusted known error")
        return Line(name, "ask", f"{where} runs alone only as the fix of a trusted known error")
    return Line(name, "ask", f"{where} needs a human's approval")


def _delay(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    """A wait that a rule of another tier asks for. A line of its own, so that an approval does not shorten it."""
    if rule.after is None or rule.tier not in (Autonomy.KNOWN, Autonomy.ASK):
        return None
    return _after("after", context, rule.after)


def _after(name: str, context: Context, after: float) -> Line:
    if context.unhealthy_for is None or not math.isfinite(context.unhealthy_for):
        return Line(name, "ask", f"it is not known for how long {context.node} has been unhealthy")
    left = after - context.unhealthy_for
    if left > 0:
        told = f"{context.node} has been unhealthy for {format_duration(context.unhealthy_for)}"
        return Line(name, "wait", f"{told}, and it waits for {format_duration(after)}", left)
    return Line(name, "proceed", f"{context.node} has been unhealthy for {format_duration(context.unhealthy_for)}")


def _evidence(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    if context.evidence != "complete":
        return Line("evidence", "ask", "the node or the SLA could not be looked at")
    return None


def _trust(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    if context.basis == "remedy":
        return None
    if context.record is None:
        return Line("trust", "ask", "how the known error has done is not known")
    if context.record.trust != "trusted":
        return Line("trust", "ask", f"the known error is {context.record.trust}")
    return None


def _earned(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    record = context.record
    if context.basis == "remedy" or record is None:
        return None
    if record.failures >= policy.returns.tries:
        return Line("failures", "ask", f"its fix has failed {record.failures} times running")
    if record.fires < policy.known.fires:
        return Line("record", "ask", f"it was tried {record.fires} times, and policy wants {policy.known.fires}")
    bound = success_bound(record)
    if bound < policy.known.success:
        told = f"{record.wins} wins in {record.fires} tries: at least {bound:.0%}"
        return Line("record", "ask", f"{told}, and policy wants {policy.known.success:.0%}")
    return None


def _rates(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    if context.undo:
        return None
    limits = policy.limits
    recent = _within(context, limits.period)
    counts = (
        (f"at {context.node}", sum(p.node in (context.node, step.node) for p in recent), limits.per_node),
        (f"of {step.kind}", sum(p.kind == step.kind for p in recent), limits.per_kind),
        ("in all", len(recent), limits.total),
    )
    for what, count, limit in counts:
        if count >= limit:
            span = format_duration(limits.period)
            return Line("rate", "ask", f"{count} actions {what} in the last {span}, and {limit} are allowed")
    return None


def _same(step: PlannedStep, context: Context, policy: Policy) -> list[PastAction]:
    recent = _within(context, policy.repeats.within)
    return [p for p in recent if p.kind == step.kind and p.node in (context.node, step.node)]


def _within(context: Context, seconds: float) -> list[PastAction]:
    """What ran in the last seconds; with it what seems to lie in the future, or at no known time."""
    return [p for p in context.past if not context.now - p.at >= seconds]


def _repeats(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    same = () if context.undo else _same(step, context, policy)
    if same and len(same) >= policy.repeats.most:
        return Line("repeats", "ask", f"{step.kind} ran {len(same)} times at {context.node} already")
    return None


def _backed_off(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    """Apart from `_repeats`: an approval answers the question there, and does not shorten the wait here."""
    repeats, same = policy.repeats, () if context.undo else _same(step, context, policy)
    last = max((p.at for p in same if not math.isnan(p.at)), default=-math.inf)
    left = last + backoff(len(same), repeats.first, repeats.factor) - context.now
    if left > 0:
        return Line("back-off", "wait", f"{step.kind} ran at {context.node} a moment ago", left)
    return None


def _cost(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    costs, cost = policy.costs, facts.cost
    if costs.per_action is not None and not cost <= costs.per_action:  # so that NaN is too much
        return Line("cost", "ask", f"it costs {cost:g}, and {costs.per_action:g} is allowed")
    total = cost + context.spent
    if costs.per_incident is not None and not total <= costs.per_incident:
        return Line("cost", "ask", f"the incident would have cost {total:g}, and {costs.per_incident:g} is allowed")
    return None


def _blast(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    if policy.blast_radius is not None and context.blast > policy.blast_radius:
        return Line("blast radius", "ask", f"{context.blast} SLAs stand above {context.node}")
    return None


def _asked(step: PlannedStep, facts: ActionFacts, context: Context, policy: Policy, rule: TierRule) -> Line | None:
    for scope in policy.ask:
        if _meant(scope, step, context):
            return Line("ask", "ask", f"treewalk.yaml wants a human for {scope}")
    return None


_RULES: tuple[_Rule, ...] = (
    _killed, _never, _forbidden, _read_only, _clock, _frozen, _maintained, _rehearsed,
    _tier, _delay, _evidence, _trust, _earned, _asked, _blast, _rates, _cost, _repeats, _backed_off,
)  # fmt: skip
