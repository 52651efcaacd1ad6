"""What contributed to an incident, what it cost, and what is left to do, as far as its rows tell. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from treewalk.model.story import Earlier, Story, time_in
from treewalk.reporting.facts import LONG, Line, Section, absent, acted, measured, section
from treewalk.reporting.wording import clock, day, many, short, span

_LATE = 300.0  # seconds before the opening from which on an incident was detected late
_LONG_WAIT = 60.0
_UNMEASURED = "unknown: it is not measured by treewalk"


def impact(story: Story) -> list[Section]:
    """What it cost, and when; what is not known is said to be unknown."""
    began, opened = story.began, story.opened
    after = f", {span(opened - began)} after it began" if began is not None and opened >= began else ""
    looked = story.diagnosed
    phases = ", ".join(f"{phase} {span(seconds)}" for phase, seconds in time_in(story).items())
    return [
        *section("SLAs", [", ".join(story.slas)]),
        *measured(story),
        *section("Began", [clock(began) if began is not None else "unknown: no alert and no measurement says when"]),
        *section("Detected", [f"{clock(opened)}{after}"]),
        *section(
            "Diagnosed", [f"{clock(looked)}, {span(looked - opened)} later" if looked else f"unknown: {absent(story)}"]
        ),
        *section("Ended", [_ended(story)]),
        *section("Time spent", [phases or "unknown: its timeline was not kept"]),
        *section("SLA time lost", [lost(story)]),
        *section("Alerts", [many(len(story.alerts), "alert")]),
        *section("Users and money", [_UNMEASURED]),
    ]


def _ended(story: Story) -> str:
    if story.closed is None:
        return "it has not ended"
    return f"{clock(story.closed)}, {span(story.closed - story.opened)} after it was opened"


def lost(story: Story) -> str:
    """How long the SLA was not met, where that is known."""
    if story.ending != "resolved" or story.closed is None:
        return "unknown: the SLA was not seen to be met again"
    if story.began is None:
        return f"at least {span(story.closed - story.opened)}: when it began is unknown"
    return f"{span(story.closed - story.began)}, from when it began to the end of the incident"


def factors(story: Story, earlier: Sequence[Earlier] = ()) -> list[str]:
    """What contributed, each from a row of the incident."""
    return [short(one, LONG) for one in (*_of_the_tree(story), *_of_the_course(story), *_of_the_past(story, earlier))]


def _of_the_tree(story: Story) -> Iterator[str]:
    cause = story.root.node if story.root else None
    for spot in story.spots:
        if spot.status in ("unhealthy", "degraded") and spot.name != cause:
            yield f"{spot.name} was {spot.status} too: {spot.reason}"
    if story.root and story.root.tied_with:
        yield f"{story.root.node} could not be told apart from {', '.join(story.root.tied_with)}"
    if story.gaps:
        yield f"{many(len(story.gaps), 'thing')} could not be looked at, so other causes are not ruled out"


def _of_the_course(story: Story) -> Iterator[str]:
    if story.began is not None and story.opened - story.began >= _LATE:
        yield f"it was detected {span(story.opened - story.began)} after it began"
    spent = time_in(story)
    if spent.get("asking", 0.0) >= _LONG_WAIT:
        yield f"it waited {span(spent['asking'])} for a human's answer"
    if spent.get("waiting", 0.0) >= _LONG_WAIT:
        yield f"it waited {span(spent['waiting'])} for policy, the plan or another incident"
    if any(q.granted is None for q in story.questions) and story.question is None:
        yield "a question to a human was not answered"
    yield from (f"an action did not work: {acted(one)}" for one in story.actions if one.outcome == "failed")
    yield from (f"an action may have run or not: {acted(one)}" for one in story.actions if one.outcome == "unknown")
    if story.proof is not None and story.proof.result != "holds":
        yield f"the fix did not prove itself: {story.proof.result}: {story.proof.reason}"


def _of_the_past(story: Story, earlier: Sequence[Earlier]) -> Iterator[str]:
    same = [one for one in earlier if story.root is not None and one.root_node == story.root.node]
    if same and story.root is not None:
        last = f"incident {same[0].number} on {day(same[0].opened)}"
        yield f"{story.root.node} was the root cause of {many(len(same), 'earlier incident')}, the last {last}"
    for one in earlier:
        if one.result == "returned":
            yield f"the fix of incident {one.number} did not last"


def items(story: Story) -> list[Line]:
    """What is left to do. Nobody is named: who does it is for people to say."""
    return [Line(short(one.text, LONG), one.code) for one in _items(story)]


def _items(story: Story) -> Iterator[Line]:
    node = story.root.node if story.root else None
    for one in story.actions:
        if one.outcome == "unknown":
            yield Line(f"Find out whether {one.action} at {one.node} ran, before it is run again.")
    if story.over and story.ending not in ("resolved", "no_fault_found", "merged"):
        yield Line(f"Mend {node or story.sla} by hand and see that {story.sla} is met: treewalk did not do it.")
    yield from (Line(f"As the diagnosis asks: {one}") for one in story.help[:5])
    for lesson in story.lessons:
        if lesson.trust == "candidate":
            yield Line(f"Review what was learned ({lesson.id}):", f"treewalk memory show {lesson.id}")
    if story.known is None and not story.lessons and node is not None:
        yield Line(f"Write a known error for {node}, so that it is recognised the next time.")
    for gap in story.gaps[:5]:
        yield Line(f"Make {gap.node or story.sla} observable ({gap.what}): {gap.why}")
    if node is not None:
        yield Line(f"Decide which of the proposals for {node} are taken, and who does them.")
