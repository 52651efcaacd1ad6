"""Who is logged in at the pages: signed cookies, and the tokens of their forms."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LASTS = 12 * 3600.0  # seconds
_NAME = re.compile(r"\w[\w .@+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Session:
    """One person at a browser. `csrf` is what every form of theirs carries; `open` that nobody had to log in; `proven`
    that the name is that of the token that was shown, and not one that anybody may type."""

    name: str
    nonce: str
    expires: float
    csrf: str
    open: bool = False
    proven: bool = False


class Sessions:
    """Cookies that hold a name and an expiry, signed with a key that is made of the token that was shown: the server's,
    or that person's own (`people`, by name).

    So they outlive a restart, and end with the token. scrypt, because whoever steals a cookie could else try tokens
    against its signature. `now` gives Unix seconds.
    """

    def __init__(self, token: str, now: Callable[[], float], people: Mapping[str, str] | None = None) -> None:
        self._tokens: dict[str | None, str] = {None: token}
        self._tokens.update(people or {})
        self._keys: dict[str | None, bytes] = {}
        self._now = now
        self._ended: dict[str, float] = {}

    def begin(self, name: str, *, proven: bool = False) -> tuple[str, Session]:
        """The cookie of somebody who has shown the token, or one of their own, and the session that it stands for."""
        nonce, expires = secrets.token_urlsafe(18), self._now() + LASTS
        body = json.dumps([name, nonce, expires, *([True] if proven else [])]).encode().hex()
        key = name if proven else None
        return f"{body}.{self._signed('session', body, key)}", self._session(name, nonce, expires, proven)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie, or None for one that is forged, expired or ended."""
        body, _, signature = cookie.partition(".")
        try:
            name, nonce, expires, *more = json.loads(bytes.fromhex(body))
            proven = more == [True]
            key = str(name) if proven else None  # only says which key has to have signed it
        except (ValueError, TypeError, RecursionError):
            return None
        if key not in self._tokens:
            return None
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signed("session", body, key).encode()):
            return None
        if expires <= self._now() or nonce in self._ended:
            return None
        return self._session(name, nonce, expires, proven)

    def end(self, session: Session) -> None:
        """Log out: this process takes the cookie no more."""
        now = self._now()
        self._ended = {nonce: until for nonce, until in self._ended.items() if until > now}
        self._ended[session.nonce] = session.expires

    def anybody(self) -> Session:
        """The session of whoever looks where there is no login."""
        return Session("", "open", self._now() + LASTS, self._signed("form", "open"), open=True)

    def _session(self, name: str, nonce: str, expires: float, proven: bool) -> Session:
        return Session(name, nonce, expires, self._signed("form", nonce, name if proven else None), proven=proven)

    def _signed(self, what: str, text: str, whose: str | None = None) -> str:
        if whose not in self._keys:
            token = self._tokens[whose]
            self._keys[whose] = hashlib.scrypt(token.encode(), salt=b"treewalk pages", n=2**14, r=8, p=1)
        return hmac.new(self._keys[whose], f"{what}:{text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def good_name(text: str) -> str | None:
    """The name as it is kept in the audit, or None when it is none."""
    name = " ".join(text.split())
    return name if _NAME.fullmatch(name) else None
