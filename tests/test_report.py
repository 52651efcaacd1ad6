import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.diagnosis import Measurement, Suspect
from treewalk.model.evidence import Gap
from treewalk.model.known import SignalOutcome
from treewalk.model.verdict import Verdict, degraded, healthy, unhealthy, unknown
from treewalk.stages.report import document, exit_code, headline, markdown, text

from tests.test_store import diagnosis

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/schemas/diagnosis.json").read_text())
MET = Measurement("met", "12s against < 1m", 12.0, "12s", "< 1m")
UNKNOWN = Measurement("unknown", "no data for x")


def outcome(
    measurement: Measurement, verdicts: dict[str, Verdict], *, named: bool = False, unreachable: bool = False
) -> int:
    found = replace(diagnosis(), measurement=measurement, verdicts=verdicts, unreachable=unreachable)
    return exit_code(found if named else replace(found, root_cause=None))


def test_the_document_keeps_its_schema() -> None:
    jsonschema.validate(document(diagnosis()), SCHEMA)


def test_json_has_no_nan() -> None:
    found = replace(diagnosis(), measurement=replace(MET, measured=math.nan))
    assert json.loads(json.dumps(document(found), allow_nan=False))["measured"] is None


def test_exit_codes_say_what_happened() -> None:
    violated = diagnosis().measurement
    assert outcome(MET, {"a": healthy("ok")}) == 0
    assert outcome(violated, {"a": healthy("ok")}, named=True) == 1
    assert outcome(violated, {"a": healthy("ok")}) == 3
    assert outcome(MET, {"a": unhealthy("down")}) == 3
    assert outcome(MET, {"a": unknown("x"), "b": unknown("y"), "c": healthy("ok")}) == 3
    assert outcome(UNKNOWN, {"a": unknown("refused")}, unreachable=True) == 4
    assert outcome(MET, {"a": replace(degraded("unusual"), origin="baseline")}) == 0


def test_no_source_is_said_to_be_unreachable_when_nothing_is_known_and_one_answered() -> None:
    assert outcome(UNKNOWN, {"a": unknown("no data for x")}) == 3
    silent = replace(diagnosis(), measurement=UNKNOWN, verdicts={"a": unknown("no data for x")}, root_cause=None)
    assert headline(silent).endswith("no culprit found")


def test_the_story_begins_with_one_line_that_says_it_all() -> None:
    assert text(diagnosis()).splitlines()[0] == headline(diagnosis())
    assert headline(diagnosis()) == "freshness is VIOLATED (73s against < 1m); root cause: redis"


def test_a_complete_known_error_is_told_though_nobody_is_blamed() -> None:
    found = diagnosis()
    signals = (SignalOutcome("log_pattern", "holds", "12 lines say it", "E1"),)
    known = replace(found.known_error, signals=signals)
    abstained = replace(found, root_cause=None, known_error=known)
    assert headline(abstained).endswith("no culprit found")
    for shown in (text(abstained), markdown(abstained)):
        assert "ke-001" in shown
        assert "pool exhausted" in shown
        assert "12 × pool" in shown, "what it cites stands there too"


def test_a_gap_in_the_log_of_an_unknown_node_is_shown_in_the_section_that_the_help_names() -> None:
    gaps = (
        Gap("a", "logs", "log", "Loki refused the query"),
        Gap("a", "prometheus", "metrics", "connection refused"),
        Gap(None, "default", "up", "answered with a warning: x"),
    )
    found = replace(diagnosis(), verdicts={"a": unknown("promql: connection refused")}, gaps=gaps)
    plain = text(found)
    assert plain[plain.index("gaps") :].splitlines()[:3] == [
        "gaps",
        "  a log: Loki refused the query",
        "  freshness up: answered with a warning: x",
    ]
    assert "### Gaps\n\n- a log: Loki refused the query" in markdown(found)


def test_met_with_unknown_nodes_is_not_said_to_be_all_well() -> None:
    met = replace(diagnosis(), measurement=MET, root_cause=None, known_error=None)
    assert headline(replace(met, verdicts={"a": healthy("ok")})).endswith("; nothing is broken")
    half = replace(met, verdicts={"a": healthy("ok"), "b": unknown("no data")})
    assert headline(half).endswith("; nothing known to be broken, 1 unknown")


def test_a_met_sla_has_no_root_cause_of_its_violation() -> None:
    met = replace(diagnosis(), measurement=MET, verdicts={"redis": unhealthy("down")})
    assert headline(met) == "freshness is met (12s against < 1m), but redis is unhealthy"


def test_suspects_that_are_not_listed_are_counted() -> None:
    suspects = tuple(Suspect(f"n{i}", (f"n{i}",), 1, 3.0, {"path": 3.0}, unhealthy("down")) for i in range(8))
    found = replace(diagnosis(), suspects=suspects)
    assert "  and 3 more, 3 of them equal with the last one here" in text(found)
    assert "and 3 more" in markdown(found)
    assert "more" not in text(replace(found, suspects=suspects[:5]))


def test_names_of_nodes_are_no_markup() -> None:
    name = "a`b|[x](http://e.example)<i>"
    suspect = Suspect(name, (name,), 1, 3.0, {}, unhealthy("down"))
    found = replace(diagnosis(), root_cause=replace(diagnosis().root_cause, node=name), suspects=(suspect,))
    shown = markdown(found)
    assert "**Root cause:** ``a`b|[x](http://e.example)<i>``:" in shown
    assert "| 1 | ``a`b\\|[x](http://e.example)<i>`` |" in shown
    assert "a\\`b\\|\\[x\\](http://e.example)\\<i\\>" in shown.splitlines()[0]


def test_one_is_counted_as_one() -> None:
    assert "1 node: 1 healthy" in text(replace(diagnosis(), verdicts={"a": healthy("ok")}))


@given(st.text(max_size=300))
def test_no_sample_can_steer_a_terminal_or_become_markup(sample: str) -> None:
    found = diagnosis(sample=sample)
    for line in text(found).splitlines():
        assert line.isprintable()
    assert "<script" not in markdown(found).replace("`", "") or "`" in markdown(found)


@pytest.mark.parametrize("sample", ['"; docker rm -f redis #', "{{ 7*7 }}", "\x1b[31mred\x1b[0m", "x" * 1_000_000])
def test_hostile_lines_stay_inert_text(sample: str) -> None:
    assert "\x1b" not in text(diagnosis(sample=sample))
    assert "\x1b" not in markdown(diagnosis(sample=sample))
    assert "49" not in text(diagnosis(sample="{{ 7*7 }}")).split("e.g.")[-1]
