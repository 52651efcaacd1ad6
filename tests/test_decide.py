"""The laws of `decide`, held against random contexts, and each of its rules by example."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from treewalk.model.acting import (
    NEVER_CLASSES,
    RULINGS,
    ActionFacts,
    Approval,
    Autonomy,
    ChangeClass,
    Context,
    Decision,
    PastAction,
    PlannedStep,
    Record,
    Ruling,
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
from treewalk.stages.decide import backoff, decide, success_bound

from tests.support.deciding import KINDS, NODES, NOW, RESTRICTIONS, approval, fingerprint, question

REPO = Path(__file__).parent.parent
seeds = st.integers(0, 2**48)
ASKED: dict[str, int] = {}  # how many contexts each law sees, by its test's name


def law(contexts: int) -> Callable[[Callable[[int], None]], Callable[[], None]]:
    """A law that is held against so many random contexts, each another one; they are counted."""

    def made(hold: Callable[[int], None]) -> Callable[[], None]:
        seen: set[int] = set()

        def counted(seed: int) -> None:
            seen.add(seed)
            hold(seed)

        tried = settings(
            max_examples=contexts,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
            print_blob=True,
        )(given(seeds)(counted))

        def whole() -> None:
            seen.clear()
            tried()
            assert len(seen) >= contexts, "some contexts were the same"

        whole.__name__ = hold.__name__
        ASKED[hold.__name__] = contexts
        return whole

    return made


def answers(context: Context, policy: Policy) -> bool:
    """Whether a listed human has approved this very plan, said apart from the code under test."""
    given = context.approval
    if given is None or not given.granted or given.digest != context.digest or given.digest == "":
        return False
    listed = given.via == "cli" or given.who in policy.approvers
    in_time = given.at < given.expires and context.now < given.at + 4 * 3600
    return given.who != "" and listed and in_time


# The laws


@law(8000)
def test_nothing_makes_the_never_tier_run(seed: int) -> None:
    r, (step, context, policy) = Random(~seed), question(seed)
    assert step.facts is not None
    if r.random() < 0.5:
        step = replace(
            step, facts=replace(step.facts, classes=frozenset(r.sample(sorted(NEVER_CLASSES), r.randint(1, 3))))
        )
    elif r.random() < 0.5:
        step = replace(step, facts=replace(step.facts, tier=Autonomy.NEVER))
    else:
        rule = TierRule(r.choice((Scope(), Scope(step.kind), Scope(node=context.node))), Autonomy.NEVER)
        policy = replace(policy, tiers=(*policy.tiers, rule))
    mine = Approval(context.digest, "ana", True, context.now - 1, context.now + 1)
    allowing = (TierRule(Scope(step.kind, context.node, context.tags), Autonomy.FULL),)
    for asked in (context, replace(context, approval=mine, digest="d1", killed=None, read_only=False)):
        for rules in (policy, replace(policy, tiers=(*policy.tiers, *allowing), approvers=("ana",))):
            assert decide(step, asked, rules).ruling == "refuse"


@law(2000)
def test_taking_back_is_bound_by_everything_but_how_often_things_are_done(seed: int) -> None:
    step, context, policy = question(seed)
    plain, undo = decide(step, context, policy), decide(step, replace(context, undo=True), policy)
    often = ("rate", "repeats", "back-off")
    assert [line for line in plain.lines if line.rule not in often] == list(undo.lines)


@law(8000)
def test_the_kill_switch_refuses_everything(seed: int) -> None:
    r, (step, context, policy) = Random(~seed), question(seed)
    killed = replace(context, killed=r.choice(("", "by hand")), approval=approval(r, context.now))
    for one in (step, PlannedStep(0, "wait", step.node), PlannedStep(0, "verify", step.node)):
        found = decide(one, killed, policy)
        assert (found.ruling, found.rule) == ("refuse", "kill switch")


@law(12000)
def test_what_is_not_known_allows_nothing_without_a_human(seed: int) -> None:
    r, (step, context, policy) = Random(~seed), question(seed)
    assert step.facts is not None
    which = r.randrange(7)
    if which == 0:
        context = replace(context, evidence=r.choice(("unknown", "", None)))
    elif which == 1:
        context = replace(context, basis="known", record=None)
    elif which == 2:
        policy = replace(policy, tiers=(TierRule(Scope(), r.choice((Autonomy.AFTER, Autonomy.KNOWN)), 60.0),))
        context = replace(context, unhealthy_for=r.choice((None, math.nan, math.inf)))
    elif which == 3:
        context = replace(context, now=r.choice((math.nan, math.inf, -math.inf, 1e18)))
    elif which == 4:
        step = replace(step, facts=replace(step.facts, cost=math.nan))
        policy = replace(policy, costs=r.choice((Costs(1e9, None), Costs(None, 1e9))))
    elif which == 5:
        context = replace(context, spent=math.nan)
        policy = replace(policy, costs=Costs(None, 1e9))
    else:
        context = replace(context, past=(PastAction(step.kind, context.node, math.nan),) * 3)
        policy = replace(policy, limits=r.choice((Limits(per_node=3), Limits(per_kind=3), Limits(total=3))))
    found = decide(step, context, policy)
    assert found.ruling != "proceed" or answers(context, policy)


@law(14000)
def test_a_restriction_never_allows_more(seed: int) -> None:
    r, asked = Random(~seed), question(seed)
    before = decide(*asked)
    for name in r.sample(sorted(RESTRICTIONS), r.choice((1, 1, 2))):
        asked = RESTRICTIONS[name](r, asked)
    after = decide(*asked)
    assert RULINGS.index(after.ruling) >= RULINGS.index(before.ruling)
    if before.ruling == after.ruling == "wait":
        assert after.seconds >= before.seconds - 1e-6


@law(8000)
def test_the_same_context_gets_the_same_decision(seed: int) -> None:
    asked = question(seed)
    found = decide(*asked)
    assert found == decide(*asked) == decide(*question(seed))


@law(8000)
def test_an_approval_only_turns_what_was_asked_into_a_yes(seed: int) -> None:
    r, (step, context, policy) = Random(~seed), question(seed)
    before = decide(step, replace(context, approval=None), policy)
    context = replace(context, approval=approval(r, context.now))
    after = decide(step, context, policy)
    if not answers(context, policy):
        assert after == before
        return
    for one, other in zip(before.lines, after.lines, strict=True):
        if one.ruling == "ask":
            assert (other.ruling, other.rule) == ("proceed", one.rule)
        else:
            assert other == one
    if before.ruling != "ask":
        assert (after.ruling, after.rule, after.seconds) == (before.ruling, before.rule, before.seconds)


@law(5000)
def test_every_decision_names_its_rule_and_its_reason(seed: int) -> None:
    found = decide(*question(seed))
    assert found.rule
    assert found.because
    assert all(line.rule and line.because.strip() and line.ruling in RULINGS for line in found.lines)
    deciding = [line for line in found.lines if line.ruling == found.ruling]
    assert (deciding[0].rule, deciding[0].because) == (found.rule, found.because)
    assert (found.seconds > 0) == (found.ruling == "wait")


@law(3000)
def test_waiting_long_enough_ends_in_proceed(seed: int) -> None:
    r = Random(seed)
    kind, node, now = r.choice(KINDS), r.choice(NODES), NOW + r.uniform(-1e8, 1e8)
    wait, unhealthy = r.uniform(0, 7200), r.uniform(0, 7200)
    step = PlannedStep(0, kind, node, facts=ActionFacts(kind, Autonomy.AFTER, True, False))
    policy = Policy(after=wait) if r.random() < 0.5 else Policy(tiers=(TierRule(Scope(kind), Autonomy.AFTER, wait),))
    past = (PastAction(kind, node, now - r.uniform(0, 3000)),) if r.random() < 0.5 else ()
    context = Context(now, node, basis="remedy", unhealthy_for=unhealthy, past=past)
    for _ in range(3):
        found = decide(step, context, policy)
        if found.ruling == "proceed":
            break
        assert found.ruling == "wait"
        passed = found.seconds + 1
        context = replace(context, now=context.now + passed, unhealthy_for=(context.unhealthy_for or 0.0) + passed)
    assert found.ruling == "proceed"
    assert (context.unhealthy_for or 0.0) >= wait


def test_the_five_laws_that_matter_most_see_fifty_thousand_contexts_of_their_own() -> None:
    laws = (
        test_nothing_makes_the_never_tier_run,
        test_the_kill_switch_refuses_everything,
        test_what_is_not_known_allows_nothing_without_a_human,
        test_a_restriction_never_allows_more,
        test_the_same_context_gets_the_same_decision,
    )
    assert sum(ASKED[one.__name__] for one in laws) >= 50_000


def test_the_laws_are_tried_on_every_ruling_and_rule() -> None:
    found = [decide(*question(seed)) for seed in range(6000)]
    assert {d.ruling for d in found} == set(RULINGS)
    named = {line.rule for d in found for line in d.lines if line.ruling != "proceed"}
    assert named >= {
        "kill switch", "never tier", "forbid", "read only", "change freeze", "maintenance", "rehearsal", "tier after",
        "tier known", "tier ask", "after", "evidence", "trust", "failures", "record", "ask", "blast radius", "rate",
        "cost", "repeats", "back-off",
    }  # fmt: skip


def test_another_process_decides_the_same() -> None:
    there = {
        subprocess.run(
            [sys.executable, "-m", "tests.support.deciding", "0", "1500"],
            cwd=REPO, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert there == {fingerprint(0, 1500)}


# Each rule by example


def ruled(
    policy: Policy | None = None, tier: Autonomy = Autonomy.FULL, facts: dict[str, Any] | None = None, **context: Any
) -> Decision:
    """What is decided about restarting the consumer where nothing but what is given restricts it."""
    step = PlannedStep(
        0, "process_restart", "consumer", facts=ActionFacts("process_restart", tier, True, False, **(facts or {}))
    )
    given: dict[str, Any] = {"now": NOW, "node": "consumer", "record": Record(9, 9), "unhealthy_for": 1e4, **context}
    return decide(step, Context(**given), policy or Policy())


def told(found: Decision) -> tuple[Ruling, str]:
    return found.ruling, found.rule


def yes(**changes: Any) -> Approval:
    return replace(Approval("d1", "ana", True, NOW - 60, NOW + 60), **changes)


@pytest.mark.parametrize(
    ("tier", "context", "ruling"),
    [
        (Autonomy.FULL, {"unhealthy_for": 0.0}, "proceed"),
        (Autonomy.AFTER, {"unhealthy_for": 299.0}, "wait"),
        (Autonomy.AFTER, {"unhealthy_for": 300.0}, "proceed"),
        (Autonomy.AFTER, {"unhealthy_for": None}, "ask"),
        (Autonomy.KNOWN, {"unhealthy_for": 0.0}, "proceed"),
        (Autonomy.KNOWN, {"basis": "remedy"}, "ask"),
        (Autonomy.KNOWN, {"record": Record(9, 9, trust="candidate")}, "ask"),
        (Autonomy.ASK, {}, "ask"),
        (Autonomy.ASK, {"approval": yes(), "digest": "d1"}, "proceed"),
        (Autonomy.NEVER, {"approval": yes(), "digest": "d1"}, "refuse"),
    ],
)
def test_a_tier_says_how_far_treewalk_goes_alone(tier: Autonomy, context: dict[str, Any], ruling: str) -> None:
    found = ruled(tier=tier, **context)
    assert found.ruling == ruling
    assert found.tier is tier


def test_a_wait_says_for_how_long() -> None:
    assert ruled(tier=Autonomy.AFTER, unhealthy_for=100.0).seconds == 200.0
    assert "unhealthy for 1m40s" in ruled(tier=Autonomy.AFTER, unhealthy_for=100.0).because


@pytest.mark.parametrize("class_", list(ChangeClass))
def test_every_class_of_the_never_tier_is_refused(class_: ChangeClass) -> None:
    found = ruled(facts={"classes": frozenset({class_})}, approval=yes(), digest="d1")
    assert told(found) == ("refuse", "never tier")
    assert class_.value in found.because


def test_the_most_specific_rule_sets_the_tier() -> None:
    policy = Policy(
        tiers=(
            TierRule(Scope("*_restart"), Autonomy.ASK),
            TierRule(Scope(node="type:process"), Autonomy.KNOWN),
            TierRule(Scope("process_restart", "consumer"), Autonomy.FULL),
        )
    )
    assert ruled(policy, Autonomy.ASK).tier is Autonomy.FULL
    assert ruled(policy, Autonomy.ASK, node="other", node_type="process").tier is Autonomy.KNOWN
    assert ruled(policy, Autonomy.FULL, node="other").tier is Autonomy.ASK


def test_a_rule_that_says_never_is_not_overruled_by_a_more_specific_one() -> None:
    policy = Policy(
        tiers=(TierRule(Scope(), Autonomy.NEVER), TierRule(Scope("process_restart", "consumer"), Autonomy.FULL))
    )
    assert told(ruled(policy)) == ("refuse", "never tier")


def test_known_and_ask_wait_only_where_the_rule_gives_a_time() -> None:
    plain = Policy(tiers=(TierRule(Scope(), Autonomy.KNOWN),))
    waits = Policy(tiers=(TierRule(Scope(), Autonomy.KNOWN, 600.0),))
    asks = Policy(tiers=(TierRule(Scope(), Autonomy.ASK, 600.0),))
    assert ruled(plain, unhealthy_for=10.0).ruling == "proceed"
    assert told(ruled(waits, unhealthy_for=10.0)) == ("wait", "after")
    assert told(ruled(asks, unhealthy_for=10.0, approval=yes(), digest="d1")) == ("wait", "after")


def test_a_time_of_the_rule_stands_before_that_of_the_policy() -> None:
    policy = Policy(after=300.0, tiers=(TierRule(Scope(), Autonomy.AFTER, 30.0),))
    assert ruled(policy, unhealthy_for=40.0).ruling == "proceed"
    assert ruled(Policy(after=600.0), Autonomy.AFTER, unhealthy_for=400.0).seconds == 200.0


@pytest.mark.parametrize(
    "no",
    [
        yes(granted=False),
        yes(who=""),
        yes(digest="d2"),
        yes(digest=""),
        yes(expires=NOW - 60),
        yes(at=NOW + 60),
        yes(at=NOW - 4 * 3600),
        yes(at=math.nan),
        yes(via="telegram"),
        yes(via="telegram", who="Ana"),
    ],
)
def test_an_approval_that_is_not_one_changes_nothing(no: Approval) -> None:
    policy = Policy(approvers=("ben",))
    assert ruled(policy, Autonomy.ASK, approval=no, digest="d1" if no.digest else "").ruling == "ask"


@pytest.mark.parametrize(
    "late",
    [yes(expires=NOW), yes(expires=NOW - 59), yes(at=NOW + 3), yes(at=NOW - 4 * 3600 + 1, expires=NOW - 3600)],
    ids=["expiring", "expired since", "by a clock that goes ahead", "hours ago"],
)
def test_an_answer_that_came_in_time_counts_until_the_plan_is_done(late: Approval) -> None:
    assert ruled(Policy(), Autonomy.ASK, approval=late, digest="d1").ruling == "proceed"


def test_a_user_of_a_channel_may_approve_through_it_and_through_no_other() -> None:
    policy = Policy(users=(("telegram", "ana"),))
    for via, ruling in (("telegram", "proceed"), ("web", "ask"), ("", "ask")):
        assert ruled(policy, Autonomy.ASK, approval=yes(via=via), digest="d1").ruling == ruling


def test_whoever_is_listed_may_approve_from_outside() -> None:
    found = ruled(Policy(approvers=("ana",)), Autonomy.ASK, approval=yes(via="telegram"), digest="d1")
    assert found.ruling == "proceed"
    assert "ana approved this plan" in found.because


def test_what_is_forbidden_stays_so_with_an_approval() -> None:
    policy = Policy(forbid=(Scope("process_*", tags={"tier": "1"}),))
    found = ruled(policy, tags={"tier": "1"}, approval=yes(), digest="d1")
    assert told(found) == ("refuse", "forbid")
    assert "process_* of SLAs with tier=1" in found.because
    assert ruled(policy, tags={"tier": "2"}).ruling == "proceed"


def test_what_a_step_acts_on_counts_like_what_the_incident_is_about() -> None:
    step = PlannedStep(
        0, "process_restart", "consumer", facts=ActionFacts("process_restart", Autonomy.FULL, True, False)
    )
    context = Context(NOW, "topic", record=Record(9, 9), past=(PastAction("process_restart", "consumer", NOW - 1),) * 3)
    assert told(decide(step, context, Policy(forbid=(Scope(node="consumer"),)))) == ("refuse", "forbid")
    maintained = Maintenance(Span("now", NOW - 1, NOW + 1), ("consumer",))
    assert told(decide(step, context, Policy(maintenance=(maintained,)))) == ("refuse", "maintenance")
    assert told(decide(step, context, Policy())) == ("ask", "rate")


def test_a_human_is_asked_where_the_policy_says() -> None:
    policy = Policy(ask=(Scope(node="cons*"),))
    assert told(ruled(policy)) == ("ask", "ask")
    assert ruled(policy, approval=yes(), digest="d1").ruling == "proceed"


def test_looking_only_is_a_setting_and_a_switch() -> None:
    assert told(ruled(Policy(read_only=True))) == ("refuse", "read only")
    assert told(ruled(read_only=True)) == ("refuse", "read only")


def test_a_step_that_changes_nothing_is_stopped_by_the_kill_switch_only() -> None:
    verify = PlannedStep(0, "verify", "consumer")
    policy = Policy(read_only=True, forbid=(Scope(),))
    assert told(decide(verify, Context(NOW, "consumer"), policy)) == ("proceed", "flow")
    assert told(decide(verify, Context(NOW, "consumer", killed="by ana"), policy)) == ("refuse", "kill switch")


def test_a_failed_rehearsal_refuses_unless_the_policy_wants_none() -> None:
    assert told(ruled(rehearsed=False)) == ("refuse", "rehearsal")
    assert ruled(Policy(rehearse=False), rehearsed=False).ruling == "proceed"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "frozen"),
    [
        # 29 March 2026: 02:00 becomes 03:00 in Berlin, so 01:00 to 04:00 is two hours
        ("2026-03-28T23:59:59", False), ("2026-03-29T00:00:00", True), ("2026-03-29T01:59:59", True),
        ("2026-03-29T02:00:00", False),
        # 25 October 2026: 03:00 becomes 02:00, so it is four
        ("2026-10-24T22:59:59", False), ("2026-10-24T23:00:00", True), ("2026-10-25T02:59:59", True),
        ("2026-10-25T03:00:00", False),
    ],
)  # fmt: skip
def test_a_change_freeze_follows_the_clock_of_its_zone(moment: str, frozen: bool) -> None:
    window = Window("sunday night", frozenset({6}), time(1), time(4), "Europe/Berlin")
    found = ruled(Policy(freeze=(window,)), now=at(moment))
    assert told(found) == (("refuse", "change freeze") if frozen else ("proceed", "tier full"))


def test_a_freeze_over_the_holidays_ends_when_it_says() -> None:
    policy = Policy(freeze=(Span("holidays", at("2026-12-20T18:00:00"), at("2027-01-04T08:00:00")),))
    assert "2026-12-20 18:00Z to 2027-01-04 08:00Z" in ruled(policy, now=at("2026-12-24T12:00:00")).because
    assert ruled(policy, now=at("2027-01-04T08:00:00")).ruling == "proceed"


def test_maintenance_is_about_its_nodes() -> None:
    window = Span("work on it", NOW - 60, NOW + 60)
    assert told(ruled(Policy(maintenance=(Maintenance(window, ("cons*",)),)))) == ("refuse", "maintenance")
    assert ruled(Policy(maintenance=(Maintenance(window, ("topic",)),))).ruling == "proceed"
    by_type = Policy(maintenance=(Maintenance(window, ("type:process",)),))
    assert ruled(by_type, node_type="process").ruling == "refuse"
    assert ruled(by_type, node_type="infrastructure").ruling == "proceed"


def test_without_a_time_nothing_runs() -> None:
    policy = Policy(freeze=(Window("w", frozenset({0}), time(1), time(2), "UTC"),))
    assert told(ruled(policy, now=math.nan)) == ("refuse", "clock")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(per_node=2), "2 actions at consumer in the last 1h"),
        (Limits(per_kind=2), "2 actions of process_restart in the last 1h"),
        (Limits(total=3), "3 actions in all in the last 1h"),
    ],
)
def test_rates_are_counted_by_node_by_kind_and_in_all(limits: Limits, says: str) -> None:
    past = (
        PastAction("other", "consumer", NOW - 3599),
        PastAction("process_restart", "topic", NOW - 10),
        PastAction("process_restart", "consumer", NOW - 3000),
        PastAction("process_restart", "consumer", NOW - 3600),  # an hour ago: counts no more
    )
    found = ruled(Policy(limits=limits), past=past)
    assert told(found) == ("ask", "rate")
    assert says in found.because
    assert ruled(Policy(limits=limits), past=past, now=NOW + 700).ruling == "proceed"


def test_back_off_doubles_up_to_a_day() -> None:
    assert [backoff(n, 60.0, 2.0) for n in range(6)] == [0.0, 60.0, 120.0, 240.0, 480.0, 960.0]
    assert backoff(50, 60.0, 2.0) == backoff(1000, 60.0, 1e300) == 86400.0
    assert backoff(9, 60.0, 1.0) == 60.0


def test_the_same_again_waits_longer_each_time_and_then_a_human_is_asked() -> None:
    past = tuple(PastAction("process_restart", "consumer", NOW - ago) for ago in (10, 500, 1000))
    policy = Policy(repeats=Repeats(most=3), limits=Limits(per_node=9))
    assert (ruled(policy, past=past[:1]).rule, ruled(policy, past=past[:1]).seconds) == ("back-off", 50.0)
    assert ruled(policy, past=past[:2]).seconds == 110.0
    assert told(ruled(policy, past=past)) == ("ask", "repeats")
    assert ruled(policy, past=(replace(past[0], kind="other"),)).ruling == "proceed"


def test_an_approval_does_not_shorten_a_back_off() -> None:
    past = tuple(PastAction("process_restart", "consumer", NOW - ago) for ago in (10, 500, 1000))
    policy = Policy(repeats=Repeats(most=3), limits=Limits(per_node=9))
    found = ruled(policy, past=past, approval=yes(), digest="d1")
    assert (found.ruling, found.rule, found.seconds) == ("wait", "back-off", 230.0)


def test_costs_are_bounded_by_action_and_by_incident() -> None:
    assert told(ruled(Policy(costs=Costs(per_action=4.0)), facts={"cost": 5.0})) == ("ask", "cost")
    assert ruled(Policy(costs=Costs(per_action=5.0)), facts={"cost": 5.0}).ruling == "proceed"
    assert told(ruled(Policy(costs=Costs(per_incident=9.0)), facts={"cost": 5.0}, spent=5.0)) == ("ask", "cost")
    assert ruled(Policy(costs=Costs(per_incident=10.0)), facts={"cost": 5.0}, spent=5.0).ruling == "proceed"


def test_the_blast_radius_counts_the_slas_above() -> None:
    assert told(ruled(Policy(blast_radius=2), blast=3)) == ("ask", "blast radius")
    assert ruled(Policy(blast_radius=2), blast=2).ruling == "proceed"
    assert ruled(blast=1000).ruling == "proceed"


def test_unknown_evidence_asks_and_an_approval_answers() -> None:
    assert told(ruled(evidence="unknown")) == ("ask", "evidence")
    assert ruled(evidence="unknown", approval=yes(), digest="d1").ruling == "proceed"


@pytest.mark.parametrize("trust", ["candidate", "suspended", "retired"])
def test_a_known_error_that_is_not_trusted_asks(trust: Any) -> None:
    assert told(ruled(record=Record(9, 9, trust=trust))) == ("ask", "trust")
    assert ruled(record=Record(9, 9, trust=trust), basis="remedy").ruling == "proceed"


def test_a_fix_that_failed_too_often_running_asks() -> None:
    policy = Policy(returns=Returns(tries=2))
    assert told(ruled(policy, record=Record(9, 7, failures=2))) == ("ask", "failures")
    assert ruled(policy, record=Record(9, 8, failures=1)).ruling == "proceed"


def test_a_record_has_to_be_good_for_long_enough() -> None:
    policy = Policy(known=Bound(success=0.7, fires=5))
    assert told(ruled(policy, record=Record(4, 4))) == ("ask", "record")
    assert told(ruled(policy, record=Record(8, 8))) == ("ask", "record")  # at least 68 %
    assert ruled(policy, record=Record(9, 9)).ruling == "proceed"  # at least 70 %
    assert told(ruled(policy, record=Record(10, 9))) == ("ask", "record")


def test_the_bound_of_a_success_rate_falls_by_itself() -> None:
    wins = [success_bound(Record(n, n)) for n in (1, 2, 5, 9, 50)]
    assert wins == sorted(wins)
    assert wins[0] == pytest.approx(0.2065, abs=1e-4)  # Wilson's score interval for 1 of 1
    falls = [success_bound(Record(20 + lost, 20)) for lost in range(6)]
    assert falls == sorted(falls, reverse=True)
    assert success_bound(Record(10, 8)) == pytest.approx(0.4902, abs=1e-4)
    assert success_bound(Record()) == success_bound(Record(3, -1)) == 0.0
    assert success_bound(Record(3, 9)) == success_bound(Record(3, 3))


def test_the_strictest_rule_decides_and_each_is_told() -> None:
    policy = Policy(ask=(Scope(),), forbid=(Scope(),), blast_radius=0)
    found = ruled(policy, Autonomy.AFTER, unhealthy_for=1.0, blast=1)
    assert told(found) == ("refuse", "forbid")
    assert [(x.rule, x.ruling) for x in found.lines] == [
        ("forbid", "refuse"), ("tier after", "wait"), ("ask", "ask"), ("blast radius", "ask")
    ]  # fmt: skip
