"""The message about an incident: what it has at each stage and ending, and that it is made of the incident's rows."""

import asyncio
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from treewalk.errors import UsageError
from treewalk.messages.telling import told_by
from treewalk.model.acting import Plan, VerifySpec
from treewalk.model.message import Rendered
from treewalk.model.policy import Policy, Repeats
from treewalk.model.story import Fact, Missing, Story
from treewalk.pipeline import live
from treewalk.reporting import incident
from treewalk.store.stories import Stories

from tests.support.acting import FAILURES, Plainly, Scene

ENDINGS = ("resolved", "escalated", "refused", "cancelled", "no_fault_found", "merged")


def story_of(scene: Scene, number: int) -> Story:
    return Stories(scene.database, lambda name: scene.tree).story(number)


def opened(scene: Scene) -> int:
    return scene.cases.open(scene.sla, "an alert", scene.clock.now())


async def ended(folder: Path, ending: str) -> Story:
    """An incident that ended so, by the real pipeline where it comes to that by itself."""
    action = {"refused": "mend_forbidden"}.get(ending, "mend")
    scene = Scene(folder, {"action": action})
    number = opened(scene)
    if ending == "merged":
        into = scene.cases.open("other", "an alert", scene.clock.now())
        scene.cases.enter(into, "acting", "at work", scene.clock.now())
        assert scene.cases.merge(number, into, "one cause", scene.clock.now() + 9)
        return story_of(scene, number)
    if ending == "cancelled":
        scene.cases.close(number, "cancelled", "ana said so", scene.clock.now(), {})
        return story_of(scene, number)
    if ending == "escalated":
        scene.world.fails = FAILURES["unknown"]
    if ending == "no_fault_found":
        scene.world.broken = False
    assert await live(number, scene.desk(), Plainly()) == ending
    return story_of(scene, number)


def labels(found: Rendered) -> list[str]:
    return [m[1] for m in re.finditer(r"^([A-Z][\w ]+):", found.text.partition("\n")[2], re.MULTILINE)]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_each_ending_has_its_own_summary_and_everything_that_is_known(tmp_path: Path, ending: str) -> None:
    story = await ended(tmp_path, ending)
    found = incident(story)
    said = {
        "resolved": "freshness is resolved in 5s; root cause: store",
        "escalated": "freshness needs a human; root cause: store",
        "refused": "freshness was not fixed; root cause: store",
        "cancelled": "freshness was cancelled",
        "no_fault_found": "freshness ended: no fault found",
        "merged": "freshness is part of incident 2",
    }[ending]
    assert found.title == f"Incident 1: {said}"
    assert found.text.splitlines()[0] == found.title
    assert len(found.text.splitlines()) <= 20 or ending == "escalated"
    expected = {
        "resolved": {"State", "Opened", "Measured", "Root cause", "Way to it", "Plan", "Done", "Proof", "Remembered"},
        "escalated": {"State", "To do", "Root cause", "Policy", "Done", "Timeline"},
        "refused": {"State", "Root cause", "Plan", "Done", "To do"},
        "cancelled": {"State", "Opened", "Done"},
        "no_fault_found": {"State", "Opened", "Measured", "Done"},
        "merged": {"State", "Opened", "Done"},
    }[ending]
    assert expected <= set(labels(found))
    for label in labels(found):
        assert f"**{label}:**" in found.markdown
        assert f"<b>{label}:</b>" in found.html


@pytest.mark.parametrize("who", ["a human", "the kill switch"])
async def test_what_a_human_or_the_kill_switch_stopped_is_not_laid_at_the_policys_door(
    tmp_path: Path, who: str
) -> None:
    scene = Scene(tmp_path, {"action": "mend_asked"})
    number = opened(scene)
    if who == "the kill switch":
        scene.killed = "enough for today"
    working = asyncio.create_task(live(number, scene.desk(), Plainly()))
    while who == "a human" and scene.cases.life(number)["state"] != "asking":
        await asyncio.sleep(0)
    if who == "a human":
        scene.cases.answer(number, scene.cases.life(number)["digest"], "ana", False, "cli", scene.clock.now())
    # What the kill switch holds is a human's after a day.
    assert await working == ("refused" if who == "a human" else "escalated")
    found = incident(story_of(scene, number))
    how = "was not fixed" if who == "a human" else "needs a human"
    assert found.title == f"Incident 1: freshness {how}; root cause: store"
    assert "policy refuses" not in found.text
    assert ("it was denied" if who == "a human" else "the kill switch is on") in found.text


async def test_a_resolved_one_tells_the_values_before_and_after(tmp_path: Path) -> None:
    found = incident(await ended(tmp_path, "resolved"))
    assert "freshness: 90s against < 60s → 1s against < 60s" in found.text
    assert "its fix won 1 of 1" in found.text


async def test_an_escalation_says_of_which_action_nobody_knows_whether_it_ran(tmp_path: Path) -> None:
    found = incident(await ended(tmp_path, "escalated"))
    assert "mend at store (nobody knows whether it ran)" in found.text
    assert "find out whether the action of unknown outcome ran" in found.text


async def test_the_message_develops(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"action": "mend_asked"}, policy=Policy(repeats=Repeats(first=0.0, most=100)))
    number = opened(scene)
    first = incident(story_of(scene, number))
    assert first.title == "Incident 1: freshness is open"
    assert "Measured: not yet" in first.text
    assert "Done" not in labels(first)
    working = asyncio.create_task(live(number, scene.desk(), Plainly()))
    while scene.cases.life(number)["state"] != "asking":
        await asyncio.sleep(0)
    asking = incident(story_of(scene, number))
    assert asking.title == "Incident 1: freshness asks a human; root cause: store"
    assert "treewalk approve 1" in asking.text
    assert "waits for an answer until" in asking.text
    assert "<code>treewalk approve 1</code>" in asking.html
    assert "`treewalk approve 1`" in asking.markdown
    scene.cases.answer(number, scene.cases.life(number)["digest"], "ana", True, "cli", scene.clock.now())
    assert await working == "resolved"
    last = incident(story_of(scene, number))
    assert "approved by ana (cli)" in last.text
    assert "You decide" not in labels(last)


async def test_much_is_cut_short_with_how_much_it_was(tmp_path: Path) -> None:
    story = await ended(tmp_path, "resolved")
    facts = tuple(Fact(f"e{i}", "store", "log", "loki", "q", f"line {i}", (), 1, False, True) for i in range(50))
    gaps = tuple(Missing("store", "its log", f"reason {i}") for i in range(50))
    found = incident(replace(story, evidence=facts, gaps=gaps))
    assert "and 47 more" in found.text
    assert "and 48 more" in found.text
    whole = incident(replace(story, evidence=facts, gaps=gaps, ending="escalated", state="closed"))
    assert "line 14" in whole.text
    assert len(whole.text) < 30_000


def test_a_number_that_is_none_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(UsageError, match="no incident number 7"):
        story_of(scene, 7)


def test_an_incident_whose_documents_were_removed_is_told_without_them(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number = opened(scene)
    scene.cases.close(number, "resolved", "mended", scene.clock.now(), {})
    with scene.database.writing() as db:
        db.execute("UPDATE incidents SET document = '', plan = NULL, outcome = NULL", [])
        db.execute("DELETE FROM timeline", [])
    found = incident(story_of(scene, number))
    assert "Measured: unknown: it was not diagnosed" in found.text


def test_what_cannot_be_told_whole_is_told_plainly(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number = opened(scene)
    with scene.database.writing() as db:
        db.execute("UPDATE incidents SET document = ? WHERE number = ?", ['{"status": "met", "evidence": [3]}', number])
    row = {"number": number, "ending": None, "state": "open", "root_node": None, "severity": "P2", "sla": scene.sla}
    found = told_by(Stories(scene.database))({**row, "timeline": [], "slas": [scene.sla], "why": None})
    assert "the whole text could not be made: TypeError" in found.text


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))


async def test_html_has_only_what_every_channel_shows(tmp_path: Path) -> None:
    found = incident(await ended(tmp_path, "escalated"))
    assert {tag for tag, _ in Elements(found.html).seen} <= {"b", "i", "code", "pre", "div"}


def test_plan_and_question_of_a_plan_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    number, now = opened(scene), scene.clock.now()
    scene.cases.planned(number, Plan(scene.sla, "store", "mend it", (), VerifySpec()), now)
    assert "Plan: mend it" in incident(story_of(scene, number)).text
