"""Reports about one incident that is over, or nearly: what became of it, and the postmortem, each in three forms.

The HTML is a page of its own, with its pictures in it; it loads nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from treewalk.model.message import Rendered
from treewalk.model.story import Earlier, Story, time_in
from treewalk.reporting.environment import FORMS, render
from treewalk.reporting.factors import factors, impact, items, lost
from treewalk.reporting.facts import (
    LONG,
    Line,
    Section,
    absent,
    answered,
    blamed,
    done,
    evidence,
    fired,
    headline,
    measured,
    next_step,
    planned,
    remembered,
    section,
    state,
    unknown,
)
from treewalk.reporting.incident import escalation
from treewalk.reporting.prevention import PROPOSALS, proposals
from treewalk.reporting.time_picture import timeline_svg
from treewalk.reporting.tree_picture import tree_svg
from treewalk.reporting.wording import clock, plain, short, span

SCHEMA = "treewalk/postmortem/1"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a report. `todo` are lines to be ticked off, `picture` SVG that stands on the page only."""

    heading: str
    sections: tuple[Section, ...] = ()
    bullets: tuple[str, ...] = ()
    table: Table | None = None
    todo: tuple[Line, ...] = ()
    picture: str = ""
    note: str = ""


def resolution(story: Story) -> Rendered:
    """What fired, what was found and done, the values before and after, and what is remembered; of one that was
    escalated everything that was collected."""
    if story.ending == "escalated":
        collected = tuple(one for one in escalation(story) if one.label not in ("State", "Timeline"))
        course = Chapter("Timeline", table=_timeline(story), picture=timeline_svg(story))
        return _rendered(story, "Escalation", [Chapter("Collected", collected, picture=_tree(story)), course])
    return _rendered(
        story,
        "Report",
        [
            Chapter("What fired", (*fired(story, 10), *measured(story))),
            Chapter(
                "What was found",
                (*blamed(story), *evidence(story, 10), *unknown(story, 10)),
                picture=_tree(story),
            ),
            _what_was_done(story),
            _before_and_after(story),
            Chapter("What is remembered", tuple(remembered(story)), note=_or(remembered(story), "Nothing new.")),
            *([Chapter("What is to be done", tuple(next_step(story)))] if next_step(story) else []),
            Chapter("Timeline", table=_timeline(story), picture=timeline_svg(story)),
        ],
    )


def postmortem(story: Story, earlier: Sequence[Earlier] = ()) -> Rendered:
    """The postmortem: nothing is claimed in it that has no row behind it. `earlier` are incidents like it."""
    category, cause = story.category, story.root.node if story.root else story.sla
    known = f"the category {category}" if category in PROPOSALS else "an unknown category"
    causes = factors(story, earlier)
    return _rendered(
        story,
        "Postmortem",
        [
            Chapter("Impact", tuple(impact(story))),
            Chapter("Timeline", table=_timeline(story), picture=timeline_svg(story)),
            Chapter("Root cause", (*blamed(story), *evidence(story, 15)), picture=_tree(story)),
            Chapter(
                "Contributing factors", bullets=tuple(causes), note=_or(causes, "None is known from what was recorded.")
            ),
            _what_was_done(story),
            _before_and_after(story),
            Chapter("What is remembered", tuple(remembered(story)), note=_or(remembered(story), "Nothing new.")),
            _earlier(earlier),
            Chapter(
                "Prevention",
                bullets=proposals(category, cause),
                note=f"Proposals by rule for {known}; nobody has judged them yet.",
            ),
            Chapter("Action items", todo=tuple(items(story)), note=_or(items(story), "None is known.")),
            _not_known(story),
        ],
    )


def document(story: Story, earlier: Sequence[Earlier] = ()) -> dict[str, Any]:
    """A postmortem as JSON data: the whole story, and what was made of it."""
    cause = story.root.node if story.root else story.sla
    return {
        "schema": SCHEMA,
        "story": asdict(story),
        "began": story.began,
        "seconds": dict(time_in(story)),
        "sla_time_lost": lost(story),
        "factors": factors(story, earlier),
        "earlier": [asdict(one) for one in earlier],
        "category": story.category or None,
        "proposals": list(proposals(story.category, cause)),
        "action_items": [plain(f"{one.text} {one.code}") for one in items(story)],
    }


def _rendered(story: Story, kind: str, chapters: Iterable[Chapter]) -> Rendered:
    title = f"{kind} of incident {story.number}: {plain(story.sla)}"
    facts = {"title": title, "headline": headline(story), "state": state(story), "chapters": list(chapters)}
    text, markdown, html = (render("report", form, **facts) for form in FORMS)
    return Rendered(title, text + "\n", markdown + "\n", html + "\n")


def _what_was_done(story: Story) -> Chapter:
    rulings = [short(f"{r.step} at {r.node}: {r.ruling} ({r.rule}: {r.because})", LONG) for r in story.decisions]
    said = [*planned(story), *section("Policy", rulings, 12), *answered(story), *done(story, 20)]
    return Chapter("What was done", tuple(said), note=_or(said, "Nothing yet."))


def _before_and_after(story: Story) -> Chapter:
    proof = story.proof
    if proof is None:
        why = absent(story) if story.pruned else "nothing was proven"
        return Chapter("Before and after", note=f"Unknown: {why}.")
    unseen = "not looked at"
    rows = tuple((v.name, short(v.before or unseen, LONG), short(v.after or unseen, LONG)) for v in proof.values)
    table = Table(("What", "Before", "After"), rows) if rows else None
    return Chapter("Before and after", table=table, note=f"{proof.result}: {proof.reason}")


def _timeline(story: Story) -> Table | None:
    rows = tuple((clock(m.at), _since(m.at - story.opened), m.kind, short(m.text, 400)) for m in story.timeline)
    return Table(("Time", "After", "What", "Told"), rows) if rows else None


def _since(seconds: float) -> str:
    return f"+{span(seconds)}" if seconds >= 0 else f"-{span(-seconds)}"


def _earlier(earlier: Sequence[Earlier]) -> Chapter:
    rows = tuple(
        (
            str(one.number),
            clock(one.opened),
            one.sla,
            one.root_node or "unknown",
            one.ending or "not ended",
            one.result or "none",
        )
        for one in earlier
    )
    heads = ("Incident", "Opened", "SLA", "Root cause", "Ending", "Fix")
    return Chapter("Earlier incidents", table=Table(heads, rows) if rows else None, note=_or(rows, "None is like it."))


def _not_known(story: Story) -> Chapter:
    nothing = "Everything could be looked at." if story.diagnosed is not None else f"No diagnosis: {absent(story)}."
    return Chapter("What is not known", tuple(unknown(story, 30)), note=_or(story.gaps, nothing))


def _tree(story: Story) -> str:
    return tree_svg(story) if story.spots else ""


def _or(found: Sequence[object], nothing: str) -> str:
    return "" if found else nothing
