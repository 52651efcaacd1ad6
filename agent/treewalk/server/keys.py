"""Who may speak to the server: tokens, passwords and signatures, resolved once and compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from treewalk.errors import SettingsError
from treewalk.settings import ServerSettings, WebhookSettings

_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
NEED_PERSON = "this token may only look: server.users in treewalk.yaml names people, whose own tokens change something"
SOURCES = ("alertmanager", "gatus", "grafana", "generic")


@dataclass(frozen=True, repr=False)
class Key:
    """What one sender can show. Without anything it opens nothing."""

    token: str | None = None
    basic: str | None = None  # username:password
    secret: str | None = None
    signature_header: str = ""

    @property
    def empty(self) -> bool:
        return self.token is None and self.basic is None and self.secret is None

    def shown(self, authorization: str) -> bool:
        """Whether an Authorization header opens this lock."""
        scheme, _, value = authorization.strip().partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer":
            return self.token is not None and _same(value, self.token)
        if scheme.lower() == "basic" and self.basic is not None:
            try:
                given = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                return False
            return hmac.compare_digest(given, self.basic.encode())
        return False

    def signed(self, signature: str, body: bytes) -> bool:
        """Whether a signature, `sha256=` before it or not, is this secret's for a body."""
        if self.secret is None or not signature:
            return False
        wanted = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        return _same(signature.strip().lower().removeprefix("sha256="), wanted)


@dataclass(frozen=True, repr=False)
class Keys:
    """The server's own key, one for each sender of alerts, one that opens the metrics, and one for each person.

    The server's own key opens everything, but where there are people: then only theirs change something.
    """

    server: Key
    webhooks: Mapping[str, Key]
    metrics: Key
    people: Mapping[str, Key]

    @property
    def none(self) -> bool:
        """No secret is configured at all."""
        return all(key.empty for key in (*self.general, self.metrics, *self.webhooks.values()))

    @property
    def general(self) -> tuple[Key, ...]:
        """Those that open everything that is only looked at."""
        return (self.server, *self.people.values())

    @property
    def shut(self) -> bool:
        """No secret opens the pages and the API."""
        return all(key.empty for key in self.general)

    def person(self, authorization: str) -> str | None:
        """Whose token an Authorization header shows. All are tried, whichever fits: the time tells nothing."""
        shown = [name for name, key in self.people.items() if key.shown(authorization)]
        return shown[0] if shown else None


def keys_of(settings: ServerSettings, resolve: Callable[[str], str]) -> Keys:
    """The keys with their secrets filled in. Raises SettingsError for one that is missing or empty, and for a person's
    token that is another secret too."""
    hooks = {name: _key(f"webhooks.{name}", getattr(settings.webhooks, name), resolve) for name in SOURCES}
    metrics = Key(token=_secret("metrics_token", settings.metrics_token, resolve))
    people = {name: Key(token=_secret(f"users.{name}", text, resolve)) for name, text in settings.users.items()}
    found = Keys(Key(token=_secret("token", settings.token, resolve)), hooks, metrics, people)
    _need_own(found)
    return found


def _need_own(keys: Keys) -> None:
    """Whose token is whose has to be certain. Raises SettingsError."""
    others = (keys.server, keys.metrics, *keys.webhooks.values())
    taken = {secret for key in others for secret in (key.token, key.secret) if secret is not None}
    for name, key in keys.people.items():
        if key.token in taken:
            raise SettingsError(
                f"server.users.{name}: this token is another secret of the server too; give it one of its own"
            )
        taken.add(str(key.token))


def _key(where: str, settings: WebhookSettings, resolve: Callable[[str], str]) -> Key:
    password = _secret(f"{where}.password", settings.password, resolve)
    return Key(
        token=_secret(f"{where}.token", settings.token, resolve),
        basic=f"{settings.username}:{password}" if password is not None else None,
        secret=_secret(f"{where}.secret", settings.secret, resolve),
        signature_header=settings.signature_header,
    )


def _secret(where: str, text: str | None, resolve: Callable[[str], str]) -> str | None:
    if text is None:
        return None
    found = resolve(text).strip()
    if not found:
        raise SettingsError(f"server.{where} is empty; an empty secret would let everybody in")
    return found


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine itself, and nothing else."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def from_elsewhere(method: str, headers: Mapping[str, str]) -> str | None:
    """Why a request is not this machine's own, where no secret tells; None when it may be.

    A page in a browser here may not reach in: neither by a name that it made point here, nor by sending a form to a
    loopback address, which browsers do for any page without asking. What a proxy passes on comes from anywhere.
    """
    host = headers.get("host", "")
    if not is_loopback(host_of(host)):
        return "without a secret treewalk is only asked as localhost or 127.0.0.1"
    if any(name in headers for name in _PASSED_ON):
        return "without a secret treewalk is not asked through a proxy: set server.token in treewalk.yaml"
    if method in ("GET", "HEAD"):
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none") or origin not in (None, f"http://{host}", f"https://{host}"):
        return "without a secret treewalk takes nothing from a page of another site"
    return None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
