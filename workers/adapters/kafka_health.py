"""Whether Kafka's brokers are there, for processes that have nothing else to do with Kafka."""

import asyncio

from workers.adapters.errors import Unavailable
from workers.settings import KafkaSettings

# A broker on another continent answers sooner than this.
CONNECT_TIMEOUT_S = 0.8


async def reach_broker(settings: KafkaSettings) -> None:
    """Return when a broker accepts connections. Raises Unavailable.

    What a broker then does with messages is seen by the mirror's lag: this finds a dead Kafka also
    when there is nothing to mirror.
    """
    tries = [asyncio.create_task(_connect(broker)) for broker in settings.brokers.split(",")]
    try:
        for attempt in asyncio.as_completed(tries, timeout=CONNECT_TIMEOUT_S):
            try:
                await attempt
                return
            except OSError:
                continue
    except TimeoutError:
        pass
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    raise Unavailable("Kafka: no broker accepts connections")


async def _connect(broker: str) -> None:
    host, _, port = broker.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
