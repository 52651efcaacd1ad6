"""Known errors recognised by their signals."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from treewalk.errors import SourceTimeout
from treewalk.model.condition import Answer, Condition, parse_condition
from treewalk.model.known import KnownError, Signature
from treewalk.model.place import Place
from treewalk.model.series import LogLine
from treewalk.model.tree import Node
from treewalk.stages.match import MatchResult, SignatureIndex, match

HERE = Place("known_errors/redis.yaml", 1, 1)
CONSUMER = Node("kafka_to_redis_consumer", HERE, type="process")
REDIS = Node("redis_instance", HERE, type="redis")
POOL = "Redis connection pool exhausted"
CLIENTS = "redis_connected_clients > 280"


def known(name: str = "ke-001", **more: Any) -> KnownError:
    condition = more.pop("condition", None)
    signature = Signature(
        log_pattern=more.pop("pattern", None),
        node=more.pop("node", None),
        metric_condition=parse_condition(condition) if condition else None,
        only_in_trouble=more.pop("only_in_trouble", False),
    )
    return KnownError(name, signature, "why", None, HERE, **more)


def log(*texts: str) -> list[LogLine]:
    return [LogLine(float(number), text) for number, text in enumerate(texts)]


class Asked:
    """Answers conditions by their text; keeps what was asked."""

    def __init__(self, answers: Mapping[str, Answer] | None = None, error: Exception | None = None) -> None:
        self.answers, self.error, self.seen = answers or {}, error, []

    seen: list[tuple[str, str]]

    async def __call__(self, node: Node, condition: Condition) -> Answer:
        self.seen.append((node.name, condition.text))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return self.answers.get(condition.text, Answer("not", "0 is not enough"))


YES = {CLIENTS: Answer("holds", "redis_connected_clients is 298")}


async def run(
    errors: Sequence[KnownError],
    nodes: Sequence[Node] = (CONSUMER, REDIS),
    lines: Mapping[str, Sequence[LogLine]] | None = None,
    ask: Asked | None = None,
    gaps: Mapping[str, str] | None = None,
    **more: Any,
) -> MatchResult:
    return await match(SignatureIndex(errors), nodes, lines or {}, ask or Asked(), gaps or {}, **more)


def ids(found: Sequence[Any]) -> list[tuple[str, str]]:
    return [(m.error.id, m.node) for m in found]


FULL = {"pattern": POOL, "node": CONSUMER.name, "condition": CLIENTS}


async def test_all_signals_have_to_hold() -> None:
    lines = {CONSUMER.name: log("INFO fine", f"ERROR {POOL}, retrying")}
    result = await run([known(**FULL)], lines=lines, ask=Asked(YES), cite=lambda node, kind: f"{node}/{kind}")
    (found,) = result.matches
    assert found.complete
    assert [(s.signal, s.state) for s in found.signals] == [
        ("node", "holds"),
        ("log_pattern", "holds"),
        ("metric_condition", "holds"),
    ]
    assert [s.evidence for s in found.signals] == [None, f"{CONSUMER.name}/log", f"{CONSUMER.name}/condition"]
    assert result.near_misses == ()


async def test_a_near_miss_says_signal_by_signal_what_was_missing() -> None:
    lines = {CONSUMER.name: log(f"ERROR {POOL}")}
    no = {CLIENTS: Answer("not", "redis_connected_clients was 201, needs > 280")}
    result = await run([known(**FULL)], lines=lines, ask=Asked(no))
    assert result.matches == ()
    assert [str(m) for m in result.near_misses] == [
        "ke-001 at kafka_to_redis_consumer: 2 of 3 signals: redis_connected_clients was 201, needs > 280"
    ]
    result = await run([known(**FULL)], lines={CONSUMER.name: log("a", "b")}, ask=Asked(YES))
    assert f"'{POOL}' is in none of 2 lines of kafka_to_redis_consumer" in str(result.near_misses[0])


async def test_a_pattern_that_is_not_in_a_cut_log_is_unknown_and_says_how_far_was_looked() -> None:
    lines = {CONSUMER.name: log("a", "b")}
    result = await run([known(**FULL)], lines=lines, ask=Asked(YES), truncated={CONSUMER.name})
    signal = result.near_misses[0].signals[1]
    assert signal.state == "unknown"
    assert signal.reason == f"'{POOL}' is in none of the newest 2 lines of {CONSUMER.name}; older ones were cut"
    lines = {CONSUMER.name: log(POOL)}
    assert (await run([known(**FULL)], lines=lines, ask=Asked(YES), truncated={CONSUMER.name})).matches


async def test_a_log_that_could_not_be_read_is_unknown_and_no_match() -> None:
    result = await run([known(**FULL)], ask=Asked(YES), gaps={CONSUMER.name: "Loki answered 503 token=abcdef0123"})
    assert result.matches == ()
    (near,) = result.near_misses
    signal = near.signals[1]
    assert signal.state == "unknown"
    assert "could not be read: Loki answered 503" in signal.reason
    assert "abcdef0123" not in signal.reason


@pytest.mark.parametrize("ask", [Asked({CLIENTS: Answer("unknown", "no data")}), Asked(error=SourceTimeout("slow"))])
async def test_a_condition_that_could_not_be_told_is_unknown_and_no_match(ask: Asked) -> None:
    result = await run([known(**FULL)], lines={CONSUMER.name: log(POOL)}, ask=ask)
    assert result.matches == ()
    assert result.near_misses[0].signals[2].state == "unknown"
    assert result.near_misses[0].signals[2].reason in ("no data", "slow")


async def test_the_right_node_alone_is_neither_match_nor_near_miss() -> None:
    for error in (known(node=REDIS.name), known(node=REDIS.name, condition="x > 1"), known(node="*", pattern="x")):
        result = await run([error], lines={REDIS.name: log("y")})
        assert (result.matches, result.near_misses) == ((), ())


@pytest.mark.parametrize(
    ("node", "where"),
    [
        ("redis_instance", ["redis_instance"]),
        ("redis_*", ["redis_instance"]),
        ("*_[ci]*", ["kafka_to_redis_consumer", "redis_instance"]),
        ("type:process", ["kafka_to_redis_consumer"]),
        (None, ["kafka_to_redis_consumer", "redis_instance"]),
        ("Redis_Instance", []),
        ("type:kafka_topic", []),
    ],
)
async def test_a_signature_names_nodes_by_name_glob_or_type(node: str | None, where: list[str]) -> None:
    lines = {CONSUMER.name: log("boom"), REDIS.name: log("boom")}
    result = await run([known(node=node, pattern="boom")], lines=lines)
    assert sorted(m.node for m in result.matches) == where


async def test_the_most_specific_comes_first_then_the_better_record() -> None:
    errors = [
        known("ke-any", pattern="boom"),
        known("ke-glob", pattern="boom", node="redis_*"),
        known("ke-rare", pattern="boom", node=REDIS.name, occurrence_count=1),
        known("ke-often", pattern="boom", node=REDIS.name, occurrence_count=9),
        known("ke-also", pattern="boom", node=REDIS.name, occurrence_count=9),
        known("ke-full", pattern="boom", node=REDIS.name, condition=CLIENTS),
    ]
    result = await run(errors, [REDIS], {REDIS.name: log("boom")}, Asked(YES))
    assert [m.error.id for m in result.matches] == ["ke-full", "ke-also", "ke-often", "ke-rare", "ke-glob", "ke-any"]


async def test_retired_errors_never_match_and_suspended_ones_stay_marked() -> None:
    errors = [known("ke-old", pattern="boom", trust="retired"), known("ke-sus", pattern="boom", trust="suspended")]
    result = await run(errors, [REDIS], {REDIS.name: log("boom")})
    assert [(m.error.id, m.error.trust) for m in result.matches] == [("ke-sus", "suspended")]


@pytest.mark.parametrize("node", [REDIS.name, None])
async def test_what_holds_only_in_trouble_does_not_match_a_healthy_node(node: str | None) -> None:
    error = known(node=node, condition=CLIENTS, root_node=REDIS.name, only_in_trouble=True)
    healthy = await run([error], (REDIS,), ask=Asked(YES), troubled=[CONSUMER.name])
    assert healthy.matches == ()
    assert "redis_instance is not in trouble" in str(healthy.near_misses[0])
    assert ids((await run([error], (REDIS,), ask=Asked(YES), troubled=[REDIS.name])).matches) == [
        ("ke-001", REDIS.name)
    ]
    assert (await run([error], (REDIS,), ask=Asked(YES))).matches  # where nobody looked at verdicts


async def test_equal_conditions_are_asked_once_for_each_source() -> None:
    other = Node("other_redis", HERE, source="second")
    ask = Asked(YES)
    errors = [known(f"ke-{n}", condition=CLIENTS) for n in range(5)]
    result = await run(errors, [CONSUMER, REDIS, other], ask=ask)
    assert sorted(ask.seen) == [(CONSUMER.name, CLIENTS), ("other_redis", CLIENTS)]
    assert len(result.matches) == 15


async def test_a_condition_is_not_asked_where_the_log_was_not_looked_at() -> None:
    ask = Asked(YES)
    result = await run([known(**FULL)], lines={REDIS.name: log("x")}, ask=ask)
    assert (ask.seen, result.matches, result.near_misses) == ([], (), ())


async def test_at_most_five_near_misses_the_nearest_first() -> None:
    errors = [known(f"ke-{n}", pattern="boom", condition="x > 1") for n in range(9)]
    errors.append(known("ke-near", pattern="boom", node=REDIS.name, condition="x > 1"))
    result = await run(errors, [REDIS], {REDIS.name: log("boom")})
    assert [m.error.id for m in result.near_misses] == ["ke-near", "ke-0", "ke-1", "ke-2", "ke-3"]


async def test_reasons_hold_no_secret() -> None:
    answer = {CLIENTS: Answer("not", 'up{url="redis://:s3cr3t-made-up@host"} was 1')}
    result = await run([known(**FULL)], lines={CONSUMER.name: log(POOL)}, ask=Asked(answer))
    assert "s3cr3t-made-up" not in str(result.near_misses[0])


@pytest.mark.parametrize(
    ("pattern", "texts", "wanted"),
    [
        ("^ERROR", ["x ERROR"], False),
        ("^ERROR", ["x", "ERROR y"], True),
        ("end$", ["the end", "x"], True),
        ("end$", ["end of it"], False),
        (r"\AERROR", ["x", "ERROR y"], True),
        (r"last\z", ["last", "x"], True),
        ("^$", ["", "x"], True),
        ("^b$", ["a\nb\nc"], False),  # one entry of several lines
        ("a.b", ["a", "b"], False),
        (r"a\sb", ["a", "b"], False),  # not across two entries
        (r"a\sb", ["x", "a\nb"], True),
        (r"[^x]c", ["ab", "c"], False),
        ("(?s)a.*b", ["a", "b"], False),
        ("(?i)pool", ["the POOL"], True),
        ("ünï.ode", ["ERROR ünïcode → 🔥"], True),
        ("🔥$", ["x 🔥", "y"], True),
        ("(a+)+$", ["a" * 16_000 + "!" + "b" * 1_000_000], True),  # entries are cut before they are searched
        ("(a+)+$", ["a" * 10_000 + "!"], False),
        ("x", ["\ud800 x"], True),
        ("x", [], False),
        ("", ["anything"], True),
    ],
)
async def test_a_pattern_is_searched_in_each_entry_by_itself(pattern: str, texts: list[str], wanted: bool) -> None:
    result = await run([known(pattern=pattern)], [REDIS], {REDIS.name: log(*texts)})
    assert bool(result.matches) is wanted


_TEXTS = st.lists(st.text(alphabet="ab \n", max_size=6), max_size=5)
_PATTERNS = st.lists(
    st.sampled_from(
        ["a", "b", "^", "$", ".", r"\s", r"\b", r"\B", "[^a]", "*", "+", "|", r"\A", r"\z", "(?s)", "(?i)", "(?-m)"]
    ),
    max_size=5,
).map("".join)


@given(_PATTERNS, _TEXTS)
def test_searching_all_entries_at_once_is_searching_each(pattern: str, texts: list[str]) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error:
        return
    wanted = any(compiled.search(text) is not None for text in texts)
    result = asyncio.run(run([known(pattern=pattern)], [REDIS], {REDIS.name: log(*texts)}))
    assert bool(result.matches) is wanted


_ERRORS = st.lists(
    st.builds(
        lambda pattern, node, condition, count: (pattern, node, condition, count),
        st.sampled_from([None, "boom", "never"]),
        st.sampled_from([None, REDIS.name, "redis_*", "type:process"]),
        st.sampled_from([None, CLIENTS, "x > 1"]),
        st.integers(0, 3),
    ).filter(lambda e: any(e[:3])),
    min_size=1,
    max_size=8,
)


@given(_ERRORS, st.randoms(use_true_random=False))
def test_the_order_of_known_errors_does_not_matter(shapes: list[Any], random: Any) -> None:
    errors = [
        known(f"ke-{n}", pattern=p, node=node, condition=c, occurrence_count=count)
        for n, (p, node, c, count) in enumerate(shapes)
    ]
    shuffled = list(errors)
    random.shuffle(shuffled)
    lines = {CONSUMER.name: log("boom"), REDIS.name: log("x", "boom y")}
    one, other = (asyncio.run(run(e, lines=lines, ask=Asked(YES))) for e in (errors, shuffled))
    assert one == other


async def test_a_thousand_signatures_ten_thousand_lines_and_hostile_ones() -> None:
    errors = [
        known(f"ke-{n}", pattern=f"code={n}\\b.*gone", node=REDIS.name if n < 30 else f"n{n}") for n in range(1000)
    ]
    errors.append(known("ke-hostile", pattern="(a+)+$", node=REDIS.name))
    texts = [f"2026-11-20 04:47:07 ERROR code={n + 29} is here" for n in range(10_000)]
    lines = log(*texts, "a" * 10_000 + "!", "b" * 1_000_000, "ERROR code=7 is gone!")
    result = await run(errors, [REDIS], {REDIS.name: lines})
    assert ids(result.matches) == [("ke-7", REDIS.name)]
