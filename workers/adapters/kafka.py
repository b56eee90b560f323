"""What the mirror writes to Kafka with: topics, and messages that are confirmed or fail as one.

Order. A partition gets messages in the order in which they were given, and what comes behind a
failure can never be there without what failed: the producer is idempotent (its own retries neither
reorder nor double), a message never times out by itself, an error that would leave a gap is fatal
to the producer (`enable.gapless.guarantee`), and after any failure everything that is still on its
way is dropped and the producer is thrown away. So a partition holds a prefix of what was given,
and, when it is given again, starts over from an earlier message. It never skips any.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from workers.adapters.errors import AdapterError, DataRejected, Refused, Unavailable
from workers.settings import KafkaSettings

logger = logging.getLogger(__name__)

# Brokers that are there answer at once; who waits longer than this is told that they are not.
ANSWER_TIMEOUT_S = 5.0
# How long after a failure its cause may take to be reported.
REPORT_TIMEOUT_S = 1.0
# Messages and kibibytes that may wait in this process: many pages of the mirror, and a bound.
QUEUE_MESSAGES_MAX = 100_000
QUEUE_KIB_MAX = 65_536
# A broker refuses batches above its `message.max.bytes` (1 MiB unless told otherwise). Ours stay so
# far below it that only a strange setting can refuse them.
BATCH_BYTES_MAX = 131_072
# Replicas of topics that we make, where there are as many brokers.
REPLICATION_FACTOR = 3

_TOO_LARGE = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
}
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_CONFIG,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_PARTITIONS,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
# What only says that something else has gone wrong.
_FOLLOWING = {
    KafkaError._FATAL,
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError._GAPLESS_GUARANTEE,
}


class Message(NamedTuple):
    """A message for one of the topics; `topic` is its name without the prefix."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


class Publisher:
    """Writes to a set of topics, which it makes when they are missing. Safe for threads.

    Connects at need, and anew after a failure.
    """

    def __init__(
        self, settings: KafkaSettings, topics: Sequence[str], options: dict[str, Any] | None = None
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._options = options or {}
        self._producer: _Producer | None = None
        self._lock = threading.Lock()

    def publish(
        self,
        messages: Sequence[Message],
        timeout_s: float,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        """Write messages, and return when every in-sync replica of each partition has them.

        Some of them may be in Kafka when this raises: Unavailable (try later), DataRejected (one
        is too large), Refused (something must be set up otherwise), or what `waiting`, which is
        called meanwhile, raises.
        """
        deadline = time.monotonic() + timeout_s
        producer = self._ready()
        try:
            producer.publish(messages, deadline, waiting)
        except BaseException:
            self._discard(producer)
            raise

    def close(self) -> None:
        """Drop what is on its way, if anything is."""
        if self._producer is not None:
            self._discard(self._producer)

    def _ready(self) -> "_Producer":
        with self._lock:
            if self._producer is None:
                make_topics(self._settings, self._topics)
                self._producer = _Producer(self._settings, self._options)
            return self._producer

    def _discard(self, producer: "_Producer") -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        producer.purge()


class _Producer:
    """One producer, from its start to its first failure."""

    def __init__(self, settings: KafkaSettings, options: dict[str, Any]) -> None:
        self._prefix = settings.topic_prefix
        self._last_error: KafkaError | None = None
        self._fatal: KafkaError | None = None
        self._failed = False
        self._producer = Producer(
            client_config(settings)
            | {
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "acks": "all",
                # Never by itself: see above. `publish` has a deadline.
                "message.timeout.ms": 0,
                "linger.ms": 5,
                "compression.type": "lz4",
                "batch.size": BATCH_BYTES_MAX,
                "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
                "queue.buffering.max.kbytes": QUEUE_KIB_MAX,
                # A topic made by chance has the broker's defaults, and not ours.
                "allow.auto.create.topics": False,
                "error_cb": self._note,
            }
            | options,
            logger=logger,
        )

    def publish(
        self, messages: Sequence[Message], deadline: float, waiting: Callable[[], None]
    ) -> None:
        outcomes: list[KafkaError | None] = []

        def report(error: KafkaError | None, _: object) -> None:
            outcomes.append(error)
            if error is not None:
                self._failed = True

        producer = self._producer
        for message in messages:
            topic = self._prefix + message.topic
            while True:
                self._check(outcomes)
                try:
                    producer.produce(
                        topic,
                        message.value,
                        message.key,
                        headers=message.headers,
                        on_delivery=report,
                    )
                    break
                except BufferError:
                    self._wait(deadline, waiting)
                except KafkaException as error:
                    self._fail(error)
            self._poll(0)
        while len(outcomes) < len(messages):
            self._check(outcomes)
            self._wait(deadline, waiting)
        self._check(outcomes)

    def purge(self) -> None:
        """Send nothing any more."""
        self._failed = True
        self._producer.purge()
        self._poll(0)

    def _poll(self, timeout_s: float) -> None:
        """Let delivery reports come in; a fatal error, of which it says nothing else, counts."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:
            self._fail(error)

    def _fail(self, error: KafkaException) -> None:
        self._failed = True
        self._fatal = error.args[0]

    def _check(self, outcomes: Sequence[KafkaError | None]) -> None:
        """Raise when any message of this producer has failed, ours or another thread's."""
        if not self._failed:
            return
        if self._fatal is not None:
            # It only says that something has; the report of a message says what.
            end = time.monotonic() + REPORT_TIMEOUT_S
            while time.monotonic() < end and all(
                error is None or error.code() in _FOLLOWING for error in outcomes
            ):
                self._poll(0.05)
        errors = [error for error in (*outcomes, self._fatal) if error is not None]
        if not errors:
            raise Unavailable("Kafka: another thread's messages have failed")
        raise translate(errors[0], errors)

    def _wait(self, deadline: float, waiting: Callable[[], None]) -> None:
        waiting()
        if time.monotonic() > deadline:
            error = self._last_error
            if error is not None and error.code() in _REFUSED:
                raise translate(error)
            raise Unavailable(f"Kafka: no confirmation in time ({error or 'no error is known'})")
        self._poll(0.05)

    def _note(self, error: KafkaError) -> None:
        self._last_error = error
        logger.debug("Kafka: %s", error)


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """Return what every client of this Kafka is configured with."""
    config = {
        "bootstrap.servers": settings.brokers,
        "client.id": "trade-engine",
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password,
        "ssl.ca.pem": settings.ssl_ca,
        "ssl.certificate.pem": settings.ssl_certificate,
        "ssl.key.pem": settings.ssl_key,
        "ssl.endpoint.identification.algorithm": "" if settings.ssl_check_hostname else "none",
        # After a broker was away we notice within a second that it is back.
        "reconnect.backoff.max.ms": 1_000,
        "socket.timeout.ms": 10_000,
        # It writes to standard error by itself; what matters comes as an error to us.
        "log_level": 0,
    }
    return {name: value for name, value in config.items() if value != ""}


def make_topics(settings: KafkaSettings, topics: Sequence[str]) -> None:
    """Make the topics that are missing. Raises Unavailable, Refused."""
    wanted = {settings.topic_prefix + topic for topic in topics}
    admin = AdminClient(client_config(settings))
    try:
        metadata = admin.list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException as error:
        raise translate(error.args[0]) from error
    missing = sorted(wanted - metadata.topics.keys())
    if not missing:
        return
    replicas = settings.replication_factor or min(REPLICATION_FACTOR, len(metadata.brokers))
    # Kept for ever where that is allowed: the topics can rebuild the exchange.
    for topic_config in ({"retention.ms": "-1", "retention.bytes": "-1"}, {}):
        asked = admin.create_topics(
            [
                NewTopic(topic, settings.partitions, replicas, config=topic_config)
                for topic in missing
            ],
            operation_timeout=ANSWER_TIMEOUT_S,
            request_timeout=ANSWER_TIMEOUT_S,
        )
        refused: dict[str, KafkaError] = {}
        for topic, answer in asked.items():
            try:
                answer.result()
                logger.info("made the topic %s", topic)
            except KafkaException as failure:
                if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    refused[topic] = failure.args[0]
        missing = sorted(refused)
        codes = {reason.code() for reason in refused.values()}
        if not codes & {KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION}:
            break
    for reason in refused.values():
        if reason.code() not in _REFUSED:
            raise translate(reason)
        raise Refused(
            f"Kafka: the topics {', '.join(missing)} are missing and may not be made "
            f"({reason.str()}): make them, with any number of partitions, or set "
            "KAFKA_TOPIC_PREFIX, KAFKA_PARTITIONS or KAFKA_REPLICATION_FACTOR to what is allowed"
        )


def end_offsets(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Return how many messages have ever been written to each topic, retention or not.

    0 for a topic that is missing. Raises Unavailable, Refused.
    """
    written = dict.fromkeys(topics, 0)
    # A consumer that consumes nothing: only they ask for offsets. The group is a formality.
    consumer = Consumer(client_config(settings) | {"group.id": f"{settings.topic_prefix}ends"})
    try:
        known = consumer.list_topics(timeout=ANSWER_TIMEOUT_S).topics
        for topic in topics:
            name = settings.topic_prefix + topic
            for partition in known[name].partitions if name in known else ():
                offsets = consumer.get_watermark_offsets(
                    TopicPartition(name, partition), timeout=ANSWER_TIMEOUT_S
                )
                if offsets is None:
                    raise Unavailable(f"Kafka: the end of {name} is not known in time")
                written[topic] += offsets[1]
    except KafkaException as error:
        raise translate(error.args[0]) from error
    finally:
        consumer.close()
    return written


def translate(error: KafkaError, others: Sequence[KafkaError | None] = ()) -> AdapterError:
    """Return Kafka's error as ours; of several, the one that came first and says most."""
    for other in (error, *others):
        if other is not None and other.code() not in _FOLLOWING:
            error = other
            break
    text = f"Kafka: {error.str()} ({error.name()})"
    if error.code() in _TOO_LARGE:
        return DataRejected(
            f"{text}: raise max.message.bytes of the topics to at least {2 * BATCH_BYTES_MAX}"
        )
    return (Refused if error.code() in _REFUSED else Unavailable)(text)
