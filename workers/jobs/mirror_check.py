"""Whether Kafka still has what the mirror has written."""

import sql
from workers.adapters.kafka import end_offsets
from workers.adapters.mirror import SyncConnection
from workers.adapters.postgres import translated_sync
from workers.jobs.mirror_messages import EVENTS, ORDERS, TOPICS, TRADES, UPDATES
from workers.settings import KafkaSettings


def missing_messages(connection: SyncConnection, settings: KafkaSettings) -> dict[str, int]:
    """Return, by topic, how many messages fewer were ever written than the offsets say.

    Empty is well. Something is missing when a topic was deleted and made anew, when brokers lost
    data, or when KAFKA_BROKERS points to another Kafka: `python -m ops mirror forget` begins anew.
    Repeats count as messages, so a small loss may hide behind them. Raises Unavailable, Refused.
    """
    # Offsets first: what is mirrored meanwhile makes more messages, not fewer.
    with translated_sync():
        ((events, trades),) = connection.execute(sql.query("mirrored_totals")).fetchall()
    expected = {EVENTS: events, UPDATES: events, TRADES: trades, ORDERS: events + trades}
    written = end_offsets(settings, TOPICS)
    return {
        topic: int(count) - written[topic]
        for topic, count in expected.items()
        if written[topic] < count
    }
