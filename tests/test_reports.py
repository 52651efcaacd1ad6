"""Reports about one incident: their structure, where their numbers come from, and that a stranger's text stays text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from treewalk.app import App
from treewalk.cli.run import run
from treewalk.model.message import Rendered
from treewalk.model.story import Moment, Story, phases
from treewalk.reporting import document, incident, postmortem, resolution
from treewalk.reporting.factors import factors, impact, items, lost
from treewalk.reporting.prevention import GENERAL, PROPOSALS, proposals
from treewalk.reporting.time_picture import timeline_svg
from treewalk.reporting.tree_picture import tree_svg
from treewalk.store.casebook import Casebook

from tests.crash.target import write_workspace
from tests.support.stories import T, earlier, written

MARKDOWN = MarkdownIt("js-default", {"html": True})
NASTY = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "</pre></td></svg><b>", "[x](javascript:alert(1))",
    "![x](http://e.example/p.png)", "\n# big\n", "```", "<!here> @channel", "https://e.example/x", "|a|b|",
    "]]>", "{{ 7*7 }}", "{% raw %}", "&lt;b&gt;", '" onload="alert(3)', "\n\n---\n", "1. one", "- [x] done",
    "\x00", "`", "\x1b[2J", "\u202e",
)  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=6)), max_size=4).map("".join)
ENDINGS = ("resolved", "escalated", "refused", "cancelled", "merged", "no_fault_found", "not_resolved", None)
CHAPTERS = [
    "Impact", "Timeline", "Root cause", "Contributing factors", "What was done", "Before and after",
    "What is remembered", "Earlier incidents", "Prevention", "Action items", "What is not known",
]  # fmt: skip


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
    return Elements(html).seen


def kinds(markdown: str) -> list[str]:
    found = []
    for token in MARKDOWN.parse(markdown):
        found += [token.type, *(child.type for child in token.children or [])]
    return found


def blank(story_text: str) -> str:
    """Text of the same form as given data, without any meaning: what a template makes of it is the template's."""
    return "x"


def all_of(story: Story) -> dict[str, Rendered]:
    return {"incident": incident(story), "resolution": resolution(story), "postmortem": postmortem(story, earlier())}


@settings(max_examples=60, deadline=None)
@given(texts, st.sampled_from(ENDINGS))
def test_a_strangers_text_adds_no_element_no_markup_and_no_control_character(text: str, ending: str | None) -> None:
    def hostile(original: str) -> str:
        return f"x{text}x"

    for name, made in all_of(written(hostile, ending)).items():
        expected = all_of(written(blank, ending))[name]
        assert shape(made.html) == shape(expected.html), name
        assert not [c for c in made.text if not c.isprintable() and c != "\n"], name
        assert made.text.count("\n") == expected.text.count("\n"), name
        assert "\n" not in made.title
        found = kinds(made.markdown)
        assert not {"link_open", "image", "fence", "code_block", "html_block", "html_inline", "hr"} & set(found), name
        for kind in ("heading_open", "list_item_open", "tr_open", "td_open", "code_inline", "table_open"):
            assert found.count(kind) == kinds(expected.markdown).count(kind), (name, kind)


@settings(max_examples=40, deadline=None)
@given(texts)
def test_the_pictures_are_well_formed_whatever_stands_in_them(text: str) -> None:
    story = written(lambda original: f"{original}{text}")
    for picture in (tree_svg(story), timeline_svg(story)):
        root = ElementTree.fromstring(picture)
        assert root.find("{http://www.w3.org/2000/svg}title") is not None
        assert {e.tag.rpartition("}")[2] for e in root.iter()} <= {
            "svg",
            "title",
            "desc",
            "g",
            "path",
            "rect",
            "circle",
            "text",
        }


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    page = postmortem(written(), earlier()).html
    tags = {tag for tag, _ in shape(page)}
    assert not {"script", "link", "img", "iframe", "a", "form", "object"} & tags
    names = {name for _, names in shape(page) for name in names}
    assert not {"src", "href", "style"} & names
    assert not [name for name in names if name.startswith("on")]
    assert "default-src 'none'" in page
    assert page.count("<svg") == 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_postmortem_has_its_chapters_in_every_form_and_for_every_ending(ending: str | None) -> None:
    found = postmortem(written(ending=ending), earlier())
    assert re.findall(r"^## (.*)$", found.markdown, re.MULTILINE) == CHAPTERS
    assert re.findall(r"<h2>(.*?)</h2>", found.html) == CHAPTERS
    assert [line for line in found.text.splitlines() if line.isupper() and line[0] != " "] == [
        c.upper() for c in CHAPTERS
    ]
    assert found.title == "Postmortem of incident 12: orders_fresh"


def test_the_resolution_report_tells_what_fired_was_found_was_done_and_is_remembered() -> None:
    found = resolution(written())
    assert re.findall(r"^## (.*)$", found.markdown, re.MULTILINE) == [
        "What fired", "What was found", "What was done", "Before and after", "What is remembered", "Timeline",
    ]  # fmt: skip
    assert "orders_fresh: 95s → 2s" in found.text
    assert "clients: not looked at → 256" in found.text


def test_the_report_of_an_escalation_has_everything_that_was_collected() -> None:
    found = resolution(written(ending="escalated"))
    for part in ("To do", "Also seen", "Nearly recognised", "Policy", "Remarks", "lag 4,112", "killed 41 clients"):
        assert part in found.text
    assert found.text.count("opened: alertmanager") == 1


def test_numbers_come_from_the_story() -> None:
    text = postmortem(written(), earlier()).text
    assert "Detected: 2026-01-15 04:47:10Z, 2m after it began" in text
    assert "3m12s after it was opened" in text
    assert "asking 1m20s" in text
    assert "SLA time lost: 5m12s" in text
    assert "its fix won 3 of 4" in text
    story = written()
    assert sum(one.seconds for one in phases(story)) == pytest.approx(192)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_the_time_that_was_lost_runs_from_the_earliest_sign_to_the_end(before: float, after: float) -> None:
    story = written()
    assert story.measured is not None
    story = replace(story, alerts=(), closed=T + after, measured=replace(story.measured, onset=T - before))
    told = lost(story)
    assert story.began == T - before
    assert told.endswith("from when it began to the end of the incident")
    assert lost(replace(story, ending="escalated")).startswith("unknown")


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    bare = Story(1, ("orders",), None, "closed", "cancelled", "", "", T, None, T + 1)
    found = postmortem(bare)
    for said in (
        "Began: unknown", "Diagnosed: unknown", "Measured: unknown", "SLA time lost: unknown",
        "Users and money: unknown", "Root cause: unknown", "Unknown: nothing was proven",
        "No diagnosis: it was not diagnosed.", "Time spent: unknown",
    ):  # fmt: skip
        assert said in found.text, said
    assert "Contributing factors" in found.markdown
    assert "None is known from what was recorded." in found.text
    assert found.html.count("<svg") == 1  # nothing is known of its tree


def test_of_an_old_incident_whose_documents_were_removed_nothing_is_denied() -> None:
    line = Moment(T + 9, "pruned", "its documents were removed")
    old = Story(1, ("orders",), None, "closed", "resolved", "mended", "", T, None, T + 1, timeline=(line,))
    found = postmortem(old).text
    assert "it was not diagnosed" not in found
    assert "nothing was proven" not in found
    assert "unknown: its documents were removed when they were old" in found


def test_factors_name_only_what_has_a_row() -> None:
    plain = replace(
        written(),
        spots=(),
        root=None,
        gaps=(),
        questions=(),
        actions=(),
        proof=None,
        timeline=(),
        alerts=(),
        measured=None,
    )
    assert factors(plain) == []
    told = "\n".join(factors(written(), earlier()))
    assert "it waited 1m20s for a human's answer" in told
    assert "2 earlier incidents, the last incident 9 on 2026-01-14" in told
    assert "the fix of incident 3 did not last" in told


def test_an_incident_that_was_not_mended_leaves_that_to_do() -> None:
    assert any("by hand" in one.text for one in items(written(ending="refused")))
    assert not any("by hand" in one.text for one in items(written()))


@pytest.mark.parametrize("category", [*PROPOSALS, "", "something else"])
def test_each_category_has_proposals_that_name_the_node(category: str) -> None:
    found = proposals(category, "{node} redis")
    assert len(found) >= 2
    assert any("{node} redis" in one for one in found)
    assert (category in PROPOSALS) == (found != proposals("", "{node} redis"))
    assert len(GENERAL) == len(proposals("", "x"))


def test_every_line_of_the_impact_is_there_while_it_still_lives() -> None:
    labels = {one.label: one.lines[0].text for one in impact(written(ending=None))}
    assert labels["Ended"] == "it has not ended"
    assert labels["SLA time lost"].startswith("unknown")


def test_the_document_is_data_that_json_takes() -> None:
    data = json.loads(json.dumps(document(written(), earlier()), allow_nan=False))
    assert data["schema"] == "treewalk/postmortem/1"
    assert data["story"]["root"]["node"] == "redis_instance"
    assert data["proposals"]
    assert data["earlier"][0]["number"] == 9


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])


@pytest.mark.parametrize("command", ["report", "postmortem"])
@pytest.mark.parametrize(
    ("form", "mark"), [("text", "FRESH_ONE"), ("markdown", "# "), ("html", "<!doctype html>"), ("json", "{")]
)
def test_the_commands_write_every_form_to_stdout_or_to_a_file(
    workspace: Path, capsys: pytest.CaptureFixture[str], command: str, form: str, mark: str
) -> None:
    number = Casebook(App.open(workspace).database).open("fresh_one", "an alert", T)
    asked = ["--workspace", str(workspace), "incidents", command, str(number), "--format", form]
    assert run(asked) == 0
    said = capsys.readouterr().out
    assert mark.casefold() in said.casefold()
    out = workspace / f"written.{form}"
    assert run([*asked, "--output", str(out)]) == 0
    assert out.read_text() == said
    assert str(out) in capsys.readouterr().err


def test_a_file_that_cannot_be_written_and_a_number_that_is_none_are_told(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Casebook(App.open(workspace).database).open("fresh_one", "an alert", T)
    asked = ["--workspace", str(workspace), "incidents", "postmortem"]
    assert run([*asked, "1", "--output", str(workspace / "no" / "where")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert run([*asked, "7"]) == 2
    assert "no incident number 7" in capsys.readouterr().err
