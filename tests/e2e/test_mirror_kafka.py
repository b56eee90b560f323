"""The mirror and a real Apache Kafka, killed and misconfigured in every way."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from ops.embedded.kafka import Kafka, why_missing
from tests import servers
from tests.exchange import eventually
from tests.history import INSTRUMENTS, make_history
from tests.kafka import distinct, read_topic
from workers.adapters.errors import DataRejected, Refused, Unavailable
from workers.adapters.kafka import Publisher
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_check import missing_messages
from workers.jobs.mirror_messages import EVENTS, ORDERS, TOPICS, TRADES, UPDATES
from workers.settings import KafkaSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_missing()), reason=f"no Apache Kafka here: {why_missing()}"),
]


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    with servers.server_folder() as folder, Kafka(folder) as server:
        yield server


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Topics of its own for each test."""
    return f"{request.node.name}-"


@pytest.fixture
def settings(kafka: Kafka, prefix: str) -> KafkaSettings:
    return KafkaSettings(kafka.url, topic_prefix=prefix, partitions=3)


@pytest.fixture(scope="module")
def traded_database(postgres_url: str, migrated_database: str) -> Iterator[str]:
    """The name of a database with history, to copy."""
    with servers.fresh_database(postgres_url, migrated_database) as url:
        make_history(url, seed=21, commands=1_500)
        yield url.rpartition("/")[2]


@pytest.fixture
def jobs(postgres_url: str, traded_database: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        servers.fresh_database(postgres_url, traded_database) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield connection


def end_of(jobs: psycopg.Connection[Any]) -> int:
    ((sequence,),) = jobs.execute(
        "SELECT sequence FROM exchange.mirror_lags_v1() WHERE instrument = 'BTC-USD'"
    ).fetchall()
    return int(sequence)


def sequences(settings: KafkaSettings) -> list[int]:
    records = distinct(read_topic(settings.brokers, settings.topic_prefix + EVENTS))
    return [record.sequence for record in records]


def test_topics_are_made_and_filled(jobs: Any, settings: KafkaSettings) -> None:
    kafka = Publisher(settings, TOPICS)
    for instrument in INSTRUMENTS:
        assert mirror_slice(jobs, kafka, instrument) > 500
    kafka.close()
    assert sequences(settings) == list(range(1, end_of(jobs) + 1))
    for topic in (ORDERS, TRADES, UPDATES):
        for instrument in INSTRUMENTS:
            records = read_topic(settings.brokers, settings.topic_prefix + topic)
            assert distinct(records, instrument.instrument)
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    topic = settings.topic_prefix + EVENTS
    assert len(admin.list_topics(topic).topics[topic].partitions) == 3
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    (described,) = admin.describe_configs([resource]).values()
    assert described.result()["retention.ms"].value == "-1"


def test_what_went_missing_in_kafka_is_noticed(jobs: Any, settings: KafkaSettings) -> None:
    assert missing_messages(jobs, settings) == {}  # nothing is mirrored yet
    publisher = Publisher(settings, TOPICS)
    mirror_slice(jobs, publisher, INSTRUMENTS[0])
    publisher.close()
    assert missing_messages(jobs, settings) == {}
    ((trades,),) = jobs.execute("SELECT trade_no FROM exchange.mirror_offsets").fetchall()
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    (deleted,) = admin.delete_topics([settings.topic_prefix + TRADES]).values()
    deleted.result()
    eventually(lambda: missing_messages(jobs, settings) == {TRADES: trades}, "it is noticed")


def test_a_broker_that_is_killed_and_comes_back(
    jobs: Any, settings: KafkaSettings, kafka: Kafka
) -> None:
    publisher = Publisher(settings, TOPICS)
    port = kafka.port
    pages = 0

    def kill_at_the_third_page(done: int, total: int | None, detail: str = "") -> None:
        nonlocal pages
        pages += detail.startswith("sequence")
        if pages == 3:
            kafka.kill()

    with pytest.raises(Unavailable):
        mirror_slice(
            jobs, publisher, INSTRUMENTS[0], kill_at_the_third_page,
            page_length=100, publish_timeout_s=3,
        )  # fmt: skip
    with pytest.raises(Unavailable):  # still down: says so in time
        mirror_slice(jobs, publisher, INSTRUMENTS[0], publish_timeout_s=1)
    kafka.start(port)
    assert mirror_slice(jobs, publisher, INSTRUMENTS[0], page_length=100) > 0
    publisher.close()
    assert sequences(settings) == list(range(1, end_of(jobs) + 1))


def test_a_broker_that_falls_silent_in_the_middle_of_a_page(
    jobs: Any, settings: KafkaSettings, kafka: Kafka
) -> None:
    """Its answer is lost, though it may have written the page: that comes again."""
    publisher = Publisher(settings, TOPICS)
    mirror_slice(jobs, publisher, INSTRUMENTS[1])  # topics and connections are there
    os.kill(kafka.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            mirror_slice(jobs, publisher, INSTRUMENTS[0], publish_timeout_s=2)
    finally:
        os.kill(kafka.pid, signal.SIGCONT)
    eventually(lambda: _mirrors(jobs, publisher), "the broker answers again")
    publisher.close()
    assert sequences(settings) == list(range(1, end_of(jobs) + 1))


def _mirrors(jobs: Any, publisher: Publisher) -> bool:
    try:
        return mirror_slice(jobs, publisher, INSTRUMENTS[0]) > 0
    except Unavailable:
        return False


def test_a_topic_that_went_missing_is_said_and_made_again(
    jobs: Any, settings: KafkaSettings
) -> None:
    publisher = Publisher(settings, TOPICS)
    mirror_slice(jobs, publisher, INSTRUMENTS[1])
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    (deleted,) = admin.delete_topics([settings.topic_prefix + TRADES]).values()
    deleted.result()
    eventually(
        lambda: settings.topic_prefix + TRADES not in admin.list_topics(timeout=5).topics, "deleted"
    )
    with pytest.raises((Refused, Unavailable), match="Kafka"):
        mirror_slice(jobs, publisher, INSTRUMENTS[0], publish_timeout_s=8)
    assert mirror_slice(jobs, publisher, INSTRUMENTS[0]) > 0
    publisher.close()
    assert sequences(settings) == list(range(1, end_of(jobs) + 1))


def test_topics_that_may_not_be_made_are_named(jobs: Any, settings: KafkaSettings) -> None:
    """A broker refuses five replicas where there is one broker, as others refuse by policy."""
    refused = KafkaSettings(
        settings.brokers, topic_prefix=settings.topic_prefix, replication_factor=5
    )
    with pytest.raises(Refused, match=r"exchange-orders.*KAFKA_REPLICATION_FACTOR"):
        mirror_slice(jobs, Publisher(refused, TOPICS), INSTRUMENTS[0])
    assert jobs.execute("SELECT sequence, owner FROM exchange.mirror_offsets").fetchall() == [
        (0, None)
    ]


def test_a_topic_whose_limit_is_too_small_stops_the_mirror_and_nothing_is_lost(
    jobs: Any, settings: KafkaSettings
) -> None:
    publisher = Publisher(settings, TOPICS)
    mirror_slice(jobs, publisher, INSTRUMENTS[1])
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    limit_bytes(admin, settings.topic_prefix + ORDERS, 200)
    with pytest.raises(DataRejected, match=r"max\.message\.bytes"):
        mirror_slice(jobs, publisher, INSTRUMENTS[0])
    # Nothing behind the refused batch got through: no reader sees a gap.
    assert distinct(read_topic(settings.brokers, settings.topic_prefix + ORDERS)) == []
    limit_bytes(admin, settings.topic_prefix + ORDERS, 1_000_000)
    assert mirror_slice(jobs, publisher, INSTRUMENTS[0]) > 0
    publisher.close()
    assert sequences(settings) == list(range(1, end_of(jobs) + 1))
    assert distinct(read_topic(settings.brokers, settings.topic_prefix + ORDERS))


def limit_bytes(admin: AdminClient, topic: str, most: int) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry

    change = ConfigEntry(
        "max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[change])
    (changed,) = admin.incremental_alter_configs([resource]).values()
    changed.result()
