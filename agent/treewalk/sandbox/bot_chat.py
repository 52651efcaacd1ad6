"""What a server of Telegram's Bot API knows and answers, and what the people in the chat do (bot_api.py serves it)."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treewalk.sandbox.bot_html import BadHtml, parsed

TOKEN = "123456:sandbox-token-of-no-worth"  # noqa: S105  it opens nothing
BOT = {"id": 123456, "is_bot": True, "first_name": "treewalk", "username": "treewalk_bot"}
CHAT = -100200300
_LONGEST = 4096
Json = dict[str, Any]


class Refusal(Exception):
    """An answer that is not ok."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


@dataclass
class Shown:
    """One message of the bot as people see it. `forms` are all texts that it had."""

    chat: int
    id: int
    text: str
    entities: list[Json]
    buttons: list[list[Json]]
    html: str
    date: int
    reply_to: int | None = None
    forms: list[str] = field(default_factory=list)

    def labels(self) -> list[str]:
        """The texts of its buttons."""
        return [one["text"] for row in self.buttons for one in row]


@dataclass
class Hook:
    """Where updates are sent to, in webhook mode."""

    url: str = ""
    secret: str = ""


class BotApi:
    """The server's state, and what people do. Chats exist once they are in `chats` (id: type)."""

    def __init__(self, token: str = TOKEN, chats: Mapping[int, str] | None = None) -> None:
        self.token, self.url = token, ""
        self.chats: dict[int, str] = dict(chats or {CHAT: "supergroup"})
        self.messages: list[Shown] = []
        self.answered: list[Json] = []
        self.calls: list[tuple[str, Json]] = []
        self.hook = Hook()
        self.failing: list[tuple[str, Refusal]] = []  # the next calls of a method that are refused
        self.deaf = False  # every call fails as a gateway that is down does
        self._updates: list[Json] = []
        self._known: set[str] = set()  # callbacks that may still be answered
        self._next = {"update": 1000, "message": 1}
        self._lock = threading.RLock()

    # what people do

    def press(self, user: int, message: Shown, label: str, /, *, name: str = "Somebody", **more: Any) -> int:
        """A user presses the button of that label (or with that data); the update's number."""
        found = [one for row in message.buttons for one in row if label in (one["text"], one["callback_data"])]
        data = found[0]["callback_data"] if found else label
        return self.pressed(user, message, data, name=name, **more)

    def pressed(self, user: int, message: Shown, data: str, /, *, name: str = "Somebody", **more: Any) -> int:
        """A press whose data is given, whether there is such a button or not."""
        callback = {
            "id": str(self._count("callback")),
            "from": _user(user, name),
            "message": self._document(message),
            "chat_instance": "1",
            "data": data,
            **more,
        }
        self._known.add(callback["id"])
        return self.update({"callback_query": callback})

    def say(self, user: int, text: str, *, chat: int | None = None, name: str = "Somebody", **more: Any) -> int:
        """A user writes a text (to the bot alone, unless there is a chat); the update's number."""
        where = chat if chat is not None else user
        self.chats.setdefault(where, "private")
        message = {
            "message_id": self._count("message"),
            "date": int(time.time()),
            "chat": self._chat(where),
            "from": _user(user, name),
            "text": text,
        }
        if text.startswith("/"):
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text.split()[0])}]
        return self.update({"message": {**message, **more}})

    def update(self, content: Json) -> int:
        """Any update, as the server would send it."""
        with self._lock:
            number = self._count("update")
            self._updates.append({"update_id": number, **content})
        return number

    def fail(self, method: str, code: int, description: str, times: int = 1, **parameters: Any) -> None:
        """The next calls of a method are refused."""
        self.failing += [(method, Refusal(code, description, **parameters))] * times

    @property
    def waiting(self) -> int:
        """Updates that nobody has confirmed."""
        return len(self._updates)

    def last(self) -> Shown:
        """The newest message of the bot."""
        return self.messages[-1]

    # what the bot calls

    async def call(self, method: str, given: Json) -> Any:
        """The result of a method. Raises Refusal."""
        self.calls.append((method, given))
        if self.deaf:
            raise Refusal(502, "Bad Gateway")
        for one in self.failing:
            if one[0] == method:
                self.failing.remove(one)
                raise one[1]
        handler = getattr(self, f"_do_{method.lower()}", None)
        if handler is None:
            raise Refusal(404, "Not Found")
        return await handler(given)

    async def _do_getme(self, given: Json) -> Json:
        return {**BOT, "can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False}

    async def _do_sendmessage(self, given: Json) -> Json:
        chat = self._known_chat(given)
        text, entities = _text(given)
        reply = json.loads(given["reply_parameters"])["message_id"] if "reply_parameters" in given else None
        shown = Shown(
            chat, self._count("message"), text, entities, _buttons(given), given["text"], int(time.time()), reply,
            [text],
        )  # fmt: skip
        self.messages.append(shown)
        return self._document(shown)

    async def _do_editmessagetext(self, given: Json) -> Json:
        shown = self._message(given)
        text, entities = _text(given)
        self._changed(shown, text, entities, _buttons(given))
        shown.html = given["text"]
        shown.forms.append(text)
        return self._document(shown)

    async def _do_editmessagereplymarkup(self, given: Json) -> Json:
        shown = self._message(given)
        self._changed(shown, shown.text, shown.entities, _buttons(given))
        return self._document(shown)

    def _changed(self, shown: Shown, text: str, entities: list[Json], buttons: list[list[Json]]) -> None:
        if (text, entities, buttons) == (shown.text, shown.entities, shown.buttons):
            raise Refusal(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the"
                " same as a current content and reply markup of the message",
            )
        shown.text, shown.entities, shown.buttons = text, entities, buttons

    async def _do_answercallbackquery(self, given: Json) -> bool:
        if given.get("callback_query_id") not in self._known:
            raise Refusal(
                400, "Bad Request: query is too old and response timeout expired or query ID is invalid"
            )  # fmt: skip
        if len(given.get("text", "")) > 200:
            raise Refusal(400, "Bad Request: MESSAGE_TOO_LONG")
        self._known.discard(given["callback_query_id"])
        self.answered.append({"text": given.get("text", ""), "alert": given.get("show_alert") == "true"})
        return True

    async def _do_getupdates(self, given: Json) -> Sequence[Json]:
        if self.hook.url:
            raise Refusal(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the"
                " webhook first",
            )
        offset, limit = int(given.get("offset", 0)), int(given.get("limit", 100))
        with self._lock:
            self._updates = [one for one in self._updates if one["update_id"] >= offset]
        deadline = time.monotonic() + int(float(given.get("timeout", 0)))
        while True:
            with self._lock:
                found = [one for one in self._updates if one["update_id"] >= offset][:limit]
            if found or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(0.02)

    async def _do_setwebhook(self, given: Json) -> bool:
        self.hook = Hook(given.get("url", ""), given.get("secret_token", ""))
        return True

    async def _do_deletewebhook(self, given: Json) -> bool:
        self.hook = Hook()
        return True

    async def deliver(self) -> None:
        """In webhook mode: send what waits, in order, again until it is taken."""
        import httpx

        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while True:
                await asyncio.sleep(0.02)
                if not (self.hook.url and self._updates):
                    continue
                one = self._updates[0]
                try:
                    headers = {"X-Telegram-Bot-Api-Secret-Token": self.hook.secret} if self.hook.secret else {}
                    answer = await client.post(self.hook.url, json=one, headers=headers)
                except httpx.HTTPError:
                    continue
                if answer.is_success:
                    with self._lock:
                        self._updates = [other for other in self._updates if other is not one]
                else:
                    await asyncio.sleep(0.2)

    # small things

    def _count(self, what: str) -> int:
        with self._lock:
            self._next[what] = self._next.get(what, 0) + 1
            return self._next[what]

    def _known_chat(self, given: Json) -> int:
        try:
            chat = int(given.get("chat_id", ""))
        except ValueError:
            chat = 0
        if chat not in self.chats:
            raise Refusal(400, "Bad Request: chat not found")
        return chat

    def _message(self, given: Json) -> Shown:
        chat = self._known_chat(given)
        for shown in self.messages:
            if (shown.chat, shown.id) == (chat, int(given["message_id"])):
                return shown
        raise Refusal(400, "Bad Request: message to edit not found")

    def _chat(self, chat: int) -> Json:
        kind = self.chats.get(chat, "private")
        return {"id": chat, "type": kind, **({"first_name": "Somebody"} if kind == "private" else {"title": "ops"})}

    def _document(self, shown: Shown) -> Json:
        document: Json = {
            "message_id": shown.id,
            "date": shown.date,
            "chat": self._chat(shown.chat),
            "from": BOT,
            "text": shown.text,
            "entities": shown.entities,
        }
        return {**document, **({"reply_markup": {"inline_keyboard": shown.buttons}} if shown.buttons else {})}


def _user(id: int, name: str) -> Json:
    return {"id": id, "is_bot": False, "first_name": name}


def _text(given: Json) -> tuple[str, list[Json]]:
    text, entities = given.get("text", ""), list[Json]()
    if given.get("parse_mode", "").lower() == "html":
        try:
            text, entities = parsed(text)
        except BadHtml as error:
            raise Refusal(400, f"Bad Request: can't parse entities: {error}") from None
    if not text.strip():
        raise Refusal(400, "Bad Request: message text is empty")
    if sum(1 + (c > "\uffff") for c in text) > _LONGEST:
        raise Refusal(400, "Bad Request: message is too long")
    return text, entities


def _buttons(given: Json) -> list[list[Json]]:
    rows: list[list[Json]] = json.loads(given.get("reply_markup", "{}")).get("inline_keyboard", [])
    for one in (button for row in rows for button in row):
        if not 1 <= len(one.get("callback_data", "").encode()) <= 64:
            raise Refusal(400, "Bad Request: BUTTON_DATA_INVALID")
    return rows
