"""Incidents read back whole, for reports: everything that is said of one comes from its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from treewalk.errors import TreewalkError, UsageError
from treewalk.model.story import (
    Asked,
    Blame,
    Done,
    Earlier,
    Fact,
    Fired,
    Lesson,
    Measured,
    Missing,
    Moment,
    Proven,
    Recognised,
    Record,
    Ruled,
    Signal,
    Spot,
    Step,
    Story,
    Uncounted,
    Value,
)
from treewalk.model.tree import Tree
from treewalk.store.audit import Audit
from treewalk.store.database import Database
from treewalk.store.inbox import Inbox
from treewalk.store.ledger import Ledger
from treewalk.store.lessons import Lessons

Row = Mapping[str, Any]
_MOST_ROWS = 10_000  # audit rows of one incident that are read


class Stories:
    """Incidents as stories. `tree` gives an SLA's tree as it is written now, for the picture; without it only the ways
    that the diagnosis itself names are known. Every method raises StoreError."""

    def __init__(self, database: Database, tree: Callable[[str], Tree] | None = None) -> None:
        self.database, self._tree = database, tree

    def story(self, number: int) -> Story:
        """One incident. Raises UsageError when there is none of that number."""
        rows = self.database.query("SELECT * FROM incidents WHERE number = ?", [number])
        if not rows:
            raise UsageError(f"no incident number {number}; `treewalk incidents list` shows them")
        row = rows[0]
        found, plan, outcome = _json(row["document"]), _json(row["plan"]), _json(row["outcome"])
        timeline = self._timeline(number)
        audit = Audit(self.database).rows(_MOST_ROWS, number)
        spots, tops = self._spots(row["sla"], found)
        return Story(
            number=number,
            slas=self._slas(number, row["sla"]),
            severity=row["severity"],
            state=row["state"],
            ending=row["ending"],
            why=row["why"] or "",
            cause=row["cause"] or "",
            opened=row["opened"],
            diagnosed=_diagnosed(row, found, timeline),
            closed=row["closed"],
            alerts=tuple(_alert(one) for one in Inbox(self.database).of(number)),
            measured=_measured(found),
            root=_blame(found.get("root_cause")),
            known=_recognised(found["known_error"]) if found.get("known_error") else None,
            near=tuple(_recognised(one) for one in found.get("near_misses", ())),
            evidence=_evidence(found),
            gaps=_gaps(found),
            spots=spots,
            tops=tops,
            remarks=tuple(found.get("remarks", ())),
            help=tuple(found.get("help", ())),
            plan=plan.get("title"),
            playbook=plan.get("playbook"),
            basis=plan.get("basis"),
            steps=tuple(_step(one) for one in plan.get("steps", ())),
            decisions=tuple(_ruled(one) for one in audit if one["kind"] == "decision"),
            questions=self._questions(number),
            uncounted=tuple(_uncounted(one) for one in audit if _is_uncounted(one)),
            actions=tuple(_done(one) for one in Ledger(self.database).of(number)),
            proof=_proven(outcome.get("proof")),
            lessons=self._lessons(number),
            record=self._record(row["known_error"]),
            fix=self._fix(number),
            merged_into=outcome.get("merged_into"),
            timeline=timeline,
        )

    def before(self, story: Story, limit: int = 10) -> tuple[Earlier, ...]:
        """Earlier incidents of the same node, known error or SLA, the newest first."""
        known, node = story.known.id if story.known else None, story.root.node if story.root else None
        rows = self.database.query(
            "SELECT i.number, i.opened, i.sla, i.root_node, i.known_error, i.ending, i.why, f.result FROM incidents i"
            " LEFT JOIN fixes f ON f.incident = i.number WHERE i.number < ? AND i.state != 'diagnosed'"
            " AND (i.sla = ? OR i.root_node = ? OR i.known_error = ?) ORDER BY i.number DESC LIMIT ?",
            [story.number, story.sla, node or "", known or "", limit],
        )
        return tuple(Earlier(**{**row, "why": row["why"] or ""}) for row in rows)

    def _slas(self, number: int, first: str) -> tuple[str, ...]:
        rows = self.database.query("SELECT sla FROM incident_slas WHERE incident = ? ORDER BY since, sla", [number])
        return tuple(dict.fromkeys([first, *(row["sla"] for row in rows)]))

    def _timeline(self, number: int) -> tuple[Moment, ...]:
        rows = self.database.query("SELECT at, kind, text FROM timeline WHERE incident = ? ORDER BY id", [number])
        return tuple(Moment(row["at"], row["kind"], row["text"]) for row in rows)

    def _questions(self, number: int) -> tuple[Asked, ...]:
        rows = self.database.query("SELECT * FROM approvals WHERE incident = ? ORDER BY asked", [number])
        return tuple(
            Asked(
                r["asked"],
                r["expires"],
                r["question"],
                None if r["granted"] is None else bool(r["granted"]),
                r["who"],
                r["via"],
                r["decided"],
            )
            for r in rows
        )

    def _lessons(self, number: int) -> tuple[Lesson, ...]:
        rows = self.database.query("SELECT id, trust FROM learned WHERE incident = ? ORDER BY created, id", [number])
        return tuple(Lesson(row["id"], row["trust"]) for row in rows)

    def _record(self, known: str | None) -> Record | None:
        if known is None:
            return None
        met = self.database.query("SELECT occurrence_count AS met FROM known_error_statistics WHERE id = ?", [known])
        done = Lessons(self.database).records().get(known, {})
        return Record(int(met[0]["met"]) if met else 0, int(done.get("fires", 0)), int(done.get("wins", 0)))

    def _fix(self, number: int) -> str | None:
        rows = self.database.query("SELECT result FROM fixes WHERE incident = ?", [number])
        return str(rows[0]["result"]) if rows else None

    def _spots(self, sla: str, found: Mapping[str, Any]) -> tuple[tuple[Spot, ...], tuple[str, ...]]:
        """The nodes as they were found, with what stands below them, and those right below the SLA."""
        verdicts = found.get("verdicts") or {}
        below, tops = self._shape(sla, found)
        names = dict.fromkeys([*below, *(child for children in below.values() for child in children), *verdicts])
        spots = tuple(
            Spot(name, one.get("verdict", ""), one.get("reason", ""), tuple(below.get(name, ())))
            for name, one in ((name, verdicts.get(name) or {}) for name in names)
        )
        reached = {child for spot in spots for child in spot.below} | set(tops)
        return spots, tuple(dict.fromkeys([*tops, *(spot.name for spot in spots if spot.name not in reached)]))

    def _shape(self, sla: str, found: Mapping[str, Any]) -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
        if self._tree is not None:
            try:
                tree = self._tree(sla)
                return {name: node.depends_on for name, node in tree.nodes.items()}, tree.sla.depends_on
            except TreewalkError:  # the SLA is not written in the trees any more
                pass
        paths = [one["path"] for one in found.get("suspects", ()) if one.get("path")]
        return _edges_of(paths), tuple(dict.fromkeys(path[0] for path in paths))


def _json(text: str | None) -> Mapping[str, Any]:
    data = json.loads(text) if text else {}
    return data if isinstance(data, dict) else {}


def _diagnosed(row: Row, found: Mapping[str, Any], timeline: Sequence[Moment]) -> float | None:
    if row["state"] == "diagnosed":
        return float(row["opened"])
    return next((m.at for m in timeline if m.kind == "diagnosed"), None) if found else None


def _alert(row: Row) -> Fired:
    # A sender that gives no time is given that of the receipt: then nothing is known of when it began.
    starts = row["starts"] if row["starts"] < row["received"] else None
    return Fired(
        row["name"], row["source"], row["status"], starts, row["received"], int(row["seen"]), row["summary"] or ""
    )


def _measured(found: Mapping[str, Any]) -> Measured | None:
    if "status" not in found:
        return None
    names = ("status", "reason", "shown", "limit", "onset", "in_window")
    return Measured(**{name: found[name] for name in names if name in found})


def _blame(cause: Mapping[str, Any] | None) -> Blame | None:
    if not cause:
        return None
    return Blame(
        cause["node"],
        cause["reason"],
        cause["basis"],
        cause["confidence"],
        cause.get("category") or "",
        tuple(cause.get("path", ())),
        tuple(cause.get("cites", ())),
        tuple(cause.get("tied_with", ())),
    )


def _recognised(match: Mapping[str, Any]) -> Recognised:
    signals = tuple(Signal(s["signal"], s["state"], s["reason"], s.get("evidence")) for s in match.get("signals", ()))

    def named(name: str) -> str:
        return str(match.get(name) or "")

    return Recognised(match["id"], named("root_cause"), named("category"), named("severity"), named("trust"), signals)


def _evidence(found: Mapping[str, Any]) -> tuple[Fact, ...]:
    cited = set((found.get("root_cause") or {}).get("cites", ()))
    return tuple(
        Fact(
            e["id"],
            e["node"],
            e["kind"],
            e["source"],
            e["query"],
            e["summary"],
            tuple(e["samples"]),
            e["count"],
            e["truncated"],
            e["id"] in cited,
        )
        for e in found.get("evidence", ())
    )


def _gaps(found: Mapping[str, Any]) -> tuple[Missing, ...]:
    unknowns = found.get("unknowns") or {}
    nodes = [Missing(name, "its health", why) for name, why in unknowns.items()]
    others = [Missing(g["node"], g["what"], g["why"]) for g in found.get("gaps", ()) if g["node"] not in unknowns]
    return (*nodes, *others)


def _step(step: Mapping[str, Any]) -> Step:
    facts = step.get("facts") or {}
    return Step(step["kind"], step["node"], step.get("purpose") or "", step.get("seconds") or 0.0, facts.get("tier"))


def _ruled(row: Row) -> Ruled:
    data = row["data"]
    named = (str(data.get(name, "")) for name in ("step", "node", "ruling", "rule", "because", "tier"))
    return Ruled(row["at"], *named)


def _is_uncounted(row: Row) -> bool:
    return bool(row["kind"] == "answer" and row["data"].get("result") != "recorded")


def _uncounted(row: Row) -> Uncounted:
    data = row["data"]
    return Uncounted(
        row["at"], row["who"], bool(data.get("granted")), str(data.get("via", "")), str(data.get("result", ""))
    )


def _done(row: Row) -> Done:
    return Done(row["action"], row["node"], row["intent_at"], row["outcome"], row["outcome_at"], row["summary"] or "")


def _proven(proof: Mapping[str, Any] | None) -> Proven | None:
    if not proof:
        return None
    before, after = proof.get("before") or {}, proof.get("after") or {}
    values = tuple(Value(name, before.get(name), after.get(name)) for name in _both(after, before))
    return Proven(proof["result"], proof["reason"], values)


def _both(*groups: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _edges_of(paths: Sequence[Sequence[str]]) -> Mapping[str, tuple[str, ...]]:
    """What stands below each node, as far as paths from the top tell."""
    below: dict[str, list[str]] = {}
    for path in paths:
        for upper, lower in pairwise(path):
            children = below.setdefault(upper, [])
            if lower not in children:
                children.append(lower)
    return {name: tuple(children) for name, children in below.items()}
