"""The order book: every resting order, by level and arrival.

Each side keeps a dictionary of levels by price and a sorted list of their prices with the best one
last, so the busy end of the book is the cheap end of the list. A level is a queue of orders linked
through the orders themselves: joining, leaving from the middle and leaving from the front all cost
the same, however long the queue is, and nothing is left behind.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from workers.core.messages import Order


class Level:
    """All resting quantity at one price on one side, first come first."""

    __slots__ = ("first", "last", "price_ticks", "quantity_lots")

    def __init__(self, price_ticks: int) -> None:
        self.price_ticks = price_ticks
        self.quantity_lots = 0
        self.first: Order | None = None
        self.last: Order | None = None

    def __iter__(self) -> Iterator[Order]:
        order = self.first
        while order is not None:
            yield order
            order = order.next


class BookSide:
    """One side of the book. `sign` is 1 for bids and -1 for asks: best has the highest rank."""

    __slots__ = ("_changed", "_ranks", "_sign", "levels")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self.levels: dict[int, Level] = {}
        self._ranks: list[int] = []
        self._changed: set[int] = set()

    def best(self) -> Level | None:
        """Return the level that trades next, or None when the side is empty."""
        ranks = self._ranks
        return self.levels[ranks[-1] * self._sign] if ranks else None

    def add(self, order: Order) -> None:
        """Let `order` rest, behind everything at its price."""
        price_ticks = order.price_ticks
        level = self.levels.get(price_ticks)
        if level is None:
            level = self.levels[price_ticks] = Level(price_ticks)
            insort(self._ranks, price_ticks * self._sign)
        last = level.last
        order.previous = last
        if last is None:
            level.first = order
        else:
            last.next = order
        level.last = order
        level.quantity_lots += order.remaining_lots
        self._changed.add(price_ticks)

    def reduce(self, level: Level, quantity_lots: int) -> None:
        """Take `quantity_lots`, just filled, off the level's total."""
        level.quantity_lots -= quantity_lots
        self._changed.add(level.price_ticks)

    def remove(self, order: Order) -> None:
        """Take `order`, with whatever remains of it, out of its level."""
        level = self.levels[order.price_ticks]
        before, after = order.previous, order.next
        if before is None:
            level.first = after
        else:
            before.next = after
        if after is None:
            level.last = before
        else:
            after.previous = before
        order.previous = order.next = None
        level.quantity_lots -= order.remaining_lots
        self._changed.add(order.price_ticks)
        if level.first is None:
            del self.levels[order.price_ticks]
            rank = order.price_ticks * self._sign
            if self._ranks[-1] == rank:
                self._ranks.pop()
            else:
                del self._ranks[bisect_left(self._ranks, rank)]

    def __iter__(self) -> Iterator[Level]:
        """Yield the levels, best first."""
        sign = self._sign
        return (self.levels[rank * sign] for rank in reversed(self._ranks))

    def take_changes(self) -> list[tuple[int, int]]:
        """Return (price_ticks, quantity_lots) of each level changed since the last call.

        A level that is gone has quantity 0.
        """
        levels = self.levels
        changes = [
            (price_ticks, level.quantity_lots if (level := levels.get(price_ticks)) else 0)
            for price_ticks in self._changed
        ]
        self._changed.clear()
        return changes


class OrderBook:
    """Bids high to low, asks low to high, and every resting order by its order_id."""

    __slots__ = ("asks", "bids", "orders")

    def __init__(self) -> None:
        self.bids = BookSide(1)
        self.asks = BookSide(-1)
        self.orders: dict[str, Order] = {}

    def add(self, order: Order) -> None:
        """Let `order` rest on its side."""
        (self.bids if order.side == "buy" else self.asks).add(order)
        self.orders[order.order_id] = order

    def remove(self, order: Order) -> None:
        """Take `order` out of the book."""
        (self.bids if order.side == "buy" else self.asks).remove(order)
        del self.orders[order.order_id]
