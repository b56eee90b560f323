"""Engine snapshots: orders in columns as PostgreSQL packs them; bringing them up to date.

A page of resting orders (sql/functions/load_orders_v2.sql says what is in it) is what a full
rebuild reads, and what a snapshot keeps. Columns load several times faster than rows.

An order's priority is its order_no, so orders that changed since the snapshot can simply be
replaced by how they stand now. What is checked on the way: that the events after the snapshot lead
from its counters to those of now, and that they touch nothing that it should hold and does not.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from struct import Struct
from typing import Final, NamedTuple

from workers.core.messages import Order, Side, Status

# What this code can read. A change of load_orders' columns is another format.
FORMAT: Final = 1

# PostgreSQL counts microseconds from 2000-01-01.
_EPOCH_US: Final = 946_684_800_000_000
_SIDES: Final[dict[str, Side]] = {"b": "buy", "s": "sell"}


class BrokenSnapshot(Exception):
    """Raised when a snapshot cannot be what an engine held; says why."""


class Counters(NamedTuple):
    """How far an engine has come."""

    sequence: int
    order_no: int
    trade_no: int


class EngineSnapshot(NamedTuple):
    """What is known of a stored snapshot before its orders are loaded."""

    format: int
    counters: Counters
    orders: int
    parts: int


class EngineChanges(NamedTuple):
    """What happened after a snapshot.

    How many events, and of them new orders and trades; the numbers of the older orders that they
    touched; and what rests now of these and of the new ones.
    """

    events: int
    orders: int
    trades: int
    order_nos: Sequence[int]
    resting: Sequence[Order]


class Page(NamedTuple):
    """Resting orders of one status, in columns."""

    status: Status
    orders: int
    numbers: bytes
    texts: str


def decode_page(page: Page) -> tuple[list[Order], dict[int, str]]:
    """Return the orders of a page, and their clients by number. Raises BrokenSnapshot."""
    count = page.orders
    filled = page.status == "partially_filled"
    numbers, texts = page.numbers, page.texts.split("\n")
    if len(numbers) != 8 * count * (4 if filled else 3) or len(texts) != (8 if filled else 6):
        raise BrokenSnapshot(f"a page of {count} orders has the wrong length")
    integers = Struct(f">{count}q")
    order_nos, client_nos, created, *updated = integers.iter_unpack(numbers)
    order_ids, client_ids, prices, quantities, keys, *fills = (
        column.split(",") for place, column in enumerate(texts) if place != 2
    )
    sides = texts[2]
    columns = (order_ids, client_ids, prices, quantities, keys, sides, *fills)
    if any(len(column) != count for column in columns):
        raise BrokenSnapshot(f"a page of {count} orders has columns of other lengths")
    clients = dict(zip(client_nos, client_ids, strict=True))
    try:
        orders = list(
            map(
                Order,
                order_nos,
                order_ids,
                # One string per client, however many orders it has.
                map(clients.__getitem__, client_nos),
                map(_SIDES.__getitem__, sides),
                repeat("limit"),
                map(int, prices),
                map(int, quantities),
                keys,
                [time + _EPOCH_US for time in created],
            )
        )
        if filled:
            lots, values = (map(int, column) for column in fills)
            for order, quantity, value, time in zip(orders, lots, values, updated[0], strict=True):
                order.remaining_lots -= quantity
                order.filled_value = value
                order.status = "partially_filled"
                order.updated_us = time + _EPOCH_US
    except (KeyError, ValueError) as error:
        raise BrokenSnapshot(f"a page holds what is no order: {error!r}") from error
    return orders, clients


def bring_up_to_date(
    snapshot: EngineSnapshot, orders: Iterable[Order], changes: EngineChanges, now: Counters
) -> list[Order]:
    """Return the orders that rest at `now`, in no order. Raises BrokenSnapshot."""
    resting = {order.order_no: order for order in orders}
    if len(resting) != snapshot.orders:
        raise BrokenSnapshot(f"it has {len(resting)} orders, not {snapshot.orders}")
    then = snapshot.counters
    reached = Counters(
        then.sequence + changes.events,
        then.order_no + changes.orders,
        then.trade_no + changes.trades,
    )
    if reached != now:
        raise BrokenSnapshot(f"the events after it lead to {reached}, not to {now}")
    if max(resting, default=0) > then.order_no:
        raise BrokenSnapshot("it has orders from after it was taken")
    before = {}
    for order_no in changes.order_nos:
        order = resting.pop(order_no, None)
        if order is None:
            raise BrokenSnapshot(f"order {order_no} changed after it, and is not in it")
        before[order_no] = order
    for order in changes.resting:
        if order.order_no <= then.order_no:
            known = before[order.order_no]
            if _terms(known) != _terms(order) or known.remaining_lots <= order.remaining_lots:
                raise BrokenSnapshot(f"order {order.order_no} is another one now")
        resting[order.order_no] = order
    return list(resting.values())


def _terms(order: Order) -> tuple[object, ...]:
    return (
        order.order_id,
        order.client_id,
        order.side,
        order.price_ticks,
        order.quantity_lots,
        order.created_us,
    )
