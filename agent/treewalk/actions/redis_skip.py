"""A message that its consumer cannot get past is put aside: copied to a dead-letter stream, then acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treewalk.actions.parameters import Address, Name, Names, looking, shown
from treewalk.actions.redis_session import Session, session
from treewalk.errors import ActionFailed
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy
from treewalk.model.quantity import format_duration
from treewalk.ports import Hands
from treewalk.sdk import Seconds

_TAIL = 1000  # entries of the dead-letter stream that are looked through for earlier copies
_PREFIX = "treewalk_"  # of the fields that tell a copy's origin


class SkipParameters(BaseModel):
    """An entry is stuck when it was delivered `min_deliveries` times or more and last `min_idle` seconds ago or more.

    At most `at_most` entries are skipped, and only ever the first pending one of each consumer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Address
    streams: Names = Field(min_length=1)
    group: Name
    dead_letter: Name
    min_deliveries: int | None = Field(default=None, ge=1, le=1_000_000)
    min_idle: Seconds | None = Field(default=None, ge=0)
    at_most: int = Field(default=1, ge=1, le=100)

    @model_validator(mode="after")
    def _makes_sense(self) -> SkipParameters:
        if not (self.min_deliveries or self.min_idle):
            raise ValueError("say when an entry is stuck: `min_deliveries` or `min_idle` or both")
        if self.dead_letter in self.streams:
            raise ValueError("the dead-letter stream cannot be one of the streams that are read")
        return self


@dataclass(frozen=True, slots=True)
class _Stuck:
    stream: str
    entry: bytes
    consumer: bytes
    idle: float  # seconds since it was last delivered
    deliveries: int

    @property
    def lane(self) -> tuple[bytes, bytes]:
        """Whose queue it blocks: messages behind it wait for it and are not stuck themselves."""
        return self.stream.encode(), self.consumer

    def __str__(self) -> str:
        entry, consumer = self.entry.decode(), self.consumer.decode("utf-8", "replace")
        return f"{entry} of {self.stream} (with {consumer} for {format_duration(self.idle)})"


@dataclass(frozen=True, slots=True)
class _Copy:
    at: float  # Unix seconds by the server's clock
    origin: Mapping[str, bytes]

    @property
    def lane(self) -> tuple[bytes, bytes]:
        return self.origin.get("stream", b""), self.origin.get("consumer", b"")

    def of(self, stuck: _Stuck, group: str) -> bool:
        """Whether it is the copy of that entry."""
        wanted = (stuck.stream.encode(), stuck.entry, group.encode())
        return (self.origin.get("stream"), self.origin.get("id"), self.origin.get("group")) == wanted


class SkipMessage:
    """Put aside what blocks the head of a consumer's pending list. Nothing is deleted: the stream keeps the entry.

    A consumer that holds its batch in memory has to be restarted afterwards. Run again, it finds its earlier copies:
    an entry is copied once, and what only stood behind a skipped entry is not taken for stuck until its consumer
    has been given it anew.
    """

    kind: ClassVar[str] = "redis_skip_message"
    tier: ClassVar[Autonomy] = Autonomy.KNOWN
    idempotent: ClassVar[bool] = True
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = SkipParameters

    def facts(self, params: SkipParameters) -> ActionFacts:
        """It touches the group's pending entries and the dead-letter stream."""
        where = shown(params.url)
        touches = tuple(f"pending entries of {params.group} in {one} of redis {where}" for one in params.streams)
        touches += (f"stream {params.dead_letter} of redis {where}",)
        return ActionFacts(self.kind, self.tier, self.idempotent, self.reversible, touches=touches)

    async def preview(self, params: SkipParameters, hands: Hands) -> str:
        """What it would put aside now. Raises SourceError."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: SkipParameters, hands: Hands) -> ActionResult:
        """Copy, then acknowledge. Raises ActionFailed, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: SkipParameters, hands: Hands) -> str:
        with looking(), session(params.url, hands) as redis:
            found = _to_skip(redis, params, _copies(redis, params), hands.key)
            if not found:
                return f"would skip nothing: no entry is stuck in {', '.join(params.streams)} of redis {redis.where}"
            return f"would copy to {params.dead_letter} and acknowledge {_listed(found)}"

    def _run(self, params: SkipParameters, hands: Hands) -> ActionResult:
        with session(params.url, hands) as redis:
            copies = _copies(redis, params)
            _finish(redis, params, copies, hands.key)
            found = _to_skip(redis, params, copies, hands.key)
            for one in found:
                if not any(copy.of(one, params.group) for copy in copies):
                    _copy(redis, params, one, hands.key)
                redis.change("XACK", one.stream, params.group, one.entry)
            skipped = [{"stream": one.stream, "id": one.entry.decode()} for one in found]
            done = f"copied to {params.dead_letter} and acknowledged {_listed(found)}" if found else "nothing is stuck"
            return ActionResult(done, {"skipped": skipped, "dead_letter": params.dead_letter})


def _listed(found: Sequence[_Stuck]) -> str:
    return ", ".join(str(one) for one in found)


def _to_skip(redis: Session, params: SkipParameters, copies: Sequence[_Copy], key: str) -> list[_Stuck]:
    """The stuck heads, the longest stuck first, without those of a lane that this very run has been in."""
    seconds, micros = redis.ask("TIME")
    now = int(seconds) + int(micros) / 1e6
    found = [one for stream in params.streams for one in _heads(redis, params, stream)]
    stuck = [
        one
        for one in found
        if one.deliveries >= (params.min_deliveries or 1)
        and one.idle >= (params.min_idle or 0)
        and not any(_only_stood_behind(one, copy, now, params.group, key) for copy in copies)
    ]
    return sorted(stuck, key=lambda one: (-one.idle, one.stream, one.entry))[: params.at_most]


def _only_stood_behind(one: _Stuck, copy: _Copy, now: float, group: str, key: str) -> bool:
    if copy.of(one, group) or copy.lane != one.lane:
        return False
    same_run = bool(key) and copy.origin.get("key") == key.encode()
    return same_run or now - one.idle <= copy.at


def _heads(redis: Session, params: SkipParameters, stream: str) -> list[_Stuck]:
    """The first pending entry of every consumer of the group. Raises ActionFailed when there is no such group."""
    from redis import exceptions

    try:
        pending = redis.ask("XPENDING", stream, params.group)
    except exceptions.ResponseError as error:
        if "NOGROUP" in str(error):
            raise ActionFailed(f"redis {redis.where} has no group {params.group} on stream {stream}") from None
        raise
    heads = []
    for consumer, _ in pending[3] or ():
        for entry, owner, idle, deliveries in redis.ask("XPENDING", stream, params.group, "-", "+", "1", consumer):
            heads.append(_Stuck(stream, entry, owner, int(idle) / 1000, int(deliveries)))
    return heads


def _copies(redis: Session, params: SkipParameters) -> list[_Copy]:
    """Earlier copies at the tail of the dead-letter stream."""
    return [
        _Copy(int(entry.partition(b"-")[0]) / 1000, _origin(fields))
        for entry, fields in redis.ask("XREVRANGE", params.dead_letter, "+", "-", "COUNT", str(_TAIL))
    ]


def _origin(fields: Sequence[bytes]) -> dict[str, bytes]:
    names = (name.decode("utf-8", "replace") for name in fields[::2])
    pairs = zip(names, fields[1::2], strict=True)
    return {name.removeprefix(_PREFIX): value for name, value in pairs if name.startswith(_PREFIX)}


def _finish(redis: Session, params: SkipParameters, copies: Sequence[_Copy], key: str) -> None:
    """Acknowledge what this very run had copied before it was interrupted; a second acknowledgement does nothing."""
    for copy in copies:
        origin = copy.origin
        ours = bool(key) and origin.get("key") == key.encode() and origin.get("group") == params.group.encode()
        if ours and origin.get("stream", b"").decode("utf-8", "replace") in params.streams:
            redis.change("XACK", origin["stream"], params.group, origin["id"])


def _copy(redis: Session, params: SkipParameters, one: _Stuck, key: str) -> None:
    answer: Any = redis.ask("XRANGE", one.stream, one.entry, one.entry)
    fields: Sequence[bytes] = answer[0][1] if answer else ()
    origin = {
        "stream": one.stream, "id": one.entry, "group": params.group, "consumer": one.consumer,
        "deliveries": str(one.deliveries), "key": key, "body": "kept" if answer else "trimmed from the stream",
    }  # fmt: skip
    told = [part for name, value in origin.items() for part in (_PREFIX + name, value)]
    redis.change("XADD", params.dead_letter, "*", *fields, *told)
