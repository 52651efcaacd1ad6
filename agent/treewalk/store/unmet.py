"""SLAs that were left unmet: by which incident, which ended without mending them, and since when.

A human has that incident already. What comes in about its SLA is a line there until the SLA was met in between, or a
bound has passed (docs/decisions/108). One row an SLA, so that a storm costs one look-up by the primary key each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from treewalk.model.alert import gravity
from treewalk.store.database import Writer

ENDINGS = ("escalated", "refused", "not_resolved")
MET = ("resolved", "no_fault_found")
_MOST = 1000  # alerts that are looked through for the gravest


@dataclass(frozen=True, slots=True)
class Left:
    """The incident that an SLA was left unmet by, and how grave its gravest alert was so far (model/alert.py)."""

    incident: int
    gravest: int


def ended(db: Writer, number: int, ending: str, at: float) -> None:
    """Keep what the end of an incident says of its SLAs. Not unmet, where every alert of it is resolved already."""
    slas = _slas(db, number)
    if ending in MET:
        met(db, slas, at)
    elif ending in ENDINGS:
        gravest = _gravest(db, number)
        if gravest is None or not is_quiet(db, number):
            _leave(db, number, slas, at, gravest)


def joined(db: Writer, into: int) -> None:
    """An incident became a part of one that has ended: its SLAs are left by that one, for as long as its own are."""
    found = db.query("SELECT min(since) AS since FROM unmet WHERE incident = ?", [into])
    if found[0]["since"] is not None:
        _leave(db, into, _slas(db, into), float(found[0]["since"]), _gravest(db, into))


def left(db: Writer, sla: str, since: float) -> Left | None:
    """The incident that has left an SLA unmet after a time, if it was not met since. Not one without alerts of its own:
    nothing would tell of its end."""
    rows = db.query(
        "SELECT incident, gravest FROM unmet WHERE sla = ? AND since > ? AND gravest IS NOT NULL", [sla, since]
    )
    return Left(int(rows[0]["incident"]), int(rows[0]["gravest"])) if rows else None


def worsened(db: Writer, number: int, gravest: int) -> bool:
    """Whether an alert as grave as this is graver than all that an unmet incident had; kept, to tell it once."""
    return bool(
        db.execute("UPDATE unmet SET gravest = ? WHERE incident = ? AND gravest < ?", [gravest, number, gravest])
    )


def met(db: Writer, slas: Sequence[str], at: float) -> None:
    """These SLAs were met at a time (Unix seconds)."""
    for sla in slas:
        db.execute("DELETE FROM unmet WHERE sla = ? AND since <= ?", [sla, at])


def calm(db: Writer, number: int) -> bool:
    """When no alert of an incident fires any more, its SLAs are unmet no longer; whether they were until now."""
    if not db.query("SELECT 1 AS one FROM unmet WHERE incident = ? LIMIT 1", [number]) or not is_quiet(db, number):
        return False
    return bool(db.execute("DELETE FROM unmet WHERE incident = ?", [number]))


def is_quiet(db: Writer, number: int) -> bool:
    """Whether no alert of an incident fires still. One whose end was lost is over when a later episode of it is."""
    return not db.query(
        "SELECT 1 AS one FROM alert_incidents l JOIN alerts a ON a.id = l.alert"
        " WHERE l.incident = ? AND a.status = 'firing' AND NOT EXISTS (SELECT 1 FROM alerts r WHERE r.source = a.source"
        " AND r.fingerprint = a.fingerprint AND r.starts >= a.starts AND r.status = 'resolved') LIMIT 1",
        [number],
    )


def _leave(db: Writer, number: int, slas: Sequence[str], since: float, gravest: int | None) -> None:
    for sla in slas:
        db.execute(
            "INSERT INTO unmet (sla, incident, since, gravest) VALUES (?, ?, ?, ?) ON CONFLICT (sla) DO UPDATE"
            " SET incident = excluded.incident, since = excluded.since, gravest = excluded.gravest",
            [sla, number, since, gravest],
        )


def _slas(db: Writer, number: int) -> list[str]:
    own = db.query("SELECT sla FROM incidents WHERE number = ?", [number])
    more = db.query("SELECT sla FROM incident_slas WHERE incident = ? ORDER BY since, sla", [number])
    return list(dict.fromkeys(row["sla"] for row in (*own, *more)))


def _gravest(db: Writer, number: int) -> int | None:
    """How grave the gravest alert of an incident is; None where it has none."""
    rows = db.query(
        "SELECT document FROM alerts JOIN alert_incidents ON alerts.id = alert_incidents.alert"
        " WHERE alert_incidents.incident = ? AND alerts.status = 'firing' ORDER BY alerts.id DESC LIMIT ?",
        [number, _MOST],
    )
    return max((gravity(_labels(row["document"])) for row in rows), default=None)


def _labels(document: str) -> dict[str, str]:
    try:
        return dict(json.loads(document).get("labels", {}))
    except ValueError:  # redaction may have cut through the JSON
        return {}
