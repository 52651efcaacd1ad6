"""Alerts that came in: kept once each, and given to the living incident of their SLA or to a new one.

Taking alerts in is one transaction, so that whoever was told "accepted" can rely on it, and whoever was not may send
the same again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treewalk.model.acting import canonical
from treewalk.model.alert import Alert, gravity
from treewalk.model.redact import redact
from treewalk.stages.route import Route
from treewalk.store import unmet
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, Writer

AGAIN = 600.0  # seconds in which the same alert without a time of its own is a repetition, whatever became of it
UNMET = 14400.0  # seconds in which an incident that ended takes further alerts of its unmet SLA
_NAMED = 5  # alerts that a timeline's line names; the rest are counted


@dataclass
class Accepted:
    """What became of one message: new alerts and repeated ones, those of no SLA, incidents opened and joined, and which
    of these had ended already and left their SLA unmet."""

    new: int = 0
    repeated: int = 0
    unmapped: int = 0
    opened: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    ended: set[int] = field(default_factory=set, compare=False)


@dataclass(frozen=True)
class _Row:
    """An alert as it is kept: its place in the table, and when its episode began."""

    id: int
    starts: float


class Inbox:
    """The table of alerts. Every method raises StoreError; times are Unix seconds.

    `bound` gives the seconds in which an incident that ended takes further alerts of its unmet SLA.
    """

    def __init__(self, database: Database, bound: Callable[[], float] = lambda: UNMET) -> None:
        self.database, self._cases, self._bound = database, Casebook(database), bound

    def accept(self, messages: Sequence[Sequence[Alert]], route: Callable[[Alert], Route], at: float) -> list[Accepted]:
        """Take in the alerts of several messages in one transaction, committed to disk when this returns.

        The same event again (source, fingerprint, start, status) makes nothing new. An alert that fires is attached to
        the living incident of its SLA, or to the one that ended without mending it, as long as it was not met since;
        or opens one. One that is resolved writes a line there and opens nothing; one of no SLA is kept.
        """
        with self.database.writing() as db:
            return [self._message(db, alerts, route, at) for alerts in messages]

    def _message(self, db: Writer, alerts: Iterable[Alert], route: Callable[[Alert], Route], at: float) -> Accepted:
        result = Accepted()
        lines: dict[tuple[int, str], list[Alert]] = {}
        for alert in alerts:
            found = route(alert)
            row = _keep(db, alert, found, at, at - self._bound())
            if row is None:
                result.repeated += 1
                continue
            result.new += 1
            result.unmapped += not found.slas
            for number in self._incidents(db, alert, row, found, at, result):
                db.execute("INSERT INTO alert_incidents (alert, incident) VALUES (?, ?)", [row.id, number])
                lines.setdefault((number, alert.status), []).append(alert)
        for (number, status), told in lines.items():
            kind = "alert" if status == "firing" else "alert resolved"
            data = {"alerts": len(told), "source": told[0].source}
            self._cases.note_within(db, number, kind, _line(told), at, data)
            if status == "resolved":
                if unmet.calm(db, number):
                    self._cases.note_within(db, number, "calm", "none of its alerts fires any more", at)
            elif number in result.ended:
                self._worsen(db, number, told, at)
        return result

    def _worsen(self, db: Writer, number: int, told: Sequence[Alert], at: float) -> None:
        """Say so where an incident that ended is given a graver alert than all before."""
        worst = max(told, key=lambda alert: gravity(alert.labels))
        if unmet.worsened(db, number, gravity(worst.labels)):
            text = f"{worst.source}: {worst.title}: graver than what was told before"
            self._cases.note_within(db, number, "worse", text, at)

    def _incidents(
        self, db: Writer, alert: Alert, row: _Row, found: Route, at: float, result: Accepted
    ) -> tuple[int, ...]:
        """The incidents that a new alert belongs to; one that fires opens those that are missing."""
        if alert.status == "resolved":
            before = _incidents_of(db, alert, row.starts)
            living = (self._cases.living_within(db, sla) for sla in found.slas)
            return before or tuple(dict.fromkeys(n for n in living if n is not None))
        over = _is_over(db, alert, row.starts)
        numbers = []
        for sla in found.slas:
            number = self._cases.living_within(db, sla)
            if number is None and (left := unmet.left(db, sla, at - self._bound())) is not None:
                number = left.incident
                result.ended.add(number)
            if number is not None:
                _add(result.joined, number, result.opened)
            elif over:
                continue
            else:
                number = self._cases.open_within(db, sla, f"{alert.source}: {alert.title}", at)
                result.opened.append(number)
            numbers.append(number)
        return tuple(dict.fromkeys(numbers))

    def met(self, sla: str, at: float) -> None:
        """An SLA was measured and is met: what comes about it from now on is something new."""
        if self.database.query("SELECT 1 AS one FROM unmet WHERE sla = ? AND since < ?", [sla, at]):
            with self.database.writing() as db:
                unmet.met(db, [sla], at)

    def of(self, number: int) -> list[Mapping[str, Any]]:
        """The alerts of an incident, in the order in which they came."""
        rows = self.database.query(
            "SELECT alerts.* FROM alerts JOIN alert_incidents ON alerts.id = alert_incidents.alert"
            " WHERE alert_incidents.incident = ? ORDER BY alerts.id LIMIT 1000",
            [number],
        )
        return [shown(row) for row in rows]

    def unmapped(self, limit: int) -> list[Mapping[str, Any]]:
        """The newest alerts that meant no SLA, each with why (`because`) and the line to add (`hint`)."""
        rows = self.database.query("SELECT * FROM alerts WHERE mapped = 0 ORDER BY id DESC LIMIT ?", [limit])
        return [shown(row) for row in rows]

    def firing(self, source: str) -> Mapping[str, float]:
        """The alerts of one source that fire still, by fingerprint, and since when (Unix seconds)."""
        rows = self.database.query(
            "SELECT fingerprint, starts, status FROM alerts WHERE source = ? AND starts ="
            " (SELECT max(a.starts) FROM alerts a WHERE a.source = alerts.source"
            " AND a.fingerprint = alerts.fingerprint)",
            [source],
        )
        over = {row["fingerprint"] for row in rows if row["status"] == "resolved"}
        return {row["fingerprint"]: float(row["starts"]) for row in rows if row["fingerprint"] not in over}

    def mended(self, source: str, fingerprint: str, starts: float) -> bool:
        """Whether all incidents of an alert that fired are over, and each with its SLA met."""
        rows = self.database.query(
            "SELECT i.state, i.ending FROM alerts a JOIN alert_incidents l ON l.alert = a.id"
            " JOIN incidents i ON i.number = l.incident"
            " WHERE a.source = ? AND a.fingerprint = ? AND a.starts = ? AND a.status = 'firing'",
            [source, fingerprint, starts],
        )
        met = ("resolved", "no_fault_found")
        return bool(rows) and all(row["state"] == "closed" and row["ending"] in met for row in rows)

    def waiting(self) -> Sequence[int]:
        """Incidents that were opened and that nobody began to work on, oldest first."""
        return [
            r["number"] for r in self.database.query("SELECT number FROM incidents WHERE state = 'open' ORDER BY 1")
        ]

    def incidents_by_state(self) -> Mapping[str, int]:
        """How many incidents there are in each state."""
        rows = self.database.query("SELECT state, count(*) AS many FROM incidents GROUP BY state")
        return {row["state"]: int(row["many"]) for row in rows}


def _add(numbers: list[int], number: int, but: Sequence[int]) -> None:
    if number not in numbers and number not in but:
        numbers.append(number)


def _keep(db: Writer, alert: Alert, found: Route, at: float, unmet_since: float) -> _Row | None:
    """The new row of an alert, or None when it is there already."""
    starts = alert.starts_at if alert.starts_at is not None else _episode(db, alert, at, unmet_since)
    repeated = db.execute(
        "UPDATE alerts SET seen = seen + 1, last_seen = ? WHERE source = ? AND fingerprint = ? AND starts = ?"
        " AND status = ?",
        [at, alert.source, alert.fingerprint, starts, alert.status],
    )
    if repeated:  # most of a storm: told before anything is redacted, which costs more than all the rest
        return None
    rows = db.query(
        "INSERT INTO alerts (source, fingerprint, starts, status, name, summary, document, received, last_seen, seen,"
        " mapped, because, hint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?) RETURNING id",
        [
            alert.source,
            alert.fingerprint,
            starts,
            alert.status,
            redact(alert.name),
            redact(alert.summary),
            redact(canonical({"labels": dict(alert.labels), "annotations": dict(alert.annotations)})),
            at,
            at,
            int(bool(found.slas)),
            redact(found.because),
            redact(found.hint),
        ],
    )
    return _Row(int(rows[0]["id"]), starts)


def _episode(db: Writer, alert: Alert, at: float, unmet_since: float) -> float:
    """When the episode of an alert without a time of its own began, as far as it can be known.

    Resolved: with the last one that fired. Firing: again with the last one, when that is not resolved and its incident
    lives, or left its SLA unmet, or it came a moment ago (its sender may never say "resolved", and may send again what
    it thinks was lost).
    """
    rows = db.query(
        "SELECT id, starts, status, last_seen FROM alerts WHERE source = ? AND fingerprint = ?"
        " ORDER BY id DESC LIMIT 1",
        [alert.source, alert.fingerprint],
    )
    if not rows:
        return at
    last = rows[0]
    if alert.status == "resolved":
        return float(last["starts"])
    if last["status"] == "resolved":
        return max(at, float(last["starts"]) + 1e-3)
    living = db.query(
        "SELECT 1 AS one FROM alert_incidents JOIN incidents ON incidents.number = alert_incidents.incident"
        " WHERE alert_incidents.alert = ? AND (incidents.state NOT IN ('closed', 'diagnosed')"
        " OR EXISTS (SELECT 1 FROM unmet WHERE unmet.incident = incidents.number AND unmet.since > ?)) LIMIT 1",
        [last["id"], unmet_since],
    )
    return float(last["starts"]) if living or at - float(last["last_seen"]) < AGAIN else at


def _incidents_of(db: Writer, alert: Alert, starts: float) -> tuple[int, ...]:
    """The incidents that the same alert was given when it began to fire."""
    rows = db.query(
        "SELECT incident FROM alert_incidents JOIN alerts ON alerts.id = alert_incidents.alert"
        " WHERE source = ? AND fingerprint = ? AND starts = ? AND status = 'firing' ORDER BY incident",
        [alert.source, alert.fingerprint, starts],
    )
    return tuple(int(row["incident"]) for row in rows)


def _is_over(db: Writer, alert: Alert, starts: float) -> bool:
    """Whether an alert that comes in as firing is known to have ended: messages may overtake one another."""
    return bool(
        db.query(
            "SELECT 1 AS one FROM alerts WHERE source = ? AND fingerprint = ? AND starts = ? AND status = 'resolved'",
            [alert.source, alert.fingerprint, starts],
        )
    )


def _line(told: Sequence[Alert]) -> str:
    names = ", ".join(dict.fromkeys(alert.name for alert in told[:_NAMED]))
    if len(told) == 1:
        return f"{told[0].source}: {told[0].title}"
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return f"{told[0].source}: {len(told)} alerts: {names}{more}"


def shown(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row for programs: the labels and annotations as data again."""
    try:
        document = json.loads(row["document"])
    except ValueError:  # redaction may have cut through the JSON; the text is shown rather than nothing
        document = {"text": row["document"]}
    return {**{k: v for k, v in row.items() if k != "document"}, **document, "mapped": bool(row["mapped"])}
