"""Tree files: what users may write, and the forest that comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from treewalk.content.workspace import Workspace, load_workspace
from treewalk.errors import ContentError
from treewalk.model.place import Problem
from treewalk.model.tree import BaselineSpec, Forest

SEED_TREE = """\
metrics:
  entity_data_freshness:
    description: "Primary entity data freshness in Redis"
    sla:
      threshold: 60s
      window: "PRIMARY_BUSINESS_HOURS"
    gatus_check: "Data Latency / Redis Freshness Primary"
    depends_on:
    - node: kafka_to_redis_consumer
      type: process
      container: primary_kafka_to_redis
      supervisor_group: primary_processes
      healthcheck:
        method: consumer_lag
        consumer_group: redis-writer-entity
        lag_threshold: 10000
      logs:
        loki_query: '{container_name="primary_kafka_to_redis"}'
      metrics:
      - kafka_consumer_group_lag{group="redis-writer-entity"}
      depends_on:
      - node: upstream_data_feed
        type: external
        healthcheck:
          method: tcp_connect
        notes: "External — cannot fix, only detect and alert"
    - node: redis_instance # parallel dependency
      type: infrastructure
windows:
  PRIMARY_BUSINESS_HOURS: {days: mon-fri, from: 09:00, to: "17:30", timezone: America/New_York}
"""


def workspace(folder: Path, tree: str | bytes, settings_text: str = "{}\n") -> Workspace:
    (folder / "trees").mkdir(exist_ok=True)
    (folder / "treewalk.yaml").write_text(settings_text, "utf-8")
    (folder / "trees" / "main.yaml").write_bytes(tree.encode() if isinstance(tree, str) else tree)
    return load_workspace(folder, use_cache=False)


def forest(folder: Path, tree: str | bytes, settings_text: str = "{}\n") -> Forest:
    return workspace(folder, tree, settings_text).forest


def sla_with(folder: Path, block: str) -> Forest:
    return forest(folder, f"metrics:\n  s:\n    sla: {{query: q, {block}}}\n")


def test_the_tree_that_users_start_from_loads_as_it_stands(tmp_path: Path) -> None:
    found = forest(tmp_path, SEED_TREE)
    sla = found.sla("entity_data_freshness")
    assert (sla.threshold and sla.threshold.op, sla.threshold and sla.threshold.limit) == ("<", 60.0)
    assert sla.query is None
    assert str(sla.window) == "mon,tue,wed,thu,fri 09:00-17:30 America/New_York"
    assert sla.gatus_check == "Data Latency / Redis Freshness Primary"
    assert sla.depends_on == ("kafka_to_redis_consumer", "redis_instance")
    consumer = found.node("kafka_to_redis_consumer")
    assert consumer.fields == {"container": "primary_kafka_to_redis", "supervisor_group": "primary_processes"}
    assert consumer.healthcheck
    assert consumer.healthcheck.params == {"consumer_group": "redis-writer-entity", "lag_threshold": 10000}
    assert found.node("upstream_data_feed").external
    assert found.node("upstream_data_feed").fields["notes"].startswith("External")
    assert found.node("redis_instance").place.line == 27


def test_the_examples_that_ship_are_the_four_promises_of_a_platform() -> None:
    found = load_workspace(None, example=True, use_cache=False)
    limits = {name: str(s.threshold) for name, s in found.forest.slas.items()}
    assert set(limits) == {
        "entity_data_freshness", "tsdb_raw_freshness", "derived_metrics_completeness", "consumer_lag",
    }  # fmt: skip
    assert found.forest.sla("consumer_lag").window is None
    assert {e.id for e in found.known_errors} >= {"ke-001", "ke-002", "ke-003"}
    assert found.root is None


@pytest.mark.parametrize(
    ("written", "op", "limit", "unit"),
    [
        ("60s", "<", 60, "seconds"), ('"< 60s"', "<", 60, "seconds"), ("80%", "<", 0.8, "ratio"),
        ('"> 80% of entities"', ">", 0.8, "ratio"), ('"10,000"', "<", 10000, "count"),
        ('"< 10,000 messages"', "<", 10000, "count"), ("30GB", "<", 30e9, "bytes"), ("5", "<", 5, "count"),
    ],
)  # fmt: skip
def test_thresholds_are_written_as_people_say_them(
    tmp_path: Path, written: str, op: str, limit: float, unit: str
) -> None:
    threshold = sla_with(tmp_path, f"threshold: {written}").sla("s").threshold
    assert threshold is not None
    assert (threshold.op, threshold.limit, threshold.unit) == (op, limit, unit)


def test_a_declared_unit_says_how_a_percentage_is_measured(tmp_path: Path) -> None:
    sla = sla_with(tmp_path, 'threshold: "> 80%", unit: percent').sla("s")
    assert sla.threshold
    assert (sla.threshold.limit, sla.threshold.unit, sla.unit_declared) == (80, "percent", True)
    assert not sla_with(tmp_path, 'threshold: "> 80%"').sla("s").unit_declared


def test_an_sla_without_a_threshold_is_judged_against_its_own_past(tmp_path: Path) -> None:
    sla = sla_with(tmp_path, "baseline: {window: 25m, baseline: 2d, direction: up}").sla("s")
    assert sla.threshold is None
    assert sla.baseline == BaselineSpec(1500.0, 172800.0, "up", 5.0)


@pytest.mark.parametrize("name", ["Always", "ALWAYS", "always"])
def test_always_is_a_window_that_nobody_has_to_define(tmp_path: Path, name: str) -> None:
    assert sla_with(tmp_path, f"threshold: 5, window: {name}").sla("s").window is None


def test_windows_of_the_settings_are_shared_by_every_tree(tmp_path: Path) -> None:
    settings_text = 'windows:\n  NIGHT: {from: "22:00", to: "06:00", days: [mon, sat-sun]}\n'
    tree = "metrics:\n  s:\n    sla: {query: q, threshold: 5, window: NIGHT}\n"
    assert str(forest(tmp_path, tree, settings_text).sla("s").window) == "mon,sat,sun 22:00-06:00 UTC"


def test_a_node_is_defined_once_and_serves_many(tmp_path: Path) -> None:
    tree = (
        "metrics:\n"
        "  a:\n    sla: {query: q, threshold: 5}\n    depends_on: [shared, {node: own, depends_on: [shared]}]\n"
        "  b:\n    sla: {query: q, threshold: 5}\n    depends_on: [{node: shared}]\n"
        "nodes: [{node: shared, type: database}, {node: spare, type: database}]\n"
    )
    found = forest(tmp_path, tree)
    assert list(found.tree("a").nodes) == ["shared", "own"]
    assert list(found.tree("b").nodes) == ["shared"]
    assert found.dependents["shared"] == ("own",)
    assert "spare" in found.nodes


def test_a_node_may_be_defined_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "trees" / "infra").mkdir(parents=True)
    (tmp_path / "trees" / "infra" / "db.yml").write_text("nodes: [{node: db, type: database}]\n")
    tree = "metrics:\n  a:\n    sla: {query: q, threshold: 5}\n    depends_on: [db]\n"
    assert str(forest(tmp_path, tree).node("db").place) == "trees/infra/db.yml:1:9"


@pytest.mark.parametrize(
    "field",
    ["container", "topic", "cluster", "host", "port", "min_isr", "notes", "owner", "runbook", "resource", "namespace",
     "supervisor_process", "queue", "table", "url", "mode", "tags", "region", "team"],
)  # fmt: skip
def test_fields_of_the_users_own_pass_through(tmp_path: Path, field: str) -> None:
    tree = f"nodes:\n  - node: n\n    {field}: {{a: [1, x]}}\n"
    assert forest(tmp_path, tree).node("n").fields == {field: {"a": [1, "x"]}}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("helthcheck", "healthcheck"), ("health_check", "healthcheck"), ("metric", "metrics"), ("depend_on", "depends_on"),
     ("dependson", "depends_on"), ("log", "logs"), ("alert", "alerts"), ("typ", "type"), ("descripton", "description")],
)  # fmt: skip
def test_a_misspelt_field_is_refused_with_the_right_name(tmp_path: Path, wrong: str, right: str) -> None:
    with pytest.raises(ContentError, match=f"trees/main.yaml:3:5: .*{wrong}.*did you mean '{right}'"):
        forest(tmp_path, f"nodes:\n  - node: n\n    {wrong}: x\n")


def test_conditions_and_their_sugar_become_promql(tmp_path: Path) -> None:
    tree = 'nodes:\n  - node: n\n    alerts: ["redis_connected_clients > 280", "ws_reconnects increase > 3 in 5m"]\n'
    conditions = forest(tmp_path, tree).node("n").conditions
    assert [c.promql for c in conditions] == ["redis_connected_clients > 280", "increase(ws_reconnects[5m]) > 3"]


def test_alerts_of_an_sla_are_names_or_label_matchers(tmp_path: Path) -> None:
    tree = "metrics:\n  s:\n    sla: {query: q, threshold: 5}\n    alerts: [Stale, {alertname: Late, tier: 1}]\n"
    assert forest(tmp_path, tree).sla("s").alerts == ("Stale", {"alertname": "Late", "tier": "1"})


def test_tags_are_text_as_they_are_written(tmp_path: Path) -> None:
    tree = "metrics:\n  s:\n    sla: {query: q, threshold: 5}\n    tags: {tier: 1, version: 1.10, paged: true}\n"
    assert forest(tmp_path, tree).sla("s").tags == {"tier": "1", "version": "1.10", "paged": "true"}


def test_a_tree_of_450_levels_loads_and_one_of_600_does_not(tmp_path: Path) -> None:
    def nested(levels: int) -> str:
        head = "metrics:\n  s:\n    sla: {query: q, threshold: 5}\n    depends_on: "
        return head + "".join(f"[{{node: n{i}, type: x, depends_on: " for i in range(levels)) + "[]" + "}]" * levels

    assert max(forest(tmp_path, nested(450)).tree("s").depth.values()) == 450
    with pytest.raises(ContentError, match="deeper than 500 levels"):
        forest(tmp_path, nested(600))


def test_a_file_that_cannot_be_read_does_not_blame_the_others(tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "nodes.yaml").write_bytes(b"nodes: [{node: db\n")
    with pytest.raises(ContentError) as caught:
        forest(tmp_path, "metrics:\n  s:\n    sla: {query: q, threshold: 5}\n    depends_on: [db]\n")
    assert [p.place.file for p in caught.value.problems] == ["trees/nodes.yaml"]


def test_a_cycle_is_told_although_other_things_are_wrong_too(tmp_path: Path) -> None:
    tree = "nodes:\n  - {node: a, depends_on: [b]}\n  - {node: b, depends_on: [a, c]}\n"
    with pytest.raises(ContentError) as caught:
        forest(tmp_path, tree)
    text = str(caught.value)
    assert "a → b → a" in text
    assert "no node named 'c'" in text


def test_an_empty_tree_file_is_no_mistake(tmp_path: Path) -> None:
    assert not forest(tmp_path, "# later\n").nodes


KEYS = st.sampled_from(
    ["metrics", "nodes", "windows", "node", "sla", "query", "threshold", "window", "baseline", "depends_on",
     "healthcheck", "method", "logs", "loki_query", "alerts", "metric", "tags", "type", "aka", "source", "days",
     "from", "to", "timezone"]
)  # fmt: skip
SCALARS = st.sampled_from(
    ["a", "b", "60s", "80%", "up > 3", "up{", "mon-fri", "09:00", "24:00", "http", "promql", "Always", "percent", "UTC",
     "type:x", "a*", "", 5, -1, 1e308, 10**290, 0.5, True, None]
)  # fmt: skip
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(data=st.fixed_dictionaries({}, optional={"metrics": DATA, "nodes": DATA, "windows": DATA}))
def test_any_shape_of_data_is_a_forest_or_an_error_with_places(tmp_path: Path, data: object) -> None:
    text = json.dumps(data)
    assert all(p.place.line == 1 for p in problems_of(tmp_path, text.encode(), "{}"))
    assert all(p.place.line == 1 for p in problems_of(tmp_path, b"{}", text))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_forest_or_an_error(tmp_path: Path, data: bytes) -> None:
    assert all(p.place.line >= 1 and p.place.column >= 1 for p in problems_of(tmp_path, data, "{}"))


def problems_of(folder: Path, tree: bytes, settings_text: str) -> Sequence[Problem]:
    try:
        forest(folder, tree, settings_text)
    except ContentError as error:
        return error.problems
    return ()
