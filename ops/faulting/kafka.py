"""A Kafka to mirror to: librdkafka's mock cluster, which speaks the protocol over TCP.

It keeps what it is given in memory, and drops the oldest of a partition beyond some megabytes, so
what is read back may begin late; from there on nothing may be missing.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ops.errors import OpsError
from workers.jobs.mirror_messages import EVENTS, TOPICS

READ_S = 60.0


class MockKafka:
    """Brokers in this process, in threads of librdkafka."""

    def __init__(self, brokers: int = 1) -> None:
        self._host = Producer(
            {"bootstrap.servers": "mock", "test.mock.num.brokers": brokers, "log_level": 0}
        )
        found = self._host.list_topics(timeout=10).brokers.values()
        self.brokers = ",".join(f"{broker.host}:{broker.port}" for broker in found)
        for topic in TOPICS:  # it has no command to make them, but makes what is asked for
            self._host.list_topics(topic, timeout=10)

    def problems(self, mirrored: Mapping[str, int]) -> list[str]:
        """Return what is missing or out of order, given the sequence each instrument is stored at.

        A repeat must be the same message.
        """
        problems = []
        kept: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
        last: dict[str, int] = {}
        for key, number, value in self._read(EVENTS):
            if number in kept[key]:
                if kept[key][number] != value:
                    problems.append(f"{key} {number} came again as another message")
            elif key in last and number != last[key] + 1:
                problems.append(f"{key}: {number} follows {last[key]}")
            kept[key][number] = value
            last[key] = max(number, last.get(key, 0))
        for key, sequence in mirrored.items():
            if key not in last or last[key] < sequence:
                problems.append(f"{key}: {last.get(key)} is the last one, not {sequence}")
        return problems

    def _read(self, topic: str) -> Sequence[tuple[str, int, bytes]]:
        """Return (key, number, value) of every message of a topic, in order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.brokers, "group.id": "campaign", "log_level": 0,
                "enable.auto.commit": False, "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )  # fmt: skip
        messages: list[tuple[str, int, bytes]] = []
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            unread = set(partitions)
            # From the oldest that is kept.
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            end = time.monotonic() + READ_S
            while unread:
                if time.monotonic() > end:
                    raise OpsError(f"{topic} cannot be read to its end")
                for message in consumer.consume(10_000, 0.2):
                    error = message.error()
                    if error is None:
                        headers = dict(message.headers() or ())
                        key, value = message.key(), message.value()
                        assert key is not None
                        assert value is not None
                        messages.append((key.decode(), int(headers["number"] or 0), value))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(message.partition())
        finally:
            consumer.close()
        return messages
