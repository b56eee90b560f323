"""LOBSTER files (lobsterdata.com, "Output"): the messages of one day, and the book after each.

A message: seconds after midnight (UTC, nine decimals), type, order number, size, price times
10,000, direction of the resting order (1 buys, -1 sells). Types written:
    1 submission           what of a limit order comes to rest, after the trades it made on arrival
    3 deletion             the rest of an order is cancelled
    4 visible execution    a resting order trades
A market order is seen in the executions it causes, and in nothing else; so it is in LOBSTER's own
files. Row n of the order book file is the book after message n: ask price, ask size, bid price, bid
size of each level, best first; a level that is not there has the size 0 and the price 9999999999
(ask) or -9999999999 (bid).
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, BinaryIO, Final, NamedTuple

from ops.errors import OpsError
from ops.exporting.source import Book, Source
from workers.core.depth import DepthSide
from workers.core.units import format_units, parse_units

LEVELS_DEFAULT: Final = 10

_DAY_US: Final = 86_400_000_000
# Units of 1e-8 in LOBSTER's price unit, 1/10000.
_PRICE_UNITS: Final = 10**4
_NO_ASK: Final = b"9999999999,0"
_NO_BID: Final = b"-9999999999,0"
_SUBMISSION, _DELETION, _EXECUTION = 1, 3, 4


class Message(NamedTuple):
    """A row of the message file, amounts in units of 1e-8."""

    time_us: int
    type: int
    order_no: int
    quantity: int
    price: int
    side: str


def write_lobster(
    source: Source,
    book: Book,
    messages: BinaryIO,
    books: BinaryIO | None,
    *,
    levels: int,
    size_unit: Decimal,
    tick: Callable[[int], None],
) -> None:
    """Write both files; `tick` is told of every event read. Raises OpsError."""
    unit = parse_units(f"{size_unit:f}")
    sides = {"buy": DepthSide(1), "sell": DepthSide(-1)}
    depth: dict[str, dict[int, int]] = {"buy": {}, "sell": {}}
    for side, price, quantity in source.rows("lobster_book", book):
        depth[side][int(price)] = int(quantity)
        sides[side].set(int(price), int(quantity))
    day: int | None = None
    for message in _messages(_counted(source.rows("lobster_events", book), tick)):
        if day is None:
            day = message.time_us // _DAY_US
        elif message.time_us // _DAY_US != day:
            raise OpsError("A LOBSTER file holds one day (UTC): narrow --from and --to to it")
        messages.write(_row(message, unit))
        if books is not None:
            change = message.quantity if message.type == _SUBMISSION else -message.quantity
            levels_of = depth[message.side]
            left = levels_of.get(message.price, 0) + change
            if left:
                levels_of[message.price] = left
            else:
                del levels_of[message.price]
            sides[message.side].set(message.price, left)
            books.write(_book_row(sides["sell"], sides["buy"], levels, unit))


def _counted(
    rows: Iterator[tuple[Any, ...]], tick: Callable[[int], None]
) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        yield row
        tick(1)


def _messages(events: Iterator[tuple[Any, ...]]) -> Iterator[Message]:
    """Yield messages. What an order leaves in the book is known when its last trade is past."""
    taker: Message | None = None
    for kind, order_no, side, price, quantity, maker_order_no, time_us in events:
        quantity = int(quantity)
        if kind == "trade":
            maker_side = "sell" if side == "buy" else "buy"
            yield Message(time_us, _EXECUTION, maker_order_no, quantity, int(price), maker_side)
            if taker is not None:
                taker = taker._replace(quantity=taker.quantity - quantity)
            continue
        if taker is not None and taker.quantity:
            yield taker
        taker = None
        if kind == "accepted" and price is not None:
            taker = Message(time_us, _SUBMISSION, order_no, quantity, int(price), side)
        elif kind == "cancelled" and price is not None:
            yield Message(time_us, _DELETION, order_no, quantity, int(price), side)
    if taker is not None and taker.quantity:
        yield taker


def _row(message: Message, unit: int) -> bytes:
    time_us = message.time_us % _DAY_US
    return b"%d.%09d,%d,%d,%d,%d,%d\n" % (
        time_us // 1_000_000,
        time_us % 1_000_000 * 1_000,
        message.type,
        message.order_no,
        _size(message.quantity, unit),
        _price(message.price),
        1 if message.side == "buy" else -1,
    )


def _book_row(asks: DepthSide, bids: DepthSide, levels: int, unit: int) -> bytes:
    best_asks, best_bids = asks.top(levels), bids.top(levels)
    cells = []
    for n in range(levels):
        for side, none in ((best_asks, _NO_ASK), (best_bids, _NO_BID)):
            if n < len(side):
                price, quantity = side[n]
                cells.append(b"%d,%d" % (_price(price), _size(quantity, unit)))
            else:
                cells.append(none)
    return b",".join(cells) + b"\n"


def _size(quantity: int, unit: int) -> int:
    size, rest = divmod(quantity, unit)
    if rest:
        raise OpsError(
            f"LOBSTER sizes are whole numbers, and {format_units(quantity)} is not one of units of "
            f"{format_units(unit)}: choose a smaller --size-unit, such as 0.00000001"
        )
    return size


def _price(price: int) -> int:
    ticks, rest = divmod(price, _PRICE_UNITS)
    if rest:
        raise OpsError(
            f"LOBSTER prices have at most 4 decimals, and {format_units(price)} has more"
        )
    return ticks
