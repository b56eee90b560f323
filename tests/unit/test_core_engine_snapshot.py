"""Pages of orders, and snapshots brought up to date."""

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import Shape, copy_order, picture_order, random_commands, rebuild, unhurried
from workers.core.engine import MatchingEngine
from workers.core.engine_snapshot import (
    FORMAT,
    BrokenSnapshot,
    Counters,
    EngineChanges,
    EngineSnapshot,
    Page,
    bring_up_to_date,
    decode_page,
)
from workers.core.messages import (
    RESTING,
    Event,
    Order,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    Status,
    Trade,
)

YEAR_2000_US = 946_684_800_000_000
CLIENT_NOS = {"alice": 7, "bob": 2**40, "carol": 9}
SHAPE = Shape("mixed", spread_ticks=5, market_share=0.1)


def encode(status: Status, orders: list[Order]) -> Page:
    """Return a page as load_orders describes it."""
    open = status == "open"
    numbers = [
        [order.order_no for order in orders],
        [CLIENT_NOS[order.client_id] for order in orders],
        [order.created_us - YEAR_2000_US for order in orders],
        *([] if open else [[order.updated_us - YEAR_2000_US for order in orders]]),
    ]
    texts = [
        ",".join(order.order_id for order in orders),
        ",".join(order.client_id for order in orders),
        "".join(order.side[0] for order in orders),
        ",".join(str(order.price_ticks) for order in orders),
        ",".join(str(order.quantity_lots) for order in orders),
        ",".join(order.idempotency_key for order in orders),
    ]
    if not open:
        texts.append(",".join(str(order.filled_lots) for order in orders))
        texts.append(",".join(str(order.filled_value) for order in orders))
    packed = b"".join(struct.pack(">q", number) for column in numbers for number in column)
    return Page(status, len(orders), packed, "\n".join(texts))


def counters(engine: MatchingEngine) -> Counters:
    return Counters(engine.sequence, engine.order_no, engine.trade_no)


def pictures(orders: Iterable[Order]) -> list[tuple[object, ...]]:
    return sorted((picture_order(order) for order in orders), key=str)


def changes(events: list[Event], then: Counters, engine: MatchingEngine) -> EngineChanges:
    """Return what PostgreSQL would say of these events, after which `engine` stands."""
    touched: set[int] = set()
    numbered = new = trades = 0
    for event in events:
        match event:
            case OrderAccepted() | OrderRejected():
                numbered, new = numbered + 1, new + 1
            case OrderCancelled(_, _, order):
                numbered += 1
                touched.add(order.order_no)
            case Trade(_, _, _, maker):
                numbered, trades = numbered + 1, trades + 1
                touched.add(maker.order_no)
    old = sorted(number for number in touched if number <= then.order_no)
    resting = [
        copy_order(order)
        for order in engine.book.orders.values()
        if order.order_no > then.order_no or order.order_no in touched
    ]
    return EngineChanges(numbered, new, trades, old, resting)


@given(st.integers(), st.integers(0, 150), st.integers(0, 150))
@unhurried
def test_a_snapshot_and_its_changes_are_the_engine(seed: int, before: int, after: int) -> None:
    engine = MatchingEngine()
    commands = list(random_commands(seed, SHAPE, before + after))
    for command in commands[:before]:
        engine.apply(command)
    then = counters(engine)
    orders: list[Order] = []
    parts = 0
    for status in RESTING:
        resting = [order for order in engine.book.orders.values() if order.status == status]
        if resting:
            parts += 1
            decoded, clients = decode_page(encode(status, resting))
            assert pictures(decoded) == pictures(resting)
            assert clients == {CLIENT_NOS[order.client_id]: order.client_id for order in resting}
            orders += decoded
    snapshot = EngineSnapshot(FORMAT, then, len(orders), parts)
    events = [event for command in commands[before:] for event in engine.apply(command)]
    now = counters(engine)
    restored = bring_up_to_date(snapshot, orders, changes(events, then, engine), now)
    assert pictures(restored) == pictures(engine.book.orders.values())
    assert rebuild(engine, restored).state_hash() == engine.state_hash()


ORDER = Order(5, "o", "alice", "buy", "limit", 10, 7, "", YEAR_2000_US)
WHOLE = encode("open", [ORDER, ORDER])
BROKEN_PAGES = {
    "numbers cut off": WHOLE._replace(numbers=WHOLE.numbers[:-1]),
    "numbers missing": WHOLE._replace(numbers=WHOLE.numbers[:-16]),
    "too many numbers": WHOLE._replace(numbers=WHOLE.numbers + bytes(16)),
    "a column missing": WHOLE._replace(texts=WHOLE.texts.rpartition("\n")[0]),
    "a column too many": WHOLE._replace(texts=WHOLE.texts + "\n1,2"),
    "an order id missing": WHOLE._replace(texts=WHOLE.texts.replace("o,o", "o")),
    "a side missing": WHOLE._replace(texts=WHOLE.texts.replace("bb", "b")),
    "no side": WHOLE._replace(texts=WHOLE.texts.replace("bb", "bx")),
    "no price": WHOLE._replace(texts=WHOLE.texts.replace("10,10", "10,1O")),
    "a fraction": WHOLE._replace(texts=WHOLE.texts.replace("7,7", "7,0.7")),
    "another status": WHOLE._replace(status="partially_filled"),
    "fewer orders": WHOLE._replace(orders=1),
    "more orders": WHOLE._replace(orders=3),
}


@pytest.mark.parametrize("page", BROKEN_PAGES.values(), ids=BROKEN_PAGES)
def test_a_broken_page_is_noticed(page: Page) -> None:
    with pytest.raises(BrokenSnapshot):
        decode_page(page)


def order(order_no: int, remaining_lots: int = 7, price_ticks: int = 10) -> Order:
    made = Order(order_no, f"o{order_no}", "alice", "buy", "limit", price_ticks, 7, "", 0)
    made.remaining_lots = remaining_lots
    return made


# A snapshot of orders 1 and 3 at (10, 3, 2); then 3 trades with the new order 4, which rests.
THEN = Counters(10, 3, 2)
NOW = Counters(12, 4, 3)
SNAPSHOT = EngineSnapshot(FORMAT, THEN, 2, 1)
CHANGES = EngineChanges(2, 1, 1, [3], [order(3, 5), order(4, 6)])

CONTRADICTIONS = {
    "an order is missing": (SNAPSHOT, [order(3)], CHANGES, NOW),
    "an order is there twice": (SNAPSHOT, [order(3), order(3)], CHANGES, NOW),
    "an order is from later": (SNAPSHOT, [order(4), order(3)], CHANGES, NOW),
    "events are missing": (SNAPSHOT, [order(1), order(3)], CHANGES, Counters(13, 4, 3)),
    "orders are missing": (SNAPSHOT, [order(1), order(3)], CHANGES, Counters(12, 5, 3)),
    "trades are missing": (SNAPSHOT, [order(1), order(3)], CHANGES, Counters(12, 4, 4)),
    "what changed is not in it": (SNAPSHOT, [order(1), order(2)], CHANGES, NOW),
    "it has other terms": (SNAPSHOT, [order(1), order(3, 7, 11)], CHANGES, NOW),
    "it has less than is left": (SNAPSHOT, [order(1), order(3, 4)], CHANGES, NOW),
}


def test_what_fits_together() -> None:
    restored = bring_up_to_date(SNAPSHOT, [order(1), order(3)], CHANGES, NOW)
    assert {o.order_no: o.remaining_lots for o in restored} == {1: 7, 3: 5, 4: 6}


@pytest.mark.parametrize("case", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_cannot_be_is_noticed(
    case: tuple[EngineSnapshot, list[Order], EngineChanges, Counters],
) -> None:
    with pytest.raises(BrokenSnapshot):
        bring_up_to_date(*case)
