"""The platform's own processes: feed, ingestion, consumer, derived metrics, the reader that measures what users see,
and two troublemakers. Run as `python -m treewalk.sandbox.workers NAME` with SANDBOX_DIR set.

They are ordinary small programs that know nothing of treewalk: what they report is what such programs report.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

FAILURES = (RedisError, OSError)
ENTITIES = 20
STREAMS = ("events:0", "events:1")
GROUP = "writers"
CONNECTIONS = 8  # that the consumer writes over at once

folder = Path(os.environ.get("SANDBOX_DIR", "."))
log = logging.getLogger("sandbox")


def main() -> None:
    """Run the worker that the command line names."""
    name = sys.argv[1]
    ports = json.loads((folder / "state.json").read_text())["ports"]
    logging.Formatter.converter = time.gmtime
    handler = logging.FileHandler(folder / "logs" / f"{name}.log")
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.info("%s starts", name)
    sys.excepthook = lambda kind, error, trace: log.error("%s crashed", name, exc_info=(kind, error, trace))
    WORKERS[name](ports)


def _settings(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config" / f"{name}.json").read_text())
    return found


def _serve_metrics(port: int) -> None:
    from prometheus_client import start_http_server

    start_http_server(port, addr="127.0.0.1")


def feed(ports: dict[str, int]) -> None:
    """The upstream feed: whoever connects gets about twenty updates a second, one JSON object a line."""
    with socket.create_server(("127.0.0.1", ports["feed"])) as server:
        while True:
            client, _ = server.accept()
            log.info("a client connected")
            with closing(client):
                try:
                    for line in _updates():
                        client.sendall(line)
                except OSError:
                    log.info("the client went away")


def _updates() -> Iterator[bytes]:
    for number in itertools.count():
        update = {"entity": number % ENTITIES, "value": random.gauss(100, 5), "sent": time.time()}
        yield json.dumps(update).encode() + b"\n"
        time.sleep(0.05)


def ingestion(ports: dict[str, int]) -> None:
    """From the feed into the topic; reconnects for ever."""
    from prometheus_client import Counter

    settings = _settings("ingestion")
    received = Counter("feed_messages_received", "updates taken from the feed")
    reconnections = Counter("feed_reconnections", "how often the feed had to be connected again")
    _serve_metrics(ports["ingestion_metrics"])
    topic = _redis(ports["topic_redis"])
    while True:
        try:
            with socket.create_connection(("127.0.0.1", settings["feed_port"]), timeout=3) as source:
                log.info("connected to the feed")
                for line in source.makefile("rb"):
                    update = json.loads(line)
                    stream = STREAMS[update["entity"] % len(STREAMS)]
                    topic.xadd(stream, {"body": line}, maxlen=5000, approximate=True)
                    received.inc()
            log.error("feed disconnected: end of stream, reconnecting in 1s")
        except OSError as error:
            log.error("feed disconnected: %s, reconnecting in 1s", error)
        except FAILURES as error:
            log.error("topic_redis refuses the update: %s", error)
        reconnections.inc()
        time.sleep(1)


def consumer(ports: dict[str, int]) -> None:
    """From the topic into the store: every message of a batch is written and then acknowledged, in order."""
    from prometheus_client import Counter

    settings = _settings("consumer")
    store_port = settings["store_redis_port"]
    written = Counter("consumer_messages_written", "messages written to the store", ["partition"])
    _serve_metrics(ports["consumer_metrics"])
    topic = _redis(ports["topic_redis"])
    waiting: dict[str, list[Any]] = {}
    while True:
        for partition, stream in enumerate(STREAMS):
            try:
                batch = waiting.pop(stream, None) or _next_batch(topic, stream)
                if batch:
                    done = _write(store_port, topic, stream, batch)
                    written.labels(str(partition)).inc(done)
                    if done < len(batch):
                        waiting[stream] = batch[done:]
            except FAILURES as error:
                log.error("topic_redis cannot be read: %s", error)
                time.sleep(0.5)


def _next_batch(topic: Any, stream: str) -> list[Any]:
    """What was delivered before and not acknowledged comes first, so that nothing is lost by a restart."""
    _make_group(topic, stream)
    for start in ("0", ">"):
        answer = topic.xreadgroup(GROUP, "consumer-1", {stream: start}, count=50, block=100 if start == ">" else None)
        if answer and answer[0][1]:
            return list(answer[0][1])
    return []


def _make_group(topic: Any, stream: str) -> None:
    try:
        topic.xgroup_create(stream, GROUP, id="$", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _write(port: int, topic: Any, stream: str, batch: list[Any]) -> int:
    """Write a batch over connections of its own; how many messages were done before something went wrong."""
    done = 0
    with _writers(port) as writers:
        if not writers:
            time.sleep(0.5)
            return 0
        for number, (identity, fields) in enumerate(batch):
            try:
                update = json.loads(fields["body"])
                mapping = {"value": update["value"], "time": update["sent"]}
                writers[number % len(writers)].hset(f"entity:{update['entity']}", mapping=mapping)
            except (ValueError, KeyError) as error:
                log.error(
                    "message %s of %s cannot be decoded: %s; trying again", identity, stream, type(error).__name__
                )
                time.sleep(0.2)
                return done
            except FAILURES as error:
                log.error("Redis write failed, retrying: %s", error)
                time.sleep(0.5)
                return done
            topic.xack(stream, GROUP, identity)
            done += 1
    return done


@contextmanager
def _writers(port: int) -> Iterator[list[Any]]:
    """The connections of one batch; none when the store does not give all of them."""
    opened: list[Any] = []
    try:
        for _ in range(CONNECTIONS):
            opened.append(_redis(port))
            opened[-1].ping()
    except FAILURES as error:
        log.error("Redis connection pool exhausted, retrying in 0.5s: %s", error)
        _close(opened)
    try:
        yield opened
    finally:
        _close(opened)


def _close(clients: list[Any]) -> None:
    while clients:
        clients.pop().close()


def derived(ports: dict[str, int]) -> None:
    """Derived metrics: a smoothed value an entity, written to SQLite every cycle."""
    from prometheus_client import Gauge

    settings = _settings("derived")
    took = Gauge("derived_cycle_seconds", "how long the last cycle took")
    done = Gauge("derived_last_cycle_timestamp_seconds", "when the last cycle was done")
    _serve_metrics(ports["derived_metrics"])
    store = _redis(ports["store_redis"])
    smooth: dict[int, float] = {}
    with closing(_derived_table()) as table:
        while True:
            began = time.time()
            try:
                for entity in range(ENTITIES):
                    value = store.hget(f"entity:{entity}", "value")
                    if value is not None:
                        smooth[entity] = 0.8 * smooth.get(entity, float(value)) + 0.2 * float(value)
                        time.sleep(settings["seconds_an_entity"])
                        table.execute("REPLACE INTO derived VALUES (?, ?, ?)", (entity, smooth[entity], time.time()))
                        table.commit()
            except FAILURES as error:
                log.error("derived metrics cannot read the store: %s", error)
            took.set(time.time() - began)
            done.set_to_current_time()
            time.sleep(0.5)


def _derived_table() -> sqlite3.Connection:
    table = sqlite3.connect(folder / "derived.db", timeout=5)
    table.execute("PRAGMA journal_mode = WAL")
    table.execute("CREATE TABLE IF NOT EXISTS derived (entity INTEGER PRIMARY KEY, value REAL, time REAL)")
    table.commit()
    return table


def reader(ports: dict[str, int]) -> None:
    """What the end user sees, measured from outside: how old data is, and how far behind each stage."""
    from prometheus_client import Gauge

    age = Gauge("entity_data_age_seconds", "age of the newest value in the store", ["entity"])
    raw = Gauge("stream_newest_age_seconds", "age of the newest message in the topic", ["partition"])
    lag = Gauge("stream_lag", "messages that the consumer has not acknowledged", ["partition"])
    complete = Gauge("derived_completeness_ratio", "share of entities with a fresh derived value")
    _serve_metrics(ports["reader_metrics"])
    store, topic = _redis(ports["store_redis"]), _redis(ports["topic_redis"])
    newest: dict[int, float] = {}
    last: dict[str, float] = {}
    began = time.time()
    with closing(_derived_table()) as table:
        while True:
            for entity in range(ENTITIES):
                try:
                    stamp = store.hget(f"entity:{entity}", "time")
                except FAILURES:
                    break
                newest[entity] = float(stamp) if stamp else newest.get(entity, began)
            for entity, stamp in newest.items():
                age.labels(str(entity)).set(time.time() - stamp)
            for partition, stream in enumerate(STREAMS):
                _look_at_stream(topic, stream, str(partition), last, raw, lag)
            fresh = table.execute("SELECT count(*) FROM derived WHERE time > ?", (time.time() - 5,)).fetchone()[0]
            complete.set(fresh / ENTITIES)
            time.sleep(0.5)


def _look_at_stream(topic: Any, stream: str, partition: str, last: dict[str, float], raw: Any, lag: Any) -> None:
    try:
        entries = topic.xrevrange(stream, count=1)
        if entries:
            last[stream] = int(entries[0][0].split("-")[0]) / 1000
        for group in topic.xinfo_groups(stream):
            lag.labels(partition).set((group["lag"] or 0) + group["pending"])
    except FAILURES as error:
        log.warning("the topic cannot be read: %s", error)
    raw.labels(partition).set(time.time() - last.get(stream, time.time()))


def leaker(ports: dict[str, int]) -> None:
    """A program that forgets connections to the store: all at once until only a few are left, then one now and then.

    With `again_after` (seconds) it takes them all again, so long after they were closed: a fix that does not last.
    """
    settings = _settings("leaker")
    again_after = settings.get("again_after")
    held: list[Any] = []
    watch = _redis(ports["store_redis"])
    _take_all(watch, ports["store_redis"], settings["leave_at"], held)
    while True:
        time.sleep(again_after or 10.0)
        info: dict[str, Any] = watch.info("clients")
        if again_after is None:
            held.append(_forgotten(ports["store_redis"]))
        elif info["connected_clients"] < settings["leave_at"] / 2:
            _take_all(watch, ports["store_redis"], settings["leave_at"], held)


def _take_all(watch: Any, port: int, leave_at: int, held: list[Any]) -> None:
    """For some seconds, because others come and go: what they give back is taken too."""
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        if watch.info("clients")["connected_clients"] < leave_at:
            held.append(_forgotten(port))
        else:
            time.sleep(0.02)


def _forgotten(port: int) -> Any:
    client = _redis(port)
    try:
        client.ping()
    except FAILURES as error:
        log.info("no more: %s", error)
        time.sleep(0.1)
    return client


def hog(ports: dict[str, int]) -> None:
    """Somebody's debug session: it keeps the store's only thread busy, over and over."""
    client = _redis(ports["store_redis"], timeout=30)
    while True:
        client.execute_command("DEBUG", "SLEEP", "4")
        time.sleep(0.2)


def _redis(port: int, timeout: float = 3.0) -> Any:
    """A client with one connection of its own, which never retries by itself."""
    return Redis(
        port=port,
        max_connections=1,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )


WORKERS = {
    "feed": feed, "ingestion": ingestion, "consumer": consumer, "derived": derived, "reader": reader,
    "leaker": leaker, "hog": hog,
}  # fmt: skip

if __name__ == "__main__":
    main()
