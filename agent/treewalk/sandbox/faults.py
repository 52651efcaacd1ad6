"""What can be broken, how each is done for real, and how it is mended."""

from __future__ import annotations

import signal
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError

from treewalk.content.yaml import parse
from treewalk.errors import SandboxError, UsageError
from treewalk.model.place import Problem
from treewalk.model.tree import nearest
from treewalk.sandbox.platform import MAX_CLIENTS, MAX_MEMORY, Progress, Sandbox, data_file

GONE = (RedisError, OSError, xmlrpc.client.Fault)  # what a broken platform answers to being broken further
_NOISE = (
    "ERROR cannot load optional plugin 'colours': ImportError",
    "ERROR deprecated option 'legacy_mode' will be removed",
    "FATAL exception in telemetry thread ignored: TimeoutError()",
)


@dataclass(frozen=True)
class Fault:
    """One entry of data/faults.yaml: the SLA to diagnose, the culprit (None: nobody), and how it looks."""

    name: str
    sla: str
    root: str | None
    looks: str
    known_error: str | None = None


def all_faults() -> dict[str, Fault]:
    """Every fault by name, as the data says."""
    problems: list[Problem] = []
    item = parse(data_file("faults.yaml").read_bytes(), "faults.yaml", problems)
    if item is None or problems:
        raise SandboxError(f"the sandbox's faults cannot be read: {problems}")
    return {entry["name"]: Fault(**entry) for entry in item.plain()["faults"]}


def fault(name: str) -> Fault:
    """A fault by name. Raises UsageError with suggestions."""
    known = all_faults()
    if name not in known:
        raise UsageError(f"no fault named {name!r}; `treewalk sandbox faults` lists them", nearest(name, known))
    return known[name]


def break_it(sandbox: Sandbox, name: str, progress: Progress) -> Fault:
    """Do a fault to the platform and wait until its SLA is seen to be violated (or, for noise, stays met)."""
    chosen = fault(name)
    sandbox.need_running()
    current = sandbox.folder / "fault"
    if current.exists():
        raise SandboxError(f"{current.read_text()} is broken already; mend it first with `treewalk sandbox mend`")
    current.write_text(name)
    progress(f"breaking: {chosen.looks}")
    _BREAK[name](sandbox)
    if chosen.root is None:
        time.sleep(2)
        return chosen
    _wait(sandbox, lambda: sandbox.measured()[chosen.sla][1] is False, 40, progress, f"{chosen.sla} to be violated")
    time.sleep(2)  # people are woken a moment after
    return chosen


def mend(sandbox: Sandbox, progress: Progress) -> None:
    """Undo whatever was broken and wait until every SLA is met again."""
    sandbox.need_running()
    _restore(sandbox)
    (sandbox.folder / "fault").unlink(missing_ok=True)
    _wait(sandbox, sandbox.all_met, 60, progress, "every SLA to be met again")
    # What happened has to leave the window that a diagnosis looks at.
    for log in (sandbox.folder / "logs").glob("*.log"):
        log.write_text("")


def _wait(sandbox: Sandbox, done: Callable[[], bool], seconds: float, progress: Progress, what: str) -> None:
    try:
        sandbox.wait_for(done, seconds, progress, what)
    except SandboxError as error:
        raise SandboxError(f"{error}; look into {sandbox.folder / 'logs'}") from None


def _restore(sandbox: Sandbox) -> None:
    ports = sandbox.ports
    for name in ("leaker", "hog"):
        sandbox.stop(name)
    sandbox.configure("ingestion", feed_port=ports["feed"])
    sandbox.configure("consumer", store_redis_port=ports["store_redis"])
    sandbox.configure("derived", seconds_an_entity=0.005)
    sandbox.configure("leaker", leave_at=MAX_CLIENTS - 6)
    states = sandbox.processes()
    broken = (sandbox.folder / "fault").read_text() if (sandbox.folder / "fault").exists() else ""
    if broken == "consumer_stopped":
        with suppress(*GONE):
            sandbox.supervisor().signalProcess("consumer", str(int(signal.SIGCONT)))
    for name in ("topic_redis", "store_redis", "feed"):
        if states[name] != "RUNNING":
            sandbox.restart(name)
    store = sandbox.redis("store_redis")
    store.config_set("maxmemory", MAX_MEMORY)
    for start in range(0, 1000, 500):
        store.unlink(*(f"junk:{number}" for number in range(start, start + 500)))
    for name in _RESTART.get(broken, ()):
        if name == "consumer":
            _drop_poison(sandbox)
        sandbox.restart(name)


def _drop_poison(sandbox: Sandbox) -> None:
    topic = sandbox.redis("topic_redis")
    for stream in ("events:0", "events:1"):
        with suppress(*GONE):
            for identity, fields in topic.xrange(stream):
                if fields.get("body") == "not json":
                    topic.xack(stream, "writers", identity)
                    topic.xdel(stream, identity)


def _leak(sandbox: Sandbox) -> None:
    sandbox.supervisor().startProcess("leaker")


def _leak_again(sandbox: Sandbox) -> None:
    sandbox.configure("leaker", leave_at=MAX_CLIENTS - 6, again_after=20.0)
    sandbox.supervisor().startProcess("leaker")


def _stop_by_signal(sandbox: Sandbox) -> None:
    sandbox.supervisor().signalProcess("consumer", str(int(signal.SIGSTOP)))


def _crash_loop(sandbox: Sandbox) -> None:
    sandbox.configure("consumer", store_redis_prot=sandbox.ports["store_redis"])
    sandbox.stop("consumer")
    with suppress(*GONE):
        sandbox.supervisor().startProcess("consumer", False)


def _poison(sandbox: Sandbox) -> None:
    sandbox.redis("topic_redis").xadd("events:1", {"body": "not json"})


def _disconnect(sandbox: Sandbox) -> None:
    sandbox.configure("ingestion", feed_port=1)
    sandbox.restart("ingestion")


def _fill(sandbox: Sandbox) -> None:
    store = sandbox.redis("store_redis")
    for number in range(1000):
        store.set(f"junk:{number}", "x" * 10_000)
    used: dict[str, Any] = store.info("memory")
    store.config_set("maxmemory", int(used["used_memory"]) - 1_000_000)


def _slow_derived(sandbox: Sandbox) -> None:
    sandbox.configure("derived", seconds_an_entity=0.6)
    sandbox.restart("derived")


def _noise(sandbox: Sandbox) -> None:
    """Lines that frighten, and a number that jumps and harms nobody: clients of the store, well under its limit."""
    sandbox.configure("leaker", leave_at=MAX_CLIENTS - 25)
    sandbox.supervisor().startProcess("leaker")
    busy = "redis_connected_clients > 30"
    sandbox.wait_for(lambda: sandbox.query(busy) is not None, 15, lambda _: None, "a busy metric")
    for name in ("consumer", "ingestion", "derived"):
        with (sandbox.folder / "logs" / f"{name}.log").open("a") as stream:
            for number in range(30):
                when = datetime.fromtimestamp(time.time() - number / 2, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                stream.write(f"{when} {_NOISE[number % len(_NOISE)]}\n")


_BREAK: dict[str, Callable[[Sandbox], Any]] = {
    "leaked_clients": _leak,
    "leak_returns": _leak_again,
    "consumer_stopped": _stop_by_signal,
    "consumer_crash_loop": _crash_loop,
    "poison_message": _poison,
    "ingestion_disconnected": _disconnect,
    "feed_down": lambda sandbox: sandbox.stop("feed"),
    "redis_full": _fill,
    "redis_slow": lambda sandbox: sandbox.supervisor().startProcess("hog"),
    "topic_down": lambda sandbox: sandbox.stop("topic_redis"),
    "derived_slow": _slow_derived,
    "derived_stopped": lambda sandbox: sandbox.stop("derived"),
    "noise_only": _noise,
}
_RESTART = {
    "consumer_crash_loop": ("consumer",),
    "poison_message": ("consumer",),
    "ingestion_disconnected": ("ingestion",),
    "topic_down": ("ingestion", "consumer", "reader"),
    "derived_slow": ("derived",),
    "derived_stopped": ("derived",),
    "redis_slow": ("reader", "derived", "consumer"),
    "leaked_clients": ("derived",),
}
