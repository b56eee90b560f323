"""Kafka for tests: librdkafka's own mock cluster, a real broker where Java is, and a reader."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from workers.adapters.kafka import Publisher
from workers.jobs.mirror_messages import TOPICS
from workers.settings import KafkaSettings

READ_TIMEOUT_S = 30.0


class Record(NamedTuple):
    """A message as a reader gets it; `raw` is its value as bytes."""

    topic: str
    key: str
    number: int
    sequence: int
    epoch: int
    timeline: int
    raw: bytes

    @property
    def value(self) -> Any:
        return orjson.loads(self.raw)


@contextlib.contextmanager
def mock_cluster(topics: Sequence[str] = TOPICS, brokers: int = 3) -> Iterator[str]:
    """Give the brokers of a mock cluster, which speaks the protocol over TCP; memory only."""
    host = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": brokers, "log_level": 0})
    for topic in topics:  # it cannot make topics by command, but does so when it is asked for one
        host.list_topics(topic, timeout=10)
    metadata = host.list_topics(timeout=10)
    yield ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
    host.purge()


@contextlib.contextmanager
def publisher(brokers: str, **options: Any) -> Iterator[Publisher]:
    """Give a publisher for the mirror's topics."""
    made = Publisher(KafkaSettings(brokers), TOPICS, options)
    try:
        yield made
    finally:
        made.close()


def read_topic(brokers: str, topic: str) -> list[Record]:
    """Return everything that a topic holds, repeats included, in the order of each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "test",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    records: list[Record] = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        unread = set(partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        deadline = time.monotonic() + READ_TIMEOUT_S
        while unread:
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    unread.discard(message.partition())
                    continue
                headers = dict(message.headers())
                assert headers["schema_version"] == b"1"
                records.append(
                    Record(
                        topic,
                        message.key().decode(),
                        int(headers["number"]),
                        int(headers["sequence"]),
                        int(headers["epoch"]),
                        int(headers["timeline"]),
                        message.value(),
                    )
                )
    finally:
        consumer.close()
    return records


def distinct(records: Sequence[Record], key: str = "BTC-USD") -> list[Record]:
    """Drop repeats as a reader should; fail on a gap, and on a repeat that is another message."""
    kept: list[Record] = []
    for record in records:
        if record.key != key:
            continue
        assert record.number <= len(kept) + 1, (
            f"{record.number} after {len(kept)} in {record.topic}"
        )
        if record.number == len(kept) + 1:
            kept.append(record)
        else:
            assert record.raw == kept[record.number - 1].raw
    return kept
