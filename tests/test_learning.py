"""What is learned from a fix, how it is tested on the past, and how it leaves and enters a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.content.known_errors import from_document
from treewalk.content.packs import add_to_file, read_pack
from treewalk.content.workspace import load_workspace
from treewalk.errors import ContentError, SourceUnreachable, UsageError
from treewalk.model.acting import Plan, VerifySpec
from treewalk.model.condition import parse_condition
from treewalk.model.diagnosis import Diagnosis, Findings, Measurement, RootCause, Timing
from treewalk.model.evidence import Anomaly, LogGroup
from treewalk.model.known import Signature
from treewalk.model.series import LogLine
from treewalk.model.templates import template
from treewalk.model.tree import LogSpec, Node
from treewalk.stages.backtest import backtest, spans
from treewalk.stages.learn import candidate, condition_of, pattern_of

from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import HERE, make_tree

NOW = 1_700_000_000.0
PLAN = Plan("freshness", "store", "mend", (), VerifySpec(), playbook="restart-process")


def anomaly(
    node: str, level: float, baseline: float, spread: float = 1.0, query: str = "m", score: float = 9.0
) -> Anomaly:
    return Anomaly(node, query, query, score, level, baseline, spread, 1.0, NOW, (10, 100))


def seen(*groups: LogGroup, anomalies: tuple[Anomaly, ...] = ()) -> Diagnosis:
    cause = RootCause("store", "it is full", "reasoned", 0.9)
    return Diagnosis(
        "freshness", Measurement("violated", "90s"), {}, (), cause, None, (), (),
        Findings((), (), groups, anomalies, ()), (), Timing(NOW, NOW, 0.1),
    )  # fmt: skip


def group(node: str, line: str, count: int = 5) -> LogGroup:
    return LogGroup(node, template(line), line, count, NOW - 9, NOW)


TREE = make_tree({"reader": ["store"], "store": []})


def test_the_causes_own_lines_and_series_come_before_those_of_nodes_above() -> None:
    found = candidate(
        seen(
            group("reader", "ERROR cannot write to store", 99),
            group("store", "ERROR no space left on device", 2),
            anomalies=(anomaly("reader", 50, 1), anomaly("store", 95, 40, query="disk_used_percent")),
        ),
        TREE, PLAN, 60.0,
    )  # fmt: skip
    assert found is not None
    assert found["signature"]["node"] == "store"
    assert "no\\s+space\\s+left" in found["signature"]["log_pattern"]
    assert found["signature"]["metric_condition"].startswith("disk_used_percent > ")


def test_the_line_of_a_node_above_is_taken_where_the_cause_says_nothing() -> None:
    found = candidate(seen(group("reader", "ERROR cannot write to store")), TREE, PLAN, 60.0)
    assert found is not None
    assert (found["signature"]["node"], found["root_node"]) == ("reader", "store")


def test_with_nothing_telling_the_slas_own_violation_is_what_is_left() -> None:
    found = candidate(seen(), TREE, PLAN, 60.0)
    assert found is not None
    assert found["signature"] == {"node": "store", "metric_condition": "age_seconds >= 60"}


def test_nothing_is_learned_from_inline_steps_or_without_a_cause() -> None:
    assert candidate(seen(), TREE, Plan("freshness", "store", "x", (), VerifySpec()), 60.0) is None


def test_a_counter_becomes_a_rate_and_an_expression_is_put_in_brackets() -> None:
    assert condition_of(anomaly("s", 9, 1, 0.1, "errors_total"), 30).startswith("rate(errors_total[30s]) > ")
    assert condition_of(anomaly("s", 9, 1, 0.1, "a / b"), 30).startswith("(a / b) > ")
    assert condition_of(anomaly("s", 1, 9, 0.1), 30).startswith("m < ")


@given(level=st.floats(-1e9, 1e9), baseline=st.floats(-1e9, 1e9), spread=st.floats(0, 1e6))
def test_a_learned_condition_holds_at_the_level_seen_and_not_at_the_past(
    level: float, baseline: float, spread: float
) -> None:
    if abs(level - baseline) <= 1e-2 * max(1.0, abs(level), abs(baseline)):
        return  # less than a percent: no deviation that anything is learned from
    condition = parse_condition(condition_of(anomaly("s", level, baseline, spread), 30))
    assert condition.limit is not None
    up = condition.op == ">"
    assert up == (level > baseline)
    assert (level >= condition.limit) if up else (level <= condition.limit)
    assert (baseline < condition.limit) if up else (baseline > condition.limit)


@pytest.mark.parametrize(
    ("line", "same", "other"),
    [
        ("ERROR 17 clients refused (max 60)", "ERROR 2 clients refused (max 9000)", "ERROR clients refused"),
        ("ERROR [a.b] x|y* failed?", "ERROR [a.b] x|y* failed?", "ERROR aab x failed"),
        (
            "ERROR timeout after 30s at 10.0.0.1:6379",
            "ERROR timeout after 5ms at 192.168.1.9:80",
            "ERROR timeout after it",
        ),
    ],
)
def test_a_learned_pattern_fits_lines_of_its_kind_only(line: str, same: str, other: str) -> None:
    import re2

    compiled = re2.compile(pattern_of(template(line)))
    assert compiled.search(line)
    assert compiled.search(same)
    assert not compiled.search(other)


def test_a_stored_document_becomes_a_candidate_again() -> None:
    document = candidate(seen(group("store", "ERROR no space left")), TREE, PLAN, 60.0)
    assert document is not None
    error = from_document(document)
    assert error is not None
    assert (error.learned, error.trust, error.root_node) == (True, "candidate", "store")
    assert from_document({"id": "x", "signature": {"log_pattern": "(?=a)"}}) is None


# the past


def points(*values: float) -> list[tuple[float, float]]:
    return [(float(k), v) for k, v in enumerate(values)]


NODE = Node("store", HERE, logs=LogSpec('{a="b"}'))
CONDITION = Signature(node="store", metric_condition=parse_condition("m > 5"))


class Filtering(TableMetrics):
    """Answers `m > 5` as Prometheus does: with what is above."""

    async def range(self, query: str, start: float, end: float, step: float) -> Any:
        found = await super().range("m", start, end, step)
        if query != "m > 5":
            return found
        kept = [(t, v) for t, v in zip(found[0].times, found[0].values, strict=True) if v > 5] if found else []
        return [type(found[0])({}, [t for t, _ in kept], [v for _, v in kept])] if kept else []


async def test_a_firing_outside_of_any_trouble_is_a_false_alarm() -> None:
    source = Filtering({"m": points(1, 9, 9, 1, 1, 1, 1, 1, 1, 9, 1)})
    found = await backtest(CONDITION, NODE, source, None, 0, 10, 1, 1, [(1.0, 2.0)])
    assert found.firings == ((1.0, 2.0), (9.0, 9.0))
    assert found.false == ((9.0, 9.0),)
    assert found.gaps == ()


async def test_all_signals_have_to_hold_at_once() -> None:
    signature = Signature("full", "store", parse_condition("m > 5"))
    logs = TableLogs({'{a="b"}': [LogLine(9.0, "ERROR full", {}), LogLine(3.0, "fine", {})]})
    source = Filtering({"m": points(1, 9, 9, 1, 1, 1, 1, 1, 1, 9, 1)})
    found = await backtest(signature, NODE, source, logs, 0, 10, 1, 1, [])
    assert found.firings == ((9.0, 9.0),)


async def test_what_cannot_be_looked_at_is_a_gap_and_no_proof() -> None:
    broken = TableMetrics(error=SourceUnreachable("nobody there"))
    assert "nobody there" in (await backtest(CONDITION, NODE, broken, None, 0, 10, 1, 1, [])).gaps[0]
    empty = await backtest(CONDITION, NODE, TableMetrics(), None, 0, 10, 1, 1, [])
    assert "no data for m" in empty.gaps[0]
    signature = Signature("full", "store")
    assert "no log" in (await backtest(signature, Node("x", HERE), None, None, 0, 10, 1, 1, [])).gaps[0]


def test_neighbouring_points_are_one_span() -> None:
    assert spans([1, 2, 3, 7, 8], 1) == [(1, 3), (7, 8)]
    assert spans([], 1) == []


# packs

DOCUMENT = {"id": "learned-1", "signature": {"node": "store", "log_pattern": "full"}, "fix": {"type": "escalate"}}


def test_export_keeps_the_comments_and_adds_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "known.yaml"
    file.write_text("# ours, reviewed by Ann\nerrors:\n- id: old   # do not touch\n  signature: {log_pattern: 'x'}\n")
    assert add_to_file(file, [DOCUMENT]) == ["learned-1"]
    assert add_to_file(file, [DOCUMENT]) == []
    text = file.read_text()
    assert text.startswith("# ours, reviewed by Ann\n")
    assert "# do not touch" in text
    assert "log_pattern: 'x'" in text
    assert "learned-1" in text


FILES = {
    "deep": "# ours\nerrors:\n    -   id: old   # kept\n        signature:\n            log_pattern: 'x'\n",
    "two": "errors:\n  - id: old\n    signature:\n      log_pattern:   'x'   # kept\n    # as it is\n",
    "flat": "errors:\n- id: old\n  signature: { log_pattern: 'x' }",
    "folded": "errors:\n  - id: old\n    root_cause: >-\n      a long\n      text\n"
    "    signature: {log_pattern: x}\n# the end\n",
}


@pytest.mark.parametrize("name", FILES)
def test_export_leaves_every_character_and_indents_like_the_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "known.yaml"
    file.write_text(FILES[name])
    add_to_file(file, [DOCUMENT])
    text = file.read_text()
    assert text.startswith(FILES[name])
    [line] = [one for one in text.splitlines() if one.endswith("id: learned-1")]
    [old] = [one for one in text.splitlines() if "id: old" in one]
    assert line[: line.index("id")] == old[: old.index("id")]
    signature = next(
        one for one in text.splitlines()[text.count("\n", 0, text.index("learned-1")) :] if "log_pattern" in one
    )
    assert len(signature) - len(signature.lstrip()) == {"deep": 12, "two": 6, "flat": 4, "folded": 6}[name]
    assert add_to_file(file, [DOCUMENT]) == []


@pytest.mark.parametrize("text", ["", "errors: []\n", "errors:\n  - {id: old}\nnotes: 1\n", "errors: [{id: old}]\n"])
def test_export_into_a_file_of_another_form_adds_to_its_errors(tmp_path: Path, text: str) -> None:
    file = tmp_path / "known.yaml"
    file.write_text(text)
    assert add_to_file(file, [DOCUMENT]) == ["learned-1"]
    assert add_to_file(file, [DOCUMENT]) == []
    assert ("notes: 1" in file.read_text()) is ("notes" in text)


def test_export_into_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tree.yaml"
    file.write_text("metrics: {}\n")
    with pytest.raises(UsageError, match="not a file of known errors"):
        add_to_file(file, [DOCUMENT])
    assert file.read_text() == "metrics: {}\n"


def workspace(folder: Path) -> Any:
    (folder / "treewalk.yaml").write_text("")
    (folder / "trees").mkdir()
    (folder / "trees" / "a.yaml").write_text(
        "metrics:\n  m:\n    sla: {query: up, threshold: '> 0'}\n    depends_on: [{node: store, type: database}]\n"
    )
    return load_workspace(folder, use_cache=False)


def test_a_pack_comes_in_behind_its_namespace_and_untrusted(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text("errors:\n- id: a\n  trust: trusted\n  signature: {log_pattern: full}\n  fix: {type: escalate}\n")
    (found,) = read_pack(pack, "team", workspace(tmp_path))
    assert (found["id"], found["trust"]) == ("team/a", "candidate")


def test_a_pack_with_mistakes_is_refused_whole_with_their_places(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text("errors:\n- id: a\n  signature: {log_pattern: '(?=x)'}\n  fix: {playbook: none-such}\n")
    with pytest.raises(ContentError, match=r"pack.yaml:3:.*linear time") as caught:
        read_pack(pack, "team", workspace(tmp_path))
    assert "none-such" in str(caught.value)
    with pytest.raises(UsageError, match="namespace"):
        read_pack(pack, "../x", load_workspace(tmp_path, use_cache=False))
