"""Incidents while they live: states, timeline, claims on nodes, approvals, the kill switch, and who works on them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from treewalk.errors import UsageError
from treewalk.model.acting import Approval, Plan, canonical, plan_to_json
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.redact import redact
from treewalk.store import unmet
from treewalk.store.audit import append
from treewalk.store.cleaning import cleaned, cleaned_text
from treewalk.store.database import Database, Writer
from treewalk.store.memory import LIVE, write_diagnosis
from treewalk.store.relapse import came_late

State = Literal["open", "diagnosing", "planned", "waiting", "asking", "acting", "verifying", "closed", "diagnosed"]
_RUNNING = (  # incidents that an action of a living process runs for; what a dead one began, nobody waits for
    "SELECT l.incident FROM ledger AS l JOIN workers AS w ON w.id = l.worker WHERE l.outcome IS NULL"
)
Answered = Literal["recorded", "already", "expired", "not asked"]


class Casebook:
    """The life of incidents. Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def open_or_join(self, sla: str, cause: str, at: float) -> int:
        """The living incident of an SLA, or a new one; `cause` says what opened it."""
        with self.database.writing() as db:
            number = self.living_within(db, sla)
            if number is None:
                return _open(db, sla, cause, at)
            _note(db, number, at, "joined", cause, {})
            return number

    def living_within(self, db: Writer, sla: str) -> int | None:
        """The living incident of an SLA, seen from within a transaction that others have begun."""
        marks = ", ".join("?" for _ in LIVE)
        living = db.query(
            f"SELECT number FROM incidents WHERE state IN ({marks}) AND (sla = ?"  # noqa: S608
            " OR number IN (SELECT incident FROM incident_slas WHERE sla = ?)) ORDER BY number LIMIT 1",
            [*LIVE, sla, sla],
        )
        return int(living[0]["number"]) if living else None

    def open_within(self, db: Writer, sla: str, cause: str, at: float) -> int:
        """A new incident of an SLA, within a transaction that others have begun."""
        return _open(db, sla, cause, at)

    def note_within(
        self, db: Writer, number: int, kind: str, text: str, at: float, data: Mapping[str, Any] | None = None
    ) -> None:
        """A line in an incident's timeline, within a transaction that others have begun."""
        _note(db, number, at, kind, text, data or {})

    def open(self, sla: str, cause: str, at: float) -> int:
        """A new incident of an SLA; `cause` says what opened it."""
        with self.database.writing() as db:
            return _open(db, sla, cause, at)

    def trouble(self, start: float, end: float, slas: Collection[str]) -> list[tuple[float, float]]:
        """When incidents of these SLAs were open between two times: from and to, as far as it is known."""
        rows = self.database.query(
            "SELECT number, sla, opened, closed, state FROM incidents WHERE status = 'violated' AND opened <= ?"
            " AND (closed IS NULL OR closed >= ?)",
            [end, start],
        )
        joined = self.database.query("SELECT incident, sla FROM incident_slas")
        theirs = {row["incident"] for row in joined if row["sla"] in slas}
        return [
            (row["opened"], row["closed"] or (end if row["state"] in LIVE else row["opened"]))
            for row in rows
            if row["sla"] in slas or row["number"] in theirs
        ]

    def enter(self, number: int, state: State, text: str, at: float, data: Mapping[str, Any] | None = None) -> bool:
        """Move an incident to a state with a line in its timeline; False when it is closed already."""
        with self.database.writing() as db:
            changed = db.execute(
                "UPDATE incidents SET state = ?, updated = ? WHERE number = ? AND state != 'closed'",
                [state, at, number],
            )
            if changed:
                _note(db, number, at, state, text, data or {})
        return bool(changed)

    def note(self, number: int, kind: str, text: str, at: float, data: Mapping[str, Any] | None = None) -> None:
        """A line in an incident's timeline."""
        with self.database.writing() as db:
            _note(db, number, at, kind, text, data or {})

    def diagnosed(self, number: int, diagnosis: Diagnosis, document: Mapping[str, Any], text: str, at: float) -> None:
        """Keep what was found."""
        with self.database.writing() as db:
            write_diagnosis(db, number, diagnosis, document)
            db.execute("UPDATE incidents SET updated = ? WHERE number = ?", [at, number])
            _note(db, number, at, "diagnosed", text, {})

    def planned(self, number: int, plan: Plan, at: float) -> bool:
        """Keep the plan, which an approval is bound to by its digest; False when the incident is closed already."""
        text = canonical(cleaned(plan_to_json(plan)))
        with self.database.writing() as db:
            changed = db.execute(
                "UPDATE incidents SET plan = ?, digest = ?, state = 'planned', updated = ?"
                " WHERE number = ? AND state != 'closed'",
                [text, plan.digest, at, number],
            )
            if not changed:
                return False
            _note(db, number, at, "planned", f"plan: {plan.title} at {plan.node}", {"digest": plan.digest})
            append(db, at, "plan", "treewalk", {"digest": plan.digest, "title": plan.title, "node": plan.node}, number)
        return True

    def close(self, number: int, ending: str, why: str, at: float, outcome: Mapping[str, Any]) -> bool:
        """Close an incident and give its nodes free, unless an action of it still runs there; False when it was closed
        before."""
        with self.database.writing() as db:
            changed = db.execute(
                "UPDATE incidents SET state = 'closed', ending = ?, why = ?, closed = ?, updated = ?, outcome = ?"
                " WHERE number = ? AND state != 'closed'",
                [ending, redact(why)[:4000], at, at, canonical(cleaned(outcome)), number],
            )
            db.execute(f"DELETE FROM claims WHERE incident = ? AND incident NOT IN ({_RUNNING})", [number])  # noqa: S608
            if changed:
                _note(db, number, at, "closed", f"{ending}: {why}", {})
                append(db, at, "close", "treewalk", {"ending": ending, "why": why}, number)
                unmet.ended(db, number, ending, at)
                if ending == "resolved" and (alert := came_late(db, number)) is not None:
                    self._go_on(db, number, alert, at)
        return bool(changed)

    def _go_on(self, db: Writer, number: int, alert: str, at: float) -> None:
        """New incidents of the SLAs of one that is closed: what its last alert told of is not known to be over."""
        more = db.query("SELECT sla FROM incident_slas WHERE incident = ?", [number])
        own = db.query("SELECT sla FROM incidents WHERE number = ?", [number])
        for sla in sorted({row["sla"] for row in (*own, *more)}):
            if self.living_within(db, sla) is None:
                _open(db, sla, f"an alert came after the proof of incident {number}: {alert}", at)

    def life(self, number: int) -> Mapping[str, Any]:
        """An incident's row without its documents. Raises UsageError when there is none."""
        found = self.database.query(
            "SELECT number, opened, sla, status, root_node, known_error, state, ending, why, cause, closed, digest"
            " FROM incidents WHERE number = ?",
            [number],
        )
        if not found:
            raise UsageError(f"no incident number {number}; `treewalk incidents list` shows them")
        return found[0]

    def living(self, sla: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Incidents that are not closed, oldest first."""
        marks = ", ".join("?" for _ in LIVE)
        also = " AND sla = ?" if sla is not None else ""
        return self.database.query(
            f"SELECT number, sla, state, root_node, opened, updated FROM incidents"  # noqa: S608
            f" WHERE state IN ({marks}){also} ORDER BY number",
            [*LIVE, *([sla] if sla is not None else [])],
        )

    def timeline(self, number: int) -> Sequence[Mapping[str, Any]]:
        """What happened, in order: at, kind, text, data."""
        rows = self.database.query("SELECT at, kind, text, data FROM timeline WHERE incident = ? ORDER BY id", [number])
        return [{**row, "data": json.loads(row["data"])} for row in rows]

    def claim(self, number: int, nodes: Sequence[str], at: float) -> int | None:
        """Take nodes for an incident, all or none, instead of those that it had; None, or the other incident at work
        that has one of them. So one that waits holds nothing, and no two wait for each other."""
        with self.database.writing() as db:
            db.execute("DELETE FROM claims WHERE incident = ?", [number])
            db.execute(
                "DELETE FROM claims WHERE incident IN (SELECT number FROM incidents WHERE state = 'closed')"  # noqa: S608
                f" AND incident NOT IN ({_RUNNING})"
            )
            for node in nodes:
                held = db.query("SELECT incident FROM claims WHERE node = ? AND incident != ?", [node, number])
                if held:
                    return int(held[0]["incident"])
            for node in nodes:
                db.execute(
                    "INSERT INTO claims (node, incident, since) VALUES (?, ?, ?) ON CONFLICT (node) DO NOTHING",
                    [node, number, at],
                )
        return None

    def at_work(self, number: int) -> bool:
        """Whether an incident lives, or was closed while an action of it still runs."""
        running = self.database.query(
            f"SELECT number FROM incidents WHERE number = ? AND (state != 'closed' OR number IN ({_RUNNING}))",  # noqa: S608
            [number],
        )
        return bool(running)

    def mending(self, number: int, nodes: Sequence[str]) -> int | None:
        """Another incident that is acting on one of these nodes, or proving that it helped."""
        rows = self.database.query(
            "SELECT c.incident AS number, c.node AS node FROM claims AS c JOIN incidents AS i ON i.number = c.incident"
            " WHERE i.state IN ('acting', 'verifying') AND c.incident != ? ORDER BY c.incident",
            [number],
        )
        return next((int(row["number"]) for row in rows if row["node"] in nodes), None)

    def same_cause(self, number: int, node: str, since: float) -> int | None:
        """Another incident whose root cause is this node too: one that got there first and has not begun its proof, or
        one that was escalated, while this one was open already or after a time `since` with an SLA that was not met
        again. Never one of the same SLA."""
        rows = self.database.query(
            "SELECT other.number AS number FROM incidents AS other JOIN incidents AS this ON this.number = ?"
            " WHERE other.number != this.number AND other.root_node = ? AND other.sla != this.sla"
            " AND (other.state IN ('planned', 'waiting', 'asking', 'acting')"
            " OR (other.ending = 'escalated' AND (other.closed >= this.opened"
            " OR EXISTS (SELECT 1 FROM unmet WHERE unmet.incident = other.number AND unmet.since > ?))))"
            " ORDER BY other.number LIMIT 1",
            [number, node, since],
        )
        return int(rows[0]["number"]) if rows else None

    def met(self, slas: Sequence[str], at: float) -> None:
        """These SLAs were measured and are met: no incident that ended leaves them unmet any more."""
        with self.database.writing() as db:
            unmet.met(db, slas, at)

    def merge(self, number: int, into: int, why: str, at: float) -> bool:
        """Make an incident a part of another: its SLAs and alerts go there, and it is closed as `merged`. False when
        it was closed before, or the other one is past taking it in."""
        with self.database.writing() as db:
            rows = db.query("SELECT sla FROM incidents WHERE number = ? AND state != 'closed'", [number])
            if not rows or not db.query(
                "SELECT 1 AS one FROM incidents WHERE number = ? AND (state IN ('planned', 'waiting', 'asking',"
                " 'acting') OR ending = 'escalated')",
                [into],
            ):
                return False
            more = db.query("SELECT sla FROM incident_slas WHERE incident = ? ORDER BY since, sla", [number])
            slas = [rows[0]["sla"], *(row["sla"] for row in more)]
            for sla in slas:
                db.execute(
                    "INSERT INTO incident_slas (incident, sla, since) VALUES (?, ?, ?)"
                    " ON CONFLICT (incident, sla) DO NOTHING",
                    [into, sla, at],
                )
            db.execute(
                "INSERT INTO alert_incidents (alert, incident) SELECT alert, ? FROM alert_incidents WHERE incident = ?"
                " ON CONFLICT (alert, incident) DO NOTHING",
                [into, number],
            )
            db.execute("DELETE FROM alert_incidents WHERE incident = ?", [number])
            db.execute("DELETE FROM incident_slas WHERE incident = ?", [number])
            db.execute("DELETE FROM claims WHERE incident = ?", [number])
            db.execute("UPDATE incidents SET updated = ? WHERE number = ?", [at, into])
            db.execute(
                "UPDATE incidents SET state = 'closed', ending = 'merged', why = ?, closed = ?, updated = ?,"
                " outcome = ? WHERE number = ?",
                [redact(why)[:4000], at, at, canonical({"merged_into": into}), number],
            )
            unmet.joined(db, into)
            _note(db, into, at, "joined", f"{', '.join(slas)} is violated by the same node (incident {number})", {})
            _note(db, number, at, "closed", f"merged: {why}", {"into": into})
            append(db, at, "close", "treewalk", {"ending": "merged", "into": into, "why": why}, number)
        return True

    def merged_into(self, number: int) -> int | None:
        """The incident that this one became a part of, if any."""
        rows = self.database.query("SELECT ending, outcome FROM incidents WHERE number = ?", [number])
        if not rows or rows[0]["ending"] != "merged":
            return None
        return int(json.loads(rows[0]["outcome"])["merged_into"])

    def slas(self, number: int) -> Sequence[str]:
        """The SLAs of an incident, its own first, then those whose incidents were merged into it."""
        more = self.database.query("SELECT sla FROM incident_slas WHERE incident = ? ORDER BY since, sla", [number])
        return tuple(dict.fromkeys([self.life(number)["sla"], *(row["sla"] for row in more)]))

    def give_back(self, number: int, sla: str, why: str, at: float) -> int:
        """Take an SLA out of an incident, and see to it that it has a living one of its own; its number."""
        with self.database.writing() as db:
            db.execute("DELETE FROM incident_slas WHERE incident = ? AND sla = ?", [number, sla])
            _note(db, number, at, "left", f"{sla}: {why}", {})
            own = self.living_within(db, sla)
            return own if own is not None else _open(db, sla, why, at)

    def ask(self, number: int, digest: str, question: str, at: float, expires: float) -> float:
        """Put a plan to a human; when the question expires (the first asking counts)."""
        with self.database.writing() as db:
            written = db.execute(
                "INSERT INTO approvals (incident, digest, asked, expires, question) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (incident, digest) DO NOTHING",
                [number, digest, at, expires, redact(question)[:4000]],
            )
            if written:
                append(db, at, "ask", "treewalk", {"digest": digest, "question": question, "expires": expires}, number)
            row = db.query("SELECT expires FROM approvals WHERE incident = ? AND digest = ?", [number, digest])[0]
        return float(row["expires"])

    def answer(self, number: int, digest: str, who: str, granted: bool, via: str, at: float) -> Answered:
        """A human's answer to a question. The first counts; one to another plan, or too late, does not."""
        with self.database.writing() as db:
            changed = db.execute(
                "UPDATE approvals SET granted = ?, who = ?, via = ?, decided = ?"
                " WHERE incident = ? AND digest = ? AND granted IS NULL AND expires > ?",
                [int(granted), who[:200], via, at, number, digest, at],
            )
            found = db.query("SELECT granted FROM approvals WHERE incident = ? AND digest = ?", [number, digest])
            result: Answered = "recorded"
            if not changed:
                result = "not asked" if not found else "already" if found[0]["granted"] is not None else "expired"
            said = {"digest": digest, "granted": granted, "via": via, "result": result}
            append(db, at, "answer", who, said, number)
            if changed:
                did = "approved" if granted else "denied"
                _note(db, number, at, "answer", f"{who} {did} it ({via})", {"granted": granted})
        return result

    def approval(self, number: int, digest: str) -> Approval | None:
        """The answer that was given to a plan, if any."""
        rows = self.database.query("SELECT * FROM approvals WHERE incident = ? AND digest = ?", [number, digest])
        if not rows or rows[0]["granted"] is None:
            return None
        row = rows[0]
        return Approval(digest, row["who"], bool(row["granted"]), row["decided"], row["expires"], row["via"])

    def questions(self, at: float) -> Sequence[Mapping[str, Any]]:
        """Questions of living incidents that nobody has answered and that have not expired."""
        return self.database.query(
            "SELECT a.incident, a.digest, a.asked, a.expires, a.question, i.sla, i.root_node FROM approvals a"
            " JOIN incidents i ON i.number = a.incident"
            " WHERE a.granted IS NULL AND a.expires > ? AND i.state = 'asking' ORDER BY a.asked",
            [at],
        )

    def switch_on(self, name: str, who: str, why: str, at: float) -> None:
        """Throw a switch (`kill`, `read_only`)."""
        with self.database.writing() as db:
            db.execute(
                "INSERT INTO switches (name, since, who, why) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                [name, at, who, redact(why)[:500]],
            )
            append(db, at, f"{name} on", who, {"why": why})

    def switch_off(self, name: str, who: str, at: float) -> bool:
        """Take a switch back; whether it was on."""
        with self.database.writing() as db:
            changed = db.execute("DELETE FROM switches WHERE name = ?", [name])
            append(db, at, f"{name} off", who, {"was_on": bool(changed)})
        return bool(changed)

    def switch(self, name: str) -> str | None:
        """Why a switch is on, or None."""
        found = self.database.query("SELECT who, why FROM switches WHERE name = ?", [name])
        return f"{found[0]['who']}: {found[0]['why']}" if found else None


def _open(db: Writer, sla: str, cause: str, at: float) -> int:
    row = db.query(
        "INSERT INTO incidents (opened, sla, status, document, words, state, cause, updated)"
        " VALUES (?, ?, 'unknown', '', ?, 'open', ?, ?) RETURNING number",
        [at, sla, sla, redact(cause)[:2000], at],
    )[0]
    number = int(row["number"])
    _note(db, number, at, "open", f"opened: {cause}", {})
    append(db, at, "open", "treewalk", {"sla": sla, "cause": cause}, number)
    return number


def _note(db: Writer, number: int, at: float, kind: str, text: str, data: Mapping[str, Any]) -> None:
    said, kept = cleaned_text(text)[:4000], canonical(cleaned(data))
    last = db.query("SELECT kind, text, data FROM timeline WHERE incident = ? ORDER BY id DESC LIMIT 1", [number])
    if last and (last[0]["kind"], last[0]["text"], last[0]["data"]) == (kind, said, kept):
        return  # the same step again after a crash
    db.execute(
        "INSERT INTO timeline (incident, at, kind, text, data) VALUES (?, ?, ?, ?, ?)", [number, at, kind, said, kept]
    )
