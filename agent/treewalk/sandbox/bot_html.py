"""Telegram's HTML read as its server reads it, with the words of its complaints. Only what the sandbox's bot server
needs: the tags that treewalk may send."""

from __future__ import annotations

import html
import re
from typing import Any

TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "code": "code", "pre": "pre",
    "blockquote": "blockquote", "a": "text_link", "tg-spoiler": "spoiler",
}  # fmt: skip
_ALONE = ("code", "pre")
_START = re.compile(r"<([a-zA-Z][a-zA-Z0-9-]*)((?:\s+[a-zA-Z-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>\"']+))?)*)\s*>")
_END = re.compile(r"</([a-zA-Z0-9-]*)\s*>")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_HREF = re.compile(r"href\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))", re.IGNORECASE)


class BadHtml(ValueError):
    """What the server says when it cannot parse the entities of a text."""


def parsed(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The text that is shown, and its entities (offset and length in UTF-16 units). Raises BadHtml."""
    shown: list[str] = []
    found: list[dict[str, Any]] = []
    open_: list[tuple[str, int, str]] = []
    size = at = 0
    while at < len(text):
        if text[at] != "<":
            match = _ENTITY.match(text, at) if text[at] == "&" else None
            piece = html.unescape(match[0]) if match else text[at]
            shown.append(piece)
            size += sum(1 + (c > "\uffff") for c in piece)
            at += len(match[0]) if match else 1
            continue
        offset = len(text[:at].encode("utf-8", "surrogatepass"))
        end = _END.match(text, at)
        if text.startswith("</", at):
            if not open_ or end is None:
                raise BadHtml(f"Unexpected end tag at byte offset {offset}")
            name, began, link = open_.pop()
            if end[1].lower() not in ("", name):
                raise BadHtml(
                    f'Unmatched end tag at byte offset {offset}, expected "</{name}>", found "</{end[1].lower()}>"'
                )
            if size > began:
                one = {"type": TAGS[name], "offset": began, "length": size - began}
                found.append({**one, "url": link} if link else one)
            at = end.end()
            continue
        start = _START.match(text, at)
        if start is None:
            raise BadHtml(f"Unclosed start tag at byte offset {offset}")
        name = start[1].lower()
        if name not in TAGS:
            raise BadHtml(f'Unsupported start tag "{name}" at byte offset {offset}')
        href = _HREF.search(start[2]) if name == "a" else None
        link = next((one for one in href.groups() if one is not None), "") if href else ""
        open_.append((name, size, html.unescape(link)))
        at = start.end()
    if open_:
        raise BadHtml(f'Can\'t find end tag corresponding to start tag "{open_[-1][0]}"')
    return "".join(shown), _allowed(found)


def _allowed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the server keeps them: in order, nothing within code."""
    code = [one for one in found if one["type"] in _ALONE]

    def inside(one: dict[str, Any]) -> bool:
        return any(
            c is not one and c["offset"] <= one["offset"] and one["offset"] + one["length"] <= c["offset"] + c["length"]
            for c in code
        )

    return sorted((one for one in found if not inside(one)), key=lambda one: (one["offset"], -one["length"]))[:100]
