"""Tell a repeat of a request from another request that borrows its name.

A request names its order twice: by `order_id`, unique in the exchange, and by `idempotency_key`,
unique for its client and instrument. An `order_id` that the edge made up names nothing.
"""

from typing import Literal, NamedTuple

from workers.core.messages import OrderType, Side, SubmitOrder


class FirstOrder(NamedTuple):
    """The terms of an order that already holds a name which a new command uses."""

    order_id: str
    client_id: str
    instrument: str
    side: Side
    type: OrderType
    price_ticks: int
    quantity_lots: int
    idempotency_key: str


def first_order(instrument: str, command: SubmitOrder) -> FirstOrder:
    """Return the terms under which `command` is remembered."""
    return FirstOrder(
        command.order_id,
        command.client_id,
        instrument,
        command.side,
        command.type,
        command.price_ticks,
        command.quantity_lots,
        command.idempotency_key,
    )


def judge(
    instrument: str, command: SubmitOrder, first: FirstOrder
) -> Literal["duplicate", "conflict"]:
    """Return whether `command` repeats `first`, which has its order_id or its key."""
    same_terms = first == first_order(instrument, command)._replace(
        order_id=first.order_id, idempotency_key=first.idempotency_key
    )
    same_id = first.order_id == command.order_id or not command.order_id_given
    same_key = (
        first.idempotency_key == command.idempotency_key
        or not first.idempotency_key
        or not command.idempotency_key
    )
    return "duplicate" if same_terms and same_id and same_key else "conflict"
