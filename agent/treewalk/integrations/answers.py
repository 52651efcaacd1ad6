"""What HTTP sources share: bounded bodies, and errors said so that a person can act on them."""

from __future__ import annotations

import re
from pathlib import Path

from treewalk.errors import SettingsError, SourceBadAnswer, SourceError, SourceRejected, SourceUnreachable
from treewalk.model.redact import redact

_SPACE = re.compile(r"\s+")


def shown_url(url: str) -> str:
    """A URL without user, password and query. What is not filled in yet (`${HOST}`) stays as it is written."""
    if url.startswith("file:") or "://" not in url:
        return redact(url)
    scheme, _, rest = url.partition("://")
    place = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]  # the @ first: a password may hold / or ?
    return f"{scheme}://{place}".rstrip("/")


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


_REASONS = (
    ("Connection refused", "connection refused"),
    ("All connection attempts failed", "connection refused"),
    ("Name or service not known", "unknown host"),
    ("No address associated", "unknown host"),
    ("name resolution", "unknown host"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate could not be verified; set ca_file"),
    ("CERTIFICATE_REQUIRED", "it asks for a client certificate; set cert_file and key_file"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS; is the url http?"),
    ("RemoteDisconnected", "it closed the connection"),
    ("Server disconnected", "it closed the connection"),
    ("Connection reset", "connection reset"),
    ("No route to host", "no route to host"),
    ("Network is unreachable", "network is unreachable"),
)


def reason(error: Exception) -> str:
    """Why nobody answered, in words; never the exception's own text, which may hold the whole URL."""
    text = str(error)
    return next((words for mark, words in _REASONS if mark in text), type(error).__name__)


def tls_file(name: str | None, root: Path | None) -> str | None:
    """The path of a file of treewalk.yaml, relative to the workspace. Raises SettingsError when it is not there."""
    if name is None:
        return None
    path = (root or Path.cwd()) / Path(name).expanduser()
    if not path.exists():
        raise SettingsError(f"{path} does not exist; treewalk.yaml names it as certificate or key")
    return str(path)
