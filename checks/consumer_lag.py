"""A consumer group that has to keep up."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from treewalk import (
    Amount,
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
    degraded,
    format_duration,
    format_number,
    healthy,
    short,
    shown_address,
    unhealthy,
    unknown,
)


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    if params["redis_url"] and not params["stream"]:
        return "no stream: redis_url asks for it"
    if params["bootstrap_servers"] and not (params["topic"] or node.fields.get("topic")):
        return "no topic: give the healthcheck or the node a topic"
    return None


@check("consumer_lag", loads=("redis_url:redis", "bootstrap_servers:confluent_kafka"), needs=_needs)
async def consumer_lag(
    probe: Probe,
    *,
    consumer_group: str,
    lag_threshold: Amount = 10_000,
    redis_url: RedisUrl | None = None,
    stream: str | list[str] | None = None,
    stalled_after: Seconds | None = None,
    bootstrap_servers: str | None = None,
    topic: str | None = None,
    metric: PromQL | None = None,
) -> Verdict:
    """A consumer group is not too far behind: of a Redis Stream, of Kafka, or by the metric of an exporter.

    consumer_group     the group
    lag_threshold      more messages than this are too many
    redis_url          with `stream` (one, or a list): ask Redis Streams
    stalled_after      of a Redis Stream: a message delivered this long ago and not acknowledged is a stall
    bootstrap_servers  with `topic` (default: the node's): ask Kafka
    metric             PromQL of the lag; default: the node's metric with "lag" in its name, else that of kafka_exporter
    """
    if redis_url and stream:
        if not probe.live:
            return unknown("Redis Streams tell only the present; give the healthcheck a metric")
        return await probe.in_thread(_redis, probe, consumer_group, lag_threshold, redis_url, stream, stalled_after)
    if bootstrap_servers:
        name = topic or probe.field("topic")
        if not name:
            return unknown("no topic: give the healthcheck or the node a topic")
        if not probe.live:
            return unknown("Kafka tells only the present; give the healthcheck a metric")
        return await probe.in_thread(_kafka, probe, consumer_group, lag_threshold, bootstrap_servers, str(name))
    return await _metric(probe, consumer_group, lag_threshold, metric)


async def _metric(probe: Probe, group: str, limit: float, metric: str | None) -> Verdict:
    own = next((m for m in probe.node.metrics if "lag" in m.split("{")[0].lower()), None)
    quoted = group.replace("\\", "\\\\").replace('"', '\\"')
    query = metric or own or f'kafka_consumergroup_lag{{consumergroup="{quoted}"}}'
    real = [s for s in await probe.instant(query) if not math.isnan(s.value)]
    if not real:
        return unknown(f"no data for {query}")
    lag = sum(s.value for s in real)
    worst = max(real, key=lambda s: s.value)
    where = f", most at {worst.name}" if len(real) > 1 else ""
    return _judge(lag, limit, f"{format_number(lag)} messages behind{where}")


def _judge(lag: float, limit: float, reason: str) -> Verdict:
    observed, expected = format_number(lag), f"< {format_number(limit)}"
    if lag >= limit:
        return unhealthy(reason, observed=observed, expected=expected)
    return healthy(reason, observed=observed, expected=expected)


def _redis(
    probe: Probe, group: str, limit: float, url: str, stream: str | list[str], stalled_after: float | None
) -> Verdict:
    from redis import Redis
    from redis import exceptions as errors

    address = probe.secret(url)
    where = shown_address(address)
    client = Redis.from_url(
        address, socket_timeout=probe.timeout, socket_connect_timeout=probe.timeout, decode_responses=True
    )
    total, stalled = 0.0, ""
    try:
        for name in [stream] if isinstance(stream, str) else stream:
            lag = _stream_lag(client, name, group)
            if lag is None:
                return unhealthy(f"the stream {name} of {where} has no consumer group {group}")
            total += lag
            stalled = stalled or _stalled(client, name, group, stalled_after)
    except (errors.ConnectionError, errors.TimeoutError) as error:
        raise SourceUnreachable(f"the Redis of the stream, {where}, does not answer: {type(error).__name__}") from None
    except errors.ResponseError as error:
        if "no such key" in str(error):
            return unhealthy(f"{where} holds no stream of that name")
        raise SourceRejected(f"the Redis of the stream, {where}, refused: {short(str(error), 100)}") from None
    finally:
        client.close()
    if stalled:
        return unhealthy(stalled, observed=format_number(total), expected=f"< {format_number(limit)}")
    return _judge(total, limit, f"{format_number(total)} messages behind")


def _stream_lag(client: Any, name: str, group: str) -> float | None:
    """Messages not yet delivered plus those delivered and not acknowledged; None without such a group.

    Redis cannot tell the lag after deletions in the middle; then the entries are counted, up to a bound.
    """
    for info in client.xinfo_groups(name):
        if info["name"] == group:
            lag = info.get("lag")
            if lag is None:
                lag = len(client.xrange(name, min=f"({info['last-delivered-id']}", count=100_000))
            return float(lag) + float(info["pending"])
    return None


def _stalled(client: Any, name: str, group: str, after: float | None) -> str:
    if after is None:
        return ""
    pending = client.xpending_range(name, group, min="-", max="+", count=1, idle=int(after * 1000))
    if not pending:
        return ""
    first = pending[0]
    idle = format_duration(first["time_since_delivered"] / 1000)
    times = first["times_delivered"]
    return (
        f"stalled in {name}: message {first['message_id']} was delivered {times} times and not acknowledged for {idle}"
    )


def _kafka(probe: Probe, group: str, limit: float, servers: str, topic: str) -> Verdict:
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    brokers = probe.secret(servers)
    where = _where(brokers)
    settings = {"bootstrap.servers": brokers, "log_level": 0}
    until = time.monotonic() + probe.timeout
    consumer = None
    try:
        consumer = Consumer({**settings, "group.id": group, "isolation.level": "read_uncommitted"})
        numbers = _partitions(consumer, topic, probe.timeout)
        if numbers is None:
            return unhealthy(f"Kafka at {where} knows no topic {topic}")
        committed = consumer.committed([TopicPartition(topic, n) for n in numbers], timeout=_left(until))
        behind = _Behind()
        for one in committed:
            if one.error is not None:
                raise KafkaException(one.error)
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, one.partition), timeout=_left(until))
            behind.add(one.partition, one.offset, low, high)
        if not behind.lags and not _exists(settings, group, _left(until)):
            return unhealthy(f"Kafka at {where} knows no consumer group {group}")
    except KafkaException as error:
        raise _failure(error, where) from None
    finally:
        if consumer is not None:
            consumer.close()
    return behind.judge(group, topic, limit)


def _left(until: float) -> float:
    return max(0.1, until - time.monotonic())


def _partitions(consumer: Any, topic: str, timeout: float) -> list[int] | None:
    """The partitions of a topic, None without such a topic; asking does not create it."""
    from confluent_kafka import KafkaError, KafkaException

    metadata = consumer.list_topics(topic, timeout=timeout).topics[topic]
    if metadata.error is None:
        return sorted(metadata.partitions)
    if metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return None
    raise KafkaException(metadata.error)


def _exists(settings: dict[str, Any], group: str, timeout: float) -> bool:
    from confluent_kafka import ConsumerGroupState
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(settings)  # held by name: its answers die with it
    state = admin.describe_consumer_groups([group], request_timeout=timeout)[group].result(timeout + 1).state
    return bool(state != ConsumerGroupState.DEAD)


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
class _Behind:
    """How far a group is behind, by partition, and what makes that less than certain."""

    lags: dict[int, int] = field(default_factory=dict)  # of partitions in which the group has committed
    untouched: dict[int, int] = field(default_factory=dict)  # all messages of partitions in which it has not
    oddities: list[str] = field(default_factory=list)

    def add(self, partition: int, committed: int, low: int, high: int) -> None:
        if committed < 0:
            self.untouched[partition] = high - low
        elif committed > high:
            self.oddities.append(
                f"partition {partition} has committed {format_number(committed)}, past its end {format_number(high)}"
            )
            self.lags[partition] = 0
        else:
            self.lags[partition] = high - committed
            if committed < low:
                lost = format_number(low - committed)
                self.oddities.append(f"{lost} messages of partition {partition} were deleted unread")

    def judge(self, group: str, topic: str, limit: float) -> Verdict:
        """Over the limit by what is certain is unhealthy; by what is not, or with something odd, degraded."""
        sure, guessed = sum(self.lags.values()), sum(self.untouched.values())
        if not self.lags and guessed:
            return unknown(
                f"the group {group} has committed nothing in {topic}, which holds {format_number(guessed)} messages"
            )
        most = max({**self.untouched, **self.lags}.items(), key=lambda item: item[1], default=(0, 0))
        reason = f"{format_number(sure + guessed)} messages behind"
        reason += f", most in partition {most[0]}" if most[1] else ""
        notes = [
            f"no commit in partition {n}, its {format_number(held)} messages counted"
            for n, held in self.untouched.items()
            if held
        ]
        verdict = _judge(sure + guessed, limit, "; ".join([reason, *notes, *self.oddities]))
        if verdict.status.troubled == (sure >= limit) and not (self.oddities and sure < limit):
            return verdict
        return degraded(verdict.reason, observed=verdict.observed, expected=verdict.expected)
