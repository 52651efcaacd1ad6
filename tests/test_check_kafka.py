"""The checks consumer_lag and topic_freshness against a real Kafka."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from treewalk.content.checks import builtin_checks
from treewalk.model.tree import BaselineSpec, CheckSpec, Node
from treewalk.model.verdict import Status, Verdict
from treewalk.sdk import Probe
from treewalk.stages.checkrun import run_check

from tests.support.answers import free_port
from tests.support.kafka import RunningKafka, running_kafka, until
from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import HERE

pytestmark = pytest.mark.needs("kafka")
CHECKS = builtin_checks()
names = (f"topic{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


async def run(method: str, servers: str, *, timeout: float = 15.0, **params: Any) -> Verdict:
    node = Node("n", HERE, fields={"topic": params.pop("of_the_node", None)})
    probe = Probe(node, time.time(), 300.0, timeout, lambda _: TableMetrics(), lambda _: TableLogs())
    spec = CheckSpec(method, {"bootstrap_servers": servers, **params}, HERE)
    assert probe.baseline == BaselineSpec()
    return await run_check(CHECKS[method], probe, spec, timeout * 2)


async def lag(kafka: RunningKafka, topic: str, group: str = "readers", limit: int = 10) -> Verdict:
    return await run("consumer_lag", kafka.servers, topic=topic, consumer_group=group, lag_threshold=limit)


async def fresh(kafka: RunningKafka, topic: str, max_age: str = "60s") -> Verdict:
    return await run("topic_freshness", kafka.servers, topic=topic, max_age=max_age)


# Lag


async def test_lag_is_judged_against_the_threshold_over_all_partitions(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names), partitions=2)
    kafka.send(topic, *[b"x"] * 20, partition=0)
    kafka.send(topic, *[b"x"] * 5, partition=1)
    kafka.commit("readers", topic, {0: 14, 1: 2})
    verdict = await lag(kafka, topic)
    assert verdict.status is Status.HEALTHY
    assert verdict.observed == "9"
    kafka.commit("readers", topic, {0: 13})
    verdict = await lag(kafka, topic)
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason == "10 messages behind, most in partition 0"
    kafka.commit("readers", topic, {0: 20, 1: 5})
    assert (await lag(kafka, topic)).observed == "0"


async def test_the_topic_may_stand_at_the_node(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    kafka.commit("readers", topic, {0: 0})
    verdict = await run("consumer_lag", kafka.servers, of_the_node=topic, consumer_group="readers")
    assert verdict.status is Status.HEALTHY
    assert (await run("consumer_lag", kafka.servers, consumer_group="readers")).status is Status.UNKNOWN


async def test_a_group_that_does_not_exist_is_unhealthy_even_when_little_is_to_be_read(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    kafka.send(topic, b"x")
    verdict = await lag(kafka, topic, group="nobody")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason.endswith(" knows no consumer group nobody")


async def test_a_group_that_reads_other_topics_only_is_unknown_until_it_has_committed_here(kafka: RunningKafka) -> None:
    other, topic = kafka.create(next(names)), kafka.create(next(names))
    kafka.commit("elsewhere", other, {0: 0})
    assert (await lag(kafka, topic, group="elsewhere")).status is Status.HEALTHY  # an empty topic has no lag
    kafka.send(topic, *[b"x"] * 50)
    verdict = await lag(kafka, topic, group="elsewhere")
    assert verdict.status is Status.UNKNOWN
    assert "50 messages" in verdict.reason


async def test_a_partition_without_a_commit_is_counted_whole_and_said(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names), partitions=2)
    kafka.commit("readers", topic, {0: 0})
    kafka.send(topic, *[b"x"] * 4, partition=1)
    verdict = await lag(kafka, topic)
    assert verdict.status is Status.HEALTHY
    assert "no commit in partition 1, its 4 messages counted" in verdict.reason
    kafka.send(topic, *[b"x"] * 30, partition=1)
    verdict = await lag(kafka, topic)
    assert verdict.status is Status.DEGRADED  # nobody knows whether the group means to read them
    kafka.send(topic, *[b"x"] * 30, partition=0)
    assert (await lag(kafka, topic)).status is Status.UNHEALTHY


async def test_messages_deleted_before_they_were_read_are_not_passed_over(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    kafka.send(topic, *[b"x"] * 8)
    kafka.commit("readers", topic, {0: 2})
    kafka.delete_before(topic, 5)
    verdict = await lag(kafka, topic)
    assert verdict.status is Status.DEGRADED
    assert "3 messages of partition 0 were deleted unread" in verdict.reason


async def test_a_commit_past_the_end_does_not_make_up_for_the_lag_of_others(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names), partitions=2)
    kafka.send(topic, *[b"x"] * 50, partition=0)
    kafka.commit("readers", topic, {0: 0, 1: 1000})
    assert (await lag(kafka, topic)).status is Status.UNHEALTHY
    kafka.commit("readers", topic, {0: 50})
    verdict = await lag(kafka, topic)
    assert verdict.status is Status.DEGRADED
    assert "partition 1 has committed 1,000, past its end 0" in verdict.reason


async def test_messages_of_an_open_transaction_count_as_lag(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    kafka.commit("readers", topic, {0: 0})
    producer = _transaction(kafka, topic, 20, commit=None)
    assert (await lag(kafka, topic)).observed == "20"
    kafka.commit("readers", topic, {0: 15})  # of a group that reads what is not committed
    assert (await lag(kafka, topic)).reason == "5 messages behind, most in partition 0"
    producer.abort_transaction(20)


async def test_looking_leaves_no_topic_and_no_group_behind(kafka: RunningKafka) -> None:
    assert (await lag(kafka, "ghost", group="ghosts")).status is Status.UNHEALTHY
    assert (await fresh(kafka, "ghost")).status is Status.UNHEALTHY
    topic = kafka.create(next(names))
    await lag(kafka, topic, group="ghosts")
    await fresh(kafka, topic)
    assert "ghost" not in kafka.admin.list_topics(timeout=5).topics
    groups = {group.group_id for group in kafka.admin.list_consumer_groups().result(10).valid}
    assert not groups & {"ghosts", "treewalk"}


# Freshness


async def test_a_topic_is_as_fresh_as_its_newest_message_in_any_partition(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names), partitions=3)
    kafka.send(topic, b"x", partition=0, age=300)
    kafka.send(topic, b"x", partition=1, age=100)
    assert (await fresh(kafka, topic, "120s")).status is Status.HEALTHY
    verdict = await fresh(kafka, topic, "60s")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.onset == pytest.approx(time.time() - 40, abs=5)


async def test_a_topic_without_a_message_is_unhealthy_and_says_so_at_once(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    began = time.monotonic()
    verdict = await fresh(kafka, topic)
    assert verdict.status is Status.UNHEALTHY
    assert "holds no message" in verdict.reason
    kafka.send(topic, b"x", b"x")
    kafka.delete_before(topic, 2)
    verdict = await fresh(kafka, topic)
    assert verdict.status is Status.UNHEALTHY
    assert "holds no message" in verdict.reason
    assert time.monotonic() - began < 10


async def test_the_newest_offset_may_be_the_mark_of_a_transaction(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    _transaction(kafka, topic, 1, commit=True)
    until(lambda: kafka.bounds(topic) == (0, 2))
    assert (await fresh(kafka, topic)).status is Status.HEALTHY


async def test_messages_of_aborted_transactions_do_not_make_a_topic_fresh(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    kafka.send(topic, b"old", age=600)
    _transaction(kafka, topic, 40, commit=False)
    verdict = await fresh(kafka, topic, "5m")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason.startswith("the newest message is 10m")
    only_aborted = kafka.create(next(names))
    _transaction(kafka, only_aborted, 3, commit=False)
    assert "holds no message" in (await fresh(kafka, only_aborted)).reason


async def test_a_transaction_that_stays_open_does_not_hide_what_came_before_it(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    kafka.send(topic, b"old", age=600)
    producer = _transaction(kafka, topic, 3, commit=None)
    verdict = await fresh(kafka, topic, "5m")
    producer.abort_transaction(20)
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason.startswith("the newest message is 10m")


async def test_holes_that_compaction_leaves_are_stepped_over(kafka: RunningKafka) -> None:
    topic = kafka.create(
        next(names),
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.01",
        delete_retention_ms="0",
    )
    kafka.send(topic, b"kept", key=b"a", age=600)
    kafka.send(topic, *[b"gone"] * 300, None, key=b"b", age=500)

    def cleaned() -> bool:
        time.sleep(0.3)
        _transaction(kafka, topic, 2, commit=False)  # rolls the segment: the cleaner takes what is before it
        return _readable(kafka, topic) == [b"kept"]

    until(cleaned)
    assert kafka.bounds(topic)[1] > 300
    verdict = await fresh(kafka, topic, "5m")
    assert verdict.status is Status.UNHEALTHY
    assert verdict.reason.startswith("the newest message is 10m")


async def test_a_timestamp_of_the_future_is_unknown_not_fresh(kafka: RunningKafka) -> None:
    topic = kafka.create(next(names), message_timestamp_after_max_ms=str(10**12))
    kafka.send(topic, b"x", age=-7200)
    verdict = await fresh(kafka, topic)
    assert verdict.status is Status.UNKNOWN
    assert "future" in verdict.reason


# A broker that does not answer


@pytest.mark.parametrize("method", ["consumer_lag", "topic_freshness"])
async def test_a_broker_that_is_down_is_unknown_in_time_and_without_noise(
    method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    params = {"consumer_group": "g"} if method == "consumer_lag" else {"max_age": "60s"}
    began = time.monotonic()
    verdict = await run(method, f"127.0.0.1:{free_port()}", timeout=2.0, topic="t", **params)
    assert verdict.status is Status.UNKNOWN
    assert "does not answer" in verdict.reason
    assert time.monotonic() - began < 3.5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["consumer_lag", "topic_freshness"])
async def test_a_broker_that_hangs_is_unknown_in_time(method: str, kafka: RunningKafka) -> None:
    topic = kafka.create(next(names))
    params = {"consumer_group": "g"} if method == "consumer_lag" else {"max_age": "60s"}
    kafka.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        verdict = await run(method, kafka.servers, timeout=2.0, topic=topic, **params)
        assert time.monotonic() - began < 4
    finally:
        kafka.process.send_signal(signal.SIGCONT)
    assert verdict.status is Status.UNKNOWN


@pytest.mark.parametrize("method", ["consumer_lag", "topic_freshness"])
async def test_an_address_that_is_none_is_unknown_with_the_reason(method: str) -> None:
    params = {"consumer_group": "g"} if method == "consumer_lag" else {"max_age": "60s"}
    verdict = await run(method, "127.0.0.1:nothing", timeout=2.0, topic="t", **params)
    assert verdict.status is Status.UNKNOWN
    assert "crashed" not in verdict.reason


def _transaction(kafka: RunningKafka, topic: str, count: int, *, commit: bool | None) -> Any:
    """Records of one transaction: committed, aborted, or (None) left open."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka.servers, "transactional.id": f"by-{topic}", "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    for _ in range(count):
        producer.produce(topic, b"x", key=b"t", partition=0)
    assert producer.flush(20) == 0
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(20)
    return producer


def _readable(kafka: RunningKafka, topic: str) -> list[bytes]:
    """Every message that a reader still gets, from the first on."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": kafka.servers, "group.id": "r", "enable.partition.eof": True, "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        found.append(message.value())
    consumer.close()
    return found
