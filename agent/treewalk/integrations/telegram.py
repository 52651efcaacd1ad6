"""Telegram, through python-telegram-bot: one message an incident, edited in place, with buttons while it asks.

The bot's token stands in every address that is called, so the client's own log is silenced, and every
exception is made anew without the one that it came from.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from treewalk.errors import (
    SettingsError,
    SourceBadAnswer,
    SourceBusy,
    SourceError,
    SourceRejected,
    SourceTimeout,
    SourceUnreachable,
)
from treewalk.integrations.telegram_html import clean, fit, shortened
from treewalk.integrations.telegram_texts import body, buttons
from treewalk.model.message import Message
from treewalk.settings import TelegramSettings

if TYPE_CHECKING:
    from telegram import Bot, Update

LONG = 25  # seconds that the server may keep a question for updates open
WANTED = ("message", "callback_query")
_POPUP = 200
_MOVED = 1000  # messages whose new place is remembered
_GONE = ("message to edit not found", "message_id_invalid", "message can't be edited")


class TelegramChannel:
    """The port `Notifier`, and what the listener needs. It belongs to one event loop; `close` ends its connections.

    Raises SettingsError when a secret is missing. Calls raise SourceBusy (with the time to wait), SourceUnreachable
    and SourceRejected where certainly nothing was done, SourceTimeout where nobody knows.
    """

    name = "telegram"
    edits = True

    def __init__(self, settings: TelegramSettings, resolve: Callable[[str], str]) -> None:
        self._token = resolve(settings.token).strip()
        if not self._token:
            raise SettingsError("notify.telegram.token is empty; BotFather gives one for each bot")
        self.secret = _secret(settings, resolve)
        self.chat: int | str = settings.chat
        self._api = settings.api
        self._bot: Bot | None = None
        self._moved: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._editing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"TelegramChannel(chat={self.chat!r})"

    async def send(self, message: Message) -> str:
        """Deliver a message; its name is `CHAT/NUMBER`."""
        chat = self.chat
        try:
            return await self._send(message)
        except SourceRejected:
            if self.chat == chat:
                raise
        return await self._send(message)  # the group became a larger one

    async def _send(self, message: Message) -> str:
        sent = await self._worded(message, self.bot.send_message, "sending a message", chat_id=self.chat)
        return f"{sent.chat.id}/{sent.message_id}"

    async def edit(self, id: str, message: Message) -> str | None:
        """Replace a message, its buttons too. One that is gone is sent anew; its new name."""
        async with self._editing:
            wanted = self._moved.get(id, id)
            self._count(wanted)
            try:
                await self._worded(message, self.bot.edit_message_text, "editing a message", **_place(wanted))
            except SourceRejected as error:
                if _says(error, "message is not modified"):
                    return None
                if not _says(error, *_GONE):
                    raise
            else:
                return None if wanted == id else wanted
            new = await self.send(message)
            self._moved[id] = new
            while len(self._moved) > _MOVED:
                self._moved.pop(next(iter(self._moved)))
            return new

    async def _worded(self, message: Message, function: Callable[..., Awaitable[Any]], what: str, **where: Any) -> Any:
        """Send or edit, with a message's words and buttons. Words that the server cannot read go plain: better so
        than not at all."""
        more = {"reply_markup": _keyboard(message), "link_preview_options": _no_preview(), **where}
        try:
            return await self.call(what, function, text=body(message), parse_mode="HTML", **more)
        except SourceRejected as error:
            if not _says(error, "can't parse entities"):
                raise
        plain = shortened(clean(f"{message.rendered.title}\n{message.rendered.text}"), 4096)
        return await self.call(what, function, text=plain, **more)

    # what the listener needs besides

    def version(self, id: str) -> int:
        """How often a message was edited, to tell later whether it was edited meanwhile."""
        return self._versions.get(id, 0)

    async def stamp(self, id: str, html: str, line: str, version: int) -> None:
        """Take the buttons of a message away and add a line, unless it was edited since it was of that version."""
        async with self._editing:
            if self.version(id) != version:
                return
            if not html:
                return await self._strip(id)
            text = fit(html.replace("\n", "<br>"), tail=f"\n\n{line}")
            try:
                await self.call(
                    "editing a message", self.bot.edit_message_text, text=text, parse_mode="HTML",
                    link_preview_options=_no_preview(), **_place(id),
                )  # fmt: skip
            except SourceRejected:  # not modified, gone, or unreadable: the buttons are what matters
                await self._strip(id)

    async def _strip(self, id: str) -> None:
        try:
            await self.call("editing a message", self.bot.edit_message_reply_markup, reply_markup=None, **_place(id))
        except SourceRejected as error:
            if not _says(error, "message is not modified", *_GONE):
                raise

    async def say(self, chat: int, html: str, reply_to: int | None = None) -> None:
        """Say something that is no message of an incident (Telegram's HTML)."""
        await self.call(
            "answering", self.bot.send_message, chat_id=chat, text=html, parse_mode="HTML",
            reply_to_message_id=reply_to, allow_sending_without_reply=True, link_preview_options=_no_preview(),
        )  # fmt: skip

    async def popup(self, id: str, text: str, alert: bool) -> None:
        """Answer a press of a button."""
        text = shortened(clean(text), _POPUP)
        await self.call("answering", self.bot.answer_callback_query, callback_query_id=id, text=text, show_alert=alert)

    async def username(self) -> str:
        """The bot's own name."""
        return str((await self.call("asking who the bot is", self.bot.get_me)).username or "")

    async def updates(self, offset: int | None, wait: int, limit: int = 100) -> Sequence[Update]:
        """The updates from a number on; those before it are confirmed. Waits so many seconds for the first."""
        call, bot = self.call, self.bot
        try:
            found: Sequence[Update] = await call(
                "asking for updates", bot.get_updates, offset=offset, limit=limit, timeout=wait, allowed_updates=WANTED
            )
        except (TypeError, ValueError, KeyError, AttributeError):
            raise SourceBadAnswer("Telegram sent an update that cannot be read") from None
        return found

    async def first_number(self, offset: int | None) -> int | None:
        """The number of the first update that waits, whatever is in it."""
        found = await self.call(
            "asking for updates", self.bot.do_api_request, "getUpdates", api_kwargs={"offset": offset or 0, "limit": 1}
        )
        return int(found[0]["update_id"]) if found else None

    async def listen_at(self, url: str | None, secret: str | None = None) -> None:
        """Have updates sent to a URL, or kept to be asked for (None). None that waits is dropped."""
        if url is None:
            await self.call("ending the webhook", self.bot.delete_webhook, drop_pending_updates=False)
        else:
            await self.call(
                "setting the webhook", self.bot.set_webhook, url=url, secret_token=secret, allowed_updates=WANTED
            )

    @property
    def bot(self) -> Bot:
        """The library's client, made on first use."""
        if self._bot is None:
            self._bot = _client(self._token, self._api)
        return self._bot

    async def call(self, what: str, function: Callable[..., Awaitable[Any]], *args: Any, **given: Any) -> Any:
        """Call the server. Raises SourceError without the client's own exception, which may hold the token."""
        from telegram.error import ChatMigrated, TelegramError

        try:
            return await function(*args, **given)
        except ChatMigrated as moved:
            self.chat = moved.new_chat_id
            failed: SourceError = SourceRejected(
                f"telegram: {what}: {_GONE[0]}: the group became a larger one; set notify.telegram.chat to {self.chat}"
            )
        except TelegramError as error:
            failed = _told(error, what, self._token)
        raise failed

    async def close(self) -> None:
        """End all connections."""
        if self._bot is not None:
            bot, self._bot = self._bot, None
            for request in bot._request:  # `shutdown` does nothing unless `initialize` was called
                await request.shutdown()

    def _count(self, id: str) -> None:
        self._versions[id] = self._versions.pop(id, 0) + 1
        while len(self._versions) > _MOVED:
            self._versions.pop(next(iter(self._versions)))


def _secret(settings: TelegramSettings, resolve: Callable[[str], str]) -> str | None:
    """The webhook's secret, or None where there is no webhook. Raises SettingsError."""
    if settings.mode != "webhook":
        return None
    found = resolve(settings.webhook_secret or "").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,256}", found):
        raise SettingsError("notify.telegram.webhook_secret: 16 to 256 letters, digits, _ and - are wanted")
    return found


def _client(token: str, api: str) -> Bot:
    import warnings

    from telegram import Bot
    from telegram.error import InvalidToken
    from telegram.request import HTTPXRequest
    from telegram.warnings import PTBDeprecationWarning, PTBUserWarning

    # They log addresses, and the token is in them; or whole updates, which are strangers' texts.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("telegram").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", message=".*`retry_after`.*", category=PTBDeprecationWarning)
    warnings.filterwarnings("ignore", message=".*do_api_request.*", category=PTBUserWarning)
    times = {"read_timeout": 20.0, "write_timeout": 10.0, "connect_timeout": 10.0, "pool_timeout": 10.0}
    try:
        return Bot(
            token,
            base_url=f"{api.rstrip('/')}/bot",
            request=HTTPXRequest(connection_pool_size=8, **times),  # type: ignore[arg-type]
            get_updates_request=HTTPXRequest(connection_pool_size=2, **times),  # type: ignore[arg-type]
        )
    except InvalidToken:
        pass
    raise SettingsError("notify.telegram.token is no bot's token; BotFather gives one for each bot")


def _keyboard(message: Message) -> Any:
    from telegram import InlineKeyboardButton, InlineKeyboardMarkup

    rows = buttons(message)
    made = [[InlineKeyboardButton(label, callback_data=data) for label, data in row] for row in rows]
    return InlineKeyboardMarkup(made) if made else None


def _no_preview() -> Any:
    from telegram import LinkPreviewOptions

    return LinkPreviewOptions(is_disabled=True)  # else strangers' links are looked up


def _place(id: str) -> dict[str, int]:
    chat, _, number = id.partition("/")
    try:
        return {"chat_id": int(chat), "message_id": int(number)}
    except ValueError:
        raise SourceRejected(f"{id!r} is no message of Telegram: message to edit not found") from None


def _says(error: Exception, *words: str) -> bool:
    return any(word in str(error).lower() for word in words)


def _told(error: Any, what: str, token: str) -> SourceError:
    """The client's exception as one of treewalk's, without the token."""
    from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter, TimedOut

    said = shortened(clean(str(error)).replace(token, "[token]"), 500)
    if isinstance(error, RetryAfter):
        wait = error.retry_after
        seconds = float(wait) if isinstance(wait, int | float) else wait.total_seconds()
        return SourceBusy(f"telegram: {what}: it is asked too often; again in {seconds:g} s", seconds)
    if isinstance(error, InvalidToken):
        return SourceRejected(f"telegram: {what}: the bot's token is not known; set notify.telegram.token")
    if isinstance(error, Forbidden):
        return SourceRejected(f"telegram: {what}: {said}; make the bot a member of the chat (notify.telegram.chat)")
    if isinstance(error, BadRequest):
        help = "; see notify.telegram.chat, and make the bot a member" if "chat not found" in said.lower() else ""
        return SourceRejected(f"telegram: {what}: {said}{help}")
    if isinstance(error, Conflict):
        return SourceRejected(f"telegram: {what}: {said}; another program listens with the same token")
    if isinstance(error, TimedOut | NetworkError):
        return _broken(error, what, said)
    return SourceBadAnswer(f"telegram: {what}: {said}")


def _broken(error: Any, what: str, said: str) -> SourceError:
    """Whether nobody was reached, or nobody knows what became of it."""
    import httpx

    never = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    if isinstance(error.__cause__, never):
        return SourceUnreachable(f"telegram: {what}: nobody answers ({said}); see notify.telegram.api")
    return SourceTimeout(f"telegram: {what}: no answer in time, nobody knows whether it was done ({said})")
