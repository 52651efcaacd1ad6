"""A topic into which messages have to arrive."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from treewalk import (
    Node,
    Probe,
    PromQL,
    RedisUrl,
    Seconds,
    SourceError,
    SourceRejected,
    SourceUnreachable,
    Verdict,
    check,
    format_duration,
    format_number,
    healthy,
    short,
    shown_address,
    unhealthy,
    unknown,
)

_AHEAD = 60.0  # seconds by which clocks of two machines may differ


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    if params["redis_url"] and not params["stream"]:
        return "no stream: redis_url asks for it"
    if params["bootstrap_servers"] and not (params["topic"] or node.fields.get("topic")):
        return "no topic: give the healthcheck or the node a topic"
    if not any((params["redis_url"], params["bootstrap_servers"], params["metric"], node.metrics)):
        return "nothing to ask: give the healthcheck a stream, bootstrap_servers or a metric"
    return None


@check("topic_freshness", loads=("redis_url:redis", "bootstrap_servers:confluent_kafka"), needs=_needs)
async def topic_freshness(
    probe: Probe,
    *,
    max_age: Seconds,
    redis_url: RedisUrl | None = None,
    stream: str | list[str] | None = None,
    bootstrap_servers: str | None = None,
    topic: str | None = None,
    metric: PromQL | None = None,
) -> Verdict:
    """The newest message of a topic is not older than max_age: Redis Stream, Kafka, or a metric.

    max_age            how old the newest message may be
    redis_url          with `stream` (one, or a list of which every one has to be fresh): ask Redis Streams
    bootstrap_servers  with `topic` (default: the node's): ask Kafka
    metric             a gauge of the newest message's Unix time, or a counter or offset that has to grow;
                       default: the node's first metric
    """
    if redis_url and stream:
        if not probe.live:
            return unknown("Redis Streams tell only the present; give the healthcheck a metric")
        return await probe.in_thread(_redis, probe, max_age, redis_url, stream)
    if bootstrap_servers:
        name = topic or probe.field("topic")
        if not name:
            return unknown("no topic: give the healthcheck or the node a topic")
        if not probe.live:
            return unknown("Kafka tells only the present; give the healthcheck a metric")
        return await probe.in_thread(_kafka, probe, max_age, bootstrap_servers, str(name))
    return await _metric(probe, max_age, metric)


async def _metric(probe: Probe, max_age: float, metric: str | None) -> Verdict:
    queries = [metric] if metric else list(probe.node.metrics)
    if not queries:
        return unknown("nothing to ask: give the healthcheck a stream, bootstrap_servers or a metric")
    for query in queries:
        real = [s for s in await probe.instant(query) if not math.isnan(s.value)]
        if not real:
            continue
        newest = max(s.value for s in real)
        if 1e9 < newest < 4e9 and "timestamp" in query:
            return _judge(probe.at - newest, max_age)
        return await _growth(probe, query, max_age)
    return unknown(f"no data for {' or '.join(queries)}")


async def _growth(probe: Probe, query: str, max_age: float) -> Verdict:
    """Whether a counter or an offset has grown within max_age (and some scrapes more)."""
    series = await probe.range(query, max_age * 2, max(1.0, max_age / 10))
    grown = 0.0
    last_rise: float | None = None
    for one in series:
        for before, now, moment in zip(one.values, one.values[1:], one.times[1:], strict=False):
            if now > before:
                grown += now - before
                last_rise = max(last_rise or 0.0, moment)
    if not series or all(len(one.values) < 2 for one in series):
        return unknown(f"too few values of {query} to see it grow")
    if last_rise is None or probe.at - last_rise > max_age * 1.2:
        stood = format_duration(probe.at - last_rise) if last_rise else f"more than {format_duration(2 * max_age)}"
        onset = last_rise + max_age if last_rise else None
        return unhealthy(
            f"{query} stands still for {stood}", observed=stood, expected=f"< {format_duration(max_age)}", onset=onset
        )
    return healthy(f"{query} grew by {format_number(grown)} in {format_duration(2 * max_age)}")


def _judge(age: float, max_age: float) -> Verdict:
    if age < -_AHEAD:
        ahead = format_duration(-age)
        return unknown(f"the newest message carries a time {ahead} in the future: its age cannot be told")
    age = max(0.0, age)
    reason = f"the newest message is {format_duration(age)} old"
    observed, expected = format_duration(age), f"< {format_duration(max_age)}"
    if age > max_age:
        return unhealthy(reason, observed=observed, expected=expected, onset=time.time() - age + max_age)
    return healthy(reason, observed=observed, expected=expected)


def _redis(probe: Probe, max_age: float, url: str, stream: str | list[str]) -> Verdict:
    from redis import Redis
    from redis import exceptions as errors

    address = probe.secret(url)
    where = shown_address(address)
    client: Any = Redis.from_url(
        address, socket_timeout=probe.timeout, socket_connect_timeout=probe.timeout, decode_responses=True
    )
    oldest = 0.0
    try:
        for name in [stream] if isinstance(stream, str) else stream:
            entries = client.xrevrange(name, count=1)
            if not entries:
                return unhealthy(f"the stream {name} of {where} is empty", expected=f"< {format_duration(max_age)}")
            oldest = max(oldest, time.time() - int(entries[0][0].split("-")[0]) / 1000)
    except (errors.ConnectionError, errors.TimeoutError) as error:
        return unhealthy(f"the Redis of the stream, {where}, does not answer: {type(error).__name__}")
    except errors.ResponseError as error:
        raise SourceRejected(f"the Redis of the stream, {where}, refused: {short(str(error), 100)}") from None
    finally:
        client.close()
    return _judge(oldest, max_age)


def _kafka(probe: Probe, max_age: float, servers: str, topic: str) -> Verdict:
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    brokers = probe.secret(servers)
    where = _where(brokers)
    settings = {
        "bootstrap.servers": brokers,
        "group.id": "treewalk",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "fetch.message.max.bytes": 65_536,
        "log_level": 0,
    }
    until = time.monotonic() + probe.timeout
    consumer = None
    try:
        consumer = Consumer(settings)
        metadata = consumer.list_topics(topic, timeout=probe.timeout).topics[topic]
        if metadata.error is not None:
            if metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return unhealthy(f"Kafka at {where} knows no topic {topic}")
            raise KafkaException(metadata.error)
        newest = _Newest(consumer, topic, until)
        for number in metadata.partitions:
            left = max(0.1, until - time.monotonic())
            newest.bounds[number] = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=left)
        newest.read()
    except KafkaException as error:
        raise _failure(error, where) from None
    finally:
        if consumer is not None:
            consumer.close()
    return newest.judge(max_age)


def _where(servers: str) -> str:
    """Some of the brokers, for people: without anything that stands before an @."""
    named = [one.strip().rpartition("://")[2].rpartition("@")[2] for one in servers.split(",")]
    return ", ".join(named[:3]) + (", …" if len(named) > 3 else "")


def _failure(error: Any, where: str) -> SourceError:
    """Codes below zero are the client's own: it got no answer. The others are what a broker said."""
    cause = error.args[0]
    if cause.code() < 0:
        return SourceUnreachable(f"Kafka at {where} does not answer: {short(cause.str())}")
    return SourceRejected(f"Kafka at {where} refused: {short(cause.str())}")


@dataclass
class _Newest:
    """The newest message of every partition that a reader gets.

    The last offset may hold none: a transaction leaves its mark there, compaction and aborted messages leave
    holes. So reading begins at the last offset and, where that gives nothing, ever further back.
    """

    consumer: Any
    topic: str
    until: float  # of the monotonic clock
    bounds: dict[int, tuple[int, int]] = field(default_factory=dict)
    times: dict[int, float | None] = field(default_factory=dict)  # Unix seconds; None: a message without a time
    unread: list[int] = field(default_factory=list)

    def read(self) -> None:
        back = 1
        wanted = {n: (low, high) for n, (low, high) in self.bounds.items() if high > low}
        while wanted and time.monotonic() < self.until:
            starts = {n: max(low, high - back) for n, (low, high) in wanted.items()}
            ended = self._read_from(starts)
            wanted = {n: w for n, w in wanted.items() if n not in ended or (n not in self.times and starts[n] > w[0])}
            back *= 16
        self.unread = sorted(wanted)

    def _read_from(self, starts: dict[int, int]) -> set[int]:
        """Read partitions to their ends, until the time is up; those whose end was reached."""
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        self.consumer.assign([TopicPartition(self.topic, n, offset) for n, offset in starts.items()])
        ended: set[int] = set()
        while len(ended) < len(starts) and (left := self.until - time.monotonic()) > 0:
            message = self.consumer.poll(left)
            if message is None:
                continue
            number, error = message.partition(), message.error()
            if error is None:
                kind, at = message.timestamp()
                self.times[number] = at / 1000 if kind else None
                if message.offset() >= self.bounds[number][1] - 1:  # more may flow in for ever
                    ended.add(number)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(number)
            else:
                raise KafkaException(error)
        return ended

    def judge(self, max_age: float) -> Verdict:
        newest = max((at for at in self.times.values() if at is not None), default=None)
        if newest is not None and (time.time() - newest <= max_age or not self.unread):
            return _judge(time.time() - newest, max_age)
        if self.unread:
            missing = ", ".join(str(number) for number in self.unread[:5])
            return unknown(f"no answer in time from {len(self.unread)} partitions of {self.topic}, such as {missing}")
        if self.times:
            return unknown(f"the messages of {self.topic} carry no time")
        return unhealthy(f"the topic {self.topic} holds no message", expected=f"< {format_duration(max_age)}")
