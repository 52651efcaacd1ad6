"""HTML as Telegram takes it: its few tags, its length, and nothing in it that its clients turn into a button. Pure.

Lengths are what Telegram counts: UTF-16 units of the text that is shown, tags and entities left out.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Final

LONGEST: Final = 4096
CUT: Final = "\n… (cut here; the rest is longer than a message may be)"
_SAME: Final = {
    "b": "b", "strong": "b", "i": "i", "em": "i", "u": "u", "ins": "u", "s": "s", "strike": "s", "del": "s",
    "code": "code", "pre": "pre", "blockquote": "blockquote", "a": "a",
    "h1": "b", "h2": "b", "h3": "b", "h4": "b", "h5": "b", "h6": "b", "th": "b", "dt": "b", "summary": "b",
    "kbd": "code", "samp": "code", "tt": "code",
}  # fmt: skip
_BLOCKS: Final = frozenset(
    {"p", "div", "section", "article", "header", "footer", "main", "ul", "ol", "dl", "dd", "dt", "table", "thead",
     "tbody", "tr", "figure", "figcaption", "details", "summary", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote",
     "pre", "hr"}
)  # fmt: skip
_PARTED: Final = frozenset(
    {"p", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "hr", "blockquote"}
)
_DROPPED: Final = frozenset(
    {
        "script",
        "style",
        "svg",
        "math",
        "head",
        "title",
        "template",
        "iframe",
        "object",
        "noscript",
        "textarea",
        "select",
    }
)
_VOID: Final = frozenset({"br", "hr", "img", "input", "meta", "link", "wbr", "col", "source"})
_ALONE: Final = ("code", "pre")  # nothing may stand within these
# Signs that change how text around them is read, and control characters; strangers' names bring them.
_SIGNS = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HALVES = re.compile("[\ud800-\udfff]")
# What a client would make a link of: a tap on /revive in a quoted log line must not send a command, and nobody is
# called by a name in it.
_COMMAND = re.compile(r"(?<![\w/<>])/(?=[A-Za-z0-9_]{1,64}(?:@\w{1,64})?(?![\w/<>]))")
_CALL = re.compile(r"(?<!\w)@(?=\w)")
# A `<` that begins no whole tag. The library's parser takes minutes over a page full of those.
_LOOSE = re.compile(r"<(?!/?[A-Za-z][A-Za-z0-9-]{0,30}(?:\s[^<>]{0,1000})?/?>)")
_UNSEEN = re.compile(r"<(?:!--[^<>]{0,1000}--|![A-Za-z][^<>]{0,200})>")
_READ: Final = 50_000  # characters that are looked at; more than could be shown, whatever they are
_DEEPEST: Final = 50
_JOINER = "\u2060"  # takes no room, and ends the spell


def fit(text: str, limit: int = LONGEST, tail: str = "") -> str:
    """HTML of any kind as Telegram's, at most `limit` long with `tail` (Telegram's HTML already, never cut)."""
    first = _fitted(text[:_READ], limit - length(tail), len(text) > _READ)
    return first + tail if first else tail.lstrip("\n")


def escaped(text: str, limit: int = LONGEST) -> str:
    """A stranger's text as Telegram's HTML, at most `limit` long, without anything that could be tapped."""
    return html.escape(shortened(_disarmed(clean(text)), limit), quote=False)


def clean(text: str) -> str:
    """Text that can be sent: no half characters, no signs that reverse what stands beside them."""
    return _HALVES.sub("\ufffd", _SIGNS.sub("", text))


def shortened(text: str, limit: int) -> str:
    """Text of at most so many UTF-16 units, with a mark where it was cut."""
    return text if units(text) <= limit else _start(text, max(0, limit - 1)) + "…"


def units(text: str) -> int:
    """How long Telegram takes a text to be: UTF-16 units."""
    return len(text) + sum(c > "\uffff" for c in text)


def length(telegram_html: str) -> int:
    """How long Telegram takes its HTML to be."""
    return units(html.unescape(re.sub(r"<[^>]*>", "", telegram_html)))


def _disarmed(text: str) -> str:
    return _CALL.sub("@" + _JOINER, _COMMAND.sub("/" + _JOINER, text))


def _start(text: str, limit: int) -> str:
    """The first characters that take at most so many UTF-16 units; no character is split."""
    if len(text) <= limit // 2:
        return text
    found, room = [], limit
    for c in text:
        room -= 1 + (c > "\uffff")
        if room < 0:
            break
        found.append(c)
    return "".join(found)


def _fitted(text: str, limit: int, cut_before: bool) -> str:
    whole = _Writer(limit)
    whole.take(text)
    if not whole.full and not cut_before:
        return whole.ended()
    cut = _Writer(limit - units(CUT))
    cut.take(text)
    return cut.ended() + CUT


class _Writer(HTMLParser):
    """Writes what it reads again, with Telegram's tags only, until there is no more room."""

    def __init__(self, limit: int) -> None:
        super().__init__(convert_charrefs=True)
        self._room, self.full = limit, limit <= 0
        self._out: list[str] = []
        self._open: list[tuple[str, str]] = []  # as it was written, and as it is in Telegram ("" where it is none)
        self._dropped: list[str] = []
        self._gap = ""  # what stands between the last words and the next, when there are any
        self._began = False

    def take(self, text: str) -> None:
        self.feed(_LOOSE.sub("&lt;", _UNSEEN.sub("", clean(text))))
        self.close()

    def ended(self) -> str:
        while self._open:
            self._close_one()
        return "".join(self._out)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropped or tag in _DROPPED:
            if tag not in _VOID and len(self._dropped) < _DEEPEST:
                self._dropped.append(tag)
            return
        self._part(tag)
        if tag == "li":
            self._data("• ")
        if tag in _VOID or self.full or len(self._open) >= _DEEPEST:
            return
        self._open.append((tag, self._start_of(tag, dict(attrs))))

    def _start_of(self, tag: str, attributes: dict[str, str | None]) -> str:
        """Write a start tag, where there is one in Telegram; its name there."""
        name = _SAME.get(tag, "")
        within = [one for _, one in self._open]
        if not name or name in within or any(one in _ALONE for one in within):
            return ""
        if name in _ALONE and any(within):
            return ""
        if name == "a":
            href = (attributes.get("href") or "").strip()
            if not re.match(r"https?://[^\s]+$", href):
                return ""
            self._fill()
            self._out.append(f'<a href="{html.escape(href)}">')
            return name
        self._fill()
        self._out.append(f"<{name}>")
        return name

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            if tag in self._dropped:
                while self._dropped.pop() != tag:
                    pass
            return
        if any(written == tag for written, _ in self._open):
            while self._close_one() != tag:
                pass
        if tag != "br":
            self._part(tag)

    def _close_one(self) -> str:
        written, name = self._open.pop()
        if name:
            self._out.append(f"</{name}>")
        return written

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._data(data)

    def _data(self, data: str) -> None:
        if any(written == "pre" for written, _ in self._open):
            self._write(data)
            return
        lead, body, trail = re.match(r"(\s*)(.*?)(\s*)$", data, re.DOTALL).groups()  # type: ignore[union-attr]
        if lead and not self._gap:
            self._gap = " "
        if body:
            self._write(re.sub(r"\s+", " ", body))
            self._gap = " " if trail else ""

    def _part(self, tag: str) -> None:
        """A block begins or ends: what comes next stands on a line of its own."""
        if tag in ("td", "th"):
            self._gap = self._gap if "\n" in self._gap else "  "
        elif tag in _PARTED:
            self._gap = "\n\n"
        elif tag == "br":
            self._gap = "\n" * min(2, self._gap.count("\n") + 1)
        elif tag in _BLOCKS or tag == "li":
            self._gap = self._gap if "\n" in self._gap else "\n"

    def _fill(self) -> None:
        if self._gap and self._began:
            gap, self._gap = self._gap, ""
            self._put(gap)
        self._gap = ""

    def _write(self, text: str) -> None:
        self._fill()
        if not any(name in _ALONE for _, name in self._open):  # clients leave code as it is
            text = _disarmed(text)
        self._put(text)
        self._began = True

    def _put(self, text: str) -> None:
        if self.full:
            return
        size = units(text)
        if size > self._room:
            text, self.full = _start(text, self._room), True
        self._room -= min(size, self._room)
        self._out.append(html.escape(text, quote=False))
