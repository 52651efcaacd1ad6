"""Texts of strangers on every road through the loop: they end up as inert text in reports, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest
from treewalk.content.known_errors import from_document
from treewalk.model.acting import Plan, VerifySpec
from treewalk.model.condition import parse_condition
from treewalk.model.diagnosis import Diagnosis, Findings, Measurement, RootCause, Suspect, Timing
from treewalk.model.evidence import Anomaly, Evidence, LogGroup
from treewalk.model.series import LogLine
from treewalk.model.templates import group_errors, readable, template
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.stages import report
from treewalk.stages.learn import candidate, pattern_of
from treewalk.stages.plan import fill

from tests.support.acting import Plainly, Scene
from tests.support.hostile import HOSTILE
from tests.support.trees import make_tree

TEXTS = [
    *HOSTILE,
    "${HOME}",
    "$(id)",
    "`id`",
    "{% for x in ().__class__.__base__.__subclasses__() %}",
    "a\0b",
    "\u202egnp.exe",
]


def tree() -> Tree:
    return make_tree({"reader": ["store"], "store": []})


def diagnosis(text: str) -> Diagnosis:
    """One in which the stranger's text stands wherever a stranger's text can stand."""
    now = 1_700_000_000.0
    line = LogLine(now - 5, f"ERROR {text}", {})
    groups = group_errors("store", [line], lambda t: t)
    verdict = Verdict(Status.UNHEALTHY, text, when=now, onset=now - 30)
    evidence = Evidence("E1", "store", "log", "logs", "{}", (now - 60, now), text, (text[:300],), 1)
    anomaly = Anomaly("store", "up", text[:200], 9.0, 5.0, 1.0, 0.1, 4.0, now - 30, (10, 100))
    cause = RootCause("store", text, "reasoned", 0.9)
    findings = Findings((evidence,), (), groups, (anomaly,), ())
    suspect = Suspect("store", ("reader", "store"), 1, 5.0, {}, verdict)
    measured = Measurement("violated", text, 90.0, "90s", "60s", now - 30)
    return Diagnosis(
        "freshness", measured, {"store": verdict, "reader": verdict}, (suspect,), cause, None, (), (), findings, (),
        Timing(now, now, 0.1),
    )  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_reports_show_it_as_inert_text(text: str) -> None:
    found = diagnosis(text)
    for shown in (report.text(found), report.markdown(found), report.headline(found)):
        assert "\x1b" not in shown
        assert "\0" not in shown
        assert "49" not in shown.replace("1_700_000_000", "")  # nothing was calculated
    json.dumps(report.document(found), allow_nan=False)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_is_learned_from_it_is_a_pattern_that_matches_it_as_text_alone(text: str) -> None:
    import re2

    line = f"ERROR could not open {text} for writing"
    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern_of(template(line)), options)
    assert compiled.search(readable(line).encode("utf-8", "replace"))
    assert not compiled.search(b"something else altogether")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_learned_error_takes_no_command_and_no_path_from_it(text: str) -> None:
    plan = Plan("freshness", "store", "mend", (), VerifySpec(), playbook="restart-process")
    document = candidate(diagnosis(text), tree(), plan, 60.0)
    assert document is not None
    assert document["fix"] == {"playbook": "restart-process", "with": {}}
    assert all(c.isalnum() or c in "-_" for c in document["id"])
    again = from_document(document)
    assert again is not None
    assert again.trust == "candidate"
    if "metric_condition" in document["signature"]:
        limit = "up > 1.4" if "log_pattern" in document["signature"] else "up > 2"
        assert parse_condition(document["signature"]["metric_condition"]).promql == limit


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_it_is_never_filled_into_a_template_as_a_template(text: str) -> None:
    """A node's field is data: it is put in, and what it holds is not looked into."""
    node = replace(tree().nodes["store"], fields={"container": text})
    assert fill("name: {{ node.container }}", {}, node) == f"name: {text}"
    assert fill("{{ p }}", {"p": text}, node) == text
    assert fill("x {{ p }}", {"p": text}, node) == f"x {text}"


@pytest.mark.parametrize(
    "text", ["{{ ''.__class__.__mro__ }}", "{{ node.__class__ }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_template_cannot_reach_beyond_its_parameters(text: str) -> None:
    from treewalk.stages.plan import NoPlan

    with pytest.raises((NoPlan, jinja2.TemplateError)):
        fill(text, {}, tree().nodes["store"])


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_it_passes_through_a_whole_incident_and_its_books(tmp_path: Path, text: str) -> None:
    from treewalk.pipeline import live

    scene = Scene(tmp_path)
    look = scene.look

    async def hostile_look(sla: str, number: int) -> Diagnosis:
        found = await look(sla, number)
        cause = replace(found.root_cause, reason=text) if found.root_cause else None
        return replace(found, root_cause=cause, measurement=replace(found.measurement, reason=text))

    scene.look = hostile_look  # type: ignore[method-assign]
    number = scene.cases.open(scene.sla, text, scene.clock.now())
    assert await live(number, scene.desk(), Plainly()) == "resolved"
    assert scene.world.did == [("mend", {"how": "gently"})]
    assert scene.audit.verify()[1] == []
    rows = scene.database.query("SELECT text FROM timeline")
    assert all("\0" not in row["text"] and len(row["text"]) <= 4000 for row in rows)
    sizes = scene.database.query("SELECT length(data) AS n FROM audit")
    assert max(row["n"] for row in sizes) < 30_000


def test_a_log_of_one_line_of_a_megabyte_is_one_short_sample() -> None:
    line = LogLine(1.0, "ERROR " + "x" * 1_000_000, {})
    (group,) = group_errors("store", [line], lambda t: t)
    assert isinstance(group, LogGroup)
    assert len(group.sample) <= 300
    assert len(group.template) <= 200
