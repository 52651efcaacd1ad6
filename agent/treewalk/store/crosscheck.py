"""The audit held against the tables that are written in the same transactions: what they tell of has to stand in it.

A chain by itself does not show that its end was cut off and its head set back. The rows of the ledger, of incidents,
questions and trust show it, as long as they were not cut with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from treewalk.store.cleaning import cleaned_text
from treewalk.store.database import Database

_Row = Mapping[str, Any]
Expected = tuple[str, str]  # the kind of a row, and what it is about
TABLES: Mapping[str, str] = {
    "incidents": "SELECT number, state FROM incidents WHERE state != 'diagnosed' ORDER BY number",
    "ledger": "SELECT key, outcome FROM ledger ORDER BY intent_at, key",
    "approvals": "SELECT incident, digest, granted FROM approvals ORDER BY asked",
    "learned": "SELECT id FROM learned ORDER BY id",
    "trust": "SELECT id, trust FROM trust ORDER BY id",
}


def witnesses(database: Database) -> Mapping[str, Sequence[_Row]]:
    """The rows that have a counterpart in the audit, by table. To be read before the audit itself: what comes
    meanwhile is then in the audit, and not missed. Raises StoreError."""
    return {name: database.query(sql) for name, sql in TABLES.items()}


def missing(rows: Iterable[_Row], tables: Mapping[str, Sequence[_Row]]) -> list[str]:
    """What other tables tell of and the audit does not, one line each. Pure."""
    there, last = set[Expected](), dict[Expected, Any]()
    for row in rows:
        for key, value in _told(row):
            there.add(key)
            last[key] = value
    found = []
    for key, value, what in _expected(tables):
        if key not in there:
            found.append(f"no row tells that {what}")
        elif value is not None and last[key] != value:
            found.append(f"{what} there, but the last row about it says {last[key]}")
    return found


def _told(row: _Row) -> Iterable[tuple[Expected, Any]]:
    """What an audit row says, as the other tables would."""
    kind, number = row["kind"], row["incident"]
    try:
        data = json.loads(row["data"])
    except ValueError:
        return  # its hash does not hold either
    if kind in ("open", "close"):
        yield (kind, str(number)), None
    elif kind in ("intent", "outcome"):
        yield (kind, str(data.get("key"))), data.get("outcome")
    elif kind == "ask" or (kind == "answer" and data.get("result") == "recorded"):
        yield (kind, f"{number} {data.get('digest')}"), data.get("granted")
    elif kind in ("learned", "trust"):
        yield (kind, str(data.get("id"))), data.get("trust")


def _expected(tables: Mapping[str, Sequence[_Row]]) -> Iterable[tuple[Expected, Any, str]]:
    """What has to stand in the audit: its key, the value that it has to have (None: any), and words for it."""
    for row in tables["incidents"]:
        yield ("open", str(row["number"])), None, f"incident {row['number']} was opened"
        if row["state"] == "closed":
            yield ("close", str(row["number"])), None, f"incident {row['number']} was closed"
    for row in tables["ledger"]:
        key = cleaned_text(row["key"])
        yield ("intent", key), None, f"{row['key']} was begun"
        if row["outcome"] is not None:
            yield ("outcome", key), row["outcome"], f"{row['key']} was {row['outcome']}"
    for row in tables["approvals"]:
        about = f"{row['incident']} {row['digest']}"
        yield ("ask", about), None, f"incident {row['incident']} asked a human"
        if row["granted"] is not None:
            granted = bool(row["granted"])
            said = f"incident {row['incident']} was {'approved' if granted else 'denied'}"
            yield ("answer", about), granted, said
    for row in tables["learned"]:
        yield ("learned", cleaned_text(row["id"])), None, f"{row['id']} was learned"
    for row in tables["trust"]:
        yield ("trust", cleaned_text(row["id"])), row["trust"], f"{row['id']} is {row['trust']}"
