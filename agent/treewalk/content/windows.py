"""Windows as treewalk.yaml and tree files write them."""

from __future__ import annotations

import re
from datetime import time
from zoneinfo import ZoneInfo

from treewalk.content.fields import Fields
from treewalk.content.yaml import Item
from treewalk.model.place import Problem
from treewalk.model.window import Window, parse_days

ALWAYS = frozenset({"always", "24x7"})
# Known without a definition, so that a first tree needs none; a workspace may define it differently.
BUILT_IN = {
    "PRIMARY_BUSINESS_HOURS": Window(
        "PRIMARY_BUSINESS_HOURS", parse_days("mon-fri"), time(9), time(17, 30), "America/New_York"
    )
}


def read_windows(item: Item, problems: list[Problem]) -> dict[str, Window]:
    """The `windows:` block: a window by name."""
    found = {}
    for name, body in Fields(item, problems, "windows").data.items():
        window = _window(name, Fields(body, problems, f"window {name}"))
        if window is not None:
            found[name] = window
    return found


def _window(name: str, fields: Fields) -> Window | None:
    before = len(fields.problems)
    fields.closed(("days", "from", "to", "timezone", "description"))
    days = parse_days("daily")
    if fields.has("days"):
        item = fields.data["days"]
        try:
            days = parse_days([i.text() for i in item.value] if isinstance(item.value, list) else item.text())
        except ValueError as error:
            fields.problem(item.place, f"days: {error}")
    start = fields.convert("from", _clock) or time(0)
    end = fields.convert("to", _clock) or time(0)
    zone = fields.convert("timezone", _zone) or "UTC"
    return Window(name, days, start, end, zone) if len(fields.problems) == before else None


def _clock(value: object) -> time:
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", text):
        raise ValueError(f'{value!r} is not a time of day; write it like "09:00"')
    try:
        return time.fromisoformat("00:00" if text == "24:00" else text.zfill(5))
    except ValueError:
        raise ValueError(f'{value!r} is not a time of day; write it like "09:00"') from None


def _zone(value: object) -> str:
    try:
        ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone; write it like Europe/Berlin or UTC") from None
    return str(value)
