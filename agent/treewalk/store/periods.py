"""What the store knows of a stretch of time. Reads only, a page at a time."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from treewalk.model.period import Case, ModelUse, PeriodFacts, Question, Rows, Shared, TriedFix, period
from treewalk.store.database import Database

MOST = 5000  # incidents that are read, the newest
_PAGE = 50  # with their documents
_AFTER = 86400.0  # seconds after the end in which an incident may open whose violation began before
_CASES = (
    "SELECT number, sla, opened, closed, status, state, ending, severity, root_node, known_error, document"
    " FROM incidents WHERE state != 'diagnosed' AND opened < ? AND (closed IS NULL OR closed >= ?)"
    " AND number < ? ORDER BY number DESC LIMIT ?"
)
_MANY = (
    "SELECT count(*) AS many FROM incidents WHERE state != 'diagnosed' AND opened < ?"
    " AND (closed IS NULL OR closed >= ?)"
)
_SHARED = (
    "SELECT s.incident, s.sla, s.since, coalesce(m.status, i.status) AS status FROM incident_slas s"
    " JOIN incidents i ON i.number = s.incident"
    " LEFT JOIN incidents m ON m.sla = s.sla AND m.ending = 'merged' AND m.closed = s.since"
    " WHERE s.incident >= ? AND s.incident <= ? ORDER BY s.incident, s.since, s.sla"
)
_FIRST_ALERTS = (  # an alert without a time of its own is kept with the time at which it came
    "SELECT l.incident, min(a.starts) AS began FROM alert_incidents l JOIN alerts a ON a.id = l.alert"
    " WHERE l.incident >= ? AND l.incident <= ? AND a.status = 'firing' AND a.starts < a.received GROUP BY l.incident"
)
_AUDIT = (
    "SELECT seq, kind, data FROM audit WHERE kind IN ('decision', 'prompt') AND at >= ? AND at < ? AND seq > ?"
    " ORDER BY seq LIMIT ?"
)
_ACTIONS = (
    "SELECT action, coalesce(outcome, 'begun') AS outcome, count(*) AS many FROM ledger"
    " WHERE intent_at >= ? AND intent_at < ? GROUP BY 1, 2"
)
_QUESTIONS = (
    "SELECT a.asked, a.expires, a.granted, a.decided, i.closed FROM approvals a"
    " LEFT JOIN incidents i ON i.number = a.incident"
    " WHERE a.asked < ? AND a.expires >= ? ORDER BY a.asked LIMIT ?"
)
_FIXES = (
    "SELECT incident, sla, node, known_error, playbook, result FROM fixes WHERE at >= ? AND at < ? ORDER BY id LIMIT ?"
)
_ALERTS = (
    "SELECT sla, count(*) AS many FROM (SELECT DISTINCT a.id, i.sla FROM alerts a"
    " JOIN alert_incidents l ON l.alert = a.id JOIN incidents i ON i.number = l.incident"
    " WHERE a.received >= ? AND a.received < ? AND a.status = 'firing') AS came GROUP BY sla"
)
_CAME = (
    "SELECT count(*) AS many, sum(CASE WHEN mapped = 0 THEN 1 ELSE 0 END) AS unmapped FROM alerts"
    " WHERE received >= ? AND received < ? AND status = 'firing'"
)


class Periods:
    """Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def period(self, start: float, end: float, now: float | None = None) -> PeriodFacts:
        """What happened from `start` up to, not including, `end`, or up to now (else this machine's clock says it)."""
        at = time.time() if now is None else now
        return period(self.rows(start, max(start, min(end, at))), start, end, at)

    def rows(self, start: float, end: float) -> Rows:
        """What is written down about a period."""
        cases = tuple(self._cases(start, end))
        decisions, model = self._audit(start, end)
        query = self.database.query
        came = query(_CAME, [start, end])[0]
        many = int(query(_MANY, [end + _AFTER, start])[0]["many"])
        return Rows(
            cases=cases,
            decisions=decisions,
            actions={(r["action"], r["outcome"]): int(r["many"]) for r in query(_ACTIONS, [start, end])},
            questions=tuple(_question(row) for row in query(_QUESTIONS, [end, start, MOST])),
            fixes=tuple(_fix(row) for row in query(_FIXES, [start, end, MOST])),
            alerts={row["sla"]: int(row["many"]) for row in query(_ALERTS, [start, end])},
            came=int(came["many"]),
            unmapped=int(came["unmapped"] or 0),
            model=model,
            left_out=max(0, many - len(cases)),
        )

    def _cases(self, start: float, end: float) -> Iterator[Case]:
        """Incidents that were open at some time of the period, and those just after it whose trouble began in it."""
        before, left = 2**62, MOST
        while left > 0:
            page = min(_PAGE, left)
            rows = self.database.query(_CASES, [end + _AFTER, start, before, page])
            if not rows:
                return
            first, last = rows[-1]["number"], rows[0]["number"]
            shared: dict[int, list[Shared]] = {}
            for row in self.database.query(_SHARED, [first, last]):
                one = Shared(row["sla"], float(row["since"]), row["status"])
                shared.setdefault(int(row["incident"]), []).append(one)
            began = {r["incident"]: float(r["began"]) for r in self.database.query(_FIRST_ALERTS, [first, last])}
            for row in rows:
                yield _case(row, began.get(row["number"]), shared.get(row["number"], ()))
            if len(rows) < page:
                return
            before, left = first, left - len(rows)

    def _audit(self, start: float, end: float) -> tuple[Mapping[tuple[str, str], int], ModelUse]:
        decisions, after = Counter[tuple[str, str]](), 0
        asked = tokens_in = tokens_out = 0
        cost = 0.0
        while rows := self.database.query(_AUDIT, [start, end, after, _PAGE]):
            for row in rows:
                data = json.loads(row["data"])
                if row["kind"] == "decision":
                    decisions[str(data.get("tier", "unknown")), str(data.get("ruling", "unknown"))] += 1
                    continue
                asked += 1
                tokens_in += int(_number(data.get("tokens_in")) or 0)
                tokens_out += int(_number(data.get("tokens_out")) or 0)
                cost += _number(data.get("cost")) or 0.0
            after = rows[-1]["seq"]
        return decisions, ModelUse(asked, tokens_in, tokens_out, cost)


def _case(row: Mapping[str, Any], alerted: float | None, shared: Sequence[Shared]) -> Case:
    found = json.loads(row["document"]) if row["document"] else {}
    onset = _number(found.get("onset"))
    told = [at for at in (alerted, onset) if at is not None]
    known = row["status"] != "unknown" or row["root_node"] is not None or row["known_error"] is not None
    return Case(
        number=int(row["number"]),
        sla=row["sla"],
        opened=float(row["opened"]),
        closed=_number(row["closed"]),
        status=row["status"],
        state=row["state"],
        ending=row["ending"],
        severity=row["severity"],
        root_node=row["root_node"],
        known_error=row["known_error"],
        diagnosed=bool(found) or known,  # the document of an old incident may have been removed
        in_window=found.get("in_window") is not False,
        began=min(told, default=None),
        onset=onset,
        shared=tuple(shared),
    )


def _question(row: Mapping[str, Any]) -> Question:
    granted = None if row["granted"] is None else bool(row["granted"])
    return Question(
        float(row["asked"]), float(row["expires"]), granted, _number(row["decided"]), _number(row["closed"])
    )


def _fix(row: Mapping[str, Any]) -> TriedFix:
    name = row["known_error"] or row["playbook"] or "?"
    return TriedFix(int(row["incident"]), row["sla"], row["node"], name, row["result"])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
