"""Commands into the matching engine, the orders it keeps, and the events it emits.

Commands and events are immutable and plain: integers, strings, and, in events, the order they are
about. An order's terms never change; its state does, so whatever changed is in the event itself.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market"]
Status = Literal["open", "partially_filled", "filled", "cancelled", "rejected"]

# Statuses that never change again.
FINAL: Final = ("filled", "cancelled", "rejected")
# Those of orders in the book.
RESTING: Final = ("open", "partially_filled")

# Reasons that `status_reason` can give.
NO_LIQUIDITY: Final = "no_liquidity"
EXPIRED: Final = "expired"
CLIENT_REQUEST: Final = "client_request"


class SubmitOrder(NamedTuple):
    """Buy or sell. `price_ticks` is 0 for a market order, `idempotency_key` "" for none."""

    order_id: str
    client_id: str
    side: Side
    type: OrderType
    price_ticks: int
    quantity_lots: int
    idempotency_key: str
    # The client chose the order_id itself, so a repeat must carry the same one.
    order_id_given: bool
    time_us: int
    deadline_us: int


class CancelOrder(NamedTuple):
    """Remove what remains of a resting order."""

    order_id: str
    time_us: int
    deadline_us: int


Command = SubmitOrder | CancelOrder


class Order:
    """An order and its state. Only the engine changes it; everybody else reads."""

    __slots__ = (
        "client_id",
        "created_us",
        "filled_value",
        "idempotency_key",
        "next",
        "order_id",
        "order_no",
        "previous",
        "price_ticks",
        "quantity_lots",
        "remaining_lots",
        "side",
        "status",
        "status_reason",
        "type",
        "updated_us",
    )

    def __init__(
        self,
        order_no: int,
        order_id: str,
        client_id: str,
        side: Side,
        type: OrderType,
        price_ticks: int,
        quantity_lots: int,
        idempotency_key: str,
        created_us: int,
    ) -> None:
        self.order_no = order_no
        self.order_id = order_id
        self.client_id = client_id
        self.side: Side = side
        self.type: OrderType = type
        self.price_ticks = price_ticks
        self.quantity_lots = quantity_lots
        self.idempotency_key = idempotency_key
        self.created_us = created_us
        self.remaining_lots = quantity_lots
        # Sum of price times quantity over the fills, in 1e-16 quote asset.
        self.filled_value = 0
        self.status: Status = "open"
        self.status_reason = ""
        self.updated_us = created_us
        # Neighbours in the level's queue while the order rests (book.py).
        self.previous: Order | None = None
        self.next: Order | None = None

    @property
    def filled_lots(self) -> int:
        return self.quantity_lots - self.remaining_lots

    def __repr__(self) -> str:
        return (
            f"Order({self.order_no} {self.order_id} {self.side} {self.type} "
            f"{self.remaining_lots}/{self.quantity_lots}@{self.price_ticks} {self.status})"
        )


class OrderAccepted(NamedTuple):
    """The order entered the market; what its trades leave of a limit order rests."""

    sequence: int
    time_us: int
    order: Order


class Trade(NamedTuple):
    """Maker and taker met, at the maker's price."""

    sequence: int
    time_us: int
    trade_no: int
    maker: Order
    taker: Order
    price_ticks: int
    quantity_lots: int


class OrderCancelled(NamedTuple):
    """What remained of the order was removed."""

    sequence: int
    time_us: int
    order: Order
    remaining_lots: int
    reason: str


class OrderRejected(NamedTuple):
    """The market refused the order; it never entered the book."""

    sequence: int
    time_us: int
    order: Order
    reason: str


class CancelRefused(NamedTuple):
    """Nothing rests under this order_id. Changes nothing, so it has no sequence."""

    order_id: str


Event = OrderAccepted | Trade | OrderCancelled | OrderRejected | CancelRefused
