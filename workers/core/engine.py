"""The matching engine: commands in, events out, and nothing else.

Theory of operation. Commands arrive one after another, each with its time. An order is numbered,
then accepted or rejected. An accepted order takes from the other side of the book, best price
first and, within a price, first come first; each meeting is a trade at the resting order's price.
What remains of a limit order rests; what remains of a market order is cancelled. Because an order
takes everything it crosses before it rests, the book is never crossed between two commands.

    order status         open -> partially_filled -> filled
                          |  \\________|____________/
                          |           |
                          +-----------+----------> cancelled
    (new) -------------------------------------> rejected

Every event carries the next sequence, gapless from 1. The engine reads no clock, draws no random
number and does no I/O: the same commands give the same events and the same state hash anywhere.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from workers.core.book import OrderBook
from workers.core.messages import (
    CLIENT_REQUEST,
    EXPIRED,
    NO_LIQUIDITY,
    CancelOrder,
    CancelRefused,
    Command,
    Event,
    Order,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    SubmitOrder,
    Trade,
)

# More orders than there will ever be.
HASH_IN_ONE = 1 << 62


class MatchingEngine:
    """One instrument's engine: its book and the counters of what it has numbered so far."""

    __slots__ = ("book", "order_no", "sequence", "trade_no")

    def __init__(
        self,
        sequence: int = 0,
        order_no: int = 0,
        trade_no: int = 0,
        resting: Iterable[Order] = (),
    ) -> None:
        """Start empty, or where another engine stood: its counters and its resting orders.

        Orders at one price keep the priority of their order_no.
        """
        self.sequence = sequence
        self.order_no = order_no
        self.trade_no = trade_no
        self.book = OrderBook()
        for order in sorted(resting, key=lambda order: order.order_no):
            self.book.add(order)
        self.book.bids.take_changes()
        self.book.asks.take_changes()

    def apply(self, command: Command) -> list[Event]:
        """Apply one command and return its events, in the order in which they happened."""
        if type(command) is SubmitOrder:
            return self._submit(command)
        assert type(command) is CancelOrder
        return self._cancel(command)

    def state_hash(self) -> str:
        """Return a digest of the whole state: equal states, equal hash, on any machine."""
        *_, state_hash = self.hash_in_slices(HASH_IN_ONE)
        return state_hash

    def hash_in_slices(self, orders: int) -> Iterator[str]:
        """Yield an empty text after each so many orders, and at last the state hash.

        It is one only if nothing was applied in between; whoever applied something stops asking.
        """
        digest = blake2b(digest_size=16)
        left = orders
        digest.update(b"%d %d %d" % (self.sequence, self.order_no, self.trade_no))
        for side in (self.book.bids, self.book.asks):
            digest.update(b"|")
            for level in side:
                for order in level:
                    digest.update(
                        b"%d:%d:%d;" % (order.order_no, order.price_ticks, order.remaining_lots)
                    )
                    left -= 1
                    if not left:
                        left = orders
                        yield ""
        yield digest.hexdigest()

    def _submit(self, command: SubmitOrder) -> list[Event]:
        time_us = command.time_us
        self.order_no += 1
        order = Order(
            self.order_no,
            command.order_id,
            command.client_id,
            command.side,
            command.type,
            command.price_ticks,
            command.quantity_lots,
            command.idempotency_key,
            time_us,
        )
        if time_us > command.deadline_us:
            return [self._reject(order, EXPIRED)]
        opposite = self.book.asks if order.side == "buy" else self.book.bids
        if order.type == "market" and opposite.best() is None:
            return [self._reject(order, NO_LIQUIDITY)]
        self.sequence += 1
        events: list[Event] = [OrderAccepted(self.sequence, time_us, order)]
        self._take(order, time_us, events)
        if order.remaining_lots:
            if order.type == "limit":
                self.book.add(order)
            else:
                events.append(self._close(order, time_us, NO_LIQUIDITY))
        return events

    def _take(self, taker: Order, time_us: int, events: list[Event]) -> None:
        """Let `taker` trade with the other side until it is filled or nothing crosses."""
        book = self.book
        buying = taker.side == "buy"
        opposite = book.asks if buying else book.bids
        limited = taker.type == "limit"
        while taker.remaining_lots:
            level = opposite.best()
            if level is None:
                return
            price_ticks = level.price_ticks
            if limited and (
                price_ticks > taker.price_ticks if buying else price_ticks < taker.price_ticks
            ):
                return
            maker = level.first
            assert maker is not None
            quantity_lots = min(taker.remaining_lots, maker.remaining_lots)
            value = price_ticks * quantity_lots
            for order in (maker, taker):
                order.remaining_lots -= quantity_lots
                order.filled_value += value
                order.updated_us = time_us
                order.status = "partially_filled" if order.remaining_lots else "filled"
            opposite.reduce(level, quantity_lots)
            if not maker.remaining_lots:
                book.remove(maker)
            self.sequence += 1
            self.trade_no += 1
            events.append(
                Trade(
                    self.sequence, time_us, self.trade_no, maker, taker, price_ticks, quantity_lots
                )
            )

    def _cancel(self, command: CancelOrder) -> list[Event]:
        order = self.book.orders.get(command.order_id)
        if order is None or command.time_us > command.deadline_us:
            return [CancelRefused(command.order_id)]
        self.book.remove(order)
        return [self._close(order, command.time_us, CLIENT_REQUEST)]

    def _close(self, order: Order, time_us: int, reason: str) -> OrderCancelled:
        order.status = "cancelled"
        order.status_reason = reason
        order.updated_us = time_us
        self.sequence += 1
        return OrderCancelled(self.sequence, time_us, order, order.remaining_lots, reason)

    def _reject(self, order: Order, reason: str) -> OrderRejected:
        order.status = "rejected"
        order.status_reason = reason
        self.sequence += 1
        return OrderRejected(self.sequence, order.created_us, order, reason)
