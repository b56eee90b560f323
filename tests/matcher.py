"""A matcher without a stream: an engine, and the ledger that it commits to."""

from itertools import count

from workers.adapters.ledger import Ledger, Standing
from workers.core.batch import Batch
from workers.core.codec import Request
from workers.core.engine import MatchingEngine
from workers.core.instruments import Instrument
from workers.core.messages import CancelOrder, Command, Event, Side, SubmitOrder

BTC_USD = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")
ONE = 10**8


NUMBERS = count(1)


def limit(
    side: Side, price_ticks: int, quantity_lots: int, *, client_id: str = "c",
    order_id: str | None = None, idempotency_key: str = "",
) -> SubmitOrder:  # fmt: skip
    return SubmitOrder(
        order_id or f"order-{next(NUMBERS)}", client_id, side,
        "limit" if price_ticks else "market", price_ticks, quantity_lots, idempotency_key,
        order_id is not None, 1, 2,
    )  # fmt: skip


def market(side: Side, quantity_lots: int, *, client_id: str = "c") -> SubmitOrder:
    return limit(side, 0, quantity_lots, client_id=client_id)


def cancel(order_id: str) -> CancelOrder:
    return CancelOrder(order_id, 1, 2)


class Matcher:
    """An engine and the ledger it commits to, without a stream."""

    def __init__(self, ledger: Ledger, standing: Standing, instrument: str = "BTC-USD") -> None:
        self.ledger = ledger
        self.instrument = instrument
        # The time of the next batch; None: it follows the sequence.
        self.time_us: int | None = None
        self.standing = standing
        self.epoch = standing.epoch
        self.engine = MatchingEngine()
        self.batch = Batch(instrument, "0-0", 0, 0, 0)

    async def apply(self, *commands: Command) -> Batch:
        """Apply commands to a fresh batch, not committed yet."""
        engine = self.engine
        position = self.batch.position
        batch = Batch(self.instrument, position, engine.sequence, engine.order_no, engine.trade_no)
        batch.time_us = self.time_us or 1_700_000_000_123_456 + engine.sequence
        for number, command in enumerate(commands, 1):
            if hasattr(command, "client_id"):
                await self.ledger.ensure_clients([command.client_id])
            batch.add_entry(f"{int(position.split('-')[0]) + 1}-{number}")
            command = command._replace(time_us=batch.time_us, deadline_us=batch.time_us)
            events = engine.apply(command)
            self.applied(events)
            batch.add_events(Request(command, "edge", number), events)
        self.batch = batch
        return batch

    def applied(self, events: list[Event]) -> None:
        """Look at what one command did; for those who record it."""

    async def commit(self, batch: Batch) -> None:
        await self.ledger.commit(self.ledger.parameters(batch, self.epoch))
