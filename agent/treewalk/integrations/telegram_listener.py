"""What people press and write in Telegram, taken to the switchboard. Only the presser's own user id counts.

Updates are confirmed to the server when they have been handled and not before, so that a press outlives a crash; one
that is handled twice finds that it has been decided (docs/decisions/090-telegram-updates.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from treewalk.errors import SourceBadAnswer, SourceBusy, SourceError, StoreError, TreewalkError, UsageError
from treewalk.integrations import telegram_texts as texts
from treewalk.integrations.telegram import LONG, TelegramChannel
from treewalk.integrations.telegram_html import clean, escaped
from treewalk.ports import Clock, Switchboard
from treewalk.settings import TelegramSettings

if TYPE_CHECKING:
    from telegram import CallbackQuery, Message, Update

_LONGEST_PAUSE = 60.0  # seconds between two tries
_HOUR = 3600.0
_EACH, _ALL = 20, 200  # refusals an hour that are kept, of one user and in all: strangers must not fill the disk
_COMMANDS = ("status", "incidents", "seen", "kill", "revive", "help", "start")
_VIA = "telegram"


class Listener:
    """Listens until it is cancelled. `note` gets a line for whoever runs the server."""

    def __init__(
        self,
        channel: TelegramChannel,
        board: Switchboard,
        settings: TelegramSettings,
        clock: Clock,
        note: Callable[[str], None],
    ) -> None:
        self.channel, self._board, self._clock, self._note = channel, board, clock, note
        self._settings = settings
        self._names = {id: name for name, id in settings.users.items()}
        self._secret = channel.secret
        self._username = ""
        self._refusals = _Refusals()
        self._lock = asyncio.Lock()

    @property
    def hooked(self) -> bool:
        """Whether updates come over HTTP."""
        return self._secret is not None

    async def run(self) -> None:
        """Listen. Whatever fails is said once and tried again."""
        offset: int | None = None
        failures, begun = 0, False
        try:
            while True:
                try:
                    begun = begun or await self._begin()
                    if self.hooked:
                        await self._clock.sleep(_HOUR)
                        continue
                    offset = await self._poll(offset, 0 if failures else LONG)
                except (SourceError, StoreError) as error:
                    failures += 1
                    await self._pause(error, failures)
                else:
                    if failures:
                        self._note("telegram: it works again")
                    failures = 0
        finally:
            await self._confirm(offset)

    async def _begin(self) -> bool:
        self._username = await self.channel.username()
        await self.channel.listen_at(self._settings.webhook_url if self.hooked else None, self._secret)
        self._note(f"telegram: @{clean(self._username)} listens{' by webhook' if self.hooked else ''}")
        return True

    async def _poll(self, offset: int | None, wait: int) -> int | None:
        """Handle what comes within so many seconds, one after the other; the number of the next update."""
        try:
            found: Sequence[Update] = await self.channel.updates(offset, wait)
        except SourceBadAnswer:
            # Something of a shape that the client does not know: only that one is left out.
            try:
                found = await self.channel.updates(offset, 0, 1)
            except SourceBadAnswer as error:
                number = await self.channel.first_number(offset)
                self._note(f"telegram: {error}; it is left out")
                return number + 1 if number is not None else offset
        for update in found:
            await self.handle(update)
            offset = update.update_id + 1
        return offset

    async def _pause(self, error: Exception, failures: int) -> None:
        seconds = min(_LONGEST_PAUSE, 2.0 ** min(failures - 1, 10))
        if isinstance(error, SourceBusy):
            seconds = max(seconds, error.retry_after)
        if failures == 1:
            self._note(f"{error}; tried again until it works")
        await self._clock.sleep(seconds)

    async def _confirm(self, offset: int | None) -> None:
        """Tell the server what was handled, so that a restart need not handle it again."""
        if offset is not None and not self.hooked:
            with contextlib.suppress(SourceError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self.channel.updates(offset, 0, 1)

    # webhook

    def knows(self, secret: str) -> bool:
        """Whether a request shows the webhook's secret."""
        return self._secret is not None and hmac.compare_digest(
            secret.encode("utf-8", "replace"), self._secret.encode()
        )

    async def take(self, body: bytes) -> None:
        """Handle an update that came over HTTP. Raises StoreError: it is to be sent again."""
        from telegram import Update

        try:
            update = Update.de_json(json.loads(body), self.channel.bot)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._note("telegram: an update cannot be read; it is left out")
            return
        await self.handle(update)

    # what an update means

    async def handle(self, update: Update) -> None:
        """Handle one update. Raises StoreError: it was not handled, and has to be again."""
        async with self._lock:
            try:
                if update.callback_query is not None:
                    await self._pressed(update.callback_query)
                elif update.message is not None and update.message.text:
                    await self._said(update.message)
            except StoreError:
                raise
            except SourceError as error:  # what was decided is decided, whether they could be told or not
                self._note(str(error))
            except Exception as error:  # noqa: BLE001  a strange update must not end the listening
                self._note(f"telegram: update {update.update_id} could not be handled ({type(error).__name__})")

    async def _pressed(self, query: CallbackQuery) -> None:
        press, user = texts.pressed(query.data or ""), query.from_user
        why = self._barred(query)
        if why is not None or press is None:
            why = why or "not a button of treewalk's"
            data = {"why": why, "data": query.data or "", **_where(query.message)}
            if await self._refuse("refused answer", user, data):
                await self.channel.popup(query.id, f"Nothing was done: {why}. It has been noted.", True)
            return
        if press.verb == "details":
            await self._details(query, press)
            return
        id = _id(query)
        version, who = self.channel.version(id), self._names[user.id]
        granted = press.verb == "approve"
        answer = await asyncio.to_thread(self._board.answer, press.number, press.digest, who, granted, _VIA)
        try:
            await self.channel.popup(query.id, *texts.reply(answer, press.number, who, granted))
        except SourceError as error:  # it was pressed long ago, or they cannot be reached: the message still tells
            self._note(str(error))
        if not answer.asking:
            fresh = answer.result == "recorded" and answer.approval is not None
            line = texts.decided(answer.approval) if fresh and answer.approval else ""
            await self.channel.stamp(id, _html(query) if fresh else "", line, version)

    def _barred(self, query: CallbackQuery) -> str | None:
        """Why a press does not count, or None."""
        if query.from_user.id not in self._names or query.from_user.is_bot:
            return f"your user id {query.from_user.id} is not listed in notify.telegram.users"
        if query.message is None or not self._here(query.message.chat, query.from_user.id):
            return "this is not the chat that treewalk belongs to"
        return None

    def _here(self, chat: Any, user: int) -> bool:
        """Whether a chat is the configured one, or a listed user's own with the bot."""
        wanted = self.channel.chat
        if isinstance(wanted, str) and not re.fullmatch(r"-?\d+", wanted):
            same = bool(chat.username) and f"@{chat.username}".lower() == wanted.lower()
        else:
            same = chat.id == int(wanted)
        return same or (chat.type == "private" and chat.id == user)

    async def _details(self, query: CallbackQuery, press: texts.Press) -> None:
        assert query.message is not None
        try:
            found = await asyncio.to_thread(self._board.details, press.number)
        except UsageError as error:
            await self.channel.popup(query.id, str(error), True)
            return
        with contextlib.suppress(SourceError):
            await self.channel.popup(query.id, "", False)
        await self.channel.say(query.message.chat.id, texts.details(found), query.message.message_id)

    async def _said(self, message: Message) -> None:
        found = texts.command(message.text or "")
        private = message.chat.type == "private"
        if found is None or found[0] not in _COMMANDS:
            return
        name, bot, rest = found
        if bot and not self._username:  # by webhook an update may come before the bot knows its own name
            self._username = await self.channel.username()
        if bot and bot.lower() != self._username.lower():
            return
        why = self._unheard(message)
        if why is not None:
            data = {"why": why, "command": (message.text or "")[:300], **_where(message)}
            kept = await self._refuse("refused command", message.from_user, data)
            if kept and (private or self._here(message.chat, 0)):
                await self._reply(message, f"Nothing was done: {escaped(why)}. It has been noted.")
            return
        assert message.from_user is not None
        await self._reply(message, await self._obey(message, self._names[message.from_user.id], name, rest))

    def _unheard(self, message: Message) -> str | None:
        """Why a command does not count, or None."""
        user = message.from_user
        if user is None or message.sender_chat is not None or user.is_bot:
            return "write as yourself: anonymous admins and channels have no user id of their own"
        if user.id not in self._names:
            return f"your user id {user.id} is not listed in notify.telegram.users"
        if message.via_bot is not None or message.forward_origin is not None:
            return "what is forwarded, or written by a bot, is no command"
        if not self._here(message.chat, user.id):
            return "this is not the chat that treewalk belongs to"
        return None

    async def _obey(self, message: Message, who: str, name: str, rest: str) -> str:
        """Do what a listed user commands; what to answer."""
        board = self._board
        if name == "status":
            return texts.standing(await asyncio.to_thread(board.standing))
        if name == "incidents":
            return texts.listed(await asyncio.to_thread(board.incidents, 10))
        if name == "seen":
            return await self._seen(who, rest)
        if name == "kill":
            why = clean(" ".join(rest.split()))[:200] or "no reason given"
            problems = await asyncio.to_thread(board.kill, who, why)
            half = f" But {escaped('; '.join(problems), 500)}." if problems else ""
            return f"The kill switch is <b>ON</b>, by {escaped(who)}. /revive turns it off.{half}"
        if name == "revive":
            try:
                was_on = await asyncio.to_thread(board.revive, who, message.date.timestamp())
            except StoreError:
                raise  # it is tried again
            except TreewalkError as error:
                return f"Nothing was done: {escaped(str(error))}."
            if was_on is None:
                return (
                    "Nothing was done: the switch was thrown after you wrote that. Send /revive again if you mean it."
                )
            return f"The kill switch is off, by {escaped(who)}." if was_on else "The kill switch was not on."
        return texts.HELP

    async def _seen(self, who: str, rest: str) -> str:
        if not re.fullmatch(r"\d{1,18}", rest, re.ASCII):
            return "Which one? Write /seen and the incident's number."
        try:
            new = await asyncio.to_thread(self._board.acknowledge, int(rest), who, _VIA)
        except UsageError as error:
            return escaped(str(error))
        return f"Incident {rest}: seen by {escaped(who)}." if new else f"Incident {rest} was seen before."

    async def _reply(self, message: Message, html: str) -> None:
        await self.channel.say(message.chat.id, html, message.message_id)

    async def _refuse(self, kind: str, user: Any, data: dict[str, Any]) -> bool:
        """Keep in the audit what was tried; of a flood only how it began, and then it is not worth an answer either:
        the server lets a bot say only so much."""
        id = user.id if user is not None else 0
        kept = self._refusals.keep(id, self._clock.now())
        if kept == "no":
            return False
        name = clean(user.full_name)[:200] if user is not None else ""
        more = {"more": "further refusals of this hour are not kept"} if kept == "last" else {}
        said = {"user": str(id), "name": name, "username": (user.username or "") if user is not None else ""}
        await asyncio.to_thread(self._board.refused, kind, f"telegram {id}", {**said, **data, **more})
        return True


class _Refusals:
    """How many refusals an hour are kept."""

    def __init__(self) -> None:
        self._hour, self._counts = 0, dict[int, int]()

    def keep(self, user: int, now: float) -> str:
        """Whether one more is kept: yes, no, or `last`: yes, and no other of this hour."""
        hour = int(now // _HOUR)
        if hour != self._hour:
            self._hour, self._counts = hour, {}
        mine, all = self._counts.get(user, 0), sum(self._counts.values())
        if mine >= _EACH or all >= _ALL:
            return "no"
        self._counts[user] = mine + 1
        return "last" if mine + 1 == _EACH or all + 1 == _ALL else "yes"


def _id(query: CallbackQuery) -> str:
    assert query.message is not None
    return f"{query.message.chat.id}/{query.message.message_id}"


def _html(query: CallbackQuery) -> str:
    """The text of the message that was pressed, as HTML; nothing where the server does not tell any more."""
    return getattr(query.message, "text_html", None) or ""


def _where(message: Any) -> dict[str, Any]:
    return {"chat": str(message.chat.id)} if message is not None else {"chat": "none"}
