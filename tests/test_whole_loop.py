"""Nothing called by hand: something breaks, and Prometheus, Alertmanager, treewalk and a chat do the rest."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from treewalk.sandbox.bot_api import BotApi, running_bot_api
from treewalk.sandbox.bot_chat import Shown
from treewalk.sandbox.faults import break_it, mend
from treewalk.sandbox.platform import TOKEN, Sandbox
from treewalk.store.audit import Audit
from treewalk.store.database import SqliteDatabase

pytestmark = [
    pytest.mark.needs("redis-server", "prometheus", "prometheus-alertmanager", "prometheus-redis-exporter"),
    pytest.mark.alone,
    pytest.mark.platform,
]
ANN, MALLORY = 1001, 6666


@pytest.fixture(scope="module")
def sandbox(platform: Sandbox) -> Sandbox:
    """With an empty memory."""
    shutil.rmtree(platform.workspace / ".treewalk", ignore_errors=True)
    return platform


@pytest.fixture(scope="module")
def chat(sandbox: Sandbox) -> Iterator[BotApi]:
    """The chat's server, and treewalk serving beside it."""
    with running_bot_api(port=sandbox.ports["chat"]) as api:
        sandbox.serve(print)
        yield api
        print((sandbox.folder / "logs" / "treewalk.out").read_text()[-4000:])
        sandbox.stop("treewalk")


def asked(sandbox: Sandbox, path: str) -> Any:
    """What treewalk's API answers."""
    request = urllib.request.Request(f"{sandbox.page}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(what: str, look: Callable[[], Any], seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return found


def incident(sandbox: Sandbox, sla: str, state: str) -> Callable[[], Any]:
    def look() -> Any:
        rows = asked(sandbox, "/api/incidents?limit=20")["incidents"]
        return next((row for row in rows if row["sla"] == sla and row["state"] == state), None)

    return look


def message(chat: BotApi, number: int, words: str) -> Callable[[], Shown | None]:
    """The message about an incident, once it says so; an alert of an earlier test may have opened another one."""
    about = f"incident {number}:"
    return lambda: next((m for m in chat.messages if about in m.text.lower() and words in m.text), None)


def lines(sandbox: Sandbox, number: int) -> str:
    found = asked(sandbox, f"/api/incidents/{number}")
    return "\n".join(f"{row['kind']}: {row['text']}" for row in found["timeline"])


def test_what_breaks_is_found_fixed_proven_reported_and_remembered(sandbox: Sandbox, chat: BotApi) -> None:
    try:
        break_it(sandbox, "leaked_clients", print)
        row = wait_for("the incident to be closed", incident(sandbox, "entity_data_freshness", "closed"))
        if row["ending"] == "merged":  # ConsumerBehind came first; the cause is the same
            row = wait_for("the one it became a part of", incident(sandbox, "consumer_lag", "closed"))
        assert (row["ending"], row["root_node"], row["known_error"]) == ("resolved", "store_redis", "sb-clients")
        told = lines(sandbox, row["number"])
        assert "opened: alertmanager: " in told
        assert "EntityDataStale" in told or "entity_data_freshness is violated by the same node" in told
        assert "verified: holds" in told
        shown = wait_for("the report", message(chat, row["number"], "resolved"))
        assert "entity_data_freshness" in shown.text
        assert "store_redis" in shown.text
        assert len(shown.forms) >= 2, "one message, edited as the incident went on"
        assert shown.labels() == []
        assert sandbox.measured()["entity_data_freshness"][1] is True  # by Prometheus, not by treewalk
        known = asked(sandbox, "/api/known-errors")["known_errors"]
        assert next(one for one in known if one["id"] == "sb-clients")["occurrence_count"] >= 1
    finally:
        mend(sandbox, print)


def test_a_fix_that_asks_is_done_when_somebody_listed_approves(sandbox: Sandbox, chat: BotApi) -> None:
    try:
        break_it(sandbox, "derived_stopped", print)
        row = wait_for("a question", incident(sandbox, "derived_completeness", "asking"))
        about = message(chat, row["number"], "")
        shown = wait_for("the buttons", lambda: m if (m := about()) and "Approve" in m.labels() else None)
        chat.press(MALLORY, shown, "Approve", name="Mallory")
        wait_for("the refusal", lambda: any("not" in one["text"] for one in chat.answered))
        assert asked(sandbox, f"/api/incidents/{row['number']}")["life"]["state"] == "asking"
        chat.press(ANN, shown, "Approve", name="Ann")
        path = f"/api/incidents/{row['number']}"
        wait_for("the end", lambda: asked(sandbox, path)["life"]["state"] == "closed")
        assert asked(sandbox, path)["life"]["ending"] == "resolved"
        assert "ann approved it" in lines(sandbox, row["number"])
        assert "did: restarted derived:derived" in lines(sandbox, row["number"]) or "started" in lines(
            sandbox, row["number"]
        )
        last = wait_for("the last form", lambda: shown if "resolved" in shown.text else None)
        assert last.labels() == []
        assert "ann" in last.text.lower()
    finally:
        mend(sandbox, print)
    database = SqliteDatabase(sandbox.workspace / ".treewalk" / "memory.db")
    audit = Audit(database)
    assert audit.verify()[1] == []
    text = json.dumps([dict(one) for one in audit.rows(1000, None)])
    assert str(MALLORY) in text
    assert "refused" in text
    database.close()
