"""Who is logged in at the pages: signed cookies, the tokens of their forms, and how often a wrong token was tried."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

LASTS = 12 * 3600.0  # seconds
TRIES, TRIES_IN_ALL, WITHIN = 10, 200, 600.0  # wrong tokens an address, by everybody, in so many seconds
_MOST_ADDRESSES = 10_000
_NAME = re.compile(r"\w[\w .@+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Session:
    """One person at a browser. `csrf` is what every form of theirs carries; `open` that nobody had to log in."""

    name: str
    nonce: str
    expires: float
    csrf: str
    open: bool = False


class Sessions:
    """Cookies that hold a name and an expiry, signed with a key that is made of the server's token.

    So they outlive a restart, and end with the token. scrypt, because whoever steals a cookie could else try tokens
    against its signature. `now` gives Unix seconds.
    """

    def __init__(self, token: str, now: Callable[[], float]) -> None:
        self._key = hashlib.scrypt(token.encode(), salt=b"treewalk pages", n=2**14, r=8, p=1)
        self._now = now
        self._ended: dict[str, float] = {}

    def begin(self, name: str) -> tuple[str, Session]:
        """The cookie of somebody who has shown the token, and the session that it stands for."""
        nonce, expires = secrets.token_urlsafe(18), self._now() + LASTS
        body = json.dumps([name, nonce, expires]).encode().hex()
        return f"{body}.{self._signed('session', body)}", self._session(name, nonce, expires)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie, or None for one that is forged, expired or ended."""
        body, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signed("session", body).encode()):
            return None
        try:
            name, nonce, expires = json.loads(bytes.fromhex(body))
        except (ValueError, TypeError):
            return None
        if expires <= self._now() or nonce in self._ended:
            return None
        return self._session(name, nonce, expires)

    def end(self, session: Session) -> None:
        """Log out: this process takes the cookie no more."""
        now = self._now()
        self._ended = {nonce: until for nonce, until in self._ended.items() if until > now}
        self._ended[session.nonce] = session.expires

    def anybody(self) -> Session:
        """The session of whoever looks where there is no login."""
        return Session("", "open", self._now() + LASTS, self._signed("form", "open"), open=True)

    def _session(self, name: str, nonce: str, expires: float) -> Session:
        return Session(name, nonce, expires, self._signed("form", nonce))

    def _signed(self, what: str, text: str) -> str:
        return hmac.new(self._key, f"{what}:{text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


class Tries:
    """Wrong tokens, by address and in all: after too many nobody may try for a while."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._all: deque[float] = deque(maxlen=TRIES_IN_ALL)
        self._of: dict[str, deque[float]] = {}

    def wait(self, address: str) -> float:
        """For how many seconds this address has to wait before it may try; 0 when it may."""
        now = self._now()
        full = [times for times in (self._all, self._of.get(address)) if times and len(times) == times.maxlen]
        return max([0.0, *(times[0] + WITHIN - now for times in full)])

    def wrong(self, address: str) -> None:
        """A wrong token came."""
        now = self._now()
        if len(self._of) >= _MOST_ADDRESSES:
            self._of = {one: times for one, times in self._of.items() if times[-1] > now - WITHIN}
        if len(self._of) < _MOST_ADDRESSES:
            self._of.setdefault(address, deque(maxlen=TRIES)).append(now)
        self._all.append(now)


def good_name(text: str) -> str | None:
    """The name as it is kept in the audit, or None when it is none."""
    name = " ".join(text.split())
    return name if _NAME.fullmatch(name) else None
