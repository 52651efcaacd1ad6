"""The outbox under any order of wanting, taking, delivering, failing and dying: nothing lost, nothing in disorder."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from treewalk.model.acting import canonical
from treewalk.model.message import Message, Question, Rendered
from treewalk.store.database import SqliteDatabase
from treewalk.store.outbox import Delivery, Outbox, digest_of, message_of, stage_of

LEASE = 30.0


def form(key: str, text: str, stage: int) -> Message:
    question = Question(1, "d", "may I?", 9e9) if stage == 1 else None
    return Message(
        key, "incident", Rendered(text, text, text, text), "P2", 1, ("a", "b"), (("tier", "1"),), question, stage == 2
    )


class Channel(RuleBasedStateMachine):
    """A channel that shows what it is sent, and a courier that may die between any two steps."""

    edits = True

    @initialize()
    def begin(self) -> None:
        self._folder = TemporaryDirectory()
        self.outbox = Outbox(SqliteDatabase(Path(self._folder.name) / "m.db"))
        self.now = 1000.0
        self.wanted: dict[str, Message] = {}
        self.stages: dict[str, int] = {}
        self.shown: dict[str, list[Message]] = {}
        self.under_way: Delivery | None = None
        self.crashes = 0

    @rule(key=st.sampled_from("ab"), text=st.text("xyz", max_size=2), more=st.booleans())
    def want(self, key: str, text: str, more: bool) -> None:
        stage = min(2, self.stages.get(key, 0) + more)
        self.stages[key] = stage
        message = form(key, text, stage)
        with self.outbox.database.writing() as db:
            first = self.outbox.want(db, "c", self.edits, message, self.now, "due")
        assert first == (key not in self.wanted)
        self.wanted[key] = message

    @precondition(lambda self: self.under_way is None)
    @rule()
    def take(self) -> None:
        self.under_way = self.outbox.take("c", self.now, self.now + LEASE)

    @precondition(lambda self: self.under_way is not None)
    @rule(accepted=st.booleans(), dies=st.booleans())
    def deliver(self, accepted: bool, dies: bool) -> None:
        done, self.under_way = self.under_way, None
        assert done is not None
        if accepted:
            self.shown.setdefault(done.key, []).append(done.message)
        if dies:
            self.crashes += 1
        elif accepted:
            self.outbox.delivered(done, "id" if self.edits else "", self.now)
        else:
            self.outbox.failed(done, "no", self.now, self.now + 5)

    @rule(seconds=st.sampled_from([0.5, 6.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def what_was_shown_is_never_older_than_before(self) -> None:
        for key, shown in getattr(self, "shown", {}).items():
            stages = [stage_of(m) for m in shown]
            assert stages == sorted(stages), key

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        if self.under_way is not None:
            self.outbox.delivered(self.under_way, "", self.now)
            self.shown.setdefault(self.under_way.key, []).append(self.under_way.message)
        for _ in range(50):
            self.now += 60.0
            done = self.outbox.take("c", self.now, self.now + LEASE)
            if done is None:
                break
            self.shown.setdefault(done.key, []).append(done.message)
            self.outbox.delivered(done, "id" if self.edits else "", self.now)
        for key, message in self.wanted.items():
            last = self.shown[key][-1]
            assert stage_of(last) == stage_of(message)
            if self.edits:
                assert digest_of(last) == digest_of(message)
        states: Any = self.outbox.counts()
        assert set(states) <= {("c", "sent")}
        self.outbox.database.close()
        self._folder.cleanup()


class Mail(Channel):
    """The same where nothing can be edited: at most one form a stage, but for what a crash repeats."""

    edits = False

    @invariant()
    def few_forms(self) -> None:
        for shown in getattr(self, "shown", {}).values():
            assert len(shown) <= 3 + self.crashes


Channel.TestCase.settings = Mail.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestEditing = Channel.TestCase
TestMail = Mail.TestCase


def test_a_message_comes_back_from_the_table_as_it_was() -> None:
    for stage in range(3):
        message = form("k", "t", stage)
        assert message_of(json.loads(canonical(asdict(message)))) == message
