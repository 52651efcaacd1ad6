"""What every channel should show, and what it does show: the table `deliveries`, one row a channel and message.

A row is `due` (to be sent, at `due`), `held` (quiet hours), `sending` (somebody does it, until `due` at the latest),
`sent`, or `failed`. `digest` is the form that is wanted, `sent` the form that was delivered, `id` the channel's name
for it. A row that is still `sending` after its time was left by a crash: whether it arrived is not known, and it is
sent again (docs/decisions/081-deliveries.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from treewalk.model.acting import UNMET, canonical
from treewalk.model.message import Message, Question, Rendered
from treewalk.model.redact import redact
from treewalk.store.database import Database, Writer

Want = Literal["due", "held"]
STATES = ("due", "held", "sending", "sent", "failed")
PACE = 1.0  # seconds between two edits of a message that only goes on with its story
_GIVEN_UP = (
    "SELECT d.key, d.document FROM deliveries d LEFT JOIN incidents i ON i.number = d.incident"
    " WHERE d.channel = ? AND d.state = 'failed' AND (d.incident IS NULL OR i.state NOT IN ('closed', 'diagnosed')"
    " OR (i.state = 'closed' AND i.closed >= ? AND i.ending IN ({marks}) AND NOT EXISTS"
    " (SELECT 1 FROM timeline t WHERE t.incident = i.number AND t.kind = 'acknowledged' AND t.at >= i.closed)))"
    " ORDER BY d.created, d.key"
)
_MARK = "mark"  # the row of a channel that says since when it is one, and of the courier how far it has read
_COURIER = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to do: send a message to a channel, or edit the one that it knows as `id`; `attempts` with this one,
    `failing` since when they failed (Unix seconds), None before the first did."""

    channel: str
    key: str
    message: Message
    digest: str
    id: str | None
    attempts: int
    failing: float | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What somebody who has something to tell keeps of it: whose it is, since when (Unix seconds), and plain data."""

    owner: str
    at: float
    data: Any


class Outbox:
    """The table of deliveries. Every method raises StoreError; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # what is wanted

    def want(self, db: Writer, channel: str, edits: bool, message: Message, at: float, state: Want) -> bool:
        """Let a channel show this form of a message; whether it is the first that it gets. Within a transaction.

        A channel that cannot edit is given a further form only when there is more to tell than the last one told: a
        question, or the end.
        """
        digest, document = digest_of(message), {"message": asdict(message)}
        rows = db.query("SELECT * FROM deliveries WHERE channel = ? AND key = ?", [channel, message.key])
        if not rows:
            db.execute(
                "INSERT INTO deliveries (channel, key, incident, state, digest, attempts, due, created, updated,"
                " document) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
                [channel, message.key, message.incident, state, digest, at, at, at, canonical(document)],
            )
            return True
        row = rows[0]
        past = _told(json.loads(row["document"]))
        if edits and row["id"]:
            state = "due"  # a change of what stands there already wakes nobody
        if row["digest"] == digest or (not edits and not _says_more(past, message)):
            self._release(db, row, state, at)
            return False
        fresh = row["state"] in ("sent", "failed", "held")  # else it waits after a failure, or is being sent
        calm = edits and row["id"] and stage_of(message) == 0
        due = (max(at, row["updated"] + PACE) if calm else at) if fresh else row["due"]
        db.execute(
            "UPDATE deliveries SET digest = ?, document = ?, updated = ?, state = ?, due = ?, attempts = ?"
            " WHERE channel = ? AND key = ?",
            [
                digest,
                canonical({**document, **past}),
                at,
                row["state"] if row["state"] == "sending" else state,
                due,
                0 if fresh else row["attempts"],
                channel,
                message.key,
            ],
        )
        return False

    def _release(self, db: Writer, row: Mapping[str, Any], state: Want, at: float) -> None:
        """The same form again: what was held back may go, what waits may have to be held."""
        if row["state"] in ("due", "held") and row["state"] != state:
            db.execute(
                "UPDATE deliveries SET state = ?, updated = ? WHERE channel = ? AND key = ?",
                [state, at, row["channel"], row["key"]],
            )

    def known(self, key: str) -> tuple[str, ...]:
        """The channels that were ever to show a message."""
        rows = self.database.query("SELECT channel FROM deliveries WHERE key = ? ORDER BY channel", [key])
        return tuple(row["channel"] for row in rows)

    def held(self) -> list[tuple[str, str, Message]]:
        """Every message that is held back: channel, key, and its latest form."""
        rows = self.database.query("SELECT channel, key, document FROM deliveries WHERE state = 'held'")
        return [(r["channel"], r["key"], message_of(json.loads(r["document"])["message"])) for r in rows]

    def release(self, channel: str, key: str, at: float) -> None:
        """Send what was held back."""
        with self.database.writing() as db:
            db.execute(
                "UPDATE deliveries SET state = 'due', due = ?, updated = ? WHERE channel = ? AND key = ?"
                " AND state = 'held'",
                [at, at, channel, key],
            )

    # delivering

    def take(self, channel: str, at: float, until: float) -> Delivery | None:
        """The next thing to do for a channel, marked as being done until a time; None when there is nothing now."""
        look = (
            "SELECT * FROM deliveries WHERE channel = ? AND due <= ? AND state IN ('due', 'sending')"
            " ORDER BY due, created, key LIMIT 1"
        )
        if not self.database.query(look, [channel, at]):
            return None
        with self.database.writing() as db:
            rows = db.query(look, [channel, at])
            if not rows:
                return None
            row = rows[0]
            attempts = int(row["attempts"]) + 1
            db.execute(
                "UPDATE deliveries SET state = 'sending', due = ?, attempts = ?, updated = ?"
                " WHERE channel = ? AND key = ?",
                [until, attempts, at, channel, row["key"]],
            )
        document = json.loads(row["document"])
        message = message_of(document["message"])
        return Delivery(channel, row["key"], message, row["digest"], row["id"], attempts, document.get("failing"))

    def delivered(self, done: Delivery, id: str, at: float) -> None:
        """Keep that a form was delivered. Is another one wanted by now, that is due after it."""
        with self.database.writing() as db:
            row = self._row(db, done)
            document = json.loads(row["document"])
            question = done.message.question
            document["told"] = max(document.get("told", -1), stage_of(done.message))
            document["asked"] = question.digest if question else document.get("asked", "")
            document.pop("failing", None)
            newer = row["digest"] != done.digest
            db.execute(
                "UPDATE deliveries SET state = ?, sent = ?, id = ?, due = ?, attempts = 0, updated = ?, why = NULL,"
                " document = ? WHERE channel = ? AND key = ?",
                ["due" if newer else "sent", done.digest, id, at, at, canonical(document), done.channel, done.key],
            )

    def failed(self, done: Delivery, why: str, at: float, again: float | None) -> None:
        """Keep that it was not delivered, and why; it is tried again at a time, or never by itself."""
        with self.database.writing() as db:
            row = self._row(db, done)
            newer = row["digest"] != done.digest
            state = "failed" if again is None and not newer else "due"
            document = json.loads(row["document"])
            if not newer:
                document.setdefault("failing", at)
            db.execute(
                "UPDATE deliveries SET state = ?, why = ?, due = ?, updated = ?, attempts = ?, document = ?"
                " WHERE channel = ? AND key = ?",
                [
                    state,
                    redact(why)[:500],
                    at if again is None else again,
                    at,
                    0 if again is None and newer else done.attempts,
                    canonical(document),
                    done.channel,
                    done.key,
                ],
            )

    def given_up(self, channel: str, since: float) -> list[tuple[str, Message]]:
        """What a channel was not given and somebody should know still: of incidents that live, or were closed since a
        time with a human needed and were seen by none; notices that stand. The key of each, and its latest form."""
        rows = self.database.query(_GIVEN_UP.format(marks=", ".join("?" * len(UNMET))), [channel, since, *UNMET])
        found = ((row["key"], message_of(json.loads(row["document"])["message"])) for row in rows)
        return [(key, message) for key, message in found if message.incident is not None or not message.over]

    def again(self, channel: str, key: str, at: float, state: Want) -> None:
        """Try anew what was given up."""
        with self.database.writing() as db:
            rows = db.query(
                "SELECT document FROM deliveries WHERE channel = ? AND key = ? AND state = 'failed'", [channel, key]
            )
            for row in rows:
                document = json.loads(row["document"])
                document.pop("failing", None)
                db.execute(
                    "UPDATE deliveries SET state = ?, due = ?, updated = ?, attempts = 0, document = ?"
                    " WHERE channel = ? AND key = ?",
                    [state, at, at, canonical(document), channel, key],
                )

    def _row(self, db: Writer, done: Delivery) -> Mapping[str, Any]:
        found = db.query("SELECT * FROM deliveries WHERE channel = ? AND key = ?", [done.channel, done.key])
        return found[0]

    def next_due(self, channel: str) -> float | None:
        """When the next thing is to be done for a channel."""
        rows = self.database.query(
            "SELECT min(due) AS due FROM deliveries WHERE channel = ? AND state IN ('due', 'sending')", [channel]
        )
        return rows[0]["due"] if rows else None

    # how far the courier is

    def read_up_to(self, db: Writer | None = None) -> int | None:
        """The number of the last line of all timelines that was looked at; None before the first look."""
        look = "SELECT id FROM deliveries WHERE channel = ? AND key = ?"
        rows = (db or self.database).query(look, [_COURIER, _MARK])
        return int(rows[0]["id"]) if rows else None

    def mark_read(self, db: Writer, line: int, at: float) -> None:
        """Remember how far was looked; within the transaction of what was found."""
        _mark(db, _COURIER, str(line), at)

    def kept(self, name: str, db: Writer | None = None) -> Kept | None:
        """What is kept under a name; None for nothing."""
        look = "SELECT id, updated, document FROM deliveries WHERE channel = ? AND key = ?"
        rows = (db or self.database).query(look, [_COURIER, name])
        return Kept(rows[0]["id"], rows[0]["updated"], json.loads(rows[0]["document"])["kept"]) if rows else None

    def keep(self, db: Writer, name: str, new: Kept) -> None:
        """Keep something under a name, instead of what was kept; within the transaction of what follows from it."""
        _mark(db, _COURIER, new.owner, new.at, name)
        db.execute(
            "UPDATE deliveries SET document = ? WHERE channel = ? AND key = ?",
            [canonical({"kept": new.data}), _COURIER, name],
        )

    def since(self, channels: Sequence[str], at: float) -> dict[str, float]:
        """Since when each channel is one; a new one is one from now on."""
        with self.database.writing() as db:
            for channel in channels:
                _mark(db, channel, None, at)
            rows = db.query("SELECT channel, created FROM deliveries WHERE key = ?", [_MARK])
        return {row["channel"]: row["created"] for row in rows if row["channel"] in channels}

    # looking

    def rows(self, limit: int, incident: int | None = None) -> list[dict[str, Any]]:
        """The last deliveries, newest first, each with its title, state, tries and why it failed."""
        where, values = ("AND incident = ?", [incident]) if incident is not None else ("", [])
        found = self.database.query(
            f"SELECT * FROM deliveries WHERE state != 'mark' {where}"  # noqa: S608
            " ORDER BY updated DESC, channel LIMIT ?",
            [*values, limit],
        )
        return [_shown(row) for row in found]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many deliveries each channel has in each state."""
        rows = self.database.query(
            "SELECT channel, state, count(*) AS many FROM deliveries WHERE state != 'mark' GROUP BY channel, state"
        )
        return {(row["channel"], row["state"]): int(row["many"]) for row in rows}


def _mark(db: Writer, channel: str, id: str | None, at: float, key: str = _MARK) -> None:
    db.execute(
        "INSERT INTO deliveries (channel, key, state, digest, id, attempts, due, created, updated, document)"
        " VALUES (?, ?, 'mark', '', ?, 0, 0, ?, ?, '{}')"
        " ON CONFLICT (channel, key) DO UPDATE SET id = excluded.id, updated = excluded.updated",
        [channel, key, id, at, at],
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    message = json.loads(row["document"])["message"]
    shown = {k: row[k] for k in ("channel", "key", "incident", "state", "attempts", "due", "created", "updated", "why")}
    return {**shown, "title": message["rendered"]["title"], "severity": message["severity"], "over": message["over"],
            "delivered": row["sent"] is not None}  # fmt: skip


def digest_of(message: Message) -> str:
    """What tells one form of a message from another."""
    return hashlib.sha256(canonical(asdict(message)).encode()).hexdigest()


def stage_of(message: Message) -> int:
    """How much a form tells: 0 a story, 1 that an answer is wanted, 2 the end, and more each time it got worse then."""
    return 2 + message.worse if message.over else 1 if message.question is not None else 0


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    """How much was told already, and the plan that was last asked about."""
    return {"told": document.get("told", -1), "asked": document.get("asked", "")}


def _says_more(past: Mapping[str, Any], message: Message) -> bool:
    """Whether a form is worth another message: it tells more, or asks about another plan."""
    if past["told"] < 2 and message.question is not None and message.question.digest != past["asked"]:
        return True
    return bool(past["told"] < stage_of(message))


def message_of(data: Mapping[str, Any]) -> Message:
    """A message from its JSON."""
    given = dict(data)
    given["rendered"] = Rendered(**given["rendered"])
    given["question"] = Question(**given["question"]) if given["question"] else None
    given["slas"] = tuple(given["slas"])
    given["tags"] = tuple((key, value) for key, value in given["tags"])
    return Message(**given)
