"""An incident as a message: how grave it is by the rules, whom it concerns, what is asked, and its text.

The text itself comes through a seam (`Render`), so that what is told and how it is worded are two things.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from treewalk.errors import StoreError, TreewalkError
from treewalk.model.expression import Value
from treewalk.model.message import Message, Question, Rendered, Severity
from treewalk.model.redact import redact
from treewalk.model.routing import left_to_a_human
from treewalk.model.schedule import Due
from treewalk.model.tree import Forest, Sla
from treewalk.model.triage import REPEATS_WITHIN, Graded, Triage, remaining, severity
from treewalk.model.window import DAYS
from treewalk.reporting.digests import daily, day_of, weekly
from treewalk.stages.blindness import Blind, Notice
from treewalk.stages.report import clock
from treewalk.store.database import Database
from treewalk.store.periods import Periods
from treewalk.store.stories import Stories

Render = Callable[[Mapping[str, Any]], Rendered]
_COLUMNS = "number, opened, sla, status, root_node, known_error, state, ending, why, closed, severity, digest, document"
_LINES = 12  # of a timeline, in a text
_NAMES, _BLIND = 5, 40  # SLAs in the title of a notice, and in its text


@dataclass(frozen=True)
class Teller:
    """Looks up incidents and says what there is to tell. `blast` counts the SLAs above a node."""

    database: Database
    forest: Forest
    triage: Triage
    blast: Callable[[str], int]
    timezone: str = "UTC"
    render: Render | None = None

    def incident(self, number: int, at: float) -> tuple[Graded, Message | None]:
        """How grave an incident is now, and its message; None while there is nothing to tell. Raises StoreError."""
        row = self._row(number)
        graded = severity(self.triage, self.facts(row))
        if row["state"] == "diagnosed" or (row["state"] != "closed" and not row["document"]):
            return graded, None
        row["severity"] = graded.severity
        row["timeline"] = self._timeline(number)
        row["slas"] = self._slas(row)
        question = self._question(row, at)
        return graded, Message(
            key=f"incident:{number}",
            kind="escalation" if left_to_a_human(row["ending"], row["timeline"]) else "incident",
            rendered=(self.render or plain)(row),
            severity=graded.severity,
            incident=number,
            slas=tuple(row["slas"]),
            tags=_tags(self.forest, row["slas"]),
            question=question,
            over=row["state"] == "closed",
            ending=row["ending"] if row["state"] == "closed" else None,
            worse=sum(one["kind"] == "worse" for one in row["timeline"]),
        )

    def graded(self, number: int, at: float) -> tuple[Graded, None]:
        """Only how grave it is, where there is nobody to tell."""
        return severity(self.triage, self.facts(self._row(number))), None

    def facts(self, row: Mapping[str, Any]) -> dict[str, Value]:
        """What rules of triage may ask about an incident, as far as it is known."""
        found = json.loads(row["document"]) if row["document"] else {}
        sla = self.forest.slas.get(row["sla"])
        cause = found.get("root_cause") or {}
        measured = found.get("measured")
        local = datetime.fromtimestamp(row["opened"], ZoneInfo(self.timezone))
        facts: dict[str, Value] = {
            "sla": row["sla"],
            "measured": _float(measured),
            "threshold": sla.threshold.limit if sla and sla.threshold else None,
            "remaining": remaining(_float(measured), sla.threshold if sla else None),
            "status": found.get("status"),
            "blast": self._blast(row["root_node"]),
            "slas": float(len(self._slas(row))),
            "repeats": float(self._repeats(row)),
            "known": row["known_error"],
            "category": cause.get("category"),
            "node": row["root_node"],
            "state": row["state"],
            "ending": row["ending"],
            "in_window": found.get("in_window"),
            "hour": float(local.hour),
            "day": DAYS[local.weekday()],
        }
        facts |= {f"tags.{key}": value for key, value in (sla.tags if sla else {}).items()}
        return facts | {f"window.{name}": w.contains(row["opened"]) for name, w in self.forest.windows.items()}

    def _row(self, number: int) -> dict[str, Any]:
        return dict(
            self.database.query(f"SELECT {_COLUMNS} FROM incidents WHERE number = ?", [number])[0]  # noqa: S608
        )

    def _timeline(self, number: int) -> Sequence[Mapping[str, Any]]:
        rows = self.database.query("SELECT at, kind, text, data FROM timeline WHERE incident = ? ORDER BY id", [number])
        return [{**row, "data": json.loads(row["data"])} for row in rows]

    def _slas(self, row: Mapping[str, Any]) -> list[str]:
        rows = self.database.query(
            "SELECT sla FROM incident_slas WHERE incident = ? ORDER BY since, sla", [row["number"]]
        )
        return list(dict.fromkeys([row["sla"], *(one["sla"] for one in rows)]))

    def _repeats(self, row: Mapping[str, Any]) -> int:
        rows = self.database.query(
            "SELECT count(*) AS many FROM incidents WHERE sla = ? AND number < ? AND opened >= ?"
            " AND state != 'diagnosed' AND (ending IS NULL OR ending != 'merged')",
            [row["sla"], row["number"], row["opened"] - REPEATS_WITHIN],
        )
        return int(rows[0]["many"])

    def _blast(self, node: str | None) -> float | None:
        try:
            return float(self.blast(node)) if node is not None else None
        except TreewalkError:  # the tree is another one since
            return None

    def _question(self, row: Mapping[str, Any], at: float) -> Question | None:
        if row["state"] != "asking" or row["digest"] is None:
            return None
        rows = self.database.query(
            "SELECT digest, question, expires FROM approvals"
            " WHERE incident = ? AND digest = ? AND granted IS NULL AND expires > ?",
            [row["number"], row["digest"], at],
        )
        return Question(row["number"], rows[0]["digest"], rows[0]["question"], rows[0]["expires"]) if rows else None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _tags(forest: Forest, slas: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found: list[Sla] = [forest.slas[name] for name in slas if name in forest.slas]
    return tuple(sorted({(key, value) for sla in found for key, value in sla.tags.items()}))


def plain(row: Mapping[str, Any]) -> Rendered:
    """A short text of an incident, where nothing better is wired in."""
    how = row["ending"] or row["state"]
    cause = f"; root cause: {row['root_node']}" if row["root_node"] else ""
    title = _line(f"{row['severity']} incident {row['number']}: {row['sla']} {how}{cause}")
    lines = [_line(f"{clock(one['at'])} {one['kind']}: {one['text']}") for one in row["timeline"][-_LINES:]]
    if row["ending"]:
        lines.append(_line(f"{row['ending']}: {row['why']}"))
    text = "\n".join([title, *(["SLAs: " + ", ".join(row["slas"])] if len(row["slas"]) > 1 else []), *lines])
    return rendered(title, text)


def rendered(title: str, text: str) -> Rendered:
    """A plain text in all three forms; in Markdown it stands in a code block, so that it stays text."""
    fenced = text.replace("`", "'")
    return Rendered(title, text, f"```\n{fenced}\n```\n", f"<pre>{escape(text)}</pre>")


def told_by(stories: Stories) -> Render:
    """The texts of incidents as reports tell them. What cannot be told so is told plainly: no message stays away
    because of its wording."""

    def told(row: Mapping[str, Any]) -> Rendered:
        from treewalk.reporting import incident

        try:
            return incident(replace(stories.story(row["number"]), severity=row["severity"]))
        except Exception as error:  # noqa: BLE001  whatever it is, people have to hear of the incident
            short = plain(row)
            return rendered(short.title, f"{short.text}\n(the whole text could not be made: {type(error).__name__})")

    return told


def digest_message(database: Database, one: Due, timezone: str = "UTC") -> Message:
    """The digest of a day or the summary of a week; `timezone` is whose days are counted. Raises StoreError."""
    day = day_of(one.start, one.end, timezone)
    try:
        told = (daily if one.kind == "daily" else weekly)(
            Periods(database).period(one.start, one.end, one.at), day, timezone
        )
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001  as above: people hear that there is something to look at
        title = f"treewalk: the {one.kind} digest of {day} could not be made ({type(error).__name__})"
        told = rendered(title, f"{title}\n`treewalk report {one.kind} --date {day} --debug` shows why.")
    return Message(one.key, one.kind, told, "P4", over=True)


def blind_message(notice: Notice) -> Message:
    """That SLAs cannot be measured, since when and why; at the end, that it is over."""
    names, over = sorted(notice.slas), notice.over
    measured = all(one.measured for one in notice.slas.values())
    left = [name for name in names if notice.slas[name].until is None]
    shown = ", ".join((left or names)[:_NAMES]) + (", …" if len(left or names) > _NAMES else "")
    end = "can be measured again" if measured else "can be measured again, or are watched no more"
    title = _line(f"treewalk: {'these SLAs ' + end if over else 'these SLAs cannot be measured'}: {shown}")[:300]
    lines = [_line(f"{name}: {_blind(notice.slas[name])}") for name in names[:_BLIND]]
    lines += [f"and {len(names) - _BLIND} more"] if len(names) > _BLIND else []
    lines += [] if over else ["Until then the watch notices no violation of them. `treewalk doctor` asks every source."]
    ending = "resolved" if over and measured else None
    told = rendered(title, "\n".join([title, *lines]))
    return Message(f"watch:{notice.begun:.3f}", "notice", told, "P2", slas=tuple(names), over=over, ending=ending)


def _blind(one: Blind) -> str:
    if one.until is None:
        return f"since {clock(one.since)}: {redact(one.why)[:300]}"
    return f"from {clock(one.since)} to {clock(one.until)}" + ("" if one.measured else ", then watched no more")


def trial_message(at: float, severity: Severity = "P4") -> Message:
    """What `treewalk notify test` sends."""
    title = f"treewalk: a test message of {clock(at)}"
    return Message(f"test:{at:.6f}", "notice", rendered(title, title + "\nNothing is wrong."), severity, over=True)


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:1000]
