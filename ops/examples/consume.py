"""Read one topic of the Kafka mirror: each message once, in order, and gaps noticed.

    KAFKA_BROKERS=127.0.0.1:9092 python ops/examples/consume.py [TOPIC]

The mirror writes at least once: after a crash it writes the last messages again, under the same
numbers. So a reader keeps, per instrument, the number of the last message it has dealt with, and

    number <= last       drops it: it was here before;
    number == last + 1   deals with it;
    number >  last + 1   has a gap, and stops: something between the mirror and here lost messages.

A later `timeline` says that the exchange's database was restored from a backup: what was here under
this number and above was lost there, and others come in its place. So it is taken back first.

Keep `last` where the effects are kept, in the same transaction: then each message has its effect
once, wherever this program is killed. Here both are in a SQLite file, and the effect is a row.
"""

import os
import sqlite3
import sys

from confluent_kafka import Consumer

TOPIC = sys.argv[1] if len(sys.argv) > 1 else "exchange-trades"
TABLES = """
CREATE TABLE IF NOT EXISTS places (
    topic, instrument, last INTEGER, timeline INTEGER, PRIMARY KEY (topic, instrument));
CREATE TABLE IF NOT EXISTS messages (topic, instrument, number INTEGER, value);
"""


def main() -> int:
    """Read until Ctrl-C, or until a gap: exit code 1."""
    # Without implicit transactions: BEGIN and COMMIT are below.
    store = sqlite3.connect(os.environ.get("CONSUMED", "consumed.sqlite3"), isolation_level=None)
    store.executescript(TABLES)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": os.environ.get("GROUP", "trade-engine-example"),
            # From the beginning when Kafka does not know us; what was here before is dropped.
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    try:
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if (error := message.error()) is not None:
                print(f"Kafka: {error.str()}", file=sys.stderr)
                continue
            instrument = (message.key() or b"").decode()
            headers = dict(message.headers() or ())
            number, timeline = int(headers["number"] or 0), int(headers.get("timeline") or 1)
            if not take(store, instrument, timeline, number, message.value() or b""):
                return 1
            # Only spares us what we would drop.
            consumer.commit(message=message, asynchronous=True)
    except KeyboardInterrupt:
        return 0
    finally:
        consumer.close()


def take(
    store: sqlite3.Connection, instrument: str, timeline: int, number: int, value: bytes
) -> bool:
    """Give a message its effect, unless it has had it; return False when messages are missing."""
    place = (TOPIC, instrument)
    found = store.execute(
        "SELECT last, timeline FROM places WHERE (topic, instrument) = (?, ?)", place
    ).fetchone()
    last, known = found or (0, timeline)
    if timeline > known:
        last = min(last, number - 1)
    if number > last + 1:
        print(f"gap: {TOPIC} {instrument} {number} follows {last}", file=sys.stderr)
        return False
    if number == last + 1 and timeline >= known:
        store.execute("BEGIN")
        if timeline > known:
            print(f"{TOPIC} {instrument}: restored, {number} and above are others now", flush=True)
            store.execute(
                "DELETE FROM messages WHERE (topic, instrument) = (?, ?) AND number >= ?",
                (*place, number),
            )
        # In JSON numbers are exact decimals: parse them with parse_float=decimal.Decimal.
        store.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (*place, number, value.decode()))
        store.execute(
            "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", (*place, number, timeline)
        )
        store.execute("COMMIT")
        print(TOPIC, instrument, number, value.decode(), flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
