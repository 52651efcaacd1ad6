import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.diagnosis import Measurement
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
