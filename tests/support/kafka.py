"""A real Kafka on loopback: one broker without ZooKeeper (KRaft), run by Java from jars that Maven brings.

The jars (45 MB) are fetched once and kept in `.cache/`, which git ignores.

    with running_kafka(tmp_path) as kafka:
        kafka.create("orders", partitions=2)
        kafka.send("orders", b"hello", partition=1)
        kafka.commit("billing", "orders", {1: 0})
        ... ask kafka.servers ...
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.answers import free_port

VERSION = "4.1.1"
CACHE = Path(__file__).parents[2] / ".cache"
JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>treewalk</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
# Topics may come into being by themselves, as with Kafka's defaults: so that a check which asks for one that does
# not exist is seen to leave none behind. Segments and the log cleaner turn quickly, for tests of compaction.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.threads=1
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=2097152
log.retention.check.interval.ms=500
num.network.threads=2
num.io.threads=2
"""


@dataclass
class RunningKafka:
    """A broker that answers. `servers` is what a client calls bootstrap.servers."""

    servers: str
    folder: Path
    process: subprocess.Popen[bytes]

    @functools.cached_property
    def admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def create(self, topic: str, partitions: int = 1, **config: str) -> str:
        """A new topic; `config` with underscores for dots. Gives back its name once it can be written to."""
        from confluent_kafka.admin import NewTopic

        settings = {key.replace("_", "."): value for key, value in config.items()}
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings)
        self.admin.create_topics([new])[topic].result(20)
        until(lambda: len(getattr(self.admin.list_topics(timeout=5).topics.get(topic), "partitions", ())) == partitions)
        return topic

    def send(
        self, topic: str, *values: bytes | None, partition: int = 0, age: float = 0.0, key: bytes | None = None
    ) -> None:
        """Records that say to be `age` seconds old, acknowledged by the broker."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        at = int((time.time() - age) * 1000)
        for value in values:
            producer.produce(topic, value, key, partition, timestamp=at)
        assert producer.flush(20) == 0

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """What the group says it has read; the group comes into being by it."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        )
        wanted = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        consumer.commit(offsets=wanted, asynchronous=False)
        consumer.close()

    def delete_before(self, topic: str, offset: int, partition: int = 0) -> None:
        """Delete the records before an offset, as retention does."""
        from confluent_kafka import TopicPartition

        self.admin.delete_records([TopicPartition(topic, partition, offset)])
        until(lambda: self.bounds(topic, partition)[0] == offset)

    def bounds(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """The first offset there is and the one after the last."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "bounds", "log_level": 0})
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.close()
        return low, high


def until(holds: Any, seconds: float = 30.0) -> None:
    """Wait for something to come true. Raises AssertionError when it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not so within {seconds:g} s"
        time.sleep(0.1)


@functools.cache
def obtainable() -> bool:
    """Whether a broker can be run here: Java, and jars that are cached or that Maven can bring."""
    if shutil.which("java") is None:
        return False
    return _jars().exists() or (shutil.which("mvn") is not None and _fetch())


@contextlib.contextmanager
def running_kafka(folder: Path) -> Iterator[RunningKafka]:
    """Format a folder, start a broker in it, wait until it answers; stop it at the end."""
    port = free_port()
    settings = folder / "server.properties"
    settings.write_text(_PROPERTIES.format(port=port, controller=free_port(), folder=folder))
    java = ["java", *JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{_jars()}/*"]
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", "dHJlZXdhbGstdGVzdHMtMQ", "-c", settings],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with (folder / "kafka.log").open("wb") as log:
        process = subprocess.Popen([*java, "kafka.Kafka", settings], stdout=log, stderr=log, cwd=folder)
    try:
        yield _ready(RunningKafka(f"127.0.0.1:{port}", folder, process))
    finally:
        process.kill()  # its data is thrown away, so nothing has to be closed in order
        process.wait(20)


def _ready(kafka: RunningKafka) -> RunningKafka:
    from confluent_kafka import KafkaException

    end = time.monotonic() + 90
    while time.monotonic() < end:
        if kafka.process.poll() is not None:
            break
        with contextlib.suppress(KafkaException):
            if kafka.admin.list_topics(timeout=2).brokers:
                return kafka
    raise AssertionError(f"Kafka does not start:\n{(kafka.folder / 'kafka.log').read_text()[-2000:]}")


def _jars() -> Path:
    return CACHE / f"kafka-{VERSION}"


def _fetch() -> bool:
    """Into a folder beside the right one first, so that half a download is never taken for a whole one."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        (Path(work) / "pom.xml").write_text(_POM)
        maven = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(maven, cwd=work, check=True, capture_output=True, timeout=300)
            with contextlib.suppress(OSError):  # another run may have been faster
                (Path(work) / "jars").rename(_jars())
    return _jars().exists()
