"""An engine rebuilt from the event log alone: the independent check on what is stored."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from workers.core.engine import MatchingEngine
from workers.core.messages import Order, OrderType, Side


class LoggedEvent(NamedTuple):
    """One row of the event log; see read_events_v1."""

    sequence: int
    kind: Literal["accepted", "rejected", "cancelled", "trade"]
    order_no: int
    side: Side
    type: OrderType | None
    price_ticks: int
    quantity_lots: int
    trade_no: int | None
    maker_order_no: int | None


class BrokenLog(Exception):
    """Raised when the log cannot have been written by an engine."""


def rebuild(events: Iterable[LoggedEvent]) -> MatchingEngine:
    """Return the engine that wrote `events`, from sequence 1 on. Raises BrokenLog."""
    sequence = order_no = trade_no = 0
    live: dict[int, Order] = {}
    for event in events:
        if event.sequence != sequence + 1:
            raise BrokenLog(f"sequence {event.sequence} follows {sequence}")
        sequence = event.sequence
        if event.kind == "trade":
            assert event.trade_no is not None
            assert event.maker_order_no is not None
            if event.trade_no != trade_no + 1:
                raise BrokenLog(f"trade {event.trade_no} follows {trade_no}")
            trade_no = event.trade_no
            for number in (event.maker_order_no, event.order_no):
                order = live.get(number)
                if order is None or order.remaining_lots < event.quantity_lots:
                    raise BrokenLog(f"sequence {sequence} fills more than order {number} has")
                order.remaining_lots -= event.quantity_lots
                if not order.remaining_lots:
                    del live[number]
            continue
        if event.kind == "cancelled":
            order = live.pop(event.order_no, None)
            if order is None or order.remaining_lots != event.quantity_lots:
                raise BrokenLog(f"sequence {sequence} cancels what order {event.order_no} has not")
            continue
        if event.order_no != order_no + 1:
            raise BrokenLog(f"order {event.order_no} follows {order_no}")
        order_no = event.order_no
        if event.kind == "accepted":
            assert event.type is not None
            live[order_no] = Order(
                order_no,
                str(order_no),
                "",
                event.side,
                event.type,
                event.price_ticks,
                event.quantity_lots,
                "",
                0,
            )
    if any(order.type == "market" for order in live.values()):
        raise BrokenLog("a market order was left resting")
    return MatchingEngine(sequence, order_no, trade_no, live.values())
