"""What there is to tell of an incident, as sections of lines. Pure; whatever is said has a field of the story behind.

Lines are plain data: the templates escape them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from treewalk.model.acting import UNMET
from treewalk.model.story import Done, Fact, Recognised, Story, Value
from treewalk.reporting.wording import clock, many, short, span, word

LONG = 240  # characters of a line in a message
_OUTCOMES = {"done": "done", "failed": "failed", "unknown": "nobody knows whether it ran", None: "still running"}
_STATES = {
    "open": "is open",
    "diagnosing": "is being looked at",
    "planned": "has a plan",
    "waiting": "waits",
    "asking": "asks a human",
    "acting": "is being fixed",
    "verifying": "is being proven",
    "diagnosed": "was diagnosed",
}
_ENDINGS = {
    "escalated": "needs a human",
    "refused": "was not fixed",
    "cancelled": "was cancelled",
    "no_fault_found": "ended: no fault found",
    "not_resolved": "is not resolved",
    "merged": "is part of another incident",
    "rehearsed": "was rehearsed",
}
_SLA = {"met": "is met", "violated": "is violated", "unknown": "could not be measured"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `code` is a command or a query that stands after the text, as it is to be typed."""

    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under a label."""

    label: str
    lines: tuple[Line, ...]


def section(label: str, texts: Iterable[str | Line | None], most: int | None = None) -> list[Section]:
    """A section of what there is, with how many lines were left out; none where there is nothing."""
    lines = [one if isinstance(one, Line) else Line(one) for one in texts if one]
    kept = lines if most is None else lines[:most]
    if len(lines) > len(kept):
        kept = [*kept, Line(f"and {many(len(lines) - len(kept), 'more', 'more')}")]
    return [Section(label, tuple(kept))] if kept else []


def headline(story: Story) -> str:
    """The whole incident in one line."""
    grave = f"{story.severity} incident" if story.severity else "Incident"
    cause = f"; root cause: {story.root.node}" if story.root else ""
    if story.diagnosed is not None and story.root is None and story.ending != "no_fault_found":
        cause = "; no root cause found"
    return short(f"{grave} {story.number}: {story.sla} {how(story)}{cause}", 300)


def how(story: Story) -> str:
    """How it stands or ended, as the end of a sentence."""
    if story.ending == "merged" and story.merged_into is not None:
        return f"is part of incident {story.merged_into}"
    if story.ending == "resolved":
        took = f" in {span(story.closed - story.opened)}" if story.closed is not None else ""
        return f"is resolved{took}"
    if story.ending:
        return _ENDINGS.get(story.ending, word(story.ending))
    return _STATES.get(story.state, word(story.state))


def state(story: Story) -> str:
    """The state or ending with its time and reason."""
    if story.ending:
        why = f": {story.why}" if story.why else ""
        at = f" at {clock(story.closed)}" if story.closed is not None else ""
        return f"{word(story.ending)}{at}{why}"
    turn = next((m for m in reversed(story.timeline) if m.kind == story.state), None)
    return f"{story.state} since {clock(turn.at)}: {turn.text}" if turn else story.state


def fired(story: Story, most: int = 2) -> list[Section]:
    """The alerts; where there are none, why the incident was opened."""
    if not story.alerts:
        return section("Opened", [f"{clock(story.opened)}: {story.cause or 'nobody said why'}"])
    texts = []
    for a in story.alerts:
        often = f", {a.seen} times" if a.seen > 1 else ""
        said = f": {a.summary}" if a.summary and a.summary != a.name else ""
        texts.append(short(f"{a.name} from {a.source} at {clock(a.received)}{often}, {a.status}{said}", LONG))
    return section("Fired", texts, most)


def measured(story: Story) -> list[Section]:
    """The SLA's own number when it was diagnosed."""
    m = story.measured
    if m is None:
        return section("Measured", [f"unknown: {absent(story)}" if story.over else "not yet"])
    number = f"{m.shown} against a limit of {m.limit or 'none'}" if m.shown else "no number"
    reason = f" ({m.reason})" if m.reason else ""
    if m.shown and m.shown in m.reason:
        number, reason = m.reason, ""
    since = f", since {clock(m.onset)}" if m.onset is not None else ""
    outside = "" if m.in_window else ", outside of its window"
    return section("Measured", [short(f"{story.sla} {_SLA[m.status]}: {number}{reason}{since}{outside}", LONG)])


def absent(story: Story) -> str:
    """Why there is no diagnosis."""
    return "its documents were removed when they were old" if story.pruned else "it was not diagnosed"


def blamed(story: Story) -> list[Section]:
    """The root cause, the way to it, and the known error."""
    root = story.root
    if root is None:
        if story.ending == "no_fault_found":
            return []
        looked = story.diagnosed is not None
        said = "no node explains it" if looked else absent(story) if story.over else "not known yet"
        return section("Root cause", [said if said == "not known yet" else f"unknown: {said}"])
    tied = f"; equally likely: {', '.join(root.tied_with)}" if root.tied_with else ""
    basis = f"{root.basis}, confidence {root.confidence:.2f}"
    found = section("Root cause", [short(f"{root.node}: {root.reason} ({basis}){tied}", LONG)])
    if len(root.path) > 1:
        found += section("Way to it", [" → ".join((story.sla, *root.path))])
    return found + (section("Known error", [recognised(story.known)]) if story.known else [])


def recognised(known: Recognised) -> str:
    """A known error in a line."""
    told = ", ".join(one for one in (known.category, known.severity, known.trust) if one)
    return short(f"{known.id}: {known.root_cause}" + (f" ({told})" if told else ""), LONG)


def evidence(story: Story, most: int = 3, *, all: bool = False) -> list[Section]:
    """What the root cause rests on; with `all`, everything that was seen."""
    texts = [fact(one) for one in sorted(story.evidence, key=lambda one: not one.cited) if all or one.cited]
    return section("Evidence", texts, most)


def fact(one: Fact) -> str:
    """A piece of evidence in a line."""
    sample = f', such as "{short(one.samples[0], 100)}"' if one.samples else ""
    cut = " (the source cut its answer)" if one.truncated else ""
    return short(f"{one.node or one.source}: {one.summary}{sample}{cut}", LONG)


def unknown(story: Story, most: int = 2) -> list[Section]:
    """What could not be looked at."""
    return section("Unknown", [short(f"{g.node or story.sla}: {g.what}: {g.why}", LONG) for g in story.gaps], most)


def planned(story: Story) -> list[Section]:
    """The plan and its steps."""
    if story.plan is None:
        return []
    steps = ", then ".join(_step(story, index) for index in range(len(story.steps)))
    title = story.plan if not story.playbook or story.playbook == story.plan else f"{story.plan} ({story.playbook})"
    return section("Plan", [short(f"{title}: {steps}" if steps else title, LONG)])


def _step(story: Story, index: int) -> str:
    step = story.steps[index]
    if step.kind == "wait":
        return f"wait {span(step.seconds)}"
    return step.kind if step.kind == "verify" else f"{step.kind} at {step.node}"


def answered(story: Story) -> list[Section]:
    """What was asked, and what was said; what did not count is said too."""
    texts: list[str] = []
    for q in story.questions:
        if q.granted is not None:
            given = f"{'approved' if q.granted else 'denied'} by {q.who or 'unknown'} ({q.via or 'unknown'})"
            at = f" at {clock(q.decided)}" if q.decided is not None else ""
            texts.append(short(f"{q.question}: {given}{at}", LONG))
        elif story.question is q:
            texts.append(short(f"{q.question}: waits for an answer until {clock(q.expires)}", LONG))
        else:
            texts.append(short(f"{q.question}: nobody answered", LONG))
    for u in story.uncounted:
        gave = "approval" if u.granted else "denial"
        texts.append(short(f"the {gave} of {u.who} ({u.via}) does not count: {u.why}", LONG))
    return section("Asked", texts, 4)


def done(story: Story, most: int = 6) -> list[Section]:
    """What was done, and what came of it."""
    if not story.actions:
        return section("Done", ["nothing"]) if story.over else []
    return section("Done", [short(acted(one), LONG) for one in story.actions], most)


def acted(one: Done) -> str:
    """An action in a line."""
    said = f": {one.summary}" if one.summary else ""
    return f"{one.action} at {one.node} ({_OUTCOMES.get(one.outcome, one.outcome)}){said}"


def proven(story: Story, most: int = 4) -> list[Section]:
    """The proof with what was looked at before and after."""
    proof = story.proof
    if proof is None:
        return section("Proof", ["none: it was not proven"]) if story.actions and story.over else []
    return section("Proof", [short(f"{proof.result}: {proof.reason}", LONG), *map(compared, proof.values)], most + 1)


def compared(value: Value) -> str:
    """One thing before and after."""
    return short(f"{value.name}: {value.before or 'not looked at'} → {value.after or 'not looked at'}", LONG)


def remembered(story: Story) -> list[Section]:
    """What stays in the memory of it."""
    texts: list[str | Line] = []
    for lesson in story.lessons:
        review = f"treewalk memory promote {lesson.id}" if lesson.trust == "candidate" else ""
        texts.append(Line(f"learned {lesson.id}, {lesson.trust} now" + ("; to trust it:" if review else ""), review))
    if story.record is not None and story.known is not None:
        r = story.record
        did = f"its fix won {r.wins} of {r.fires}" if r.fires else "its fix never ran"
        texts.append(f"{story.known.id} was met {many(r.met, 'time')}; {did}")
    if story.fix:
        texts.append(f"this fix: {story.fix}")
    return section("Remembered", texts)


def timeline(story: Story, most: int) -> list[Section]:
    """The last lines of the timeline."""
    lines: Sequence[str] = [short(f"{clock(m.at)} {m.kind}: {m.text}", LONG) for m in story.timeline]
    left = len(lines) - most
    head = [f"{many(left, 'line')} before"] if left > 0 else []
    return section("Timeline", [*head, *lines[-most:]])


def next_step(story: Story) -> list[Section]:
    """What a human is to do now, where there is anything."""
    asked = story.question
    if asked is not None:
        until = f"until {clock(asked.expires)}; silence approves nothing:"
        return section("You decide", [Line(until, f"treewalk approve {story.number}")])
    if story.ending in UNMET:
        texts = [Line(short(one, LONG)) for one in story.help[:3]]
        if any(one.outcome == "unknown" for one in story.actions):
            texts.append(Line("find out whether the action of unknown outcome ran, before anything is run again"))
        texts.append(Line("everything about it:", f"treewalk incidents postmortem {story.number}"))
        return section("To do", texts)
    return []
