"""What happens to incidents reaches people: once, in place, through failures, quiet hours and silence."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from treewalk.errors import SourceBusy, SourceRejected, SourceUnreachable
from treewalk.integrations.telegram import TelegramChannel
from treewalk.messages.courier import Channel, Courier, stop
from treewalk.messages.telling import Teller, digest_message
from treewalk.model.expression import parse
from treewalk.model.place import Place
from treewalk.model.quantity import parse_threshold
from treewalk.model.routing import Escalation, Notify, Quiet, Route
from treewalk.model.schedule import parse_schedule
from treewalk.model.tree import Forest, Sla
from treewalk.model.triage import Triage, TriageRule, names
from treewalk.model.window import Window, parse_days
from treewalk.sandbox.bot_api import TOKEN, running_bot_api
from treewalk.server.deliveries import DeliveryMeasures
from treewalk.settings import TelegramSettings
from treewalk.store.acknowledging import acknowledge
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import PostgresDatabase, SqliteDatabase
from treewalk.store.outbox import Outbox
from treewalk.store.pruning import Pruner

from tests.support.clocks import StandingClock
from tests.support.messengers import Memo
from tests.support.postgres import running_postgres

CHAT = -100200300
NIGHT = Window("NIGHT", parse_days("daily"), time(22), time(6), "UTC")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


class Clock(StandingClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


class Office:
    """A memory with incidents, and a courier over it whose clock stands until it is moved."""

    def __init__(self, database: Any) -> None:
        self.database = database if not isinstance(database, Path) else SqliteDatabase(database / "memory.db")
        self.cases, self.outbox = Casebook(self.database), Outbox(self.database)
        self.clock = Clock(NOON)
        self.said: list[str] = []

    def courier(self, *memos: Any, notify: Notify | None = None, **more: Any) -> Courier:
        slas = {}
        for name, tier in (("orders", "1"), ("stock", "2")):
            threshold = parse_threshold("< 60s")
            slas[name] = Sla(name, "q", threshold, None, None, (), Place("t", 1, 1), tags={"tier": tier})
        known = names(["NIGHT"])
        rules = (
            TriageRule(parse("remaining < -100% or repeats >= 3", known), "P1"),
            TriageRule(parse("tags.tier == 1 and status == 'violated'", known), "P2"),
        )
        teller = Teller(self.database, Forest(slas, {}, {"NIGHT": NIGHT}), Triage(rules), lambda node: 2)
        channels = {m.name: Channel(m, more.pop("kinds", {}).get(m.name) if "kinds" in more else None) for m in memos}
        more = {"poll": 0.01, "dice": random.Random(1), "say": self.said.append} | more
        return Courier(self.outbox, self.cases, teller, notify or Notify(), channels, self.clock, **more)

    def opened(self, sla: str = "orders", *, measured: float = 90.0) -> int:
        """An incident that was diagnosed."""
        number = self.cases.open(sla, "an alert", self.clock.now())
        document = {"sla": sla, "status": "violated", "measured": measured, "in_window": True, "evidence": []}
        with self.database.writing() as db:
            db.execute(
                "UPDATE incidents SET document = ?, root_node = 'redis' WHERE number = ?",
                [json.dumps(document), number],
            )
        self.cases.note(number, "diagnosed", "root cause: redis", self.clock.now())
        return number

    def close(self, number: int, ending: str = "resolved") -> None:
        self.cases.close(number, ending, "as it was", self.clock.now(), {})

    def ask(self, number: int, digest: str = "d1") -> None:
        with self.database.writing() as db:
            db.execute("UPDATE incidents SET digest = ? WHERE number = ?", [digest, number])
        self.cases.ask(number, digest, "restart redis?", self.clock.now(), self.clock.now() + 1800)
        self.cases.enter(number, "asking", f"a human is asked about {digest}", self.clock.now())

    def severity(self, number: int) -> str | None:
        return self.database.query("SELECT severity FROM incidents WHERE number = ?", [number])[0]["severity"]


async def settled(courier: Courier) -> None:
    """Look, and deliver whatever is due now."""
    while courier.look():
        pass
    for name in courier.channels:
        while await courier.deliver(name):
            pass


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("courier")) as url:
        yield url.replace("+psycopg", "")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("/usr/lib/postgresql"))])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    database: Any = SqliteDatabase(tmp_path / "memory.db")
    if request.param == "postgres":
        database = PostgresDatabase(request.getfixturevalue("postgres"))
        with database.writing() as db:  # a clean one for each test
            db.execute("DROP SCHEMA public CASCADE")
            db.execute("CREATE SCHEMA public")
        database.close()
        database = PostgresDatabase(request.getfixturevalue("postgres"))
    found = Office(database)
    yield found
    found.database.close()


@asynccontextmanager
async def running(courier: Courier) -> Any:
    task = asyncio.create_task(courier.run())
    try:
        yield task
    finally:
        await stop(task)


async def until(done: Callable[[], Any], what: str) -> None:
    for _ in range(3000):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


async def test_one_message_an_incident_edited_while_it_develops(office: Office) -> None:
    memo = Memo()
    courier = office.courier(memo)
    await settled(courier)
    number = office.opened()
    await settled(courier)
    office.clock.at += 10
    office.cases.enter(number, "acting", "restarting", office.clock.now())
    await settled(courier)
    office.clock.at += 10
    office.close(number)
    await settled(courier)
    assert len(memo.sent) == 1
    assert [id for id, _ in memo.edited] == ["m1", "m1"]
    assert [(m.over, m.ending) for _, m in memo.edited] == [(False, None), (True, "resolved")]
    assert {m.key for m in memo.sent} == {f"incident:{number}"}
    before = len(memo.edited)
    await settled(courier)
    await settled(office.courier(memo))
    assert (len(memo.sent), len(memo.edited)) == (1, before)


async def test_what_cannot_be_edited_gets_the_first_form_the_question_and_the_last(office: Office) -> None:
    mail = Memo("mail", edits=False)
    courier = office.courier(mail)
    await settled(courier)
    number = office.opened()
    await settled(courier)
    for text in ("one thing", "another"):
        office.cases.note(number, "did", text, office.clock.now())
        await settled(courier)
    assert len(mail.sent) == 1
    office.ask(number)
    await settled(courier)
    assert mail.sent[1].question is not None
    assert mail.sent[1].question.digest == "d1"
    office.ask(number, "d2")
    await settled(courier)
    assert mail.sent.pop(2).question != mail.sent[1].question
    office.close(number)
    await settled(courier)
    office.cases.note(number, "alert resolved", "later", office.clock.now())
    await settled(courier)
    assert [m.over for m in mail.sent] == [False, False, True]


async def test_how_grave_it_is_goes_by_the_rules_and_is_kept(office: Office) -> None:
    memo = Memo()
    courier = office.courier(memo)
    await settled(courier)
    first, second = office.opened("orders"), office.opened("stock")
    grave = office.opened("stock", measured=500.0)
    await settled(courier)
    assert [office.severity(n) for n in (first, second, grave)] == ["P2", "P3", "P1"]
    assert {m.incident: m.severity for m in memo.sent} == {first: "P2", second: "P3", grave: "P1"}
    repeated = [office.opened("orders") for _ in range(3)][-1]
    await settled(courier)
    assert office.severity(repeated) == "P1"


async def test_how_grave_it_is_is_kept_where_nobody_is_told(office: Office) -> None:
    courier = office.courier()
    await settled(courier)
    number = office.opened("orders")
    await settled(courier)
    assert office.severity(number) == "P2"
    assert office.outbox.rows(9) == []


async def test_a_failure_is_tried_again_with_growing_waits_then_kept_with_its_reason(office: Office) -> None:
    memo = Memo()
    memo.trouble = lambda: SourceUnreachable("nobody there, token=abcdef0123456789abcdef")
    courier = office.courier(memo, tries=3, keep_trying=0.0)
    await settled(courier)
    number = office.opened()
    waits = []
    for _ in range(3):
        await settled(courier)
        row = office.outbox.rows(1)[0]
        waits.append(row["due"] - office.clock.now())
        office.clock.at = row["due"]
    assert row["state"] == "failed"
    assert row["attempts"] == 3
    assert "nobody there" in row["why"]
    assert "abcdef0123456789" not in row["why"]
    assert 0 < waits[0] <= 5 < waits[1] <= 10
    assert courier.results == {("memo", "tried"): 2, ("memo", "failed"): 1}
    assert "not delivered after 3 tries" in office.said[-1]
    memo.trouble = None
    office.clock.at += 1
    office.close(number)
    await settled(courier)
    assert [m.over for m in memo.sent] == [True]
    assert office.outbox.rows(1)[0]["why"] is None


async def test_a_channel_that_is_down_for_hours_loses_nothing(office: Office) -> None:
    memo = Memo()
    memo.trouble = lambda: SourceUnreachable("nobody there")
    courier = office.courier(memo)
    await settled(courier)
    number = office.opened()
    begin = office.clock.now()
    await settled(courier)
    assert office.said == [f"memo: incident:{number} was not delivered, it is tried again: nobody there"]
    waits = []
    while office.clock.now() < begin + 23 * 3600:
        row = office.outbox.rows(1)[0]
        assert row["state"] == "due"
        waits.append(row["due"] - office.clock.now())
        office.clock.at = row["due"]
        await settled(courier)
    assert max(waits) <= 600
    assert len(waits) < 300
    assert len(office.said) == 1
    memo.trouble = None
    office.clock.at = office.outbox.rows(1)[0]["due"]
    await settled(courier)
    assert [m.incident for m in memo.sent] == [number]
    assert office.said[1:] == ["memo: messages are delivered again"]


async def test_what_was_given_up_is_sent_once_the_channel_takes_messages_again(office: Office) -> None:
    memo = Memo()
    memo.trouble = lambda: SourceUnreachable("nobody there")
    courier = office.courier(memo)
    await settled(courier)
    living, needed, seen, over = (office.opened("stock") for _ in range(4))
    office.close(needed, "escalated")
    office.close(seen, "escalated")
    acknowledge(office.database, office.cases, seen, "ann", "cli", office.clock.now())
    office.close(over)
    while set(office.outbox.counts()) != {("memo", "failed")}:
        await settled(courier)
        office.clock.at += 600
    assert office.clock.now() - NOON > 86400
    assert next(line for line in office.said if "given up" in line).startswith("memo: incident:")
    memo.trouble = None
    restarted = office.courier(memo)
    await settled(restarted)
    assert memo.sent == []
    fresh = office.opened("orders")
    await settled(restarted)
    assert [m.incident for m in memo.sent] == [fresh, living, needed]
    await settled(restarted)
    assert len(memo.sent) == 3


def test_what_a_channel_has_failed_to_do_is_counted_from_nothing_on(office: Office) -> None:
    courier = office.courier(Memo("chat"))
    courier.results["chat", "failed"] += 1
    tries = next(iter(DeliveryMeasures(courier).collect()))
    found = {tuple(sample.labels.values()): sample.value for sample in tries.samples}
    assert found == {("chat", "delivered"): 0, ("chat", "failed"): 1, ("chat", "tried"): 0}


async def test_a_channel_that_asks_for_a_pause_is_left_alone_for_as_long(office: Office) -> None:
    memo = Memo()
    memo.trouble = lambda: SourceBusy("slow down", 120.0)
    courier = office.courier(memo)
    await settled(courier)
    office.opened("orders")
    office.opened("stock")
    await settled(courier)
    memo.trouble = None
    office.clock.at += 119
    await settled(courier)
    assert memo.sent == []
    office.clock.at += 2
    await settled(courier)
    assert len(memo.sent) == 2


async def test_a_channel_that_hangs_or_fails_holds_up_no_other(office: Office) -> None:
    hanging, refusing, fine = Memo("hanging"), Memo("refusing"), Memo("fine")
    hanging.gate = asyncio.Event()
    refusing.trouble = lambda: SourceRejected("bad token")
    courier = office.courier(hanging, refusing, fine, timeout=30.0)
    async with running(courier):
        await until(lambda: office.outbox.read_up_to() is not None, "the first look")
        number = office.opened()
        await until(lambda: fine.sent, "the first form")
        office.clock.at += 5
        office.close(number)
        await until(lambda: fine.edited, "the last form")
        assert hanging.sent == refusing.sent == []
        hanging.gate.set()
        await until(lambda: hanging.edited, "the one that hung")


async def test_a_delivery_that_takes_too_long_is_given_up_and_tried_again(office: Office) -> None:
    memo = Memo()
    memo.gate = asyncio.Event()
    courier = office.courier(memo, timeout=0.05)
    await settled(courier)
    office.opened()
    await settled(courier)
    assert "no answer within" in office.outbox.rows(1)[0]["why"]
    memo.gate.set()
    office.clock.at += 10
    await settled(courier)
    assert len(memo.sent) == 1


async def test_what_a_crash_left_under_way_is_sent_again_after_its_time(office: Office) -> None:
    memo = Memo()
    courier = office.courier(memo)
    await settled(courier)
    office.opened()
    courier.look()
    now = office.clock.now()
    assert office.outbox.take("memo", now, now + 30) is not None  # and here it dies
    again = office.courier(memo)
    await settled(again)
    assert memo.sent == []
    office.clock.at += 31
    await settled(again)
    assert len(memo.sent) == 1


async def test_quiet_hours_hold_back_and_lose_nothing(office: Office) -> None:
    memo, mail = Memo(), Memo("mail", edits=False)
    notify = Notify(quiet=(Quiet(NIGHT, frozenset({"P3", "P4"})),))
    courier = office.courier(memo, mail, notify=notify)
    await settled(courier)
    office.clock.at = NOON + 11 * 3600
    grave, mild, over = office.opened("orders"), office.opened("stock"), office.opened("stock")
    await settled(courier)
    assert [m.incident for m in memo.sent] == [grave]
    office.close(over)
    office.clock.at += 3600
    office.cases.note(mild, "did", "something", office.clock.now())
    await settled(courier)
    assert [m.incident for m in mail.sent] == [grave]
    assert {r["state"] for r in office.outbox.rows(9) if r["incident"] != grave} == {"held"}
    office.clock.at = NOON + 18 * 3600
    await settled(courier)
    for channel in (memo, mail):
        told = {m.incident: m for m in channel.sent}
        assert len(channel.sent) == 3
        assert told[over].over
        assert not told[mild].over
        assert "something" in told[mild].rendered.text


async def test_what_becomes_grave_in_quiet_hours_is_told_at_once(office: Office) -> None:
    memo = Memo()
    courier = office.courier(memo, notify=Notify(quiet=(Quiet(NIGHT, frozenset({"P3"})),)))
    await settled(courier)
    office.clock.at = NOON + 11 * 3600
    number = office.opened("stock")
    await settled(courier)
    assert memo.sent == []
    with office.database.writing() as db:
        db.execute("UPDATE incidents SET document = replace(document, '90.0', '900.0') WHERE number = ?", [number])
    office.cases.note(number, "diagnosed", "worse", office.clock.now())
    await settled(courier)
    assert [m.severity for m in memo.sent] == ["P1"]


async def test_routes_choose_channels(office: Office) -> None:
    ops, rest = Memo("ops"), Memo("rest")
    notify = Notify((Route(("ops",), slas=("order*",)), Route(("rest",), tags={"tier": "2"})))
    courier = office.courier(ops, rest, notify=notify)
    await settled(courier)
    office.opened("orders")
    office.opened("stock")
    await settled(courier)
    assert [m.slas for m in ops.sent] == [("orders",)]
    assert [m.slas for m in rest.sent] == [("stock",)]


CHAIN = Notify(escalation=Escalation(("first", "second", "third"), {"P2": 900.0, "P3": 3600.0}))


async def test_nobody_answers_and_the_next_channel_is_told(office: Office) -> None:
    chain = [Memo(name) for name in ("first", "second", "third")]
    courier = office.courier(*chain, notify=CHAIN)
    await settled(courier)
    number = office.opened("orders")
    office.ask(number)
    await settled(courier)
    assert [len(m.sent) for m in chain] == [1, 0, 0]
    office.clock.at += 901
    await settled(courier)
    assert [len(m.sent) for m in chain] == [1, 1, 0]
    told = [row["text"] for row in office.cases.timeline(number) if row["kind"] == "escalation"]
    assert told == ["P2: nobody answered within 15m; second is told"]
    assert office.cases.approval(number, "d1") is None
    assert acknowledge(office.database, office.cases, number, "ann", "cli", office.clock.now())
    assert not acknowledge(office.database, office.cases, number, "bob", "cli", office.clock.now())
    office.clock.at += 9000
    await settled(courier)
    assert [len(m.sent) for m in chain] == [1, 1, 0]
    assert [row["kind"] for row in Audit(office.database).rows()].count("acknowledge") == 1
    office.close(number)
    await settled(courier)
    assert [m.edited[-1][1].over for m in chain[:2]] == [True, True]


@pytest.mark.parametrize("how", ["escalated", "refused", "held"])
async def test_what_needs_a_human_climbs_to_the_end_of_the_chain_over_a_restart(office: Office, how: str) -> None:
    chain = [Memo(name) for name in ("first", "second", "third")]
    await settled(office.courier(*chain, notify=CHAIN))
    number = office.opened("orders")
    if how == "held":
        office.cases.enter(number, "waiting", "held: the kill switch is on", office.clock.now(), {"held": True})
    else:
        office.close(number, how)
    await settled(office.courier(*chain, notify=CHAIN))
    office.clock.at += 5000
    await settled(office.courier(*chain, notify=CHAIN))
    await settled(office.courier(*chain, notify=CHAIN))
    assert [len(m.sent) for m in chain] == [1, 1, 1]
    assert [row["kind"] for row in office.cases.timeline(number)].count("escalation") == 2


@pytest.mark.parametrize("who", ["a rule", "a human"])
async def test_what_a_rule_refuses_is_an_issue_and_what_a_human_refuses_is_none(office: Office, who: str) -> None:
    tracker, chat = Memo("github"), Memo("chat")
    kinds = {"github": frozenset({"escalation"})}
    await settled(office.courier(tracker, chat, kinds=dict(kinds)))
    number = office.opened("orders")
    if who == "a human":
        office.ask(number)
        office.cases.answer(number, "d1", "ann", False, "cli", office.clock.now())
    office.close(number, "refused")
    await settled(office.courier(tracker, chat, kinds=dict(kinds)))
    assert (len(tracker.sent), len(chat.sent)) == (1 if who == "a rule" else 0, 1)


async def test_a_digest_is_sent_once_even_over_restarts(office: Office) -> None:
    memo = Memo()

    def courier() -> Courier:
        return office.courier(
            memo,
            digests=(parse_schedule("13:00", "daily", "UTC"), parse_schedule("sat 13:00", "weekly", "UTC")),
            digest=lambda due: digest_message(office.database, due),
        )

    await settled(courier())
    office.opened()
    await settled(courier())
    office.clock.at = NOON + 3601
    await settled(courier())
    office.opened()
    await settled(courier())
    assert [m.key for m in memo.sent] == ["incident:1", "daily:2026-11-21", "weekly:2026-11-21", "incident:2"]
    assert memo.sent[1].rendered.title.startswith("Daily digest 2026-11-21: 1 incident, 0 ended, 1 open")


async def test_what_was_over_before_a_channel_was_there_is_not_told_to_it(office: Office) -> None:
    old = office.opened()
    office.close(old)
    living = office.opened("stock")
    memo = Memo()
    office.clock.at += 60
    await settled(office.courier(memo))
    office.cases.note(old, "alert resolved", "late", office.clock.now())
    await settled(office.courier(memo))
    assert [m.incident for m in memo.sent] == [living]


async def test_what_goes_into_another_incident_before_it_was_told_is_not_told(office: Office) -> None:
    memo = Memo()
    await settled(office.courier(memo))
    told = office.opened("orders")
    await settled(office.courier(memo))
    quiet = office.opened("stock")
    office.close(quiet, "merged")
    office.clock.at += 5
    office.close(told, "merged")
    await settled(office.courier(memo))
    assert [m.incident for m in memo.sent] == [told]
    assert [m.over for _, m in memo.edited] == [True]


async def test_trackers_are_told_of_escalations_only(office: Office) -> None:
    tracker, memo = Memo("github"), Memo()
    courier = office.courier(memo, tracker)
    courier = replace(courier, channels={**courier.channels, "github": Channel(tracker, frozenset({"escalation"}))})
    await settled(courier)
    fine, bad = office.opened("orders"), office.opened("stock")
    await settled(courier)
    office.close(fine)
    office.close(bad, "escalated")
    office.clock.at += 5
    await settled(courier)
    assert len(memo.sent) == 2
    assert [m.incident for m in tracker.sent] == [bad]


async def test_a_form_rendered_by_a_slower_process_does_not_take_the_place_of_a_newer_one(office: Office) -> None:
    memo = Memo()
    slow, quick = office.courier(memo), office.courier(memo)
    await settled(slow)
    number = office.opened()
    look = slow.teller.incident

    def late(n: int, at: float) -> Any:
        found = look(n, at)
        if office.cases.life(n)["state"] != "closed":
            office.close(number)
            quick.look()
        return found

    object.__setattr__(slow.teller, "incident", late)
    await settled(slow)
    assert [m.over for m in memo.sent] == [True]


async def test_a_chat_shows_one_message_from_the_question_to_the_end(office: Office) -> None:
    with running_bot_api() as api:
        settings = TelegramSettings(token=TOKEN, chat=CHAT, users={"ana": 11}, api=api.url)
        channel = TelegramChannel(settings, lambda text: text)
        courier = office.courier(channel)
        api.fail("sendMessage", 429, "Too Many Requests: retry after 60", retry_after=60)
        await settled(courier)
        number = office.opened("orders")
        office.ask(number, "d" * 64)
        await settled(courier)
        assert office.outbox.rows(1)[0]["state"] == "due"
        office.clock.at += 59
        await settled(courier)
        assert not api.messages
        office.clock.at += 2
        await settled(courier)
        assert len(api.messages) == 1
        assert api.last().labels()
        office.clock.at += 5
        office.close(number)
        await settled(courier)
        assert len(api.messages) == 1
        assert not api.last().labels()
        assert "resolved" in api.last().text
        await channel.close()


@pytest.mark.parametrize("later", [0.0, 150.0])  # 150: the message is younger than its incident, and stays
async def test_what_is_removed_because_it_is_old_is_no_news(office: Office, later: float) -> None:
    chat = Memo("chat")
    courier = office.courier(chat)
    courier.look()
    number = office.opened()
    office.close(number)
    office.clock.at += later
    await settled(courier)
    office.clock.at += 200.0 - later
    assert Pruner(office.database, 100.0).some(office.clock.now()).incidents == 1
    await settled(courier)
    assert (len(chat.sent), chat.edited) == (1, [])
