"""What HTTP sources share: bounded bodies, and errors said so that a person can act on them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from treewalk.errors import SourceBadAnswer, SourceError, SourceRejected, SourceUnreachable
from treewalk.model.redact import redact

_SPACE = re.compile(r"\s+")


def shown_url(url: str) -> str:
    """A URL without user, password and query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


def too_large(where: str, limit: int) -> SourceBadAnswer:
    """The answer was cut off at the limit (bytes)."""
    return SourceBadAnswer(f"{where} answered more than {limit // 1_000_000 or 1} MB; ask for less, or raise max_bytes")


def refused(where: str, status: int, body: str) -> SourceError:
    """The error for an HTTP status that is not a success; `body` is the server's own text."""
    said = excerpt(body)
    if status in (401, 403):
        return SourceRejected(f"{where} refuses access ({status}); check token, user and tenant in treewalk.yaml")
    if status == 404:
        return SourceRejected(f"{where} has no such address (404); check the url in treewalk.yaml: {said}")
    if status == 429 or status >= 500:
        return SourceUnreachable(f"{where} answered {status}: {said}")
    if 300 <= status < 400:
        return SourceRejected(f"{where} redirects ({status}) elsewhere; put the final url into treewalk.yaml")
    return SourceRejected(f"{where} refused the query ({status}): {said}")


def excerpt(text: str, limit: int = 300) -> str:
    """The beginning of a stranger's text on one line, redacted, without control characters."""
    clean = "".join(c if c.isprintable() else " " for c in text[: limit * 4])
    return redact(_SPACE.sub(" ", clean).strip())[:limit] or "(empty)"
