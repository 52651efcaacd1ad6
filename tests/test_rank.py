import random
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.analysis.comparing import Compared, compare_series
from treewalk.model.diagnosis import Measurement
from treewalk.model.evidence import Mention
from treewalk.model.known import Fix, KnownError, Match, SignalOutcome, Signature
from treewalk.model.series import Series
from treewalk.model.tree import BaselineSpec
from treewalk.model.verdict import Status, Verdict, degraded, healthy, unhealthy, unknown
from treewalk.stages.conclude import Case, conclude
from treewalk.stages.rank import Scene, rank

from tests.support.trees import HERE, checked, make_tree

SPEC = BaselineSpec(window=600, baseline=7200)
TIMES = np.arange(0, 7800 + 1, 15.0)
AT = 7800.0
VIOLATED = Measurement("violated", "73s against < 60s", 73, "73s", "< 60s", onset=7500)


def series(name: str, seed: int, *, shift: float = 0.0, since: float = 7500.0) -> list[Compared]:
    values = np.random.default_rng(seed).normal(100, 5, len(TIMES))
    values[since <= TIMES] += shift
    return compare_series(name, f"{name}_metric", [Series({}, TIMES, values)], AT, SPEC)


def scene(tree, verdicts, compared=None, **changes) -> Scene:
    return Scene(
        tree=tree,
        measurement=changes.pop("measurement", VIOLATED),
        own=series("sla", 99, shift=60)[0],
        verdicts={name: verdicts.get(name, healthy("ok")) for name in tree.nodes},
        compared=compared or {},
        at=AT,
        window=600.0,
        **changes,
    )


def judged(compared: dict[str, list[Compared]]) -> dict[str, Verdict]:
    """Verdicts as nodes with metrics only get them."""
    loud = {name: max(abs(c.anomaly.score) for c in found) for name, found in compared.items()}
    return {
        name: replace(degraded(f"z {z:.1f}"), origin="baseline") if z >= 5 else healthy(f"z {z:.1f}")
        for name, z in loud.items()
    }


def case(at: Scene) -> Case:
    return Case(at.tree, at.measurement, at.verdicts, rank(at), at.matches, (), (), (), at.mentions)


def test_the_culprit_may_be_a_sibling_that_only_its_condition_shows():
    tree = make_tree(
        {"consumer": ["topic"], "topic": ["ingestion"], "ingestion": ["feed"], "redis": []}, roots=["consumer", "redis"]
    )
    verdicts = {
        "consumer": unhealthy("lag is 45,000"),
        "redis": Verdict(Status.DEGRADED, "298 of 300 clients", origin="condition"),
    }
    mention = Mention("consumer", "redis", "redis", 12, "Redis connection pool exhausted")
    found = rank(scene(tree, verdicts, mentions=[mention]))
    assert found[0].node == "redis"
    assert found[0].parts["named_by_logs"] > 0


def test_a_known_error_whose_root_is_elsewhere_points_at_the_node_where_it_was_seen():
    error = KnownError(
        "ke-001", Signature(log_pattern="pool exhausted"), "pool exhausted", None, HERE, root_node="redis"
    )
    match = Match(error, "consumer", (SignalOutcome("log_pattern", "holds", "12 lines", "E1"),))
    alone = make_tree({"consumer": []})
    found = rank(scene(alone, {"consumer": unknown("refused")}, matches=[match]))
    assert [(s.node, s.parts["known_error"]) for s in found] == [("consumer", 6.0)]
    both = make_tree({"consumer": ["redis"]})
    found = rank(scene(both, {"consumer": unknown("refused")}, matches=[match]))
    assert {s.node: s.parts["known_error"] for s in found} == {"redis": 6.0, "consumer": 0.0}


def test_the_deepest_of_a_broken_chain_is_first():
    tree = make_tree({"api": ["service"], "service": ["database"], "database": []})
    compared = {
        "api": series("api", 1, shift=40, since=7520),
        "service": series("service", 2, shift=60, since=7505),
        "database": series("database", 3, shift=50, since=7490),
    }
    assert rank(scene(tree, judged(compared), compared))[0].node == "database"


def test_loud_is_not_guilty():
    tree = make_tree({"api": ["database"], "batch": ["store"]}, roots=["api", "batch"])
    compared = {
        "api": series("api", 1, shift=40, since=7500),
        "database": series("database", 2, shift=40, since=7490),
        "batch": series("batch", 3),
        "store": series("store", 4, shift=900, since=3000),
    }
    assert rank(scene(tree, judged(compared), compared))[0].node == "database"


def test_trouble_below_that_began_later_does_not_excuse_the_culprit():
    tree = make_tree({"api": ["service"], "service": ["store"]})
    compared = {
        "api": series("api", 1, shift=50, since=7510),
        "service": series("service", 2, shift=60, since=7490),
        "store": series("store", 3, shift=-40, since=7750),
    }
    assert rank(scene(tree, judged(compared), compared))[0].node == "service"


def test_a_known_error_points_at_its_root_node():
    tree = make_tree({"consumer": [], "redis": []}, redis=checked())
    error = KnownError("ke-001", Signature(node="consumer"), "pool exhausted", Fix("escalate"), HERE, root_node="redis")
    match = Match(error, "consumer", (SignalOutcome("node", "holds", "consumer"),))
    at = scene(tree, {"consumer": unhealthy("lag")}, matches=[match])
    assert rank(at)[0].node == "redis"
    conclusion = conclude(case(at))
    assert (conclusion.root_cause.node, conclusion.root_cause.basis) == ("redis", "known")


def test_equal_scores_share_a_rank():
    tree = make_tree({"a": [], "b": []})
    found = rank(scene(tree, {"a": unhealthy("down"), "b": unhealthy("down")}))
    assert [s.rank for s in found] == [1, 1]
    assert conclude(case(scene(tree, {"a": unhealthy("x"), "b": unhealthy("x")}))).root_cause.tied_with == ("b",)


def test_nothing_wrong_is_nothing_named():
    tree = make_tree({"a": ["b"]})
    met = Measurement("met", "12s against < 60s", 12)
    assert conclude(case(scene(tree, {}, measurement=met))).root_cause is None


def test_an_unusual_node_under_a_met_sla_is_a_remark_not_a_culprit():
    tree = make_tree({"a": ["b"]})
    compared = {"b": series("b", 1, shift=500)}
    conclusion = conclude(case(scene(tree, judged(compared), compared, measurement=Measurement("met", "fine", 12))))
    assert conclusion.root_cause is None
    assert any("b is unusual" in remark for remark in conclusion.remarks)


def test_an_unusual_node_under_a_met_sla_does_not_hide_a_declared_one():
    tree = make_tree({"a": ["b"], "c": []}, roots=["a", "c"])
    compared = {"a": series("a", 1, shift=60), "b": series("b", 2, shift=80, since=7480)}
    verdicts = {**judged(compared), "c": unhealthy("down")}
    at = scene(tree, verdicts, compared, measurement=Measurement("met", "fine", 12))
    assert rank(at)[0].node == "b"
    assert conclude(case(at)).root_cause.node == "c"


def test_a_faint_culprit_is_found_by_those_that_follow_it():
    tree = make_tree({"api": ["one", "two"], "one": ["shared"], "two": ["shared"], "shared": ["leaf"]})
    compared = {
        "api": series("api", 1, shift=60, since=7520),
        "one": series("one", 2, shift=50, since=7505),
        "two": series("two", 3, shift=50, since=7505),
        "shared": series("shared", 4, shift=9, since=7490),
        "leaf": series("leaf", 5),
    }
    assert rank(scene(tree, judged(compared), compared))[0].node == "shared"


def test_confidence_grows_with_the_distance_to_the_next_suspect():
    def confidence(stranger: float) -> float:
        tree = make_tree({"api": ["database", "other"]})
        compared = {
            "api": series("api", 1, shift=40, since=7505),
            "database": series("database", 3, shift=60, since=7490),
            "other": series("other", 4, shift=stranger, since=7490),
        }
        return conclude(case(scene(tree, judged(compared), compared))).root_cause.confidence

    assert confidence(0) > confidence(60)


def test_a_log_that_names_another_node_is_a_way_up_that_the_tree_does_not_hold():
    tree = make_tree({"api": [], "cache": []}, roots=["api", "cache"])
    verdicts = {"api": unhealthy("slow"), "cache": unhealthy("out of memory")}
    unnamed = rank(scene(tree, verdicts))
    assert [s.rank for s in unnamed] == [1, 1]
    named = rank(scene(tree, verdicts, mentions=[Mention("api", "cache", "cache", 1, "cache: connection refused")]))
    assert named[0].node == "cache"
    assert named[0].parts["path"] > 1


def test_a_violation_that_nothing_explains_is_abstained_on_and_says_what_would_help():
    tree = make_tree({"a": ["b"]})
    conclusion = conclude(case(scene(tree, {"b": unknown("refused")})))
    assert conclusion.root_cause is None
    assert any("b" in line for line in conclusion.help)


def test_an_external_culprit_is_said_to_be_out_of_reach():
    tree = make_tree({"ingestion": ["feed"]}, feed={"type": "external"})
    verdicts = {"ingestion": unhealthy("no lines for 40s"), "feed": unhealthy("connection refused")}
    conclusion = conclude(case(scene(tree, verdicts)))
    assert conclusion.root_cause.node == "feed"
    assert "external" in conclusion.root_cause.reason


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_the_file_decides_nothing(seed):
    dice = random.Random(seed)
    names = [f"n{i}" for i in range(8)]
    edges = {n: [m for m in names[i + 1 :] if dice.random() < 0.35] for i, n in enumerate(names)}
    compared = {n: series(n, i, shift=dice.choice([0, 0, 30, 90])) for i, n in enumerate(names)}
    shuffled = {n: dice.sample(edges[n], len(edges[n])) for n in dice.sample(names, len(names))}
    verdicts = judged(compared)
    one = rank(scene(make_tree(edges), verdicts, compared))
    two = rank(scene(make_tree(shuffled), verdicts, compared))
    assert [(s.node, s.rank, s.score) for s in one] == [(s.node, s.rank, s.score) for s in two]
