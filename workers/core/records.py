"""Immutable pictures of orders and trades, for answers and for reading."""

from typing import NamedTuple

from workers.core.messages import Order, OrderType, Side, Status, Trade


class OrderRecord(NamedTuple):
    """An order as it stood at one moment. Amounts as in `Order`, times in microseconds UTC."""

    order_id: str
    order_no: int
    client_id: str
    instrument: str
    side: Side
    type: OrderType
    price_ticks: int
    quantity_lots: int
    filled_lots: int
    filled_value: int
    status: Status
    status_reason: str
    idempotency_key: str
    created_us: int
    updated_us: int


class TradeRecord(NamedTuple):
    """A trade. Its public id is `trade_id(instrument, trade_no)`."""

    trade_no: int
    sequence: int
    instrument: str
    price_ticks: int
    quantity_lots: int
    buy_order_id: str
    sell_order_id: str
    taker_side: Side
    time_us: int


class Changes(NamedTuple):
    """What happened to one instrument after `prev_sequence`, up to `sequence`.

    `trades` in the order in which they happened. `orders`: each order that was touched, once, as it
    stands at `sequence`, with the sequence of the last event that touched it; in that order.
    """

    prev_sequence: int
    sequence: int
    trades: tuple[TradeRecord, ...]
    orders: tuple[tuple[int, OrderRecord], ...]


def record_order(instrument: str, order: Order) -> OrderRecord:
    """Return `order` as it stands now."""
    return OrderRecord(
        order.order_id,
        order.order_no,
        order.client_id,
        instrument,
        order.side,
        order.type,
        order.price_ticks,
        order.quantity_lots,
        order.filled_lots,
        order.filled_value,
        order.status,
        order.status_reason,
        order.idempotency_key,
        order.created_us,
        order.updated_us,
    )


def record_trade(instrument: str, trade: Trade) -> TradeRecord:
    """Return the public side of `trade`."""
    maker_id, taker_id = trade.maker.order_id, trade.taker.order_id
    buying = trade.taker.side == "buy"
    return TradeRecord(
        trade.trade_no,
        trade.sequence,
        instrument,
        trade.price_ticks,
        trade.quantity_lots,
        taker_id if buying else maker_id,
        maker_id if buying else taker_id,
        trade.taker.side,
        trade.time_us,
    )


def trade_id(instrument: str, trade_no: int) -> str:
    """Return a trade's public id: unique, and readable back into its instrument and number."""
    return f"{instrument}-{trade_no}"
