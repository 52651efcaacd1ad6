"""Configuration and content read again while serving: all or nothing. When it is broken, the last good one runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from treewalk.errors import ContentError, SettingsError, TreewalkError
from treewalk.model.redact import redact
from treewalk.server.keys import Keys, is_loopback, keys_of
from treewalk.settings import Settings

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.operations.incidents import Operations
    from treewalk.server.service import Service

_MOST = 100  # problems that are shown


@dataclass(frozen=True)
class Reload:
    """How the last reading went. `problems` are those of the files, each with its place; `remarks` what was read but
    holds only after a restart. `at` is Unix seconds."""

    ok: bool
    at: float
    who: str
    error: str = ""
    problems: tuple[dict[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()


class Reloader:
    """Reads again, one at a time. `check` refuses content that cannot be served (raises TreewalkError); `changed` is
    called with the operations on the new content when it is in force."""

    def __init__(
        self,
        service: Service,
        host: str,
        say: Callable[[str], None],
        check: Callable[[App], Any] = lambda app: None,
        changed: Callable[[Operations], Awaitable[None]] | None = None,
    ) -> None:
        self._service, self._host, self._say, self._check, self._changed = service, host, say, check, changed
        self._lock = asyncio.Lock()
        self._start = service.operations.app.workspace.settings

    async def reload(self, who: str) -> Reload:
        """Read everything again; how it went. Nothing is changed unless all of it is good."""
        async with self._lock:
            operations = self._service.operations
            now = operations.app.clock.now
            try:
                fresh = await asyncio.to_thread(operations.app.renewed)
                keys = self._keys(fresh)
                await asyncio.to_thread(self._check, fresh)
            except TreewalkError as error:
                found = Reload(False, now(), who, redact(str(error)), _problems(error))
            else:
                self._service.adopt(await operations.renew(fresh), keys)
                found = Reload(True, now(), who, remarks=later(self._start, fresh.workspace.settings))
                found = await self._begin_anew(found)
            self._service.note_reload(found)
            said = {"ok": found.ok, "error": found.error[:2000], "remarks": list(found.remarks)}
            await asyncio.to_thread(operations.audit.add, found.at, "reload", who, said)
        self._tell(found)
        return found

    async def _begin_anew(self, found: Reload) -> Reload:
        """Whatever works with the content begins anew with it; what cannot is told."""
        if self._changed is not None:
            try:
                await self._changed(self._service.operations)
            except TreewalkError as error:
                return replace(found, remarks=(*found.remarks, redact(str(error))))
        return found

    def _keys(self, fresh: App) -> Keys:
        keys = keys_of(fresh.workspace.settings.server, fresh.resolve)
        if keys.none and not is_loopback(self._host):
            raise SettingsError(f"server has no secret any more, and {self._host} is listened at; give it a token")
        return keys

    def _tell(self, found: Reload) -> None:
        if found.ok:
            workspace = self._service.operations.app.workspace
            self._say(
                f"reloaded by {found.who}: {len(workspace.forest.slas)} SLAs, {len(workspace.forest.nodes)} nodes"
            )
        else:
            self._say(f"not reloaded, what ran before runs on: {found.error}")
        for remark in found.remarks:
            self._say(remark)


def later(before: Settings, after: Settings) -> tuple[str, ...]:
    """What of the settings was changed and holds only after a restart. Pure."""
    names = ("host", "port", "concurrency", "grace")
    changed = [f"server.{name}" for name in names if getattr(before.server, name) != getattr(after.server, name)]
    changed += [
        f"store.{name}" for name in ("path", "url") if getattr(before.store, name) != getattr(after.store, name)
    ]
    return tuple(f"{name} was changed: that holds after a restart" for name in changed)


def _problems(error: TreewalkError) -> tuple[dict[str, Any], ...]:
    if not isinstance(error, ContentError):
        return ()
    return tuple(
        {"file": p.place.file, "line": p.place.line, "column": p.place.column, "message": redact(p.message)}
        for p in error.problems[:_MOST]
    )
