"""A slow judge of price and time priority: it shares no line with the engine under test.

It is told the orders and cancels as PostgreSQL says they happened, and says itself which trades
must have come of them. Restarts, take-overs and replays in between may change nothing about that.
"""

from collections import deque
from collections.abc import Iterable

from workers.core.rebuild import LoggedEvent

# maker order_no, taker order_no, price_ticks, quantity_lots
Expected = tuple[int, int, int, int]


class ReferenceBook:
    """Resting orders by price; each price is a queue of [order_no, remaining lots]."""

    def __init__(self) -> None:
        self.bids: dict[int, deque[list[int]]] = {}
        self.asks: dict[int, deque[list[int]]] = {}

    def submit(self, event: LoggedEvent) -> tuple[list[Expected], int]:
        """Return the trades that an order must make, and what remains of it."""
        buying = event.side == "buy"
        theirs, ours = (self.asks, self.bids) if buying else (self.bids, self.asks)
        remaining = event.quantity_lots
        trades: list[Expected] = []
        while remaining and theirs:
            price = min(theirs) if buying else max(theirs)
            if event.type == "limit" and (
                price > event.price_ticks if buying else price < event.price_ticks
            ):
                break
            maker = theirs[price][0]
            quantity = min(remaining, maker[1])
            trades.append((maker[0], event.order_no, price, quantity))
            remaining -= quantity
            maker[1] -= quantity
            if not maker[1]:
                theirs[price].popleft()
                if not theirs[price]:
                    del theirs[price]
        if remaining and event.type == "limit":
            ours.setdefault(event.price_ticks, deque()).append([event.order_no, remaining])
        return trades, remaining

    def cancel(self, event: LoggedEvent) -> bool:
        """Remove a resting order; tell whether it was there with what the event says."""
        side = self.bids if event.side == "buy" else self.asks
        for order in side.get(event.price_ticks, ()):
            if order[0] == event.order_no:
                side[event.price_ticks].remove(order)
                if not side[event.price_ticks]:
                    del side[event.price_ticks]
                return order[1] == event.quantity_lots
        return False


def priority_problems(events: Iterable[LoggedEvent]) -> list[str]:
    """Return where the log of one instrument departs from price, then time."""
    book = ReferenceBook()
    due: deque[Expected] = deque()
    remainder = (0, 0)  # of the last market order: order_no, lots that must be cancelled at once
    for event in events:
        if event.kind == "trade":
            assert event.maker_order_no is not None
            trade = (event.maker_order_no, event.order_no, event.price_ticks, event.quantity_lots)
            if not due or due.popleft() != trade:
                return [f"sequence {event.sequence}: {trade} is not the trade that was due"]
            continue
        if due:
            return [f"sequence {event.sequence}: the trade {due[0]} is missing before it"]
        if remainder[1]:
            if (event.kind, event.order_no, event.quantity_lots) != ("cancelled", *remainder):
                return [f"sequence {event.sequence}: market order {remainder} was left resting"]
            remainder = (0, 0)
        elif event.kind == "accepted":
            trades, remaining = book.submit(event)
            due.extend(trades)
            if event.type == "market":
                remainder = (event.order_no, remaining)
                if not trades:
                    return [f"sequence {event.sequence}: nothing to trade with, yet accepted"]
        elif event.kind == "cancelled" and not book.cancel(event):
            return [f"sequence {event.sequence}: cancels what is not there"]
    return [f"the log ends before the trade {due[0]}"] if due else []
