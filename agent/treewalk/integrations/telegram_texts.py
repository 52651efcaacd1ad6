"""What stands in Telegram's messages: the story with its question, the buttons, answers to commands. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from treewalk.integrations.telegram_html import LONGEST, clean, escaped, fit
from treewalk.model.acting import Approval
from treewalk.model.message import Message
from treewalk.ports import Answer, Standing

Verb = Literal["approve", "deny", "details"]
SHOWN = 32  # characters of a plan's digest that a button carries: 128 bits
_MARKS: Mapping[str, Verb] = {"a": "approve", "d": "deny", "i": "details"}
_DATA = re.compile(r"([adi]):(\d{1,18}):([0-9a-f]{32})", re.ASCII)
_COMMAND = re.compile(r"/([A-Za-z]{1,32})(?:_(\d{1,18}))?(?:@(\w{1,64}))?(?:\s+(.*))?$", re.DOTALL | re.ASCII)
HELP = (
    "/status: the kill switch, incidents that live, what is asked\n"
    "/incidents: the newest ten\n"
    "/seen number: you have seen an incident, and nobody else need be told\n"
    "/kill why: stop everything, now\n"
    "/revive: let things run again\n"
    "Plans are approved by the buttons below them."
)


@dataclass(frozen=True)
class Press:
    """What a button says when it is pressed. `digest` is the beginning of the plan's."""

    verb: Verb
    number: int
    digest: str


def buttons(message: Message) -> list[list[tuple[str, str]]]:
    """The buttons of a message, row by row: label and data. None where nothing is asked."""
    asked = message.question
    if asked is None:
        return []
    data = f"{asked.incident}:{asked.digest[:SHOWN]}"
    return [[("Approve", f"a:{data}"), ("Deny", f"d:{data}")], [("Details", f"i:{data}")]]


def pressed(data: str) -> Press | None:
    """The button of which this is the data, or None for what treewalk never gave a button."""
    found = _DATA.fullmatch(data)
    return Press(_MARKS[found[1]], int(found[2]), found[3]) if found else None


def command(text: str) -> tuple[str, str, str] | None:
    """A command in small letters, the bot that it is for (or nothing), and what follows it (`/seen_7` is `/seen 7`)."""
    found = _COMMAND.match(text)
    return (found[1].lower(), found[3] or "", f"{found[2] or ''} {found[4] or ''}".strip()) if found else None


def body(message: Message) -> str:
    """A message's text as Telegram's HTML. The question is never cut."""
    tail = ""
    if message.kind == "escalation" and message.incident is not None:
        tail = f"\n\n/seen_{message.incident}: I have seen it"
    if (asked := message.question) is not None:
        tail = (
            f"\n\n<b>May this be done?</b> {escaped(asked.text, 1000)}\n"
            f"until {moment(asked.expires)} · plan <code>{escaped(asked.digest[:12])}</code>"
        )
    title = " ".join(clean(message.rendered.title).split())
    story = message.rendered.html
    told = fit(story)
    if title and escaped(title) not in told:
        story = f"<p><b>{escaped(title, 300)}</b></p>{story}"
        told = ""
    found = fit(story, LONGEST, tail) if tail or not told else told
    return found or escaped(message.rendered.text, LONGEST) or "…"


def moment(at: float) -> str:
    """A time for people. Chats have no time zone of their own."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def decided(approval: Approval) -> str:
    """The line that is added to a message when somebody has decided."""
    mark, what = ("✅", "Approved") if approval.granted else ("⛔", "Denied")
    return f"{mark} <b>{what}</b> by {escaped(approval.who, 200)}, {moment(approval.at)}"


def reply(answer: Answer, number: int, who: str, granted: bool) -> tuple[str, bool]:
    """What the one who pressed is told, in one line, and whether they have to confirm it."""
    given = answer.approval
    if answer.result == "recorded" and given is not None:
        return f"Incident {number}: {'approved' if given.granted else 'denied'}.", False
    if answer.result == "already" and given is not None:
        what = "approved" if given.granted else "denied"
        if (given.who, given.granted) == (who, granted):  # pressed twice, or handled twice
            return f"Incident {number}: {what} by you, {moment(given.at)}.", False
        return f"Already decided by {given.who}: {what}, {moment(given.at)}. Yours does not count.", True
    if answer.result == "expired":
        return f"Too late: what incident {number} asked has expired or is over. Nothing is done.", True
    if answer.result == "read-only":
        return "Nothing can be approved: treewalk only looks now. It has been noted.", True
    if answer.result == "not allowed":
        return "You are not among those who may approve (policy.approval.approvers). It has been noted.", True
    return f"This is not the plan that incident {number} asks about. Nothing is done.", True


def standing(found: Standing) -> str:
    """The answer to /status."""
    lines = [
        f"kill switch: <b>ON</b>: {escaped(found.killed, 300)}" if found.killed is not None else "kill switch: off",
        f"read only: {'yes' if found.read_only else 'no'}",
        f"incidents that live: {len(found.living)}",
        *(_living(one) for one in found.living[:10]),
        *([f"  and {len(found.living) - 10} more"] if len(found.living) > 10 else []),
        f"questions: {len(found.questions)}",
        *(
            f"  {one['incident']}: {escaped(str(one['question']), 200)} (until {moment(one['expires'])})"
            for one in found.questions[:5]
        ),
    ]
    return "\n".join(lines)


def _living(one: Mapping[str, Any]) -> str:
    node = f" at {escaped(str(one['root_node']), 100)}" if one["root_node"] else ""
    return f"  {one['number']}: {escaped(str(one['sla']), 100)}, {one['state']}{node}, since {moment(one['opened'])}"


def listed(rows: Sequence[Mapping[str, Any]]) -> str:
    """The answer to /incidents."""
    lines = []
    for one in rows:
        node = f" at {escaped(str(one['root_node']), 100)}" if one["root_node"] else ""
        state = one["ending"] or one["state"]
        lines.append(f"{one['number']}: {escaped(str(one['sla']), 100)}, {state}{node}, {moment(one['opened'])}")
    return "\n".join(lines) or "there is none"


def details(found: Mapping[str, Any]) -> str:
    """The plan of an incident step by step, and what happened so far."""
    life = found["life"]
    parts = [f"<b>Incident {found['number']}</b>: {escaped(str(found['sla']), 200)}, {life['ending'] or life['state']}"]
    if plan := life["plan"]:
        parts.append(f"<b>Plan</b> {escaped(plan['title'], 200)} at {escaped(plan['node'], 100)}")
        parts += [_step(n, one) for n, one in enumerate(plan["steps"][:15], 1)]
        if len(plan["steps"]) > 15:
            parts.append(f"and {len(plan['steps']) - 15} steps more")
    parts.append("<b>So far</b>")
    parts += [f"{moment(row['at'])[11:19]} {escaped(row['text'], 200)}" for row in found["timeline"][-8:]]
    while len(parts) > 2 and sum(len(part) + 1 for part in parts) > LONGEST:
        parts.pop()
    return "\n".join(parts)


def _step(number: int, step: Mapping[str, Any]) -> str:
    given = ", ".join(f"{key}={value}" for key, value in (step.get("params") or {}).items())
    return f"{number}. <code>{escaped(step['kind'], 100)}</code> at {escaped(step['node'], 100)} {escaped(given, 300)}"
