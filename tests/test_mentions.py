"""Error lines of one node that name another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.mentions import find_mentions
from treewalk.model.place import Place
from treewalk.model.series import LogLine
from treewalk.model.tree import Node

HERE = Place("trees/x.yaml", 1, 1)


def node(name: str, *aka: str, **fields: Any) -> Node:
    return Node(name, HERE, aka=aka, fields=fields)


def platform(*nodes: Node) -> dict[str, Node]:
    return {n.name: n for n in (node("consumer_a"), *nodes)}


def mentioned(text: str, *nodes: Node) -> list[tuple[str, str]]:
    lines = [LogLine(1.0, f"ERROR {text}")]
    return [(m.of, m.word) for m in find_mentions("consumer_a", lines, platform(*nodes))]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("cannot reach redis_instance", node("redis_instance")),
        ("cannot reach redis-instance", node("redis_instance")),
        ("cannot reach REDIS_INSTANCE:6379", node("redis_instance")),
        ("redis_instance", node("redis-instance")),
        ("cache is gone", node("redis_instance", "cache")),
        ("dial tcp primary_redis:6379 refused", node("redis_instance", container="primary_redis")),
        ("dial tcp redis.prod.internal:6379 refused", node("redis_instance", host="redis.prod.internal")),
        ("dial tcp 10.0.0.5:6379 refused", node("redis_instance", host="10.0.0.5")),
        ("program redis-main exited", node("redis_instance", supervisor_process="redis_main")),
        ("no leader for entity.updates.v1", node("updates", topic="entity.updates.v1")),
        ('database "orders" does not exist', node("store", database="orders")),
        ("(redis_instance)", node("redis_instance")),
        ("ünïcode-node is gone", node("ÜNÏCODE_node")),
    ],
)
def test_a_node_is_known_by_its_names(text: str, other: Node) -> None:
    assert [of for of, _ in mentioned(text, other)] == [other.name]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("redis_instance_2 is gone", node("redis_instance")),
        ("my-redis-instance is gone", node("redis_instance")),
        ("redis_instances are gone", node("redis_instance")),
        ("dial tcp 10.0.0.50:6379", node("redis_instance", host="10.0.0.5")),
        ("db is gone", node("redis_instance", "db")),  # too short
        ("the server is gone", node("redis_instance", "server")),  # too generic
        ("on localhost", node("redis_instance", host="localhost")),
        ("consumer_a is gone", node("redis_instance")),  # itself
        ("consumer_a is gone", node("redis_instance", "consumer_a")),
        ("shared is gone", node("redis_instance", "nothing", container=5)),
        ("...", node("...")),
    ],
)
def test_only_whole_telling_words_of_other_nodes_count(text: str, other: Node) -> None:
    assert mentioned(text, other) == []


def test_a_word_that_stands_for_two_nodes_points_to_none() -> None:
    assert mentioned("box-1 is gone", node("redis_instance", host="box-1"), node("kafka", host="box-1")) == []


def test_the_longer_of_two_names_that_overlap_counts() -> None:
    nodes = (node("redis"), node("cache", host="redis.prod.internal"))
    assert mentioned("dial tcp redis.prod.internal:6379 refused", *nodes) == [("cache", "redis.prod.internal")]
    assert mentioned("redis refused", *nodes) == [("redis", "redis")]


def test_only_error_lines_count() -> None:
    lines = [LogLine(1.0, "INFO connected to redis_instance"), LogLine(2.0, "DEBUG redis_instance ok")]
    assert find_mentions("consumer_a", lines, platform(node("redis_instance"))) == ()


def test_mentions_are_counted_and_the_sample_holds_no_secret() -> None:
    lines = [
        LogLine(float(n), f"ERROR redis_instance redis://:made-up-{n}@redis_instance:6379 \x1b[31mgone")
        for n in range(3)
    ]
    lines.append(LogLine(9.0, "ERROR kafka is slow"))
    found = find_mentions("consumer_a", lines, platform(node("redis_instance"), node("kafka")))
    assert [(m.by, m.of, m.count) for m in found] == [("consumer_a", "redis_instance", 3), ("consumer_a", "kafka", 1)]
    assert "made-up" not in found[0].sample
    assert found[0].sample.isprintable()


def test_many_nodes_and_lines_and_a_hostile_one() -> None:
    nodes = platform(*(node(f"node_{n}", f"aka-{n}", container=f"box.{n}.internal") for n in range(200)))
    lines = [LogLine(float(n), f"ERROR {'word ' * 300} box.{n % 200}.internal refused") for n in range(1000)]
    lines += [LogLine(0.0, "ERROR " + piece * 500_000) for piece in ("a-", "node_", "box.", "--")]
    found = find_mentions("consumer_a", lines, nodes)
    assert len(found) == 200
    assert {m.count for m in found} == {5}


_NAMES = st.text(alphabet="abc-_.", min_size=3, max_size=8).filter(lambda n: any(c.isalpha() for c in n))


@given(_NAMES, st.text(max_size=20), st.text(max_size=20))
def test_a_name_that_stands_alone_is_found_whatever_is_around_it(name: str, before: str, after: str) -> None:
    before, after = ("".join(c for c in t if not c.isalnum() and c not in "-_") for t in (before, after))
    found = mentioned(f"{before} {name} {after}", node(name))
    assert [of for of, _ in found] == [name]


@given(st.text(max_size=200), st.lists(_NAMES, max_size=5))
def test_any_text_is_looked_through(text: str, names: list[str]) -> None:
    for of, word in mentioned(text, *(node(n) for n in names)):
        assert of in names
        assert word in text.lower().replace("_", "-")
