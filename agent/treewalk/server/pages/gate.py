"""Who may see the pages and who may change something there. What is refused says why, and what to do."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from treewalk.server.keys import NEED_PERSON, from_elsewhere
from treewalk.server.pages.sessions import Session, Sessions

if TYPE_CHECKING:
    from treewalk.server.web import Service

MOST_FORM = 64_000  # bytes
_OPEN = "set server.token in treewalk.yaml to change something here"
_FORM = "application/x-www-form-urlencoded"


class Refused(Exception):
    """A page that is not given. `status` is the HTTP status, the text is for the reader."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class LoginNeeded(Exception):
    """Whoever asks has to log in first."""


class Gate:
    """The lock of the pages, which the server's own token opens, and that of a person."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._sessions: tuple[Any, Sessions] | None = None

    def _now(self) -> float:
        return self.service.operations.app.clock.now()

    @property
    def sessions(self) -> Sessions:
        """The sessions under the tokens of this moment; other tokens are another set."""
        keys = self.service.keys
        token, people = keys.server.token, {name: str(key.token) for name, key in keys.people.items()}
        if self._sessions is None or self._sessions[0] != (token, people):
            self._sessions = (token, people), Sessions(token or secrets.token_hex(32), self._now, people)
        return self._sessions[1]

    def reader(self, request: Request) -> Session:
        """Who looks at a page. Raises LoginNeeded, Refused."""
        keys = self.service.keys
        if keys.none:
            why = from_elsewhere(request.method, request.headers)
            if why is not None:
                raise Refused(403, why)
            return self.sessions.anybody()
        self.need_token()
        session = self.sessions.read(request.cookies.get(cookie_name(request), ""))
        if session is None:
            raise LoginNeeded
        return session

    def lets_read(self, request: Request) -> bool:
        """Whether who looks may still do so."""
        try:
            self.reader(request)
        except (LoginNeeded, Refused):
            return False
        return True

    def need_token(self) -> None:
        """Raises Refused where there are secrets, but none that opens the pages."""
        if self.service.keys.shut:
            raise Refused(403, "there are secrets, but none for the pages: set server.token in treewalk.yaml")

    def sender(self, request: Request, form: Mapping[str, str]) -> Session:
        """Who sent a form of ours from a page of ours. Raises LoginNeeded, Refused."""
        from_here(request)
        session = self.reader(request)
        if not secrets.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
            raise Refused(403, "this form is not of your session: go back, reload the page and send it again")
        return session

    def changer(self, request: Request, form: Mapping[str, str]) -> Session:
        """Who sent a form that changes something. Raises LoginNeeded, Refused."""
        session = self.sender(request, form)
        why = self.why_not(session)
        if why is not None:
            raise Refused(403, why)
        return session

    def stopper(self, request: Request, form: Mapping[str, str]) -> Session:
        """Who sent a form that stops something, which is never out of reach. Raises LoginNeeded, Refused."""
        session = self.sender(request, form)
        why = self.why_no_stop(session)
        if why is not None:
            raise Refused(403, why)
        return session

    def why_no_stop(self, session: Session) -> str | None:
        """Why this session may not even stop something, or None when it may."""
        if session.open:
            return _OPEN
        return None if session.proven or not self.service.keys.people else NEED_PERSON

    def why_not(self, session: Session) -> str | None:
        """Why this session may change nothing, or None when it may. Raises StoreError."""
        refused = self.why_no_stop(session)
        if refused is not None:
            return refused
        why = self.service.operations.read_only()
        return f"treewalk only looks ({why})" if why is not None else None


def from_here(request: Request) -> None:
    """Raises Refused for a form that another site had the browser send."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        fits = site == "same-origin"
    else:
        origin = urlsplit(request.headers.get("origin", ""))
        fits = bool(origin.netloc) and origin.netloc == request.headers.get("host")
    if not fits:
        raise Refused(403, "this form was not sent from a page of this server")


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refused(415, f"a form is sent as {_FORM}")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_FORM:
            raise Refused(413, f"a form has at most {MOST_FORM} bytes")
        parts.append(part)
    try:
        return dict(parse_qsl(b"".join(parts).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise Refused(400, "this form has too many fields") from None


def is_https(request: Request) -> bool:
    """Whether the browser speaks TLS, to us or to the proxy before us. Only ever used to be stricter."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "").lower() == "https"


def cookie_name(request: Request) -> str:
    """`__Host-`, where browsers take it: no other host and no plain HTTP can have set it."""
    return "__Host-treewalk" if is_https(request) else "treewalk"


def own_path(text: str) -> str:
    """A path of this server to go on to, or `/` for whatever else it may be."""
    plain = text.isprintable() and text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if plain else "/"
