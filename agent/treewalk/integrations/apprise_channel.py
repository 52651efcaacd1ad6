"""Every channel that apprise knows (Slack, e-mail, Teams, PagerDuty, ntfy, a webhook …), one a URL.

apprise is synchronous and has its own idea of logging: each channel has one thread of its own, so that one that hangs
can neither hold up another nor use up the threads that the work on incidents needs; and what apprise logs is kept from
the process's log, since it may hold parts of the URL, which is a secret as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from treewalk.errors import SettingsError, SourceUnreachable
from treewalk.model.acting import UNMET, WELL
from treewalk.model.message import Message
from treewalk.model.redact import MARK, redact

_SHORTEST = 4  # characters from which a part of a URL is looked for in what is shown
_BY_SEVERITY = {"P1": "failure", "P2": "failure", "P3": "warning", "P4": "info"}


class AppriseChannel:
    """A Notifier over one apprise URL. What it sends cannot be edited."""

    edits = False

    def __init__(self, name: str, url: str, resolve: Callable[[str], str]) -> None:
        """Raises SettingsError for a secret that is missing."""
        self.name = name
        self._url = resolve(url)
        self._plugin: Any = None
        self._secrets: list[str] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"notify-{name}")

    def check(self) -> None:
        """Whether apprise understands the URL, which is not shown; nobody is contacted. Raises SettingsError."""
        with self._lock:
            self._build()

    async def send(self, message: Message) -> str:
        """Deliver a message. Raises SourceUnreachable: it was not delivered, or no answer came."""
        future = self._thread.submit(self._send, message)
        return await asyncio.wrap_future(future)

    async def edit(self, id: str, message: Message) -> str | None:
        """Not to be had: another message is sent."""
        return await self.send(message)

    def _build(self) -> Any:
        if self._plugin is None:
            import apprise

            logging.getLogger("apprise").propagate = False
            found = apprise.Apprise.instantiate(self._url, suppress_exceptions=True)
            if found is None or not isinstance(found, apprise.NotifyBase):
                scheme = self._url.partition("://")[0]
                shown = f"{scheme}://…" if len(scheme) < 20 and scheme.isalnum() else "it"
                raise SettingsError(f"notify.channels.{self.name}: apprise does not understand {shown}")
            self._plugin, self._secrets = found, _secrets(self._url, found)
        return self._plugin

    def _send(self, message: Message) -> str:
        from apprise import NotifyFormat, NotifyType

        with self._lock:
            plugin = self._build()
            formats = plugin.notify_format
            chosen = formats[0] if isinstance(formats, tuple | list) else formats
            text = message.rendered
            body = {NotifyFormat.HTML: text.html, NotifyFormat.MARKDOWN: text.markdown}.get(chosen, text.text)
            kind = NotifyType(kind_of(message))
            with _reasons() as reasons:
                try:
                    sent = plugin.notify(title=text.title, body=body, body_format=chosen, notify_type=kind)
                except Exception as error:  # noqa: BLE001  plugins of a hundred services
                    sent = False
                    reasons.append(f"{type(error).__name__}: {error}")
        if sent:
            return ""
        why = self._shown("; ".join(reasons)) or "it said no"
        # apprise does not say whether nobody was there or no answer came, after which it may have arrived.
        raise SourceUnreachable(f"{self.name}: {why}")

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return redact(" ".join(text.split()))[:300]


def kind_of(message: Message) -> str:
    """What apprise calls a message, by which pagers choose whether to call anybody: as grave as it is while somebody is
    needed, also when treewalk is done and a human is not; `success` when all is well; else `info`."""
    if message.ending in WELL:
        return "success"
    if message.over and message.ending not in UNMET:
        return "info"
    return _BY_SEVERITY[message.severity]


def _secrets(url: str, plugin: Any) -> list[str]:
    """Every part of a URL that apprise itself hides, longest first."""
    shown = plugin.url(privacy=True)
    parts = {url, *(value for value in vars(plugin).values() if isinstance(value, str))}
    parts |= {part for value in tuple(parts) for part in value.replace("?", "/").replace("&", "/").split("/")}
    hidden = (part for part in parts if len(part) >= _SHORTEST and part not in shown)
    return sorted(hidden, key=len, reverse=True)


class _Listener(logging.Handler):
    """Warnings of apprise from one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.lines = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and len(self.lines) < 5:
            self.lines.append(record.getMessage())


@contextmanager
def _reasons() -> Iterator[list[str]]:
    listener, logger = _Listener(), logging.getLogger("apprise")
    logger.addHandler(listener)
    try:
        yield listener.lines
    finally:
        logger.removeHandler(listener)
