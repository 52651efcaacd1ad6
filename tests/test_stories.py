"""Incidents read back whole, from both databases."""

import json

from treewalk.model.acting import Plan, VerifySpec
from treewalk.reporting import postmortem
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database
from treewalk.store.stories import Stories

from tests.test_books import database, postgres  # noqa: F401

T = 1_768_452_430.0


def close(cases: Casebook, number: int, ending: str, at: float) -> None:
    cases.close(number, ending, "as it was", at, {"proof": None, "actions": []})


def test_a_story_has_what_the_rows_have(database: Database) -> None:  # noqa: F811
    cases = Casebook(database)
    first = cases.open("orders", "an alert", T)
    with database.writing() as db:
        db.execute("UPDATE incidents SET root_node = 'redis', known_error = 'ke-1' WHERE number = ?", [first])
    close(cases, first, "escalated", T + 5)
    number = cases.open("orders", "an alert", T + 100)
    document = {"sla": "orders", "status": "violated", "reason": "95s against < 60s", "evidence": []}
    with database.writing() as db:
        db.execute(
            "UPDATE incidents SET document = ?, severity = 'P2' WHERE number = ?", [json.dumps(document), number]
        )
    cases.note(number, "diagnosed", "no root cause", T + 101)
    plan = Plan("orders", "redis", "mend", (), VerifySpec())
    cases.planned(number, plan, T + 102)
    cases.enter(number, "asking", "a human is asked", T + 103)
    cases.ask(number, plan.digest, "mend it?", T + 103, T + 1000)
    stories = Stories(database)
    living = stories.story(number)
    assert (living.state, living.severity, living.diagnosed, living.over) == ("asking", "P2", T + 101, False)
    assert living.question is not None
    assert living.question.question == "mend it?"
    cases.answer(number, plan.digest, "ana", False, "web", T + 110)
    Audit(database).add(T + 111, "answer", "ben", {"granted": True, "via": "cli", "result": "already"}, number)
    close(cases, number, "cancelled", T + 120)
    story = stories.story(number)
    assert story.question is None
    assert [(q.granted, q.who, q.via, q.decided) for q in story.questions] == [(False, "ana", "web", T + 110)]
    assert [(u.who, u.granted, u.why) for u in story.uncounted] == [("ben", True, "already")]
    assert (story.ending, story.closed, story.plan) == ("cancelled", T + 120, "mend")
    assert [m.kind for m in story.timeline][-1] == "closed"
    assert [(e.number, e.root_node, e.ending) for e in stories.before(story)] == [(first, "redis", "escalated")]
    text = postmortem(story, stories.before(story)).text
    assert "denied by ana (web)" in text
    assert "the approval of ben (cli) does not count: already" in text
