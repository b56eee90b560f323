"""What a run of commands did, gathered for one commit."""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

from workers.core.codec import Outcome, Reply, Request
from workers.core.duplicates import FirstOrder
from workers.core.messages import (
    CancelRefused,
    Event,
    Order,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    Trade,
)
from workers.core.records import Changes, TradeRecord, record_order, record_trade


class Update(NamedTuple):
    """An order of an earlier batch, and what this batch filled of it."""

    order: Order
    filled_lots: int
    filled_value: int


class DeadLetter(NamedTuple):
    """A stream entry that could not be applied, kept whole."""

    stream_id: str
    payload: bytes
    error: str


class Batch:
    """The effects of consecutive stream entries of one instrument.

    Starts where the last batch ended: its position, sequence and numbers. `names` are what its
    orders are remembered by (their order_id, and client and key) until they can be found in the
    database.
    """

    def __init__(
        self, instrument: str, position: str, sequence: int, order_no: int, trade_no: int
    ) -> None:
        self.instrument = instrument
        self.from_position = self.position = position
        self.from_sequence = self.sequence = sequence
        self.from_order_no = self.order_no = order_no
        self.trade_no = trade_no
        self.time_us = 0
        self.entry_ids: list[str] = []
        self.orders: list[tuple[int, Order]] = []
        self.updates: dict[int, Update] = {}
        self.trades: list[Trade] = []
        self.trade_records: list[TradeRecord] = []
        # Each order touched, by order_no, with the sequence of the last event about it.
        self.touched: dict[int, tuple[int, Order]] = {}
        self.cancels: list[OrderCancelled] = []
        self.dead_letters: list[DeadLetter] = []
        self.replies: dict[str, list[Reply]] = {}
        self.names: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self.entry_ids)

    def client_ids(self) -> set[str]:
        """Return every client that its orders and trades name."""
        named = {order.client_id for _, order in self.orders}
        for trade in self.trades:
            named |= {trade.maker.client_id, trade.taker.client_id}
        return named

    def add_entry(self, stream_id: str) -> None:
        """Move the position to `stream_id`."""
        self.entry_ids.append(stream_id)
        self.position = stream_id

    def add_events(self, request: Request, events: list[Event]) -> None:
        """Gather what one command did, and its reply."""
        trades: list[TradeRecord] = []
        outcome: Outcome = "accepted"
        order: Order | None = None
        for event in events:
            kind = type(event)
            if kind is Trade:
                assert isinstance(event, Trade)
                self.trades.append(event)
                self.trade_no = event.trade_no
                self._update(event.maker, event.quantity_lots, event.price_ticks)
                self.touched[event.maker.order_no] = (event.sequence, event.maker)
                trades.append(record_trade(self.instrument, event))
            elif kind is CancelRefused:
                self._reply(request, "not_resting", request.command.order_id)
                return
            else:
                assert isinstance(event, OrderAccepted | OrderCancelled | OrderRejected)
                order = event.order
                if isinstance(event, OrderCancelled):
                    self.cancels.append(event)
                    self._update(order, 0, 0)
                    if len(events) == 1:
                        outcome = "cancelled"
                else:
                    self.orders.append((event.sequence, order))
                    self.order_no = order.order_no
            self.sequence = event.sequence
        assert order is not None
        self.touched[order.order_no] = (self.sequence, order)
        self.trade_records += trades
        reply = Reply(
            request.correlation,
            outcome,
            self.sequence,
            order.order_id,
            record_order(self.instrument, order),
            tuple(trades),
        )
        self.replies.setdefault(request.reply_to, []).append(reply)

    def add_refusal(self, request: Request, outcome: Outcome, order_id: str) -> None:
        """Gather the reply to a command that changes nothing."""
        self._reply(request, outcome, order_id)

    def changes(self) -> Changes:
        """Return what the batch did, as the feed tells it. Orders are as they stand now."""
        touched = sorted(self.touched.values(), key=itemgetter(0))
        return Changes(
            self.from_sequence,
            self.sequence,
            tuple(self.trade_records),
            tuple((sequence, record_order(self.instrument, order)) for sequence, order in touched),
        )

    def _reply(self, request: Request, outcome: Outcome, order_id: str) -> None:
        reply = Reply(request.correlation, outcome, self.sequence, order_id)
        self.replies.setdefault(request.reply_to, []).append(reply)

    def _update(self, order: Order, quantity_lots: int, price_ticks: int) -> None:
        if order.order_no > self.from_order_no:
            return  # born in this batch: it is stored as it stands at the end
        before = self.updates.get(order.order_no)
        value = price_ticks * quantity_lots
        if before is not None:
            quantity_lots += before.filled_lots
            value += before.filled_value
        self.updates[order.order_no] = Update(order, quantity_lots, value)


class Names:
    """Orders not yet surely visible in the database, by what a repeat would call them."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str], FirstOrder] = {}

    def find(self, name: tuple[str, str]) -> FirstOrder | None:
        return self._orders.get(name)

    def remember(self, name: tuple[str, str], order: FirstOrder) -> None:
        self._orders[name] = order

    def forget(self, batch: Batch) -> None:
        """Forget the names of a batch whose commit came before the next look into the database."""
        for name in batch.names:
            self._orders.pop(name, None)
