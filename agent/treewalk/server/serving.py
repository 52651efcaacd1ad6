"""The process that serves: it listens, works on incidents, and stops in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from treewalk.channels import courier_of
from treewalk.courier import stop
from treewalk.errors import SettingsError
from treewalk.model.quantity import format_duration
from treewalk.model.redact import redact
from treewalk.server.deliveries import DeliveryMeasures
from treewalk.server.keys import is_loopback, keys_of
from treewalk.server.starting import Starter
from treewalk.server.telegram import listening
from treewalk.server.watching import SOURCE, Watcher, alert_of, measuring, remembered, watched
from treewalk.server.web import Service, build
from treewalk.settings import ServerSettings
from treewalk.stages.watch import Change

if TYPE_CHECKING:
    from treewalk.operations import Operations

_OPEN = "no secret is configured under server: listening on this machine only, and to whoever is on it"


async def serve(operations: Operations, settings: ServerSettings, say: Callable[[str], None]) -> None:
    """Take alerts in and work on incidents until SIGTERM or SIGINT.

    `say` gets a line for the person who started it. Raises SettingsError for an address that cannot be had or a
    secret that is missing, StoreError.
    """
    host = address(settings, operations, say)
    stopping: list[str] = []
    starter = Starter(operations, settings.concurrency, say)
    operations.crew.queued = True
    api = build(operations, settings, opened=starter.opened, ready=lambda: stopping[0] if stopping else None)
    courier = courier_of(operations, say)
    api.state.service.measures.registry.register(DeliveryMeasures(courier))
    watcher = _watcher(api.state.service, say)
    with contextlib.closing(_listen(host, settings.port)) as listener:
        bot = listening(operations, courier.channels.get("telegram"), say)
        async with operations.crew.working() as workflows, bot as api.state.telegram:
            tasks = [asyncio.create_task(starter.run(workflows))]
            if watcher is not None:
                tasks.append(asyncio.create_task(watcher.run()))
            carrying = asyncio.create_task(courier.run())
            config = uvicorn.Config(
                api,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="off",
                proxy_headers=False,
                limit_concurrency=4000,
                timeout_graceful_shutdown=max(1, round(settings.grace)),
            )
            shown = f"[{host}]" if ":" in host else host
            say(f"listening on http://{shown}:{listener.getsockname()[1]}")
            try:
                await _Server(config, stopping, say).serve(sockets=[listener])
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await stop(carrying)
    say("stopped; incidents under way are taken up again at the next start")


def address(settings: ServerSettings, operations: Operations, say: Callable[[str], None]) -> str:
    """The host to listen at: without any secret never more than this machine itself."""
    if not keys_of(settings, operations.app.resolve).none:
        return settings.host
    say(_OPEN)
    if is_loopback(settings.host):
        return settings.host
    say(f"server.host is {settings.host}: it is not listened at until there is a server.token")
    return "127.0.0.1"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise SettingsError(f"{host}:{port} cannot be listened at: {why}; set server.host, server.port") from None


def _watcher(service: Service, say: Callable[[str], None]) -> Watcher | None:
    """What measures the SLAs by itself, where treewalk.yaml asks for it. Raises UsageError for an SLA that is not."""
    app = service.operations.app
    settings, slas = app.workspace.settings.watch, app.workspace.forest.slas
    if settings is None:
        return None
    found, without = watched(slas, settings.slas)
    say(f"watching {len(found)} SLAs every {format_duration(settings.interval)}")
    if without:
        say(f"not watched, because they have no sla.query: {', '.join(without)}")

    async def tell(change: Change) -> None:
        alert = alert_of(change)
        if alert is not None:
            await service.take(SOURCE, [alert])
        say(f"watch: {change.sla} {change.kind}: {redact(change.reason)}")

    watcher = Watcher(found, measuring(app), settings, app.clock, tell, say)
    watcher.rows = remembered(found, service.inbox.firing(SOURCE), app.clock.now())
    return watcher


class _Server(uvicorn.Server):
    """Signals stop it as they do everywhere, but the process lives on to put its things in order."""

    def __init__(self, config: uvicorn.Config, stopping: list[str], say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._stopping, self._say = stopping, say

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self._stop, one)
        try:
            yield
        finally:
            # A second signal while things are put in order ends the process as ever.
            for one in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(one)

    def _stop(self, one: int) -> None:
        self._stopping.append(f"stopping after {signal.Signals(one).name}")
        self._say(f"{signal.Signals(one).name}: no more requests are taken")
        self.handle_exit(one, None)
