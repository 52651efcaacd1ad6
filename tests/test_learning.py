"""What is learned from a fix, how it is tested on the past, and how it leaves and enters a workspace."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from treewalk.content.known_errors import from_document
from treewalk.content.packs import add_to_file, read_pack
from treewalk.content.workspace import load_workspace
from treewalk.errors import ContentError, SourceUnreachable, UsageError
from treewalk.model.acting import Plan, VerifySpec
from treewalk.model.condition import Answer, parse_condition
from treewalk.model.diagnosis import Diagnosis, Findings, Measurement, RootCause, Timing
from treewalk.model.evidence import Anomaly, LogGroup
from treewalk.model.known import Signature
from treewalk.model.quantity import parse_threshold
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import group_errors, template
from treewalk.model.tree import Forest, LogSpec, Node, Sla
from treewalk.operations.learning import Learning
from treewalk.stages.backtest import backtest, spans, step_for
from treewalk.stages.learn import candidate, condition_of, pattern_of
from treewalk.stages.match import SignatureIndex, _Lines, match
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.lessons import Lessons

from tests.support.clocks import StandingClock
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


def test_a_series_with_a_restless_past_does_not_make_the_signature_miss_the_same_fault_when_it_is_smaller() -> None:
    # A lag of 336 against a past of 2.3 ± 79, which held another incident: its limit would have been 239.
    restless = anomaly("reader", 336, 2.3, 79, query="lag")
    beside = candidate(seen(group("store", "ERROR message 7 is broken"), anomalies=(restless,)), TREE, PLAN, 60.0)
    assert beside is not None
    assert "metric_condition" not in beside["signature"]
    alone = candidate(seen(anomalies=(restless,)), TREE, PLAN, 60.0)
    assert alone is not None
    assert alone["signature"]["metric_condition"] == "age_seconds >= 60"
    calm = candidate(seen(anomalies=(anomaly("reader", 336, 2.3, 7, query="lag"),)), TREE, PLAN, 60.0)
    assert calm is not None
    assert calm["signature"]["metric_condition"] == "lag > 85.7"


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


_PIECES = st.sampled_from((
    "ERROR ", "cannot write to ", " ", "  ", "\t", "\n", "\r", "\x0b", "\x85", "\u2028", "\u00a0", "\u3000",
    "\xad", "\0", "\x07", "\x1b[31m", "\x1b[0m", "\x1b]0;title\x07", "\x1b[", "\x1b", "\x9b31m", "42", "-7.5",
    "12ms", "5\u00b5s", "80%", "0xdeadBEEF", "\u0663\u0664", "\u00e97", "deadbeef01", "10.0.0.1:6379", "fe80::1",
    "550e8400-e29b-41d4-a716-446655440000", "pod-5d8f7c9b6d-x2x4z", "2026-01-15T04:47:00.123+02:00",
    "Mon Jan  5 12:00:00 2026", '("word")',
    "04:47:00", "'word'", "<n>", "<text>", "[redacted]", "(a|b)*[c]{2}^$?\\.", "z\u0308rich", "\U0001f4a5", "\ud800",
    "caf\u00e9",
    "password=hunter22x", 'password="two words 7"', "token: abc123def456", "Cookie: a=b; c=d9", "redis://u:p4ss@host/0",
    "identified by 'x y z'", "AKIAABCDEFGHIJKLMNOP", "Authorization: Bearer abcDEF123456", "a", "=", ":", "\"", "'",
    "\\", "Traceback (most recent call last)\n", "\nCaused by: ", "\nredis.exceptions.ConnectionError: ",
    "x" * 190, "y 1 " * 900,
))  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=8), max_size=14).map("".join))
@example("ERROR " + "word " * 38 + "2026-01-15T04:47:00 was the time")
@example("ERROR [a.b](c)? " + "{x}.*^$ " * 60)
@example("\x1b[31mERROR\x1b[0m cannot \x1b[1mwrite\x1b[0m")
def test_what_is_learned_from_a_line_matches_that_very_line(text: str) -> None:
    """As a log brings it: coloured, with secrets, with control characters, long, in any script."""
    (found,) = group_errors("store", [LogLine(NOW, text, {"level": "error"})], redact) or (None,)
    if found is None:
        return
    pattern = pattern_of(found.template)
    assert not found.template or pattern
    assert _Lines([LogLine(NOW, text)]).hold(pattern, SignatureIndex([])), (found.template, pattern)
    assert len(pattern) <= 300


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


async def test_a_pattern_alone_is_looked_for_line_by_line() -> None:
    """However long the past: no line falls between two looks."""
    day = 86400.0
    logs = TableLogs({'{a="b"}': [LogLine(at, "ERROR full", {}) for at in (29.5 * day, 7 * day + 950.0)]})
    found = await backtest(
        Signature("full", "store"), NODE, None, logs, 0, 30 * day, step_for(0, 30 * day, 900), 900, []
    )
    assert [first for first, _ in found.firings] == [7 * day + 950.0, 29.5 * day]
    assert (found.gaps, found.covered) == ((), 30 * day - (7 * day + 950.0))


@given(st.floats(1, 1e7), st.floats(1, 1e5))
def test_looks_are_near_enough_for_the_window_and_not_too_many(span: float, window: float) -> None:
    step = step_for(0, span, window)
    assert span / step <= 40_001
    assert step <= window / 2 or step == span / 40_000


async def test_a_condition_that_cannot_be_looked_at_often_enough_is_a_gap() -> None:
    signature = Signature("full", "store", parse_condition("m > 5"))
    logs = TableLogs({'{a="b"}': [LogLine(9.0, "ERROR full", {})]})
    source = Filtering({"m": points(1, 9, 9, 1, 1, 1, 1, 1, 1, 9, 1)})
    found = await backtest(signature, NODE, source, logs, 0, 10, 1, 1.5, [])
    assert "looked at every 1s only, its log 1.5s back" in found.gaps[0]


async def test_a_full_answer_of_a_log_is_followed_to_its_older_lines() -> None:
    lines = [LogLine(float(at), "ERROR full" if at == 3 else "fine", {}) for at in range(12_000, 0, -1)]
    found = await backtest(Signature("full", "store"), NODE, None, TableLogs({'{a="b"}': lines}), 0, 12_000, 6, 900, [])
    assert (found.firings, found.gaps) == (((3.0, 3.0),), ())
    crowded = [LogLine(5.0, "fine", {}) for _ in range(12_000)]
    found = await backtest(Signature("full", "store"), NODE, None, TableLogs({'{a="b"}': crowded}), 0, 24, 1, 9, [])
    assert "not all of its lines" in found.gaps[0]


async def test_a_log_is_not_asked_where_the_condition_never_held() -> None:
    broken = TableLogs(error=SourceUnreachable("nobody there"))
    signature = Signature("full", "store", parse_condition("m > 50"))
    quiet = await backtest(signature, NODE, TableMetrics({"m": points(1, 9, 9)}), broken, 0, 2, 1, 2, [])
    assert quiet.gaps == () or "m > 50" not in quiet.gaps[0]


async def test_a_log_without_any_line_proves_nothing() -> None:
    found = await backtest(Signature("full", "store"), NODE, None, TableLogs(), 0, 10, 1, 1, [])
    assert "no line in that time" in found.gaps[0]
    assert found.covered == 0


async def test_how_much_of_the_past_had_data_is_told() -> None:
    series = [(float(at), 1.0) for at in range(43_200, 86_400, 30)]
    found = await backtest(CONDITION, NODE, Filtering({"m": series}), None, 0, 86_400, 30, 60, [])
    assert found.gaps == ()
    assert found.told == "12h of the 1d before"


def test_neighbouring_points_are_one_span() -> None:
    assert spans([1, 2, 3, 7, 8], 1) == [(1, 3), (7, 8)]
    assert spans([], 1) == []


# keeping and trusting


class Workshop:
    """Learning with sources in memory: the store under `freshness`, and an SLA of its own beside it."""

    def __init__(self, folder: Path, metrics: TableMetrics, logs: TableLogs) -> None:
        beside = Sla("beside", "other", parse_threshold("60s"), None, None, ("reader",), HERE)
        store = replace(NODE, depends_on=())
        forest = Forest({"freshness": TREE.sla, "beside": beside}, {"reader": Node("reader", HERE), "store": store})
        forest.slas["freshness"] = replace(TREE.sla, depends_on=("store",), query=None)  # type: ignore[index]
        sources = SimpleNamespace(metric=lambda name: metrics, log=lambda name: logs)
        workspace = SimpleNamespace(forest=forest, settings=load_workspace(None, use_cache=False).settings)
        database = SqliteDatabase(folder / "memory.db")
        self.lessons, self.cases, self.clock = Lessons(database), Casebook(database), StandingClock(NOW)
        self.app: Any = SimpleNamespace(workspace=workspace, sources=sources, clock=self.clock, known_errors=self.known)
        self.learning = Learning(self.app, self.cases, self.lessons)

    def measured(self) -> None:
        """Let `freshness` have a query."""
        slas: Any = self.app.workspace.forest.slas
        slas["freshness"] = replace(TREE.sla, depends_on=("store",))

    def known(self) -> dict[str, Any]:
        found = {row["id"]: from_document(row["document"]) for row in self.lessons.learned()}
        return {id: replace(one, trust=self.lessons.record(id, "candidate").trust) for id, one in found.items() if one}


class Apart(Filtering):
    """Answers the SLA's own query as it is."""

    async def range(self, query: str, start: float, end: float, step: float) -> Any:
        asked = super().range if query.startswith("m") else partial(TableMetrics.range, self)
        return await asked(query, start, end, step)


LEARNED = {"id": "learned-1", "signature": {"node": "store", "metric_condition": "m > 5"}, "fix": {"playbook": "x"}}
QUIET = [(NOW - 90_000 + 30 * k, 1.0) for k in range(3001)]


async def test_a_candidate_says_what_it_was_not_tested_on(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, TableMetrics(error=SourceUnreachable("nobody there")), TableLogs())
    told = await shop.learning.learn(LEARNED, 1, NOW)
    assert "not tested on its past: m > 5: " in told["said"]
    assert "nobody there" in shop.known()["learned-1"].description


async def test_what_was_learned_is_trusted_for_its_record_after_a_test_and_what_was_imported_is_not(
    tmp_path: Path,
) -> None:
    shop = Workshop(tmp_path, Filtering({"m": QUIET}), TableLogs())
    await shop.learning.learn(LEARNED, 1, NOW)
    shop.lessons.keep("theirs/1", {**LEARNED, "id": "theirs/1"}, None, NOW, "ann")
    assert (await shop.learning.promote_by_record("theirs/1", "won"))[0] is False
    done = await shop.learning.promote_by_record("learned-1", "won")
    assert done == (True, "won; tested on 1d of the 1d before")
    assert [shop.known()[id].trust for id in ("learned-1", "theirs/1")] == ["trusted", "candidate"]


async def test_a_promotion_is_tested_on_a_day_whatever_it_asks_for(tmp_path: Path) -> None:
    """A second holds two looks, and nearly nothing fires in it."""
    series = [(at, 9.0 if NOW - 40_000 < at < NOW - 39_000 else value) for at, value in QUIET]
    shop = Workshop(tmp_path, Filtering({"m": series}), TableLogs())
    shop.lessons.keep("learned-1", LEARNED, 1, NOW, "treewalk")
    done = await shop.learning.promote(shop.known()["learned-1"], 1.0, "ann")
    assert done == (False, "it fired 1 times when all was well")


@pytest.mark.parametrize(("sla", "false"), [("freshness", 0), ("beside", 1)])
async def test_only_trouble_above_the_node_excuses_a_firing(tmp_path: Path, sla: str, false: int) -> None:
    series = [(at, 9.0 if NOW - 40_000 < at < NOW - 39_000 else value) for at, value in QUIET]
    shop = Workshop(tmp_path, Filtering({"m": series}), TableLogs())
    number = shop.cases.open(sla, "a test", NOW - 40_000)
    with shop.lessons.database.writing() as db:
        db.execute("UPDATE incidents SET status = 'violated' WHERE number = ?", [number])
    shop.cases.close(number, "resolved", "mended", NOW - 39_000, {})
    found = await shop.learning.backtest(from_document(LEARNED), NOW - 86_400, NOW)  # type: ignore[arg-type]
    assert (len(found.firings), len(found.false)) == (1, false)


@pytest.mark.parametrize(("since", "false"), [(NOW - 86_400, 1), (NOW - 20_000, 0)])
async def test_a_time_of_which_nothing_is_known_is_no_false_alarm(tmp_path: Path, since: float, false: int) -> None:
    """The SLA is met as far as it is measured; before that, nobody knows."""
    series = [(at, 9.0 if NOW - 40_000 < at < NOW - 39_000 else value) for at, value in QUIET]
    met = [(at, 1.0) for at, _ in QUIET if at >= since]
    shop = Workshop(tmp_path, Apart({"m": series, "age_seconds": met}), TableLogs())
    shop.measured()
    found = await shop.learning.backtest(from_document(LEARNED), NOW - 86_400, NOW)  # type: ignore[arg-type]
    assert (len(found.firings), len(found.false)) == (1, false)


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


async def test_an_exported_error_still_asks_for_a_node_in_trouble(tmp_path: Path) -> None:
    """Learned from the SLA's own violation, it would otherwise blame the store for whatever breaks."""
    from treewalk.cli.lesson_commands import _document
    from treewalk.content.codec import known_errors_from_json, known_errors_to_json

    document = candidate(seen(), TREE, PLAN, 60.0)
    assert document is not None
    learned = from_document(document)
    assert learned is not None
    workspace(tmp_path)
    add_to_file(tmp_path / "known_errors" / "learned.yaml", [_document(document, learned, {})])
    loaded = {e.id: e for e in load_workspace(tmp_path, use_cache=False).known_errors}[document["id"]]
    (replayed,) = known_errors_from_json(known_errors_to_json([learned]))
    for error in (learned, loaded, replayed):
        for troubled, wanted in ((["reader"], 0), (["store"], 1)):
            found = await match(SignatureIndex([error]), [NODE], {}, _holds, {}, troubled=troubled)
            assert len(found.matches) == wanted
    assert replayed == learned


async def _holds(node: Node, condition: Any) -> Answer:
    return Answer("holds", "90 is more than 60")


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
