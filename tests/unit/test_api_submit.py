"""Commands on their way: what is remembered of them, and how lost answers are looked for."""

import asyncio
from typing import Any

from api.submit import Submitter
from tests.builders import submit
from workers.adapters.errors import Unavailable
from workers.adapters.streams import Append, Appended
from workers.core.instruments import Instrument
from workers.core.records import OrderRecord
from workers.metrics import Metrics

NAMES = ("BTC-USD", "ETH-USD", "SOL-USD")
INSTRUMENTS = {
    name: Instrument(number, name, name[:3], "USD", 1, 1, "trading")
    for number, name in enumerate(NAMES, 1)
}


class Writer:
    """Takes everything."""

    async def append(self, instrument: str, requests: list[Append]) -> list[Appended]:
        return [Appended()] * len(requests)


class Lookups:
    """Holds every order, after failing a number of times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures

    async def orders(self, order_ids: list[str]) -> dict[str, OrderRecord]:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        return {
            order_id: OrderRecord(
                order_id, 1, "a", "BTC-USD", "buy", "limit", 1, 1, 0, 0, "open", "", "", 1, 1
            )
            for order_id in order_ids
        }


def submitter(lookups: Any) -> Submitter:
    return Submitter(
        edge_id="me",
        writer=Writer(),  # type: ignore[arg-type]
        lookups=lookups,
        timeout_ms=10_000,
        in_flight_max=100,
        metrics=Metrics(),
    )


async def test_every_instrument_that_may_have_lost_answers_is_looked_up() -> None:
    sending = submitter(Lookups())
    answers = [
        sending.send(INSTRUMENTS[name], submit(f"order-{name}", "buy", 1, 1)) for name in NAMES
    ]
    for name in NAMES:
        sending.look_up([name])
    async with asyncio.timeout(5):
        found = await asyncio.gather(*answers)
    assert [order.order_id for order in found] == [f"order-{name}" for name in NAMES]


async def test_a_look_up_that_failed_is_tried_again() -> None:
    sending = submitter(Lookups(failures=2))
    answer = sending.send(INSTRUMENTS["BTC-USD"], submit("it", "buy", 1, 1))
    sending.look_up(["BTC-USD"])
    async with asyncio.timeout(5):
        assert (await answer).order_id == "it"  # type: ignore[union-attr]


async def test_the_instrument_of_an_order_is_known_until_after_its_answer() -> None:
    sending = submitter(Lookups())
    assert sending.instrument_of("it") is None
    answer = sending.send(INSTRUMENTS["ETH-USD"], submit("it", "buy", 1, 1))
    assert sending.instrument_of("it") == "ETH-USD"
    sending.look_up(["ETH-USD"])
    await answer
    assert sending.instrument_of("it") == "ETH-USD"
