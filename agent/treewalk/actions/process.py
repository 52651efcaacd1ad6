"""Processes under supervisord: restart, start, stop, over its XML-RPC interface."""

from __future__ import annotations

import asyncio
import http.client
import socket
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from pydantic import BaseModel, ConfigDict, Field

from treewalk.actions.parameters import Address, Name, OptionalName, shown
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy
from treewalk.ports import Hands

_NOT_RUNNING, _UNKNOWN = "NOT_RUNNING", "BAD_NAME"


class ProcessParameters(BaseModel):
    """`server` is unix:///path.sock or http://host:port of supervisord; `password` may hold ${NAME}; `grace` is how
    many seconds longer than a mere question it may take to stop and to start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    process: Name
    group: OptionalName = None
    server: Address = "unix:///var/run/supervisor.sock"
    username: Name | None = None
    password: Name | None = None
    grace: int = Field(default=60, ge=0, le=600)

    @property
    def full_name(self) -> str:
        """As supervisord names it."""
        return f"{self.group}:{self.process}" if self.group else self.process


class _ProcessAction:
    kind: ClassVar[str]
    tier: ClassVar[Autonomy] = Autonomy.AFTER
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = ProcessParameters
    verb: ClassVar[str]

    def facts(self, params: ProcessParameters) -> ActionFacts:
        """It touches one process and nothing else."""
        return ActionFacts(
            self.kind, self.tier, self.idempotent, self.reversible, touches=(f"process {params.full_name}",)
        )

    async def preview(self, params: ProcessParameters, hands: Hands) -> str:
        """The state that the process is in now. Raises SourceError when supervisord or the process is not there."""
        info = await asyncio.to_thread(_call, params, hands, lambda s: s.getProcessInfo(params.full_name))
        return f"would {self.verb} {params.full_name}, which is {info['statename']}"

    async def run(self, params: ProcessParameters, hands: Hands) -> ActionResult:
        """Do it and wait until supervisord says that it is done. Raises ActionFailed, SourceError."""
        return await asyncio.to_thread(_call, params, hands, lambda s: self._act(s, params), params.grace)

    def _act(self, supervisor: Any, params: ProcessParameters) -> ActionResult:
        raise NotImplementedError


class ProcessRestart(_ProcessAction):
    """Stop one process, if it runs, and start it."""

    kind = "process_restart"
    verb = "restart"

    def _act(self, supervisor: Any, params: ProcessParameters) -> ActionResult:
        name = params.full_name
        before = supervisor.getProcessInfo(name)
        _stop(supervisor, name)
        _start(supervisor, name)
        return ActionResult(f"restarted {name}, which was {before['statename']}", _after(supervisor, name))


class ProcessStart(_ProcessAction):
    """Start one process; one that runs already is left alone."""

    kind = "process_start"
    verb = "start"
    idempotent = True

    def _act(self, supervisor: Any, params: ProcessParameters) -> ActionResult:
        name = params.full_name
        started = _start(supervisor, name)
        return ActionResult(f"started {name}" if started else f"{name} runs already", _after(supervisor, name))


class ProcessStop(_ProcessAction):
    """Stop one process; one that does not run is left alone. Asks a human unless policy says otherwise."""

    kind = "process_stop"
    verb = "stop"
    tier = Autonomy.ASK
    idempotent = True
    reversible = True

    def _act(self, supervisor: Any, params: ProcessParameters) -> ActionResult:
        name = params.full_name
        stopped = _stop(supervisor, name)
        undo = {"action": ProcessStart.kind, **params.model_dump(exclude_none=True)} if stopped else None
        return ActionResult(f"stopped {name}" if stopped else f"{name} did not run", _after(supervisor, name), undo)


def _start(supervisor: Any, name: str) -> bool:
    try:
        supervisor.startProcess(name, True)
    except xmlrpc.client.Fault as fault:
        if "ALREADY_STARTED" in fault.faultString:
            return False
        if _UNKNOWN in fault.faultString:
            raise
        raise ActionFailed(f"{name} does not start: {fault.faultString}") from None
    return True


def _stop(supervisor: Any, name: str) -> bool:
    try:
        supervisor.stopProcess(name, True)
    except xmlrpc.client.Fault as fault:
        if _NOT_RUNNING in fault.faultString:
            return False
        if _UNKNOWN in fault.faultString:
            raise
        raise ActionFailed(f"{name} does not stop: {fault.faultString}") from None
    return True


def _after(supervisor: Any, name: str) -> dict[str, Any]:
    info = supervisor.getProcessInfo(name)
    return {"state": info["statename"], "pid": info["pid"]}


def _call(params: ProcessParameters, hands: Hands, ask: Callable[[Any], Any], grace: float = 0.0) -> Any:
    with _supervisor(params, hands, hands.timeout + grace) as supervisor:
        return ask(supervisor)


@contextmanager
def _supervisor(params: ProcessParameters, hands: Hands, patience: float) -> Iterator[Any]:
    """supervisord's interface; what goes wrong on the way becomes a SourceError that says what to do."""
    transport = _transport(params, hands, patience)
    try:
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    except xmlrpc.client.ProtocolError as error:
        raise SourceRejected(f"supervisord answered {error.errcode}; check username and password") from None
    except TimeoutError:
        raise SourceTimeout("supervisord did not answer in time; whether it acted is not known") from None
    except (OSError, http.client.HTTPException, ExpatError, xmlrpc.client.ResponseError) as error:
        raise SourceTimeout(f"the connection to supervisord broke: {type(error).__name__}") from None
    except xmlrpc.client.Fault as fault:
        raise SourceRejected(f"supervisord refused: {fault.faultString}") from None
    finally:
        transport.close()


def _transport(params: ProcessParameters, hands: Hands, patience: float) -> Any:
    """supervisor's own transport, on a connection that is made at once and gives up after `patience` seconds."""
    from supervisor.xmlrpc import SupervisorTransport

    secret = hands.resolve(params.password) if params.password else None
    address = hands.resolve(params.server)
    try:
        transport = SupervisorTransport(params.username, secret, address)
        connection = _connection(address, patience)
    except (ValueError, http.client.InvalidURL):
        message = (
            f"{shown(params.server)} is not an address of supervisord; write unix:///path.sock or http://host:port"
        )
        raise SourceRejected(message) from None

    def connected() -> http.client.HTTPConnection:
        try:
            connection.connect()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise SourceUnreachable(f"supervisord at {shown(params.server)} is not reachable: {why}") from None
        return connection

    transport._get_connection = connected
    return transport


def _connection(address: str, patience: float) -> http.client.HTTPConnection:
    if address.startswith("unix://"):
        return _Socket(address.removeprefix("unix://"), patience)
    parts = urlsplit(address)
    if not parts.hostname:
        raise ValueError("no host")
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=patience)


class _Socket(http.client.HTTPConnection):
    """HTTP over a Unix socket, with a time-out."""

    def __init__(self, path: str, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
