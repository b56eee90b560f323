"""The event log unrolled: after each event, the orders and the part of the book that it changed.

Pure: what is in PostgreSQL goes in, and the same comes out whenever, and in whatever portions, it
is read. So a message that is written to Kafka twice is the same message.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from workers.core.messages import Order, OrderType, Side
from workers.core.rebuild import BrokenLog
from workers.core.records import OrderRecord, record_order


class LogTrade(NamedTuple):
    """What an event that is a trade has besides. Fees are in 1e-16 quote asset, signed."""

    trade_no: int
    maker_order_no: int
    maker_fee: int
    taker_fee: int
    maker_segment: str
    taker_segment: str


class LogEvent(NamedTuple):
    """A row of the event log; see read_mirror_events_v1. `order_no` of a trade is its taker's."""

    sequence: int
    kind: Literal["accepted", "rejected", "cancelled", "trade"]
    order_no: int
    side: Side
    type: OrderType | None
    price_ticks: int
    quantity_lots: int
    time_us: int
    reason: str
    trade: LogTrade | None

    def follows_in_command(self) -> bool:
        """Tell whether this event is of the same command as the one before it.

        A taker's trades follow its accepted event, and a market order, which never rests, is
        cancelled by its own command only.
        """
        return self.trade is not None or (self.kind == "cancelled" and self.type == "market")


class BookChange(NamedTuple):
    """What an order has in the book now; 0 when it has left it."""

    order: OrderRecord
    remaining_lots: int


class Step(NamedTuple):
    """One event and what it changed.

    `orders` as they stand after it: of a trade, the maker and the taker. `last` says that its
    command ends here, so that the book is not crossed. `trade_no` counts the trades up to here.
    """

    event: LogEvent
    trade_no: int
    orders: tuple[OrderRecord, ...]
    changes: tuple[BookChange, ...]
    last: bool


def unroll(
    instrument: str, sequence: int, trade_no: int, events: Sequence[LogEvent],
    orders: Mapping[int, Order],
) -> Iterator[Step]:  # fmt: skip
    """Yield a step per event. Raises BrokenLog.

    `sequence` and `trade_no` are of the last event and trade before these. `orders` holds every
    order they are about, as it stood then; it is changed. The events end where a command does.
    """
    for number, event in enumerate(events, 1):
        if event.sequence != sequence + 1:
            raise BrokenLog(f"{instrument}: sequence {event.sequence} follows {sequence}")
        sequence = event.sequence
        last = number == len(events) or not events[number].follows_in_command()
        order = orders[event.order_no]
        changed = [order]
        if event.trade is None:
            if event.kind != "accepted":
                order.status = "rejected" if event.kind == "rejected" else "cancelled"
                order.status_reason = event.reason
        else:
            if event.trade.trade_no != trade_no + 1:
                raise BrokenLog(f"{instrument}: trade {event.trade.trade_no} follows {trade_no}")
            trade_no = event.trade.trade_no
            changed = [orders[event.trade.maker_order_no], order]
            for one in changed:
                _fill(one, event)
        for one in changed:
            one.updated_us = event.time_us
        records = tuple(record_order(instrument, one) for one in changed)
        yield Step(event, trade_no, records, tuple(_book_changes(event, records, last)), last)


def _fill(order: Order, event: LogEvent) -> None:
    order.remaining_lots -= event.quantity_lots
    if order.remaining_lots < 0:
        raise BrokenLog(f"sequence {event.sequence} fills more than order {order.order_no} has")
    order.filled_value += event.price_ticks * event.quantity_lots
    order.status = "partially_filled" if order.remaining_lots else "filled"


def _book_changes(
    event: LogEvent, orders: tuple[OrderRecord, ...], last: bool
) -> Iterator[BookChange]:
    *makers, order = orders
    for maker in makers:
        yield BookChange(maker, maker.quantity_lots - maker.filled_lots)
    if order.type == "market":
        return
    if event.kind == "cancelled":
        yield BookChange(order, 0)
    elif last and order.status in ("open", "partially_filled"):
        # A taker enters the book with what its command leaves of it.
        yield BookChange(order, order.quantity_lots - order.filled_lots)
