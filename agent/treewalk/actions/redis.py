"""What can be done to a Redis: idle clients closed, active defragmentation, more memory, a message skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treewalk.actions.parameters import Address, Names, OptionalName, looking, shown
from treewalk.actions.redis_session import Session, session
from treewalk.actions.redis_skip import SkipMessage
from treewalk.errors import ActionFailed
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy
from treewalk.model.quantity import format_bytes, format_duration
from treewalk.ports import Hands
from treewalk.sdk import Amount, Seconds

__all__ = ["ActiveDefrag", "KillIdleClients", "MaxMemory", "SkipMessage"]

_SERVERS = frozenset("MS")  # flags of CLIENT LIST: a master, a replica
_WAITING = frozenset("Pb")  # subscribed, or blocked in a command that waits: both look idle and are at work


class IdleParameters(BaseModel):
    """`idle` in seconds, `names` and `addr` are globs; at most `at_most` clients are closed, the most idle first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Address
    idle: Seconds = Field(ge=1)
    except_names: Names = ()
    only_names: Names = ()
    addr: OptionalName = None
    at_most: int = Field(default=1000, ge=1, le=100_000)
    subscribers: bool = False


@dataclass(frozen=True, slots=True)
class _Client:
    identity: int
    name: str
    addr: str
    idle: float
    flags: frozenset[str]


class KillIdleClients:
    """Close the connections that nobody has used for a time. Replicas, masters and its own are never closed."""

    kind: ClassVar[str] = "redis_kill_idle_clients"
    tier: ClassVar[Autonomy] = Autonomy.KNOWN
    idempotent: ClassVar[bool] = False  # run again, it closes the next `at_most` clients
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = IdleParameters

    def facts(self, params: IdleParameters) -> ActionFacts:
        """It touches the clients of one Redis."""
        return ActionFacts(
            self.kind, self.tier, self.idempotent, self.reversible, touches=(f"clients of redis {shown(params.url)}",)
        )

    async def preview(self, params: IdleParameters, hands: Hands) -> str:
        """How many clients it would close now. Raises SourceError."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: IdleParameters, hands: Hands) -> ActionResult:
        """Close them by their id, which no later client can have. Raises ActionFailed, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: IdleParameters, hands: Hands) -> str:
        with looking(), session(params.url, hands) as redis:
            chosen, connected = _idle_clients(redis, params)
            return f"would close {_described(chosen, connected, params)} of redis {redis.where}"

    def _run(self, params: IdleParameters, hands: Hands) -> ActionResult:
        with session(params.url, hands) as redis:
            chosen, connected = _idle_clients(redis, params)
            closed = sum(int(redis.change("CLIENT", "KILL", "ID", str(one.identity))) for one in chosen)
            summary = f"closed {_described(chosen[:closed], connected, params)} of redis {redis.where}"
            return ActionResult(summary, {"closed": closed, "connected_before": connected})


def _described(chosen: list[_Client], connected: int, params: IdleParameters) -> str:
    longest = f"; the longest for {format_duration(chosen[0].idle)}" if chosen else ""
    return f"{len(chosen)} of {connected} clients idle for {format_duration(params.idle)} or more{longest}"


def _idle_clients(redis: Session, params: IdleParameters) -> tuple[list[_Client], int]:
    """The clients to close, the most idle first, and how many are connected."""
    own = int(redis.ask("CLIENT", "ID"))
    clients = [_client(line) for line in redis.ask("CLIENT", "LIST").decode("utf-8", "replace").splitlines() if line]
    idle = [one for one in clients if one.identity != own and _to_close(one, params)]
    return sorted(idle, key=lambda one: -one.idle)[: params.at_most], len(clients)


def _client(line: str) -> _Client:
    fields = dict(part.partition("=")[::2] for part in line.split(" "))
    flags = frozenset(fields.get("flags", ""))
    return _Client(int(fields["id"]), fields.get("name", ""), fields.get("addr", ""), float(fields["idle"]), flags)


def _to_close(one: _Client, params: IdleParameters) -> bool:
    if one.idle < params.idle or one.flags & _SERVERS:
        return False
    if one.flags & _WAITING and not params.subscribers:
        return False
    if any(fnmatchcase(one.name, pattern) for pattern in params.except_names):
        return False
    if params.only_names and not any(fnmatchcase(one.name, pattern) for pattern in params.only_names):
        return False
    return params.addr is None or fnmatchcase(one.addr, params.addr)


class DefragParameters(BaseModel):
    """Whether active defragmentation is to be on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Address
    on: bool = True


class ActiveDefrag:
    """Turn active defragmentation on or off until the server is started again."""

    kind: ClassVar[str] = "redis_active_defrag"
    tier: ClassVar[Autonomy] = Autonomy.KNOWN
    idempotent: ClassVar[bool] = True
    reversible: ClassVar[bool] = True
    parameters: ClassVar[type[BaseModel]] = DefragParameters

    def facts(self, params: DefragParameters) -> ActionFacts:
        """It touches one setting of one Redis."""
        touches = (f"activedefrag of redis {shown(params.url)}",)
        return ActionFacts(self.kind, self.tier, self.idempotent, self.reversible, touches=touches)

    async def preview(self, params: DefragParameters, hands: Hands) -> str:
        """The value now and the value then. Raises SourceError."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: DefragParameters, hands: Hands) -> ActionResult:
        """Set it. Raises ActionFailed where the server cannot do it, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: DefragParameters, hands: Hands) -> str:
        with looking(), session(params.url, hands) as redis:
            return f"would set activedefrag of redis {redis.where}: {_setting(redis, 'activedefrag')} → {_yes(params)}"

    def _run(self, params: DefragParameters, hands: Hands) -> ActionResult:
        with session(params.url, hands) as redis:
            old = _setting(redis, "activedefrag")
            redis.change("CONFIG", "SET", "activedefrag", _yes(params))
            undo = {"action": self.kind, "url": params.url, "on": old == "yes"}
            summary = f"set activedefrag of redis {redis.where}: {old} → {_yes(params)}"
            return ActionResult(summary, {"before": old, "after": _yes(params)}, undo)


def _yes(params: DefragParameters) -> str:
    return "yes" if params.on else "no"


def _setting(redis: Session, name: str) -> str:
    """A setting's value. Raises ActionFailed when this server has no such setting."""
    answer = redis.ask("CONFIG", "GET", name)
    pairs: Mapping[Any, Any] = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    value = pairs.get(name.encode())
    if value is None:
        raise ActionFailed(f"redis {redis.where} has no setting {name}")
    return bytes(value).decode()


class MemoryParameters(BaseModel):
    """The limit becomes old × `factor` + `add` bytes, or `to` bytes; never more than `at_most` bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Address
    at_most: Amount = Field(gt=0, le=2**60)
    add: Amount | None = Field(default=None, ge=0, le=2**60)
    factor: float | None = Field(default=None, ge=1, le=100)
    to: Amount | None = Field(default=None, ge=1, le=2**60)

    @model_validator(mode="after")
    def _one_way(self) -> MemoryParameters:
        relative = self.add is not None or self.factor is not None
        if relative == (self.to is not None):
            raise ValueError("say how much: `add` or `factor` or both, or else `to`")
        return self


class MaxMemory:
    """Raise Redis's memory limit within a bound, until the server is started again."""

    kind: ClassVar[str] = "redis_max_memory"
    tier: ClassVar[Autonomy] = Autonomy.KNOWN
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = True
    parameters: ClassVar[type[BaseModel]] = MemoryParameters

    def facts(self, params: MemoryParameters) -> ActionFacts:
        """It touches one setting of one Redis. Setting a given value twice is the same as once; adding is not."""
        touches = (f"maxmemory of redis {shown(params.url)}",)
        return ActionFacts(self.kind, self.tier, params.to is not None, self.reversible, touches=touches)

    async def preview(self, params: MemoryParameters, hands: Hands) -> str:
        """The limit now and the limit then. Raises SourceError, also where the bound forbids it."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: MemoryParameters, hands: Hands) -> ActionResult:
        """Set it. Raises ActionFailed where the bound forbids it, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: MemoryParameters, hands: Hands) -> str:
        with looking(), session(params.url, hands) as redis:
            old, new = _limits(redis, params)
            return f"would set maxmemory of redis {redis.where}: {format_bytes(old)} → {format_bytes(new)}"

    def _run(self, params: MemoryParameters, hands: Hands) -> ActionResult:
        with session(params.url, hands) as redis:
            old, new = _limits(redis, params)
            redis.change("CONFIG", "SET", "maxmemory", str(new))
            undo = {"action": self.kind, "url": params.url, "to": old, "at_most": max(old, new)}
            summary = f"set maxmemory of redis {redis.where}: {format_bytes(old)} → {format_bytes(new)}"
            return ActionResult(summary, {"before": old, "after": new}, undo)


def _limits(redis: Session, params: MemoryParameters) -> tuple[int, int]:
    """The limit now and the one to come, in bytes. Raises ActionFailed for what must not be set."""
    old = int(_setting(redis, "maxmemory"))
    if old == 0:
        raise ActionFailed(f"redis {redis.where} has no memory limit: there is none to raise")
    new = int(params.to) if params.to is not None else int(old * (params.factor or 1) + (params.add or 0))
    if new > params.at_most:
        raise ActionFailed(
            f"maxmemory of redis {redis.where} would be {format_bytes(new)}, above the bound of "
            f"{format_bytes(params.at_most)}; it is {format_bytes(old)} now"
        )
    if new < old:
        _refuse_eviction(redis, new)
    return old, new


def _refuse_eviction(redis: Session, new: int) -> None:
    """A limit below what is used makes an evicting server throw data away. Raises ActionFailed then."""
    used = next(
        int(line.partition(b":")[2])
        for line in redis.ask("INFO", "memory").splitlines()
        if line[:12] == b"used_memory:"
    )
    if new < used and _setting(redis, "maxmemory-policy") != "noeviction":
        raise ActionFailed(
            f"redis {redis.where} uses {format_bytes(used)}: a limit of {format_bytes(new)} would throw data away"
        )
