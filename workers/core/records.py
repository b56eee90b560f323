"""Immutable pictures of what is stored, for answers and for reading.

Prices and quantities are integers of 1e-8 (`_ticks`, `_lots`), values, costs and profits integers
of 1e-16 quote asset, times microseconds since 1970 (`_us`). None stands for what does not exist.
"""

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


class OrderPlace(NamedTuple):
    """Where an order stands in a listing, newest first: descending in this order of fields."""

    created_us: int
    instrument_id: int
    order_no: int


class OrderPage(NamedTuple):
    """Part of a listing; `next` is the place that the following page begins after."""

    orders: list[OrderRecord]
    next: OrderPlace | None


class Candle(NamedTuple):
    """The trades of one interval, of which there is at least one."""

    start_us: int
    trade_count: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    quantity_lots: int
    value: int
    # The plain sum of the trades' prices, for their unweighted average.
    price_sum_ticks: int


class Ticker(NamedTuple):
    """The last trade, and the trades of the last 24 hours taken together."""

    last_ticks: int | None
    last_us: int | None
    open_ticks: int | None
    high_ticks: int | None
    low_ticks: int | None
    quantity_lots: int
    value: int
    trade_count: int


class Position(NamedTuple):
    """A client's position in one instrument; quantity and cost are negative when it is short."""

    instrument: str
    net_lots: int
    total_cost: int
    realized_pnl: int
    updated_us: int
    # Of the instrument's last trade, whoever made it.
    last_ticks: int | None


class Changes(NamedTuple):
    """What happened to one instrument after `prev_sequence`, up to `sequence`.

    `trades` in the order in which they happened. `orders`: each order that was touched, once, as it
    stands at `sequence`, with the sequence of the last event that touched it; in that order.
    """

    prev_sequence: int
    sequence: int
    trades: tuple[TradeRecord, ...]
    orders: tuple[tuple[int, OrderRecord], ...]

    @property
    def length(self) -> int:
        """How many records there are."""
        return len(self.trades) + len(self.orders)

    def decode(self) -> "Changes":
        """Return itself: changes that were never encoded stand beside those that were."""
        return self


class MirrorLag(NamedTuple):
    """How many events of an instrument are not in Kafka for sure, and how old the oldest is."""

    instrument: str
    events: int
    seconds: float


class BookSnapshot(NamedTuple):
    """A stored depth snapshot: (price_ticks, quantity_lots) per level, best first."""

    snapshot_id: int
    instrument: str
    sequence: int
    taken_us: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


class SnapshotSummary(NamedTuple):
    """A stored depth snapshot without its levels."""

    snapshot_id: int
    sequence: int
    taken_us: int
    bid_levels: int
    ask_levels: int
    best_bid_ticks: int | None
    best_ask_ticks: int | None


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
