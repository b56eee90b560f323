"""Read one topic of the Kafka mirror: each message once, in order, and gaps noticed.

    KAFKA_BROKERS=127.0.0.1:9092 python ops/examples/consume.py [TOPIC]

The mirror writes at least once: after a crash it writes the last messages again, under the same
numbers. So a reader keeps, per instrument, the number of the last message it has dealt with, and

    number <= last       drops it: it was here before;
    number == last + 1   deals with it;
    number >  last + 1   has a gap, and stops: something between the mirror and here lost messages.

Keep `last` where the effects are kept, in the same transaction. Then each message has its effect
once, wherever this program is killed. Here that is a file, `consumed.json`, and the effect is a
line on standard output.
"""

import json
import os
import sys
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Consumer

TOPIC = sys.argv[1] if len(sys.argv) > 1 else "exchange-trades"
PLACES = Path(os.environ.get("CONSUMED", "consumed.json"))


def main() -> int:
    """Read until Ctrl-C, or until a gap: exit code 1."""
    places = json.loads(PLACES.read_text()) if PLACES.exists() else {}
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": os.environ.get("GROUP", "trade-engine-example"),
            # From the beginning when Kafka does not know us; what came before is dropped by number.
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
            place = f"{TOPIC} {instrument}"
            number = int(dict(message.headers() or ())["number"] or 0)
            last = places.get(place, 0)
            if number > last + 1:
                print(f"gap: {place} {number} follows {last}", file=sys.stderr)
                return 1
            if number == last + 1:
                # Numbers are exact decimals: floats would change some of them.
                value = json.loads(message.value() or b"", parse_float=Decimal)
                print(place, number, value, flush=True)
                places[place] = number
                keep(places)
            consumer.commit(message=message, asynchronous=True)
    except KeyboardInterrupt:
        return 0
    finally:
        consumer.close()


def keep(places: dict[str, int]) -> None:
    """Write the places down, whole or not at all."""
    fresh = PLACES.with_suffix(".new")
    fresh.write_text(json.dumps(places))
    fresh.replace(PLACES)


if __name__ == "__main__":
    sys.exit(main())
