"""Kafka and its mirror: are there brokers and topics, and does what happens arrive there."""

from collections.abc import Iterator

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import sql
from ops.checkup.finding import Finding, judge
from ops.checkup.postgres import CONNECT_TIMEOUT_S
from workers.adapters.kafka import client_config
from workers.jobs.mirror_messages import TOPICS
from workers.settings import KafkaSettings, Settings

ANSWER_TIMEOUT_S = 5
# A mirror that is at work is a second behind.
LAG_S_MAX = 10


def check_kafka(settings: Settings) -> Iterator[Finding]:
    """Check the brokers of KAFKA_BROKERS. Nothing here is a problem: trading never waits for it."""
    if settings.kafka is None:
        yield Finding("kafka", "ok", "off: KAFKA_BROKERS is not set")
        return
    try:
        yield from _check_brokers(settings.kafka)
    except KafkaException as error:
        yield Finding(
            "kafka",
            "warning",
            error.args[0].str(),
            "start the brokers, or correct KAFKA_BROKERS; to do without it, unset that",
        )


def check_mirror(settings: Settings) -> Iterator[Finding]:
    """Check how far the mirror is behind, in a database that answered a moment ago."""
    if settings.kafka is None:
        return
    with psycopg.connect(
        settings.database_url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
    ) as connection:
        connection.execute(sql.query("assume_role"), {"role": "exchange_owner"})
        lags = connection.execute(sql.query("mirror_lags")).fetchall()
    for instrument, _, _, events, seconds in lags:
        yield judge(
            f"{instrument} mirror",
            seconds <= LAG_S_MAX,
            f"{events} events behind, the oldest of them {seconds:.0f} s old",
            "start `jobs` or `mirror`, and `clock` (see the Procfile); `python -m ops jobs list` "
            "tells why a run failed",
            "warning",
        )


def _check_brokers(kafka: KafkaSettings) -> Iterator[Finding]:
    metadata = AdminClient(client_config(kafka)).list_topics(timeout=ANSWER_TIMEOUT_S)
    count = len(metadata.brokers)
    yield Finding("kafka", "ok", f"{count} broker{'s' if count > 1 else ''}")
    names = [kafka.topic_prefix + topic for topic in TOPICS]
    missing = [name for name in names if name not in metadata.topics]
    yield judge(
        "kafka topics",
        not missing,
        f"missing: {', '.join(missing)}" if missing else "all there",
        "the mirror makes them when it first runs, if it may; else make them (ops/docs/KAFKA.md)",
        "warning",
    )
    headless = sorted(
        name
        for name in names
        if name in metadata.topics
        and any(part.leader < 0 for part in metadata.topics[name].partitions.values())
    )
    if headless:
        yield Finding(
            "kafka leaders",
            "warning",
            f"partitions of {', '.join(headless)} have no leader",
            "bring the missing brokers back",
        )
