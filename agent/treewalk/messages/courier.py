"""Carries messages to people: looks at what changed, writes down what every channel should show, and sees to it.

Each channel has a task of its own, so that one that hangs or fails holds up nobody; nothing here is awaited by the work
on an incident. What was written down is committed before anything is sent, and after it (store/outbox.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treewalk.errors import TreewalkError
from treewalk.messages.telling import Teller
from treewalk.model.message import Message, MessageKind
from treewalk.model.quantity import format_duration
from treewalk.model.redact import redact
from treewalk.model.routing import Notify, backoff, climbed, held, routed, unanswered_since
from treewalk.model.schedule import Due, Schedule, due
from treewalk.ports import Clock, Notifier
from treewalk.store.casebook import Casebook
from treewalk.store.database import Writer
from treewalk.store.outbox import Delivery, Kept, Outbox, Want

_LEASE = 10.0  # seconds beyond the time-out after which a delivery under way counts as left by a crash
_CLIMB = 3.0  # between two looks at who waits for an answer
_GRACE = 5.0  # for deliveries under way when it is told to stop; what takes longer is sent again later
_RESUME = 3600.0  # between two looks for what was given up, by another process too
_BATCH = 500  # lines of timelines in one look
_DAY = 86400.0
_OLD = 7 * _DAY  # what was over so long ago and was never told is told no more
Digest = Callable[[Due], Message | None]


@dataclass(frozen=True)
class Channel:
    """A notifier, and which kinds of messages it takes (None: all)."""

    notifier: Notifier
    kinds: frozenset[MessageKind] | None = None

    def takes(self, message: Message) -> bool:
        """Whether this message is for such a channel at all."""
        return self.kinds is None or message.kind in self.kinds


@dataclass(frozen=True)
class Notices:
    """What there is to tell beside incidents, and what its teller keeps of it: written together, unless another has
    written meanwhile what was kept `before`."""

    name: str
    owner: str
    before: Kept | None
    data: Any
    messages: tuple[Message, ...] = ()


@dataclass
class Courier:
    """Everything that is told, to everybody. Spans in seconds; `say` tells the person who started the server.

    A message is given up after `tries` tries, and not before it has failed for `keep_trying`.
    """

    outbox: Outbox
    cases: Casebook
    teller: Teller
    notify: Notify
    channels: Mapping[str, Channel]
    clock: Clock
    digests: tuple[Schedule, ...] = ()
    digest: Digest = lambda due: None
    notices: Callable[[float], Notices | None] = lambda at: None
    timeout: float = 20.0
    tries: int = 12
    keep_trying: float = _DAY
    poll: float = 1.0
    lease: float = _LEASE
    say: Callable[[str], None] = lambda text: None
    dice: random.Random = field(default_factory=random.Random)
    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    _since: dict[str, float] = field(default_factory=dict)
    _paused: dict[str, float] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)  # channels of which it was said
    _resumed: dict[str, float] = field(default_factory=dict)  # when it was last looked for what was given up
    _climb: float = 0.0
    _climbed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _stopping: bool = False

    async def run(self) -> None:
        """Look and deliver until cancelled; then what is being delivered is finished, within a moment."""
        tasks = [asyncio.create_task(self._deliver_all(name)) for name in self.channels]
        try:
            await self._look_on()
        finally:
            self._stopping = True
            if tasks:
                _, left = await asyncio.wait(tasks, timeout=min(self.timeout, _GRACE))
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

    async def _look_on(self) -> None:
        while True:
            more = False
            try:
                more = await asyncio.to_thread(self.look)
            except Exception as error:  # noqa: BLE001  messages wait; the work on incidents does not
                self.say(f"messages wait: {_told(error)}")
            await asyncio.sleep(0 if more else self.poll)

    # what should be shown

    def look(self) -> bool:
        """Write down what every channel should show now; whether there is more to look at. Raises StoreError."""
        at = self.clock.now()
        if not self._since.keys() >= self.channels.keys():
            self._since = self.outbox.since(tuple(self.channels), at)
        before, line, numbers = self._changed()
        reached = self._climbing(at)
        tell = self.teller.incident if self.channels else self.teller.graded
        wanted = [(*tell(number, at), number) for number in dict.fromkeys([*numbers, *reached])]
        if wanted or line != before:
            with self.outbox.database.writing() as db:
                if self.outbox.read_up_to(db) != before:
                    return True  # another process has looked meanwhile; what was rendered here may be older
                for graded, message, number in wanted:
                    db.execute(
                        "UPDATE incidents SET severity = ? WHERE number = ? AND (severity IS NULL OR severity != ?)",
                        [graded.severity, number, graded.severity],
                    )
                    if message is not None:
                        self._want(db, message, at, reached.get(number, ()))
                self.outbox.mark_read(db, line, at)
            self._climbed |= reached
        self._release(at)
        self._send_digests(at)
        self._send_notices(at)
        return len(numbers) >= _BATCH

    def _changed(self) -> tuple[int | None, int, Sequence[int]]:
        """How far was looked before, how far now, and the incidents that have something new."""
        database, before = self.outbox.database, self.outbox.read_up_to()
        if before is None:
            last = database.query("SELECT max(id) AS last FROM timeline")[0]["last"]
            return None, int(last or 0), [life["number"] for life in self.cases.living()]
        look = "SELECT id, incident, kind FROM timeline WHERE id > ? ORDER BY id LIMIT ?"
        rows = database.query(look, [before, _BATCH])
        # What was removed because it is old is no news: told again, nothing would be left of what was told.
        news = [int(row["incident"]) for row in rows if row["kind"] != "pruned"]
        return before, int(rows[-1]["id"]) if rows else before, news

    def _want(self, db: Writer, message: Message, at: float, reached: Sequence[str]) -> None:
        state: Want = "held" if held(message.severity, at, self.notify.quiet) else "due"
        known = self.outbox.known(message.key)
        taking = [name for name, one in self.channels.items() if one.takes(message)]
        named = {name for route in self.notify.routes for name in route.to}
        always = [n for n in taking if self.channels[n].kinds is not None and n not in named]
        usual = routed(message, self.notify, [n for n in taking if n not in always]) if taking else ()
        for name in dict.fromkeys([*usual, *always, *reached, *known]):
            if name not in self.channels or not (name in taking or name in known):
                continue
            if name not in known and not self._is_news(name, message):
                continue
            first = self.outbox.want(db, name, self.channels[name].notifier.edits, message, at, state)
            if first and name in reached[1:] and name not in usual and message.incident is not None:
                self._note_climb(db, message, name, at)

    def _is_news(self, name: str, message: Message) -> bool:
        """Not what was over before the channel was one, and not what went into another incident before it was told."""
        if not message.over or message.incident is None:
            return True
        life = self.cases.life(message.incident)
        begin = max(self._since.get(name, 0.0), self.clock.now() - _OLD)
        return life["ending"] != "merged" and bool(life["closed"] >= begin)

    def _note_climb(self, db: Writer, message: Message, name: str, at: float) -> None:
        span = format_duration(self.notify.escalation.respond.get(message.severity, 0.0))
        text = f"{message.severity}: nobody answered within {span}; {name} is told"
        self.cases.note_within(db, message.incident or 0, "escalation", text, at, {"channel": name})

    def _climbing(self, at: float) -> dict[int, tuple[str, ...]]:
        """Incidents that wait for a human, and have reached another channel of the chain since the last look."""
        chain = self.notify.escalation
        if not chain.chain or at < self._climb:
            return {}
        self._climb = at + _CLIMB
        longest = len(chain.chain) * max(chain.respond.values(), default=0.0) + _DAY
        rows = self.outbox.database.query(
            "SELECT number, ending, severity FROM incidents WHERE state IN ('asking', 'waiting')"
            " OR (state = 'closed' AND ending IN ('escalated', 'refused') AND closed > ?)"
            " ORDER BY number DESC LIMIT 500",
            [at - longest],
        )
        found = {}
        for row in rows:
            since = unanswered_since(self.cases.timeline(row["number"]), row["ending"])
            reached = climbed(row["severity"] or "P3", since, at, chain)
            if reached != self._climbed.get(int(row["number"]), ()):
                found[int(row["number"])] = reached
        return found

    def _release(self, at: float) -> None:
        for channel, key, message in self.outbox.held():
            if held(message.severity, at, self.notify.quiet) is None:
                self.outbox.release(channel, key, at)

    def _send_digests(self, at: float) -> None:
        """Digests whose time has come, once each; a restart does not repeat them."""
        later = set(self.notify.escalation.chain[1:])
        for schedule in self.digests:
            one = due(schedule, at)
            if one is None:
                continue
            names = [n for n, c in self.channels.items() if c.kinds is None and n not in later]
            names = [n for n in names if self._since.get(n, at) <= one.at]
            missing = [name for name in names if name not in self.outbox.known(one.key)]
            message = self.digest(one) if missing else None
            if message is None:
                continue
            state: Want = "held" if held(message.severity, at, self.notify.quiet) else "due"
            with self.outbox.database.writing() as db:
                for name in missing:
                    self.outbox.want(db, name, self.channels[name].notifier.edits, message, at, state)

    def _send_notices(self, at: float) -> None:
        found = self.notices(at)
        if found is None:
            return
        with self.outbox.database.writing() as db:
            if self.outbox.kept(found.name, db) != found.before:
                return
            self.outbox.keep(db, found.name, Kept(found.owner, at, found.data))
            for message in found.messages:
                self._want(db, message, at, ())

    # delivering

    async def _deliver_all(self, name: str) -> None:
        while not self._stopping:
            worked = False
            try:
                worked = await self.deliver(name)
            except Exception as error:  # noqa: BLE001  as above
                self.say(f"{name}: messages wait: {_told(error)}")
            if not worked:
                await asyncio.sleep(self.poll / 2)

    async def deliver(self, name: str) -> bool:
        """Do the next thing that is due for a channel; whether there was one. Raises StoreError."""
        at = self.clock.now()
        if at < self._paused.get(name, 0.0):
            return False
        job = await asyncio.to_thread(self.outbox.take, name, at, at + self.timeout + self.lease)
        if job is None:
            return False
        try:
            id = await self._send(job)
        except Exception as error:  # noqa: BLE001  whatever a channel does becomes a reason that is shown
            await self._failed(job, error)
        else:
            self.results[name, "delivered"] += 1
            await asyncio.to_thread(self.outbox.delivered, job, id, self.clock.now())
            if name in self._failing:
                self._failing.discard(name)
                self.say(f"{name}: messages are delivered again")
            if at >= self._resumed.get(name, 0.0) + _RESUME:
                await asyncio.to_thread(self._resume, name)
        return True

    def _resume(self, name: str) -> None:
        """A channel that takes messages is given those, too, that it was not given before."""
        at = self.clock.now()
        for key, message in self.outbox.given_up(name, at - _OLD):
            state: Want = "held" if held(message.severity, at, self.notify.quiet) else "due"
            self.outbox.again(name, key, at, state)
        self._resumed[name] = at

    async def _send(self, job: Delivery) -> str:
        notifier = self.channels[job.channel].notifier
        async with asyncio.timeout(self.timeout):
            if notifier.edits and job.id:
                return await notifier.edit(job.id, job.message) or job.id
            return await notifier.send(job.message)

    async def _failed(self, job: Delivery, error: Exception) -> None:
        at = self.clock.now()
        late = isinstance(error, TimeoutError)
        why = f"no answer within {format_duration(self.timeout)}" if late else _told(error)
        wait = backoff(job.attempts, self.dice.random())
        asked: float | None = getattr(error, "retry_after", None)
        if asked is not None:
            wait = max(wait, asked)
            self._paused[job.channel] = at + asked
        lasted = at - (job.failing if job.failing is not None else at)
        last = job.attempts >= self.tries and lasted >= self.keep_trying
        self.results[job.channel, "failed" if last else "tried"] += 1
        await asyncio.to_thread(self.outbox.failed, job, why, at, None if last else at + wait)
        if last:
            self._resumed.pop(job.channel, None)
            self.say(f"{job.channel}: {job.key} was given up, not delivered after {job.attempts} tries: {why}")
        elif job.attempts == 1 and job.channel not in self._failing:
            self._failing.add(job.channel)
            self.say(f"{job.channel}: {job.key} was not delivered, it is tried again: {why}")


def _told(error: Exception) -> str:
    """An error in a line; treewalk's own are sentences already."""
    text = redact(str(error))[:300]
    return text if isinstance(error, TreewalkError) else f"{type(error).__name__}: {text}"


async def stop(task: asyncio.Task[None]) -> None:
    """End a courier's task; it finishes what it is delivering."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
