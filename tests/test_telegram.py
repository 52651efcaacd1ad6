"""Telegram through its real client library, against a server of ours that speaks its Bot API."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from treewalk.app import App
from treewalk.errors import SettingsError, SourceBusy, SourceError, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.integrations.telegram import TelegramChannel
from treewalk.integrations.telegram_listener import Listener
from treewalk.model.acting import Plan, VerifySpec
from treewalk.model.message import Message, Question, Rendered
from treewalk.operations.incidents import Operations
from treewalk.operations.switchboard import OperationsSwitchboard
from treewalk.sandbox.bot_api import TOKEN, BotApi, Shown, running_bot_api
from treewalk.server.web import build
from treewalk.settings import TelegramSettings
from treewalk.store.database import SqliteDatabase

from tests.crash.target import running_target, write_workspace
from tests.support.answers import free_port
from tests.support.clocks import StandingClock
from tests.support.serving import serving

ANA, BEN, MALLORY = 11, 22, 666
CHAT = -100200300
USERS = f"{{ana: {ANA}, ben: {BEN}}}"
ENVIRON = {"BOT_TOKEN": TOKEN, "HOOK_SECRET": "a-secret-that-is-long-enough"}


@pytest.fixture
def api() -> Iterator[BotApi]:
    with running_bot_api() as found:
        yield found


def workspace(folder: Path, api: BotApi, url: str = "http://127.0.0.1:9", more: str = "", **given: str) -> Path:
    write_workspace(folder, url, ["one"])
    file = folder / "treewalk.yaml"
    text = file.read_text().replace("tier: full", "tier: ask") + more
    extra = "".join(f", {key}: '{value}'" for key, value in given.items())
    file.write_text(
        text
        + f"notify: {{telegram: {{token: '${{BOT_TOKEN}}', chat: {CHAT}, users: {USERS}, api: '{api.url}'{extra}}}}}\n"
    )
    return folder


async def until(done: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.02)
    return found


class Scene:
    """A workspace with a bot, a question that stands, and the message that asks it."""

    def __init__(self, app: App, api: BotApi) -> None:
        self.app, self.api, self.operations = app, api, Operations(app)
        settings = app.workspace.settings.notify.telegram
        assert settings is not None
        self.settings = settings
        self.said: list[str] = []
        self.channel = TelegramChannel(settings, app.resolve)
        board = OperationsSwitchboard(self.operations)
        self.listener = Listener(self.channel, board, settings, app.clock, self.said.append)

    def ask(self, title: str = "mend it", expires: float = 600.0) -> tuple[int, Plan]:
        """An incident that asks for its plan."""
        cases, now = self.operations.cases, self.app.clock.now()
        number = cases.open_or_join("fresh_one", "a test", now)
        made = Plan("fresh_one", "store_one", title, (), VerifySpec())
        cases.planned(number, made, now)
        cases.enter(number, "asking", "a human is asked", now)
        cases.ask(number, made.digest, f"{title}?", now, now + expires)
        return number, made

    def message(self, number: int, made: Plan, html: str = "<p>fresh_one is <b>stale</b></p>") -> Message:
        question = Question(number, made.digest, f"{made.title}?", self.app.clock.now() + 600)
        rendered = Rendered(f"incident {number}", "stale", "", html)
        return Message(f"incident/{number}", "incident", rendered, incident=number, question=question)

    async def asked(self, title: str = "mend it", expires: float = 600.0) -> tuple[int, Plan, Shown]:
        """The same with its message in the chat."""
        number, made = self.ask(title, expires)
        await self.channel.send(self.message(number, made))
        return number, made, self.api.last()

    def approval(self, number: int, made: Plan) -> Any:
        return self.operations.cases.approval(number, made.digest)

    def audit(self, kind: str) -> list[Any]:
        return [row for row in self.operations.audit.rows() if row["kind"] == kind]

    async def handled(self) -> None:
        """Everything that was pressed and said until now has been handled and confirmed."""
        await until(lambda: self.api.waiting == 0, "the updates to be handled")


@asynccontextmanager
async def scene(folder: Path, api: BotApi, *, listen: bool = True, **given: Any) -> AsyncIterator[Scene]:
    async with App.open(workspace(folder / "w", api, **given), environ=ENVIRON) as app:
        made = Scene(app, api)
        task = asyncio.create_task(made.listener.run() if listen else asyncio.sleep(0))
        try:
            yield made
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await made.channel.close()


# approving


async def test_a_listed_user_approves_and_the_message_tells_it(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        assert shown.labels() == ["Approve", "Deny", "Details"]
        assert "fresh_one is stale" in shown.text
        assert "mend it?" in shown.text
        api.press(ANA, shown, "Approve", name="Not Ana")
        await s.handled()
        given = s.approval(number, made)
        assert (given.who, given.granted, given.via) == ("ana", True, "telegram")
        assert api.answered == [{"text": "Incident 1: approved.", "alert": False}]
        assert shown.labels() == []
        assert "Approved by ana" in shown.text
        assert "fresh_one is stale" in shown.text
        over = Message(
            "incident/1", "incident", Rendered("incident 1", "", "", "<p>resolved by mending</p>"), over=True
        )
        assert await s.channel.edit(f"{CHAT}/{shown.id}", over) is None
        assert "resolved by mending" in shown.text
        assert len(api.messages) == 1


async def test_a_listed_user_denies(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        api.press(BEN, shown, "Deny")
        await s.handled()
        assert s.approval(number, made).granted is False
        assert "Denied by ben" in shown.text


async def test_who_is_not_listed_is_refused_and_audited(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        for label in ("Approve", "Deny", "Details"):
            api.press(MALLORY, shown, label, name="ana")
        await s.handled()
        assert s.approval(number, made) is None
        assert [one["alert"] for one in api.answered] == [True] * 3
        assert "666 is not listed" in api.answered[0]["text"]
        assert shown.labels() == ["Approve", "Deny", "Details"]
        refused = s.audit("refused answer")
        assert [(row["who"], row["data"]["user"], row["data"]["name"]) for row in refused] == [
            ("telegram 666", "666", "ana")
        ] * 3
        assert len(api.messages) == 1
        assert s.operations.audit.verify()[1] == []


async def test_a_flood_of_refusals_does_not_fill_the_audit(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        _, _, shown = await s.asked()
        for _ in range(60):
            api.press(MALLORY, shown, "Approve")
        await s.handled()
        refused = s.audit("refused answer")
        assert len(refused) == 20
        assert "not kept" in refused[-1]["data"]["more"]
        assert len(api.answered) == 20


async def test_a_listed_user_whom_policy_does_not_let_approve_spends_no_answer(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        s.app.workspace = replace(s.app.workspace, policy=replace(s.operations.policy, approvers=("ben",), users=()))
        number, made, shown = await s.asked()
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert s.approval(number, made) is None
        assert "policy.approval.approvers" in api.answered[0]["text"]
        assert s.audit("refused answer")[0]["who"] == "ana"
        api.press(BEN, shown, "Approve")
        await s.handled()
        assert s.approval(number, made).who == "ben"


async def test_while_treewalk_only_looks_nothing_is_approved_and_the_question_stands(
    tmp_path: Path, api: BotApi
) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        s.operations.set_read_only(True, "ann", "an audit is going on")
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert "only looks" in api.answered[0]["text"]
        assert s.operations.cases.approval(number, made.digest) is None
        assert "Approve" in shown.labels()
        assert "an audit is going on" in str(s.operations.audit.rows(5, number))


async def test_an_answer_to_an_older_plan_does_not_count(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, old, shown = await s.asked("mend it")
        data = shown.buttons[0][0]["callback_data"]
        _, new = s.ask("mend it otherwise")
        await s.channel.edit(f"{CHAT}/{shown.id}", s.message(number, new))
        api.pressed(ANA, shown, data)
        await s.handled()
        assert (s.approval(number, old), s.approval(number, new)) == (None, None)
        assert "not the plan" in api.answered[0]["text"] or "Too late" in api.answered[0]["text"]
        assert shown.labels() == ["Approve", "Deny", "Details"], "the buttons of the new plan stay"
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert s.approval(number, new).granted


@pytest.mark.parametrize("data", ["a:1:" + "0" * 32, "a:99:" + "0" * 32, "approve", "x" * 64, "a:1:" + "f" * 31])
async def test_data_that_was_never_on_a_button_approves_nothing(tmp_path: Path, api: BotApi, data: str) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        api.pressed(ANA, shown, data)
        await s.handled()
        assert s.approval(number, made) is None
        assert api.answered[0]["alert"]
        assert len(s.audit("answer") + s.audit("refused answer")) == 1


async def test_a_question_that_expired_is_not_answered_any_more(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked(expires=-1.0)
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert s.approval(number, made) is None
        assert "Too late" in api.answered[0]["text"]
        assert shown.labels() == []
        assert "Approved" not in shown.text


async def test_an_incident_that_is_over_takes_no_answer(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        s.operations.cancel(number, "ben")
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert s.approval(number, made) is None
        assert "Too late" in api.answered[0]["text"]


async def test_of_two_at_once_one_counts_and_the_other_is_told(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        board = OperationsSwitchboard(s.operations)
        answers = await asyncio.gather(
            *(asyncio.to_thread(board.answer, number, made.digest, who, granted, "telegram")
              for who, granted in [("ana", True), ("ben", False)] * 10)
        )  # fmt: skip
        assert sorted(one.result for one in answers) == ["already"] * 19 + ["recorded"]
        first = s.approval(number, made)
        api.press(ANA, shown, "Deny" if first.granted else "Approve")
        api.press(BEN, shown, "Deny" if first.granted else "Approve")
        api.press(ANA if first.who == "ana" else BEN, shown, "Approve" if first.granted else "Deny")
        await s.handled()
        assert s.approval(number, made) == first
        assert all(f"Already decided by {first.who}" in one["text"] for one in api.answered[:2])
        assert "by you" in api.answered[2]["text"]
        assert shown.labels() == []


async def test_only_the_pressers_own_id_and_the_right_chat_count(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        data = shown.buttons[0][0]["callback_data"]
        api.chats[-1] = "supergroup"
        elsewhere = Shown(-1, shown.id, shown.text, [], shown.buttons, "", 0)
        api.pressed(ANA, elsewhere, data)
        api.pressed(ANA, shown, data, message=None, inline_message_id="abc")
        bot = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
        api.pressed(ANA, shown, data, **{"from": bot})
        await s.handled()
        assert s.approval(number, made) is None
        assert len(s.audit("refused answer")) == 3
        own = Shown(ANA, 5, "x", [], shown.buttons, "", 0)
        api.chats[ANA] = "private"
        api.pressed(ANA, own, data)
        await s.handled()
        assert s.approval(number, made).who == "ana"


async def test_details_tell_the_plan_and_decide_nothing(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked("mend <b>it</b>")
        api.press(ANA, shown, "Details")
        await until(lambda: len(api.messages) == 2, "the details")
        assert "Plan mend <b>it</b> at store_one" in api.last().text
        assert "a human is asked" in api.last().text
        assert api.last().reply_to == shown.id
        assert s.approval(number, made) is None
        assert shown.labels() == ["Approve", "Deny", "Details"]


async def test_a_press_before_a_crash_counts_after_it_and_one_that_is_handled_twice_does_no_harm(
    tmp_path: Path, api: BotApi
) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        number, made, shown = await s.asked()
        api.press(ANA, shown, "Approve")  # nobody listens
        (update,) = await s.channel.updates(None, 0)
        await s.listener.handle(update)  # handled, and not confirmed: here it crashes
        assert api.waiting == 1
    assert api.waiting == 1
    async with scene(tmp_path, api) as s:
        await s.handled()
        given = s.approval(number, made)
        assert (given.who, given.granted) == ("ana", True)
        results = [row["data"]["result"] for row in s.audit("answer")]
        assert results == ["recorded", "already"]
        assert "Approved by ana" in shown.text
        assert shown.labels() == []


async def test_a_press_while_nobody_listened_counts_unless_it_expired(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        number, made, shown = await s.asked()
        api.press(ANA, shown, "Approve")
    async with scene(tmp_path, api) as s:
        await s.handled()
        assert s.approval(number, made).who == "ana"
        assert "Approved by ana" in shown.text


async def test_a_late_stamp_does_not_undo_a_newer_message(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        _, _, shown = await s.asked()
        id = f"{CHAT}/{shown.id}"
        before = s.channel.version(id)
        over = Message("incident/1", "incident", Rendered("incident 1", "", "", "<p>resolved</p>"))
        await s.channel.edit(id, over)
        await s.channel.stamp(id, "<b>old</b>", "approved", before)
        assert "resolved" in shown.text
        assert "old" not in shown.text


# commands


async def commanded(s: Scene, user: int, text: str, **more: Any) -> str:
    """What the bot answers to a text."""
    before = len(s.api.messages)
    s.api.say(user, text, **more)
    await s.handled()
    return s.api.last().text if len(s.api.messages) > before else ""


async def test_listed_users_ask_how_things_stand_and_stop_everything(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, _, _ = await s.asked("mend <i>it</i>")
        status = await commanded(s, ANA, "/status", chat=CHAT)
        assert "kill switch: off" in status
        assert "1: fresh_one, asking" in status
        assert "mend <i>it</i>?" in status
        assert f"{number}: fresh_one, asking" in await commanded(s, BEN, "/incidents@treewalk_bot")
        assert "by ana" in await commanded(s, ANA, "/kill <b>too</b>\nhot")
        assert s.operations.killed() == "ana: <b>too</b> hot"
        s.operations.kill_file.unlink()
        s.operations.kill_file.mkdir()
        assert "But the file KILL cannot be written" in await commanded(s, ANA, "/kill again")
        s.operations.kill_file.rmdir()
        assert "ON: ana: <b>too</b> hot" in await commanded(s, BEN, "/status")
        assert "off, by ben" in await commanded(s, BEN, "/revive")
        assert s.operations.killed() is None
        assert "was not on" in await commanded(s, BEN, "/revive")
        assert "/revive" in await commanded(s, ANA, "/help")
        assert [row["who"] for row in s.audit("kill on") + s.audit("kill off")] == ["ana", "ana", "ben", "ben"]


async def test_a_listed_user_says_that_an_incident_is_seen(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, _ = await s.asked()
        gone = Message("incident:1", "escalation", Rendered("it failed", "", "", ""), incident=number, over=True)
        await s.channel.send(gone)
        assert "/seen_1: I have seen it" in api.last().text
        assert "not listed" in await commanded(s, MALLORY, "/seen_1")
        assert await commanded(s, ANA, "/seen_1") == "Incident 1: seen by ana."
        assert await commanded(s, BEN, "/seen 1") == "Incident 1 was seen before."
        assert "no incident number 99" in await commanded(s, BEN, "/seen 99")
        assert "Which one?" in await commanded(s, BEN, "/seen <b>it</b>")
        assert [row["who"] for row in s.audit("acknowledge")] == ["ana"]
        assert s.approval(number, made) is None


async def test_others_command_nothing_and_are_audited(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        assert "your user id 666 is not listed" in await commanded(s, MALLORY, "/kill now", name="ana")
        assert "not listed" in await commanded(s, MALLORY, "/start")
        assert "not listed" in await commanded(s, MALLORY, "/status", chat=CHAT)
        assert s.operations.killed() is None
        refused = s.audit("refused command")
        assert [(row["who"], row["data"]["command"]) for row in refused] == [
            ("telegram 666", "/kill now"), ("telegram 666", "/start"), ("telegram 666", "/status"),
        ]  # fmt: skip
        api.chats[-1] = "supergroup"
        assert await commanded(s, MALLORY, "/kill", chat=-1) == "", "strangers' groups are not answered"


async def test_what_is_not_said_by_a_person_commands_nothing(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        group = {"id": CHAT, "type": "supergroup", "title": "ops"}
        bot = {"id": 5, "is_bot": True, "first_name": "b", "username": "inline_bot"}
        origin = {"type": "user", "date": 1, "sender_user": {"id": BEN, "is_bot": False, "first_name": "Ben"}}
        assert "as yourself" in await commanded(s, ANA, "/kill", chat=CHAT, sender_chat=group)
        assert "forwarded" in await commanded(s, ANA, "/kill", chat=CHAT, forward_origin=origin)
        assert "forwarded" in await commanded(s, ANA, "/kill", chat=CHAT, via_bot=bot)
        api.chats[-1] = "supergroup"
        assert await commanded(s, ANA, "/kill", chat=-1) == ""
        for kind in ("edited_message", "channel_post", "edited_channel_post"):
            message = {"message_id": 1, "date": int(time.time()), "chat": group, "text": "/kill"}
            api.update({kind: {**message, "from": {"id": ANA, "is_bot": False, "first_name": "Ana"}}})
        await commanded(s, ANA, "please /kill it")
        await commanded(s, ANA, "/kill@other_bot", chat=CHAT)
        await s.handled()
        assert s.operations.killed() is None
        assert len(s.audit("refused command")) == 4


async def test_a_revive_that_was_written_before_the_switch_was_thrown_is_not_obeyed(
    tmp_path: Path, api: BotApi
) -> None:
    async with scene(tmp_path, api) as s:
        s.operations.kill("ben", "it burns")
        old = int(time.time()) - 60
        assert "Nothing was done" in await commanded(s, ANA, "/revive", date=old)
        assert s.operations.killed() == "ben: it burns"
        assert "off, by ana" in await commanded(s, ANA, "/revive", date=int(time.time()) + 1)


# hostile texts and a hostile network


@pytest.mark.parametrize(
    "html",
    [
        "x" * 10_000,
        "<p>" + "&lt;b&gt; &amp;" * 2000 + "</p>",
        "half \ud83d of a pair \udc00",
        "<b>\u202eevorppa\u202c \u200f",
        "<b><i>never closed <a href='https://x.example'>",
        "<p onclick='x'>a</p><img src=x onerror=alert(1)><iframe src='//e'></iframe>",
        "😀" * 5000,
        "",
        "\0\x01\x02",
        "<" * 3000,
    ],
)
async def test_any_text_arrives(tmp_path: Path, api: BotApi, html: str) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        number, made = s.ask(html[:500] or "mend it")
        id = await s.channel.send(s.message(number, made, html))
        assert s.api.last().labels() == ["Approve", "Deny", "Details"]
        await s.channel.edit(id, s.message(number, made, html + "!"))
        assert len(api.messages) == 1
        assert not any(sign in s.api.last().text for sign in "\u202e\u202c\u200f\0")


async def test_strangers_names_and_texts_are_data(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        _, _, shown = await s.asked()
        for name in ("<b>ana</b>", "x" * 10_000, "half \ud83d", "\u202eana", "'; DROP TABLE audit; --"):
            api.press(MALLORY, shown, "Approve", name=name)
            api.say(MALLORY, f"/kill {name}" + "y" * 5000, name=name)
        await s.handled()
        assert (len(s.audit("refused answer")), len(s.audit("refused command"))) == (5, 5)
        assert s.operations.audit.verify()[1] == []
        long = await commanded(s, ANA, "/kill " + "<b>" * 2000)
        assert "ON, by ana" in long
        assert len(s.operations.killed() or "") <= 210


async def test_an_update_of_an_unknown_shape_is_left_out_and_the_next_one_counts(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        api.update({"callback_query": {"id": 1}})
        api.update({"message": "what?"})
        api.update({"something_new": {"a": 1}})
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert s.approval(number, made).granted


async def test_a_network_that_fails_is_tried_again_and_said_once(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        s.listener._clock = StandingClock(time.time())
        await until(lambda: ("getUpdates") in [name for name, _ in api.calls], "listening")
        api.deaf = True
        api.press(ANA, shown, "Approve")
        await until(lambda: s.said and "tried again" in s.said[-1], "the complaint")
        await asyncio.sleep(0.3)
        api.deaf = False
        await s.handled()
        assert s.approval(number, made).granted
        await until(lambda: s.said[-1] == "telegram: it works again", "the good news")
        assert sum("tried again" in line for line in s.said) == 1


async def test_too_often_is_told_with_the_time_to_wait(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        message = s.message(*s.ask())
        api.fail("sendMessage", 429, "Too Many Requests: retry after 7", retry_after=7)
        with pytest.raises(SourceBusy, match="again in 7 s") as caught:
            await s.channel.send(message)
        assert caught.value.retry_after == 7.0
        id = await s.channel.send(message)
        api.fail("editMessageText", 429, "Too Many Requests: retry after 3", retry_after=3)
        with pytest.raises(SourceBusy):
            await s.channel.edit(id, s.message(*s.ask("another")))


async def test_the_same_again_is_no_error_and_what_is_gone_is_sent_anew(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        message = s.message(*s.ask())
        id = await s.channel.send(message)
        assert await s.channel.edit(id, message) is None
        api.messages.clear()
        new = await s.channel.edit(id, message)
        assert new == f"{CHAT}/{api.last().id}"
        other = s.message(*s.ask("another"))
        assert await s.channel.edit(id, other) == new, "the old name is still understood"
        assert len(api.messages) == 1
        assert "another?" in api.last().text


async def test_a_group_that_became_a_larger_one_is_followed(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        api.chats[-100999] = "supergroup"
        api.fail(
            "sendMessage", 400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100999
        )
        id = await s.channel.send(s.message(*s.ask()))
        assert id.startswith("-100999/")
        api.fail("editMessageText", 400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-100999)
        new = await s.channel.edit(f"{CHAT}/1", s.message(*s.ask("another")))
        assert new is not None
        assert new.startswith("-100999/")


async def test_words_that_the_server_cannot_read_go_plain(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        api.fail("sendMessage", 400, "Bad Request: can't parse entities: Unsupported start tag")
        await s.channel.send(s.message(*s.ask()))
        assert api.last().text == "incident 1\nstale"
        assert api.last().labels() == ["Approve", "Deny", "Details"]


@pytest.mark.parametrize(
    ("code", "description", "kind", "says"),
    [
        (400, "Bad Request: chat not found", SourceRejected, "notify.telegram.chat"),
        (403, "Forbidden: bot was kicked from the supergroup chat", SourceRejected, "member"),
        (401, "Unauthorized", SourceRejected, "notify.telegram.token"),
        (500, "Internal Server Error", SourceTimeout, "nobody knows"),
    ],
)
async def test_what_fails_says_what_to_do(
    tmp_path: Path, api: BotApi, code: int, description: str, kind: type[SourceError], says: str
) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        api.fail("sendMessage", code, description)
        with pytest.raises(kind, match=says):
            await s.channel.send(s.message(*s.ask()))


async def test_the_token_is_in_no_log_and_no_exception(
    tmp_path: Path, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        api.press(ANA, shown, "Approve")
        api.update({"message": "what?"})
        await s.handled()
        secret = TOKEN.partition(":")[2]
        dead = TelegramChannel(s.settings.model_copy(update={"api": f"http://127.0.0.1:{free_port()}"}), s.app.resolve)
        bad = TelegramChannel(s.settings.model_copy(update={"token": "9:wrong-but-secret"}), str)
        for channel in (dead, bad):
            with pytest.raises(SourceError) as caught:
                await channel.send(s.message(number, made))
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
            assert secret not in repr(caught.value) + repr(channel)
            assert "wrong-but" not in str(caught.value) + repr(channel)
            await channel.close()
        assert secret not in caplog.text
        assert "wrong-but-secret" not in caplog.text
        assert not any(secret in line for line in s.said)


async def test_nobody_there_is_told_from_nobody_knows(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        gone = s.settings.model_copy(update={"api": f"http://127.0.0.1:{free_port()}"})
        channel = TelegramChannel(gone, s.app.resolve)
        with pytest.raises(SourceUnreachable, match=r"notify\.telegram\.api"):
            await channel.send(s.message(*s.ask()))
        await channel.close()


# webhook mode


HOOKED = {
    "mode": "webhook",
    "webhook_secret": "${HOOK_SECRET}",
    "webhook_url": "https://treewalk.example/webhooks/telegram",
}


async def test_updates_come_by_webhook_to_who_knows_the_secret(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, **HOOKED) as s:
        await until(lambda: api.hook.url, "the webhook to be set")
        assert (api.hook.url, api.hook.secret) == (HOOKED["webhook_url"], ENVIRON["HOOK_SECRET"])
        api.hook.url = ""  # that address does not exist; the test carries them
        number, made, shown = await s.asked()
        web = build(s.operations, s.app.workspace.settings.server)
        transport = httpx.ASGITransport(app=web, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            api.press(ANA, shown, "Approve")
            (update,) = api._updates
            path, header = "/webhooks/telegram", "X-Telegram-Bot-Api-Secret-Token"
            good = {header: ENVIRON["HOOK_SECRET"]}
            assert (await client.post(path, json=update, headers=good)).status_code == 404
            web.state.service.telegram = s.listener
            for wrong in ({}, {header: ""}, {header: "a-secret-that-is-long-enougH"}, {header: "ü"}):
                sent = {key: value.encode() for key, value in wrong.items()}
                assert (await client.post(path, json=update, headers=sent)).status_code == 401
            assert s.approval(number, made) is None
            for strange in (b"", b"no json", b"[]", b"{}", b'{"update_id": "x", "message": 3}'):
                assert (await client.post(path, content=strange, headers=good)).status_code == 200
            assert (await client.post(path, content=b"x" * 5_000_000, headers=good)).status_code == 413
            for _ in range(2):
                assert (await client.post(path, json=update, headers=good)).status_code == 200
            assert s.approval(number, made).who == "ana"
            assert len([row for row in s.audit("answer") if row["data"]["result"] == "recorded"]) == 1


async def test_a_memory_that_cannot_be_written_makes_the_server_send_again(
    tmp_path: Path, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path, api) as s:
        number, made, shown = await s.asked()
        from treewalk.errors import StoreError

        original, failing = OperationsSwitchboard.answer, [True]

        def answer(self: Any, *args: Any) -> Any:
            if failing:
                failing.pop()
                raise StoreError("the disk is full")
            return original(self, *args)

        monkeypatch.setattr(OperationsSwitchboard, "answer", answer)
        api.press(ANA, shown, "Approve")
        await s.handled()
        assert s.approval(number, made).granted
        assert any("the disk is full" in line for line in s.said)


# settings


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "webhook"},
        {"users": {"ana": 1, "ben": 1}},
        {"users": {"admin": 1087968824}},
        {"users": {"group": -5}},
        {"users": {" ": 5}},
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"webhook_url|users"):
        TelegramSettings(token="1:x", chat=1, **given)


def test_a_missing_token_and_a_weak_webhook_secret_are_named() -> None:
    with pytest.raises(SettingsError, match="token is empty"):
        TelegramChannel(TelegramSettings(token=" ", chat=1), str)
    hooked = TelegramSettings(token="1:x", chat=1, mode="webhook", webhook_url="https://x", webhook_secret="short")
    with pytest.raises(SettingsError, match="webhook_secret"):
        TelegramChannel(hooked, str)


async def test_without_a_list_of_its_own_policy_takes_the_bots_users_as_approvers(tmp_path: Path, api: BotApi) -> None:
    async with scene(tmp_path, api, listen=False) as s:
        policy = s.operations.policy
        assert policy.may_approve("ana", "telegram")
        assert not policy.may_approve("ana", "web")
    file = tmp_path / "w" / "treewalk.yaml"
    file.write_text(file.read_text().replace("policy:\n", "policy:\n  approval: {approvers: []}\n"))
    async with App.open(tmp_path / "w", environ=ENVIRON) as app:
        assert not app.workspace.policy.may_approve("ana", "telegram")


# the whole server


def life(client: httpx.Client) -> Any:
    return client.get("/api/incidents/1").json()["life"]


@pytest.mark.parametrize("mode", ["polling", "webhook"])
async def test_serve_asks_somebody_approves_and_it_is_done(tmp_path: Path, api: BotApi, mode: str) -> None:
    port = free_port()
    given = {} if mode == "polling" else {**HOOKED, "webhook_url": f"http://127.0.0.1:{port}/webhooks/telegram"}
    with running_target() as target:
        folder = workspace(tmp_path / "w", api, target.url, **given)
        with (
            serving(folder, "--port", str(port), environ=ENVIRON) as served,
            httpx.Client(base_url=served.url, timeout=60) as client,
        ):
            client.post("/webhooks/generic", json={"name": "Stale", "sla": "fresh_one"}).raise_for_status()
            await until(lambda: api.messages and api.last().labels(), "the question", 40)
            shown = api.last()
            assert shown.labels() == ["Approve", "Deny", "Details"]
            api.press(MALLORY, shown, "Approve")
            await until(lambda: api.answered, "the refusal")
            assert life(client)["state"] == "asking"
            api.press(ANA, shown, "Approve")
            await until(lambda: life(client)["state"] == "closed", "the end", 40)
            assert life(client)["ending"] == "resolved"
            assert not target.broken("one")
            await until(lambda: "resolved" in shown.text, "how it ended")
            assert "approved by ana" in shown.text
            assert any("Approved by ana" in form for form in shown.forms)
            assert shown.labels() == []
            assert len(api.messages) == 1
            assert served.stop() == 0
        assert not any(TOKEN.partition(":")[2] in line for line in served.said)
        assert any("@treewalk_bot listens" in line for line in served.said)


async def test_a_press_while_the_server_is_dead_counts_when_it_lives_again(tmp_path: Path, api: BotApi) -> None:
    with running_target() as target:
        folder = workspace(tmp_path / "w", api, target.url)
        with serving(folder, environ=ENVIRON) as served:
            httpx.post(f"{served.url}/webhooks/generic", json={"name": "Stale", "sla": "fresh_one"}, timeout=60)
            memory = SqliteDatabase(folder / ".treewalk" / "memory.db")
            sent = "SELECT id FROM deliveries WHERE channel = 'telegram' AND state = 'sent'"
            await until(lambda: api.messages and memory.query(sent), "the question", 40)
            served.kill()
        shown = api.last()
        api.press(ANA, shown, "Approve")
        assert target.broken("one")
        with serving(folder, environ=ENVIRON) as served:
            await until(lambda: "resolved" in shown.text, "how it ended", 60)
            assert not target.broken("one")
            assert len(api.messages) == 1
            assert served.stop() == 0


async def test_nobody_answers_so_the_buttons_go_and_nothing_is_done(tmp_path: Path, api: BotApi) -> None:
    with running_target() as target:
        folder = workspace(tmp_path / "w", api, target.url)
        file = folder / "treewalk.yaml"
        file.write_text(file.read_text().replace("policy:\n", "policy:\n  approval: {expires: 4s}\n"))
        with serving(folder, environ=ENVIRON) as served:
            httpx.post(f"{served.url}/webhooks/generic", json={"name": "Stale", "sla": "fresh_one"}, timeout=60)
            await until(lambda: api.messages and "escalated" in api.last().text, "the escalation", 60)
            assert "nobody answered in time" in api.last().text
            assert api.last().labels() == []
            assert target.broken("one")
            assert not any(path.startswith("/mend") for path in target.calls)
            assert served.stop() == 0


async def test_a_bot_that_cannot_be_reached_does_not_keep_the_server_from_serving(tmp_path: Path, api: BotApi) -> None:
    api.url = f"http://127.0.0.1:{free_port()}"
    folder = workspace(tmp_path / "w", api)
    with serving(folder, environ=ENVIRON) as served:
        assert httpx.get(f"{served.url}/readyz", timeout=60).status_code == 200
        await until(lambda: any("nobody answers" in line for line in served.said), "the complaint")
        assert served.stop() == 0
