"""Webhooks of Gatus's `custom` provider: whatever body the user wrote, with texts put into it.

Gatus replaces plain text by plain text. A JSON template is broken as soon as a condition holds a quote; such a body is
read by the places of its known keys. Lines of `key: value` cannot break, and are what docs/serve.md recommends. Where a
key comes twice the first counts, so status and name stand before what strangers can write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from treewalk.errors import UsageError
from treewalk.integrations.webhook import clean, fingerprint, json_of, known_keys, parsed, status_of, text_of
from treewalk.model.alert import Alert, Parsed

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "status": ("state", "alert_triggered_or_resolved", "alert"),
    "group": ("endpoint_group",),
    "name": ("endpoint_name", "endpoint"),
    "url": ("endpoint_url",),
    "description": ("alert_description", "message"),
    "errors": ("result_errors",),
    "conditions": ("result_conditions",),
    "sla": (),
}
_WORDS = "|".join(sorted({w for name, more in _ALIASES.items() for w in (name, *more)}, key=len, reverse=True))
_JSON_KEY = re.compile(rf'(?i)"({_WORDS})"\s{{0,20}}:\s{{0,20}}"')
_LINE_KEY = re.compile(rf"(?im)^[ \t]{{0,20}}({_WORDS})[ \t]{{0,20}}[:=][ \t]{{0,20}}")
_CLOSING = re.compile(r'"?[\s,}\]]{0,40}$')


def parse(body: bytes) -> Parsed:
    """The alert of one message. Raises UsageError when its status or its endpoint cannot be found."""
    text = text_of(body, "Gatus")
    fields, whole = _fields(text)
    status = status_of(fields.get("status"))
    name, group = clean(fields.get("name")), clean(fields.get("group"))
    if status is None or not name:
        lacks = "status (TRIGGERED or RESOLVED)" if status is None else "name"
        raise UsageError(f"the message of Gatus has no {lacks}; docs/serve.md shows a template that works")
    check = f"{group} / {name}" if group else name
    labels = {"gatus_check": check, "group": group, "name": name, "url": clean(fields.get("url"))}
    if clean(fields.get("sla")):
        labels["sla"] = clean(fields["sla"])
    notes = {key: clean(fields.get(key), 4000) for key in ("description", "errors", "conditions")}
    alert = Alert(
        source="gatus",
        fingerprint=fingerprint(group, name),
        status=status,
        name=check,
        labels={key: value for key, value in labels.items() if value},
        annotations={key: value for key, value in notes.items() if value},
        summary=clean(" ".join((notes["description"] or notes["errors"] or notes["conditions"]).split())),
    )
    found = parsed([alert])
    return found if whole else Parsed(found.alerts, ("its JSON is broken and was read by its keys",))


def _fields(text: str) -> tuple[dict[str, Any], bool]:
    """The known fields of a body, and whether it was what it set out to be."""
    if not text.lstrip().startswith("{"):
        return _between(text, _LINE_KEY, lambda value: value), True
    try:
        data = json_of(text, "Gatus")
    except UsageError:
        return _between(text, _JSON_KEY, _bare), False
    return known_keys(data, _ALIASES), True


def _between(text: str, key: re.Pattern[str], bare: Any) -> dict[str, str]:
    """Each known key with what stands between it and the next one; of a repeated key the first."""
    marks = list(key.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found: dict[str, Any] = {}
    for mark, end in zip(marks, ends, strict=False):
        found.setdefault(mark[1].lower(), bare(text[mark.end() : min(end, mark.end() + 20_000)]))
    return known_keys(found, _ALIASES)


def _bare(value: str) -> str:
    """The inside of a JSON text whose end is not known for sure: without the quote and commas that end it."""
    return _CLOSING.sub("", value).replace('\\"', '"').replace("\\n", " ")
