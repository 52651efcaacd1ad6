"""The one message about an incident, which develops with it: one line that says it all, then what there is."""

from __future__ import annotations

from treewalk.model.message import Rendered
from treewalk.model.story import Recognised, Story
from treewalk.reporting.environment import FORMS, render
from treewalk.reporting.facts import (
    Section,
    answered,
    blamed,
    done,
    evidence,
    fact,
    fired,
    headline,
    measured,
    next_step,
    planned,
    proven,
    recognised,
    remembered,
    section,
    state,
    timeline,
    unknown,
)
from treewalk.reporting.wording import clock, short

_EVIDENCE, _GAPS, _LINES = 15, 12, 15  # lines of an escalation


def incident(story: Story) -> Rendered:
    """The message of an incident as it stands now; one that was escalated has everything that was collected."""
    title = headline(story)
    sections = escalation(story) if story.ending == "escalated" else development(story)
    text, markdown, html = (render("incident", form, title=title, sections=sections) for form in FORMS)
    return Rendered(title, text, markdown, html)


def development(story: Story) -> list[Section]:
    """What is told of an incident while it lives and at its end, short enough for a telephone."""
    return [
        *section("State", [short(state(story), 400)]),
        *_shared(story),
        *fired(story),
        *measured(story),
        *blamed(story),
        *evidence(story),
        *unknown(story),
        *planned(story),
        *answered(story),
        *done(story),
        *proven(story),
        *remembered(story),
        *next_step(story),
    ]


def escalation(story: Story) -> list[Section]:
    """Everything that was collected, for the human who takes over."""
    near = [f"{recognised(one)}; {_missed(one)}" for one in story.near]
    rulings = [
        short(f"{clock(r.at)} {r.step} at {r.node}: {r.ruling} ({r.rule}: {r.because})", 240) for r in story.decisions
    ]
    cited = {one.id for one in story.evidence if one.cited}
    others = [fact(one) for one in story.evidence if one.id not in cited]
    return [
        *section("State", [short(state(story), 600)]),
        *next_step(story),
        *_shared(story),
        *fired(story, 5),
        *measured(story),
        *blamed(story),
        *evidence(story, _EVIDENCE),
        *section("Also seen", others, _EVIDENCE),
        *section("Nearly recognised", near, 5),
        *unknown(story, _GAPS),
        *section("Remarks", [short(one, 240) for one in story.remarks], 5),
        *planned(story),
        *section("Policy", rulings, 8),
        *answered(story),
        *done(story, 12),
        *proven(story, 8),
        *remembered(story),
        *timeline(story, _LINES),
    ]


def _shared(story: Story) -> list[Section]:
    return section("SLAs", [", ".join(story.slas)]) if len(story.slas) > 1 else []


def _missed(one: Recognised) -> str:
    missing = [f"{s.name}: {s.reason}" for s in one.signals if s.state != "holds"]
    return short("; ".join(missing) or "its signals are not kept", 200)
