"""What the readers of webhooks share: strangers' bytes made into bounded, clean text, times and alerts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from treewalk.errors import UsageError
from treewalk.model.alert import Alert, AlertStatus, Parsed

MAX_BODY = 4_000_000  # bytes
MAX_ALERTS = 2000  # of one message
_MAX_LABELS = 64
_FIRST = ("alertname", "treewalk_sla", "sla", "gatus_check", "severity", "priority")  # labels that are never left out
_SHORT, _LONG = 500, 4000  # characters of a name or label, of an annotation
_NAME = 100  # characters of the name by which a sender knows an alert
_MAX_PROBLEMS = 20
_STATUS: Mapping[str, AlertStatus] = {
    "firing": "firing", "triggered": "firing", "alerting": "firing", "critical": "firing", "down": "firing",
    "resolved": "resolved", "ok": "resolved", "normal": "resolved", "up": "resolved",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
_FRACTION = re.compile(r"(\.\d{6})\d+")
_EARLIEST, _LATEST = 0.0, 253402300000.0  # Unix seconds that a time may lie between; year 1 means none


def text_of(body: bytes, sender: str) -> str:
    """The body as text. Raises UsageError when it is too large or empty."""
    if len(body) > MAX_BODY:
        raise UsageError(f"the message of {sender} has {len(body)} bytes; {MAX_BODY} are read")
    found = body.decode("utf-8-sig", "replace")
    if not found.strip():
        raise UsageError(f"the message of {sender} is empty: a JSON body was expected")
    return found


def json_of(text: str, sender: str) -> Any:
    """The JSON of a text; of a repeated key the first counts. Raises UsageError that says where it breaks."""
    try:
        return json.loads(text, strict=False, object_pairs_hook=_first)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"the message of {sender} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (RecursionError, ValueError):
        raise UsageError(f"the message of {sender} is not JSON that can be read: nested or numbers too large") from None


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a repeated key the first, so that what is spliced into a later text cannot replace what came before."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def clean(value: Any, limit: int = _SHORT) -> str:
    """A stranger's value as bounded text without control characters; empty for what is no plain value."""
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and len(value) <= limit and value.isascii() and value.isprintable():
        return value.strip()  # as nearly all are
    try:
        found = str(value)
    except ValueError:  # an integer of thousands of digits
        return ""
    # Twice the limit is looked at before cleaning, so that a huge text costs no more than its bound.
    found = found[: 2 * limit].encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub(" ", found).strip()[:limit]


def table(value: Any, limit: int = _SHORT) -> dict[str, str]:
    """Labels or annotations: the first of them, as clean text, but before all those that treewalk itself goes by."""
    if not isinstance(value, dict):
        return {}
    if len(value) > _MAX_LABELS:
        value = {key: value[key] for key in (*(one for one in _FIRST if one in value), *value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        if len(found) >= _MAX_LABELS:
            break
        name = clean(key, 200)
        if name:
            found[name] = clean(inner, limit)
    return found


def long_table(value: Any) -> dict[str, str]:
    """Annotations, which may be longer than labels."""
    return table(value, _LONG)


def moment(value: Any) -> float | None:
    """Unix seconds of an ISO 8601 text or a number (seconds or milliseconds); None for year 1 and for what is none."""
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            found = float(value)
            found = found / 1000 if found > 1e11 else found
        else:
            read = datetime.fromisoformat(_FRACTION.sub(r"\1", str(value)[:64].strip()))
            found = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST < found < _LATEST else None


def status_of(value: Any) -> AlertStatus | None:
    """Firing or resolved, in the words of several senders; None for anything else."""
    return _STATUS.get(clean(value).lower())


def fingerprint(*parts: str | Mapping[str, str]) -> str:
    """A name for an alert whose sender gives none, out of what tells it from others."""
    plain = [dict(part) if not isinstance(part, str) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def of_labels(given: Any, labels: Mapping[str, str], *more: str) -> str:
    """The fingerprint of an alert by its labels: as they were given, where some were left out or cut off, since two
    alerts may differ in just that."""
    if not isinstance(given, dict) or not (len(given) > _MAX_LABELS or any(_is_cut(one) for one in given.values())):
        return fingerprint(*more, labels)
    try:
        whole = json.dumps(given, sort_keys=True)
    except RecursionError:  # what could be read may still be nested too deeply to be written
        return fingerprint(*more, labels)
    return fingerprint(*more, hashlib.sha256(whole.encode()).hexdigest())


def _is_cut(value: Any) -> bool:
    return isinstance(value, dict | list) or (isinstance(value, str) and len(value) > _SHORT)


def left_out(number: int, given: Any) -> Iterator[str]:
    """Says of an alert that not all of its labels were kept, where that is so."""
    if isinstance(given, dict) and len(given) > _MAX_LABELS:
        yield f"alert {number} has {len(given)} labels, of which {_MAX_LABELS} were kept"


def given_name(value: Any) -> str:
    """The name that a sender gives an alert; a long one as a hash, since cut off it could be another's too."""
    found = clean(value, _LONG)
    return found if len(found) <= _NAME else fingerprint(found)


def summary_of(notes: Mapping[str, str], *more: str) -> str:
    """One line about an alert, out of the usual annotations."""
    wanted = (notes.get("summary"), notes.get("message"), notes.get("description"), *more)
    return " ".join(next((text for text in wanted if text), "").split())[:_SHORT]


def parsed(found: Iterable[Alert | str], truncated: int = 0) -> Parsed:
    """Alerts and problems put apart. Raises UsageError when there are problems and nothing else."""
    alerts, problems = [], []
    for one in found:
        if isinstance(one, Alert):
            alerts.append(one)
        else:
            problems.append(one)
    if problems and not alerts:
        raise UsageError(f"no alert of the message was understood: {'; '.join(problems[:3])}")
    return Parsed(tuple(alerts), tuple(problems[:_MAX_PROBLEMS]), truncated, len(problems))


def grouped(body: bytes, source: Literal["alertmanager", "grafana"]) -> Parsed:
    """A message in Alertmanager's shape, which Grafana shares: a group of alerts, each with a status of its own.

    Raises UsageError when it is none.
    """
    data = json_of(text_of(body, source), source)
    entries = data.get("alerts") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise UsageError(f'the message of {source} has no list "alerts"; is it sent to the right address?')
    cut = count(data.get("truncatedAlerts")) + max(0, len(entries) - MAX_ALERTS)
    group = status_of(data.get("status"))
    return read(entries, lambda k, one: _entry(k, one, source, group), cut)


def read(entries: Sequence[Any], entry: Callable[[int, Any], Alert | str], truncated: int) -> Parsed:
    """The alerts of a list, so many as are read of one message. Raises UsageError when none is understood."""

    def found() -> Iterator[Alert | str]:
        for number, one in enumerate(entries[:MAX_ALERTS], 1):
            yield entry(number, one)
            if isinstance(one, dict):
                yield from left_out(number, one.get("labels"))

    return parsed(found(), truncated)


def count(value: Any) -> int:
    """A small number of a stranger's; 0 for anything else."""
    return min(value, 1_000_000) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _entry(number: int, entry: Any, source: str, group: AlertStatus | None) -> Alert | str:
    if not isinstance(entry, dict):
        return f"alert {number} is no object"
    status = status_of(entry["status"]) if "status" in entry else group
    if status is None:
        return f"alert {number} is neither firing nor resolved but {clean(entry.get('status'), 40)!r}"
    labels, notes = table(entry.get("labels")), long_table(entry.get("annotations"))
    if not labels:
        return f"alert {number} has no labels"
    return Alert(
        source=source,
        fingerprint=given_name(entry.get("fingerprint")) or of_labels(entry.get("labels"), labels),
        status=status,
        name=labels.get("alertname") or "an alert without a name",
        labels=labels,
        annotations=notes,
        starts_at=moment(entry.get("startsAt")),
        ends_at=moment(entry.get("endsAt")) if status == "resolved" else None,
        summary=summary_of(notes, clean(entry.get("valueString"))),
    )


def known_keys(data: Mapping[str, Any], aliases: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Fields by their own name, whichever of their other names the sender wrote, in any case."""
    lower: dict[str, Any] = {}
    for key, value in data.items():
        lower.setdefault(key.strip().lower().replace("-", "_"), value)
    found = {}
    for name, others in aliases.items():
        given = next((key for key in (name, *others) if key in lower), None)
        if given is not None:
            found[name] = lower[given]
    return found
