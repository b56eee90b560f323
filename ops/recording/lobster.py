"""LOBSTER message files (lobsterdata.com, "Output") as commands that rebuild their book.

Rows: seconds after midnight, type, order number, size, price times 10,000, direction of the resting
order (1 buys, -1 sells); more columns are ignored. A row becomes

    1 submission            a limit order
    2 partial cancellation  a cancel, and a new order for what is left: the API cannot make an order
                            smaller, so what is left goes behind the others at its price
    3 deletion              a cancel
    4 visible execution     a market order of that size from the other side: executing an order that
                            sells is a trade that a buyer started. In a book that holds nothing else
                            it meets that very order; among orders of others, whatever is best
    5 hidden execution, 6 cross trade, 7 trading halt
                            nothing: hidden orders, auctions and halts are not in the API. Counted

Files begin in the middle of a day, and tell of orders that rested before: those that are executed,
cancelled or deleted later are placed first, in the order of their numbers (which rise with time),
each for as much as the file takes away from it. A row about an order that is gone is counted.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from ops.orders_file import LOBSTER_PASSED_OVER, LOBSTER_PRICE_UNITS, ONE_UNITS, positive
from ops.recording.steps import BadLine, CancelOrder, Order, Step
from workers.core.messages import Side
from workers.core.units import InexactNumber, format_units, parse_units

SUBMISSION, REDUCTION, DELETION, EXECUTION = b"1", b"2", b"3", b"4"
GONE: Final = "LOBSTER: an order that is gone"
_SIDES: Final[dict[bytes, Side]] = {b"1": "buy", b"-1": "sell"}
_US_UNITS: Final = 100


class Row(NamedTuple):
    """A row: `size` in whole units, `price` in 1/10000."""

    number: int
    time_us: int
    kind: bytes
    order_no: int
    size: int
    price: int
    side: Side


class Unmapped(NamedTuple):
    """A row that says nothing to send; its time does not matter either."""

    reason: str
    number: int
    time_us: None = None


class Resting(NamedTuple):
    """An order of the recording: its id now, and what of it has not been taken away."""

    order_id: str
    size: int
    price: int
    side: Side


def read_row(number: int, text: bytes) -> Row | Unmapped:
    """Return a row. Raises BadLine."""
    columns = [column.strip() for column in text.split(b",")]
    if len(columns) < 6:
        raise BadLine("not a LOBSTER row: fewer than 6 columns")
    kind = columns[1]
    if kind in LOBSTER_PASSED_OVER and kind != REDUCTION:
        return Unmapped(LOBSTER_PASSED_OVER[kind], number)
    if kind not in (SUBMISSION, REDUCTION, DELETION, EXECUTION):
        raise BadLine("event type is not 1 to 7")
    side = _SIDES.get(columns[5])
    if side is None:
        raise BadLine("direction is not 1 or -1")
    return Row(
        number,
        read_time(columns[0].decode(errors="replace")),
        kind,
        positive(columns[2], "order number"),
        positive(columns[3], "size"),
        positive(columns[4], "price"),
        side,
    )


def read_time(text: str) -> int:
    """Return microseconds of seconds; finer digits are cut off. Raises BadLine."""
    whole, point, fraction = text.partition(".")
    try:
        units = parse_units(whole + point + fraction[:6])
    except InexactNumber:
        raise BadLine(f"time {text!r} is not a number of seconds") from None
    if units < 0:
        raise BadLine("time is below zero")
    return units // _US_UNITS


class Translator:
    """Turns rows into steps; remembers what of each order is left."""

    def __init__(self, instrument: str, clients: int) -> None:
        self.unmapped: Counter[str] = Counter()
        self._instrument = instrument
        self._clients = clients
        self._resting: dict[int, Resting] = {}

    def opening(self, rows: Iterator[Row | Unmapped]) -> tuple[Step | None, int]:
        """Return what rested before the first row, as far as the rows tell, and their count."""
        submitted: set[int] = set()
        before: dict[int, Resting] = {}
        first_us: int | None = None
        count = 0
        for row in rows:
            count += 1
            if isinstance(row, Unmapped):
                continue
            first_us = row.time_us if first_us is None else first_us
            no = row.order_no
            if row.kind == SUBMISSION:
                submitted.add(no)
            elif no not in submitted:
                known = before.get(no) or Resting(f"{no}", 0, row.price, row.side)
                before[no] = known._replace(size=known.size + row.size)
        orders = []
        for no in sorted(before):
            self._resting[no] = before[no]
            orders.append(self._limit(no, before[no]))
        return (Step(0, first_us, tuple(orders)) if orders else None), count

    def step(self, row: Row | Unmapped) -> Step | None:
        """Return the commands of a row, None if it has none."""
        if isinstance(row, Unmapped):
            self.unmapped[row.reason] += 1
            return None
        no = row.order_no
        if row.kind == SUBMISSION:
            order = self._resting[no] = Resting(f"{no}", row.size, row.price, row.side)
            return Step(row.number, row.time_us, (self._limit(no, order),))
        resting = self._resting.pop(no, None)
        if resting is None:
            self.unmapped[GONE] += 1
            return None
        left = resting._replace(size=resting.size - row.size)
        if row.kind == EXECUTION:
            if left.size > 0:
                self._resting[no] = left
            return Step(row.number, row.time_us, (self._taker(row),))
        cancel = CancelOrder(resting.order_id, self._instrument)
        if row.kind == DELETION or left.size <= 0:
            return Step(row.number, row.time_us, (cancel,))
        # A name that is not the first one's, and the same in every run.
        again = self._resting[no] = left._replace(order_id=f"{no}-{row.number}")
        return Step(row.number, row.time_us, (cancel, self._limit(no, again)))

    def _limit(self, no: int, order: Resting) -> Order:
        return Order(
            order.order_id,
            self._client(no),
            self._instrument,
            order.side,
            format_units(order.price * LOBSTER_PRICE_UNITS),
            format_units(order.size * ONE_UNITS),
        )

    def _taker(self, row: Row) -> Order:
        """Return who takes: not the client of the order taken, if there is more than one."""
        return Order(
            f"{row.order_no}-{row.number}",
            self._client(row.order_no + 1),
            self._instrument,
            "sell" if row.side == "buy" else "buy",
            None,
            format_units(row.size * ONE_UNITS),
        )

    def _client(self, number: int) -> str:
        return f"lobster-{number % self._clients}"
