"""Small helpers that build commands, and write events and books as short text.

The text is what scenario tables are made of. Commands:

    b1 buy 5@100          limit order b1: buy 5 lots at 100 ticks
    b1 buy 5@market       market order
    cancel b1
    late cancel b1        any command whose deadline has passed

`describe` and `describe_book` write events and books in the same words.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from random import Random
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings

from workers.core.engine import MatchingEngine
from workers.core.messages import (
    CancelOrder,
    CancelRefused,
    Command,
    Event,
    Order,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderType,
    Side,
    SubmitOrder,
    Trade,
)

TIME_US = 1_700_000_000_000_000
PATIENCE_US = 5_000_000

# Hypothesis on machines of any speed: a slow example is not a wrong one.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def submit(
    order_id: str,
    side: Side,
    quantity_lots: int,
    price_ticks: int = 0,
    *,
    client_id: str = "alice",
    idempotency_key: str = "",
    order_id_given: bool = True,
    time_us: int = TIME_US,
    deadline_us: int | None = None,
) -> SubmitOrder:
    """Return a limit order, or a market order when there is no price."""
    type: OrderType = "limit" if price_ticks else "market"
    if deadline_us is None:
        deadline_us = time_us + PATIENCE_US
    return SubmitOrder(
        order_id,
        client_id,
        side,
        type,
        price_ticks,
        quantity_lots,
        idempotency_key,
        order_id_given,
        time_us,
        deadline_us,
    )


def cancel(order_id: str, *, time_us: int = TIME_US, deadline_us: int | None = None) -> CancelOrder:
    """Return a cancel."""
    return CancelOrder(
        order_id, time_us, time_us + PATIENCE_US if deadline_us is None else deadline_us
    )


def command(text: str, time_us: int = TIME_US) -> Command:
    """Return the command that `text` describes."""
    words = text.split()
    late = words[0] == "late"
    deadline_us = time_us - 1 if late else time_us + PATIENCE_US
    match words[late:]:
        case ["cancel", order_id]:
            return cancel(order_id, time_us=time_us, deadline_us=deadline_us)
        case [order_id, "buy" | "sell" as side, terms]:
            quantity, _, price = terms.partition("@")
            price_ticks = 0 if price == "market" else int(price)
            return submit(
                order_id,
                side,  # type: ignore[arg-type]
                int(quantity),
                price_ticks,
                time_us=time_us,
                deadline_us=deadline_us,
            )
        case _:
            raise ValueError(f"not a command: {text!r}")


def commands(text: str) -> list[Command]:
    """Return the commands that `text` lists, one a line or parted by semicolons."""
    lines = (line.strip() for line in text.replace("\n", ";").split(";"))
    return [command(line, TIME_US + place) for place, line in enumerate(filter(None, lines))]


def describe(event: Event) -> str:
    """Return one event as text."""
    match event:
        case OrderAccepted(sequence, _, order):
            return f"{sequence} {order.order_id} accepted"
        case Trade(sequence, _, trade_no, maker, taker, price_ticks, quantity_lots):
            return (
                f"{sequence} trade {trade_no}: {taker.order_id} takes "
                f"{quantity_lots}@{price_ticks} from {maker.order_id}"
            )
        case OrderCancelled(sequence, _, order, remaining_lots, reason):
            return f"{sequence} {order.order_id} cancelled {remaining_lots} {reason}"
        case OrderRejected(sequence, _, order, reason):
            return f"{sequence} {order.order_id} rejected {reason}"
        case CancelRefused(order_id):
            return f"{order_id} not resting"


def describe_book(engine: MatchingEngine) -> str:
    """Return the book as text: bids, a bar, asks; each side best price and first order first."""
    book = engine.book
    return " | ".join(
        " ".join(
            f"{level.price_ticks}:" + ",".join(f"{o.order_id}*{o.remaining_lots}" for o in level)
            for level in side
        )
        for side in (book.bids, book.asks)
    ).strip()


ORDER_FIELDS = tuple(name for name in Order.__slots__ if name not in ("previous", "next"))
picture_order = attrgetter(*ORDER_FIELDS)


def picture(event: Event) -> tuple[Any, ...]:
    """Return an event, and its orders as they stand now, as a comparable value."""
    return (
        type(event).__name__,
        *(picture_order(part) if isinstance(part, Order) else part for part in event),
    )


def resting(engine: MatchingEngine) -> list[Order]:
    """Return copies of the engine's resting orders, as another process would load them."""
    return [copy_order(order) for order in engine.book.orders.values()]


def copy_order(order: Order) -> Order:
    """Return a copy of `order` that belongs to no book."""
    copy = Order.__new__(Order)
    for name in ORDER_FIELDS:
        setattr(copy, name, getattr(order, name))
    copy.previous = copy.next = None
    return copy


def rebuild(engine: MatchingEngine, orders: Iterable[Order] | None = None) -> MatchingEngine:
    """Return a new engine that starts where `engine` stands."""
    return MatchingEngine(
        engine.sequence,
        engine.order_no,
        engine.trade_no,
        resting(engine) if orders is None else orders,
    )


class Shape(NamedTuple):
    """What random commands look like. Shares are of all commands; the rest are limit orders."""

    name: str
    # Limit prices are `middle_ticks` give or take `spread_ticks`.
    middle_ticks: int = 10_000
    spread_ticks: int = 10
    quantity_lots_max: int = 20
    cancel_share: float = 0.2
    market_share: float = 0.05
    late_share: float = 0.01
    # How far apart bids and asks are drawn: a positive gap makes the book deep, 0 makes it trade.
    gap_ticks: int = 0
    # Cancels name one of the last so many orders, resting or not.
    memory_length: int = 100


def random_commands(seed: int, shape: Shape, length: int) -> Iterator[Command]:
    """Yield `length` commands. Equal arguments give equal commands, in any process."""
    random = Random(seed)
    names: list[str] = []
    for number in range(length):
        time_us = TIME_US + 1_000 * number
        late = random.random() < shape.late_share
        deadline_us = time_us - 1 if late else time_us + random.choice((0, PATIENCE_US))
        draw = random.random()
        if draw < shape.cancel_share:
            recent = names[-shape.memory_length :] or ["nobody"]
            yield cancel(random.choice(recent), time_us=time_us, deadline_us=deadline_us)
            continue
        side: Side = random.choice(("buy", "sell"))
        price_ticks = 0
        if draw >= shape.cancel_share + shape.market_share:
            price_ticks = shape.middle_ticks + random.randint(
                -shape.spread_ticks, shape.spread_ticks
            )
            price_ticks += -shape.gap_ticks if side == "buy" else shape.gap_ticks
        order_id = f"{seed}-{number}"
        names.append(order_id)
        yield submit(
            order_id,
            side,
            random.randint(1, shape.quantity_lots_max),
            price_ticks,
            client_id=random.choice(("alice", "bob", "carol")),
            idempotency_key=random.choice(("", f"key-{number}")),
            time_us=time_us,
            deadline_us=deadline_us,
        )
