"""A made-up day as LOBSTER would tell it, kept by rules of its own: no engine of ours involved."""

from random import Random
from typing import NamedTuple


class Resting(NamedTuple):
    """An order of the day; `rank` is its place in the queue at its price."""

    order_no: int
    rank: int
    size: int
    price: int
    direction: int


class Day:
    """Messages of a random day, and the orders that rest after them.

    From message `start` on, an order that is made smaller loses its place, as a replay cannot help;
    before that it keeps it, as on the exchange that was recorded.
    """

    def __init__(self, seed: int, messages: int, start: int = 0) -> None:
        self._start = start
        self.random = Random(seed)
        self.resting: dict[int, Resting] = {}
        self.rows: list[str] = []
        self._number = 1_000
        self._rank = 0
        self._time_us = 34_200_000_000
        while len(self.rows) < messages:
            self._time_us += self.random.randrange(20_000)
            self._happen()

    def file(self, start: int = 0) -> bytes:
        """Return the messages from one on."""
        return "".join(f"{row}\n" for row in self.rows[start:]).encode()

    def touched(self, start: int) -> set[int]:
        """Return the orders that the messages from one on are about."""
        return {int(row.split(",")[2]) for row in self.rows[start:]}

    def levels(self, direction: int, of: set[int] | None = None) -> dict[int, int]:
        """Return the size at each price of one side, of all orders or of some."""
        sizes: dict[int, int] = {}
        for order in self.resting.values():
            if order.direction == direction and (of is None or order.order_no in of):
                sizes[order.price] = sizes.get(order.price, 0) + order.size
        return sizes

    def _happen(self) -> None:
        chance = self.random.random()
        if not self.resting or chance < 0.5:
            self._submission()
        elif chance < 0.6:
            self._reduction()
        elif chance < 0.75:
            order = self.random.choice(list(self.resting.values()))
            del self.resting[order.order_no]
            self._tell(3, order.order_no, order.size, order.price, order.direction)
        elif chance < 0.97:
            self._execution()
        else:
            self._tell(5, 0, 7, 1_000_100, 1)

    def _submission(self) -> None:
        direction = self.random.choice((1, -1))
        # On its own side of 100.0, so that nothing crosses.
        price = 1_000_000 - direction * 100 * self.random.randrange(1, 12)
        self._number += 1
        self._rank += 1
        size = self.random.randrange(1, 9) * 10
        self.resting[self._number] = Resting(self._number, self._rank, size, price, direction)
        self._tell(1, self._number, size, price, direction)

    def _reduction(self) -> None:
        order = self.random.choice(list(self.resting.values()))
        if order.size > 1:
            less = self.random.randrange(1, order.size)
            rank = order.rank
            if len(self.rows) >= self._start:
                rank = self._rank = self._rank + 1
            self.resting[order.order_no] = order._replace(size=order.size - less, rank=rank)
            self._tell(2, order.order_no, less, order.price, order.direction)

    def _execution(self) -> None:
        direction = self.random.choice((1, -1))
        side = [order for order in self.resting.values() if order.direction == direction]
        if not side:
            return
        first = min(side, key=lambda order: (-direction * order.price, order.rank))
        size = self.random.randrange(1, first.size + 1)
        if size == first.size:
            del self.resting[first.order_no]
        else:
            self.resting[first.order_no] = first._replace(size=first.size - size)
        self._tell(4, first.order_no, size, first.price, direction)

    def _tell(self, kind: int, number: int, size: int, price: int, direction: int) -> None:
        seconds, us = divmod(self._time_us, 1_000_000)
        self.rows.append(f"{seconds}.{us:06d}000,{kind},{number},{size},{price},{direction}")
