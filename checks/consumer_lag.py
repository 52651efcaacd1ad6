"""A consumer group that has to keep up."""

from __future__ import annotations

import math
from typing import Any

from treewalk import (
    Amount,
    Probe,
    Seconds,
    SourceRejected,
    SourceUnreachable,
    Verdict,
    check,
    format_duration,
    format_number,
    healthy,
    unhealthy,
    unknown,
)


@check("consumer_lag")
async def consumer_lag(
    probe: Probe,
    *,
    consumer_group: str,
    lag_threshold: Amount = 10_000,
    redis_url: str | None = None,
    stream: str | list[str] | None = None,
    stalled_after: Seconds | None = None,
    bootstrap_servers: str | None = None,
    topic: str | None = None,
    metric: str | None = None,
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
        return await _in_thread(_redis, probe, consumer_group, lag_threshold, redis_url, stream, stalled_after)
    if bootstrap_servers:
        name = topic or probe.field("topic")
        if not name:
            return unknown("no topic: give the healthcheck or the node a topic")
        if not probe.live:
            return unknown("Kafka tells only the present; give the healthcheck a metric")
        return await _in_thread(_kafka, probe, consumer_group, lag_threshold, bootstrap_servers, str(name))
    return await _metric(probe, consumer_group, lag_threshold, metric)


async def _in_thread(ask: Any, *arguments: Any) -> Verdict:
    import asyncio

    verdict: Verdict = await asyncio.to_thread(ask, *arguments)
    return verdict


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

    client = Redis.from_url(
        probe.secret(url), socket_timeout=probe.timeout, socket_connect_timeout=probe.timeout, decode_responses=True
    )
    total, stalled = 0.0, ""
    try:
        for name in [stream] if isinstance(stream, str) else stream:
            lag = _stream_lag(client, name, group)
            if lag is None:
                return unhealthy(f"the stream {name} has no consumer group {group}")
            total += lag
            stalled = stalled or _stalled(client, name, group, stalled_after)
    except (errors.ConnectionError, errors.TimeoutError) as error:
        raise SourceUnreachable(f"the Redis of the stream does not answer: {type(error).__name__}") from None
    except errors.ResponseError as error:
        if "no such key" in str(error):
            return unhealthy("the stream does not exist")
        raise SourceRejected(f"the Redis of the stream refused: {str(error)[:100]}") from None
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

    consumer = Consumer(
        {"bootstrap.servers": probe.secret(servers), "group.id": group, "enable.auto.commit": False, "log_level": 0}
    )
    try:
        metadata = consumer.list_topics(topic, timeout=probe.timeout).topics[topic]
        if metadata.error is not None:
            return unhealthy(f"the topic {topic} cannot be read: {metadata.error.str()}")
        partitions = [TopicPartition(topic, number) for number in metadata.partitions]
        lags: dict[int, int] = {}
        for committed in consumer.committed(partitions, timeout=probe.timeout):
            low, high = consumer.get_watermark_offsets(
                TopicPartition(topic, committed.partition), timeout=probe.timeout
            )
            lags[committed.partition] = high - (committed.offset if committed.offset >= 0 else low)
    except KafkaException as error:
        raise SourceUnreachable(f"Kafka does not answer: {error.args[0].str()}") from None
    finally:
        consumer.close()
    worst = max(lags, key=lambda p: lags[p])
    total = float(sum(lags.values()))
    return _judge(total, limit, f"{format_number(total)} messages behind, most in partition {worst}")
