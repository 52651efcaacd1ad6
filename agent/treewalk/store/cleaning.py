"""Data as it may be kept: every text in it redacted and bounded, so that it is still the data that it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from treewalk.model.redact import MARK, redact

LONGEST = 20_000  # characters of one text


def cleaned(value: Any) -> Any:
    """Plain data with its texts cleaned one by one: redacting its JSON as a whole could cut through quotes."""
    if isinstance(value, str):
        return cleaned_text(value)
    if isinstance(value, Mapping):
        return _telling({str(key): cleaned(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return [cleaned(inner) for inner in value]
    return value


def cleaned_text(text: str) -> str:
    """One text, redacted, bounded and without NUL."""
    return redact(text[:LONGEST]).replace("\0", " ")


def _telling(data: dict[str, Any]) -> dict[str, Any]:
    """What is a secret only by its name (`password: …`), or by the name beside it (`name: TOKEN, value: …`)."""
    flat = {key: value for key, value in data.items() if isinstance(value, str | int | float) or value is None}
    known = _redacted(flat)
    if known is not None:
        return {**data, **known}
    alone = {key: _redacted({key: value}) or {key: MARK} for key, value in flat.items()}
    return {**data, **{key: found[key] for key, found in alone.items()}}


def _redacted(flat: dict[str, Any]) -> dict[str, Any] | None:
    """The same keys with what may be shown of their values; None where redaction went across them."""
    text = json.dumps(flat)  # with spaces, as people write it
    shown = redact(text)
    if shown == text:
        return flat
    try:
        found = json.loads(shown)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.keys() == flat.keys() else None
