"""Known errors as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from treewalk.content.workspace import load_workspace
from treewalk.errors import ContentError
from treewalk.model.known import KnownError


def known(folder: Path, text: str, tree: str = "") -> dict[str, KnownError]:
    for kind, content in (("known_errors", text), ("trees", tree)):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / "main.yaml").write_text(content, "utf-8")
    (folder / "treewalk.yaml").write_text("{}\n")
    return {e.id: e for e in load_workspace(folder, use_cache=False).known_errors}


def test_the_shipped_ones_hold_what_was_learned_in_production() -> None:
    found = {e.id: e for e in load_workspace(None, use_cache=False).known_errors}
    first, second, third = found["ke-001"], found["ke-002"], found["ke-003"]
    assert first.signature.log_pattern == "Redis connection pool exhausted"
    assert first.signature.metric_condition
    assert first.signature.metric_condition.promql == "redis_connected_clients > 280"
    assert first.fix
    assert [s.action for s in first.fix.steps] == ["docker_exec", "verify"]
    assert first.fix.steps[0].params["argv"] == ["redis-cli", "CLIENT", "KILL", "AGE", "300"]
    assert (first.root_node, first.severity, first.occurrence_count) == ("redis_instance", "high", 7)
    assert first.resolution_time_avg == 45.0
    assert second.fix
    assert [s.action for s in second.fix.steps] == ["wait", "verify", "escalate_if_failed"]
    assert second.signature.metric_condition
    assert second.signature.metric_condition.promql == "increase(ws_reconnection_count[5m]) > 3"
    assert (second.fix.type, second.occurrence_count) == ("wait_and_verify", 23)
    assert (third.signature.node, third.occurrence_count) == ("redis_instance", 4)


def test_own_errors_add_up_with_the_shipped_ones(tmp_path: Path) -> None:
    found = known(tmp_path, "errors:\n  - id: mine\n    signature: {log_pattern: 'dis[ck] full'}\n")
    assert {"mine", "ke-001"} <= set(found)
    assert str(found["mine"].place) == "known_errors/main.yaml:2:5"
    assert (found["mine"].trust, found["mine"].severity, found["mine"].fix) == ("trusted", "medium", None)


@pytest.mark.parametrize("node", ["writer", "wri*", "type:kafka_topic", "no_such_*", "w?iter"])
def test_a_signature_names_a_node_a_glob_or_a_type(tmp_path: Path, node: str) -> None:
    text = f"errors:\n  - id: mine\n    signature: {{node: '{node}', log_pattern: x}}\n"
    assert known(tmp_path, text, "nodes: [{node: writer, type: process}]\n")["mine"].signature.node == node


def test_shipped_errors_may_name_nodes_that_a_workspace_lacks(tmp_path: Path) -> None:
    assert "ke-001" in known(tmp_path, "", "nodes: [{node: writer, type: process}]\n")


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?P<x>a)(?P=x)"])
def test_patterns_that_could_hang_are_refused_with_the_reason(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ContentError, match="linear time"):
        known(tmp_path, f"errors:\n  - id: mine\n    signature: {{log_pattern: '{pattern}'}}\n")


def test_a_fix_may_be_a_playbook_with_its_parameters(tmp_path: Path) -> None:
    block = "fix: {playbook: restart-process, with: {process: writer}}"
    text = f"errors:\n  - id: mine\n    signature: {{log_pattern: x}}\n    {block}\n"
    fix = known(tmp_path, text)["mine"].fix
    assert fix
    assert (fix.playbook, fix.arguments, fix.type) == ("restart-process", {"process": "writer"}, "automated")


def test_a_repeated_id_names_both_places(tmp_path: Path) -> None:
    text = "errors:\n" + 2 * "  - id: mine\n    signature: {log_pattern: x}\n"
    with pytest.raises(ContentError, match=r"main.yaml:4:5: the id 'mine' is given twice; .*main.yaml:2:5"):
        known(tmp_path, text)


def test_a_signature_of_a_node_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ContentError) as caught:
        known(tmp_path, "errors:\n  - id: mine\n    signature:\n      node: 'type:redis'\n")
    (problem,) = caught.value.problems
    assert str(problem.place) == "known_errors/main.yaml:4:13"
    assert "give it a log_pattern or a metric_condition" in str(problem)


def test_a_signature_may_ask_for_a_node_in_trouble(tmp_path: Path) -> None:
    text = "errors:\n  - id: mine\n    signature: {log_pattern: x, only_in_trouble: true}\n"
    assert known(tmp_path, text)["mine"].signature.only_in_trouble
    assert not known(tmp_path, text.replace("true", "false"))["mine"].signature.only_in_trouble


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("only_in_trouble: true", "without a signal would match everything"),
        ("node: 'type:x', only_in_trouble: true", "only a node is never met"),
        ("log_pattern: x, only_in_trouble: sometimes", "neither true nor false"),
    ],
)
def test_trouble_alone_is_no_signal(tmp_path: Path, signature: str, said: str) -> None:
    with pytest.raises(ContentError, match=said):
        known(tmp_path, f"errors:\n  - id: mine\n    signature: {{{signature}}}\n")
