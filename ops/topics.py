"""Reading the Kafka mirror's topics from their beginning: repeats dropped, gaps found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ops.errors import OpsError
from workers.adapters.kafka import ANSWER_TIMEOUT_S, client_config
from workers.jobs.mirror_messages import SCHEMA_VERSION
from workers.settings import KafkaSettings

# Messages per call, and how long nothing may come before a broker is as good as gone.
READ_LENGTH = 5_000
SILENCE_S = 1.0
SILENCES_MAX = 30


class Part(NamedTuple):
    """What a topic holds of one instrument: numbers `first` to `last`, of which some repeatedly.

    `timelines` are pairs of a timeline and its first number, in rising order: what older ones have
    under that number and above was replaced when the database was restored.
    """

    partition: int
    offset: int
    first: int
    last: int
    messages: int
    timelines: tuple[tuple[int, int], ...]

    @property
    def repeats(self) -> int:
        return self.messages - (self.last - self.first + 1)

    def holds(self, record: "Record") -> bool:
        """Tell whether no later timeline has replaced a message."""
        return all(
            timeline <= record.timeline or record.number < first
            for timeline, first in self.timelines
        )


class Record(NamedTuple):
    """A message that is no repeat; `value` is JSON."""

    number: int
    sequence: int
    timeline: int
    value: bytes


def survey(settings: KafkaSettings, topic: str) -> dict[str, Part]:
    """Return what a topic holds, by instrument, repeats and gaps looked at. Raises OpsError."""
    parts: dict[str, Part] = {}
    for message in read(settings, topic, None, 0):
        instrument = _key(message)
        number, _, timeline, _ = record_of(message)
        partition, offset = _place(message)
        part = parts.get(instrument)
        if part is None:
            parts[instrument] = Part(partition, offset, number, number, 1, ((timeline, number),))
            continue
        if part.partition != partition:
            raise OpsError(
                f"{topic} has {instrument} in several partitions: their number was changed, and "
                "the order of the messages is lost"
            )
        part = part._replace(messages=part.messages + 1)
        latest, _ = part.timelines[-1]
        if timeline >= latest:  # else of a mirror that should not run any more
            if number > part.last + 1:
                raise OpsError(f"{topic}: {instrument} has a gap: {number} follows {part.last}")
            if number < part.first:
                raise OpsError(
                    f"{topic}: {instrument} begins with {part.first}, and {number} follows"
                )
            if timeline > latest:
                begun = (*part.timelines, (timeline, number))
                part = part._replace(last=number, timelines=begun)
            part = part._replace(last=max(part.last, number))
        parts[instrument] = part
    return parts


def records(settings: KafkaSettings, topic: str, instrument: str, part: Part) -> Iterator[Record]:
    """Yield each message of one instrument once, in order."""
    expected = part.first
    for message in read(settings, topic, part.partition, part.offset):
        if _key(message) != instrument:
            continue
        record = record_of(message)
        if not part.holds(record):
            continue
        if record.number > expected:
            raise OpsError(
                f"{topic}: {instrument} has a gap: {record.number} follows {expected - 1}"
            )
        if record.number == expected:
            expected += 1
            yield record


def read(
    settings: KafkaSettings, topic: str, partition: int | None, offset: int
) -> Iterator[Message]:
    """Yield what a topic, or one partition of it, holds from an offset on. Raises OpsError."""
    topic = settings.topic_prefix + topic
    with _consumer(settings) as consumer:
        try:
            metadata = consumer.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic]
            if metadata.error is not None or not metadata.partitions:
                raise OpsError(f"There is no topic {topic}: set KAFKA_TOPIC_PREFIX if it has one")
            unread = set(metadata.partitions) if partition is None else {partition}
            consumer.assign([TopicPartition(topic, number, offset) for number in unread])
            silences = 0
            while unread:
                messages = consumer.consume(READ_LENGTH, SILENCE_S)
                silences = 0 if messages else silences + 1
                if silences > SILENCES_MAX:
                    raise OpsError(f"Kafka: {topic} cannot be read to its end")
                for message in messages:
                    if (error := message.error()) is None:
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(message.partition())
                    else:
                        raise OpsError(f"Kafka: {error.str()}")
        except KafkaException as error:
            raise OpsError(f"Kafka: {error.args[0].str()}") from error


def record_of(message: Message) -> Record:
    """Return a message as it was written. Raises OpsError for one that is not ours."""
    headers = dict(message.headers() or ())
    try:
        version = int(headers["schema_version"] or "")
        record = Record(
            int(headers["number"] or ""),
            int(headers["sequence"] or ""),
            # Mirrors before version 0009 of the database did not say.
            int(headers.get("timeline") or 1),
            message.value() or b"",
        )
    except (KeyError, ValueError) as error:
        raise OpsError(f"{message.topic()} holds a message that no mirror wrote") from error
    if version != SCHEMA_VERSION:
        raise OpsError(f"{message.topic()} holds messages of schema version {version}")
    return record


@contextmanager
def _consumer(settings: KafkaSettings) -> Iterator[Consumer]:
    consumer = Consumer(
        client_config(settings)
        | {
            # Required by the library; nothing is stored under it.
            "group.id": settings.topic_prefix + "trade-engine-rebuild",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _key(message: Message) -> str:
    key = message.key()
    return key.decode() if isinstance(key, bytes) else str(key)


def _place(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset
