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

from treewalk.errors import SettingsError
from treewalk.integrations import tracing
from treewalk.messages.channels import check_channels
from treewalk.server.blindness import Blindness
from treewalk.server.carrying import Carrying
from treewalk.server.keys import is_loopback, keys_of
from treewalk.server.reloading import Reload, Reloader
from treewalk.server.service import Service
from treewalk.server.starting import Starter
from treewalk.server.tidying import tidy
from treewalk.server.warming import warm
from treewalk.server.watching import SOURCE, Watch, check_watch
from treewalk.server.web import build
from treewalk.settings import ServerSettings
from treewalk.store.outbox import Outbox

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.operations.incidents import Operations

_OPEN = "no secret is configured under server: listening on this machine only, and to whoever is on it"


async def serve(operations: Operations, settings: ServerSettings, say: Callable[[str], None]) -> None:
    """Take alerts in and work on incidents until SIGTERM or SIGINT.

    `say` gets a line for the person who started it. Raises SettingsError for an address that cannot be had or a
    secret that is missing, StoreError.
    """
    host = address(settings, operations, say)
    end_tracing = tracing.start(os.environ, say)
    try:
        await _serve(operations, settings, host, say)
    finally:
        end_tracing()  # here and not in a thread: the loop's threads ended with the workflows
    say("stopped; incidents under way are taken up again at the next start")


async def _serve(operations: Operations, settings: ServerSettings, host: str, say: Callable[[str], None]) -> None:
    stopping: list[str] = []
    starter = Starter(operations, settings.concurrency, say)
    operations.crew.queued = settings.concurrency
    api = build(operations, settings, opened=starter.opened, ready=lambda: stopping[0] if stopping else None, say=say)
    service: Service = api.state.service
    await asyncio.to_thread(_check, operations.app)
    service.watch = Watch(
        lambda alert: service.take(SOURCE, [alert]),
        say,
        service.measured,
        lambda sla, since: asyncio.to_thread(service.inbox.mended, SOURCE, sla, since),
        service.met,
    )
    blindness = Blindness(Outbox(operations.app.database), service.watch.seen, lambda: _settling(service.operations))
    carrying = Carrying(operations, say, blindness)
    service.measures.registry.register(carrying.measures)

    async def changed(fresh: Operations) -> None:
        await _watch(service, fresh, blindness)  # before anybody is told what it sees
        service.telegram = await carrying.begin(fresh)

    service.reloader = Reloader(service, host, say, _check, changed)
    with contextlib.closing(_listen(host, settings.port)) as listener:
        async with operations.crew.working() as workflows:
            tasks = [
                asyncio.create_task(starter.run(workflows)),
                asyncio.create_task(tidy(lambda: service.operations, workflows, say)),
            ]
            await changed(operations)
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
            if (why := operations.read_only()) is not None:
                say(f"treewalk only looks, nothing is changed: {why}")
            say(f"listening on http://{shown}:{listener.getsockname()[1]}")
            tasks.append(asyncio.create_task(asyncio.to_thread(warm, operations.app.workspace)))
            try:
                await _Server(config, stopping, say, service.reloader).serve(sockets=[listener])
            finally:
                await service.watch.end()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await carrying.end()
        await operations.retire(all=True)


async def _watch(service: Service, operations: Operations, blindness: Blindness) -> None:
    if service.watch is not None:
        firing = await asyncio.to_thread(service.inbox.firing, SOURCE)
        await service.watch.begin(operations.app, firing, await asyncio.to_thread(blindness.standing))


def _settling(operations: Operations) -> float:
    """Seconds within which the SLAs of one source that is gone are all noticed."""
    settings = operations.app.workspace.settings
    return (settings.watch.interval if settings.watch else 0.0) + settings.walk.check_timeout


def _check(app: App) -> None:
    """Whether new content can be served. Raises UsageError, SettingsError."""
    check_watch(app)
    check_channels(app)


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


class _Server(uvicorn.Server):
    """Signals stop it as they do everywhere, but the process lives on to put its things in order."""

    def __init__(
        self, config: uvicorn.Config, stopping: list[str], say: Callable[[str], None], reloader: Reloader
    ) -> None:
        super().__init__(config)
        self._stopping, self._say, self._reloader = stopping, say, reloader
        self._reloads: set[asyncio.Task[Reload]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self._stop, one)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            yield
        finally:
            # A second signal while things are put in order ends the process as ever.
            for one in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(one)

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reloader.reload("SIGHUP"))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def _stop(self, one: int) -> None:
        self._stopping.append(f"stopping after {signal.Signals(one).name}")
        self._say(f"{signal.Signals(one).name}: no more requests are taken")
        self.handle_exit(one, None)
