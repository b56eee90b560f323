"""Every answer over HTTP, described. Nothing is built with these models.

Answers are encoded by hand, for speed. Here is what they promise: the OpenAPI document is generated
from it, and the tests hold every answer against it. Unknown fields are forbidden, so an answer and
its description cannot drift apart unnoticed.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from api.errors import STATUS
from workers.core.messages import OrderType, Side, Status


def absent(**about: Any) -> Any:
    """Return the default of a field that is left out, rather than null, when there is nothing."""
    return Field(default=None, json_schema_extra=_without_default, **about)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _json_number(value: object) -> object:
    if type(value) not in (int, float, Decimal):
        raise ValueError("must be a JSON number")
    return value


Number = Annotated[
    Decimal,
    BeforeValidator(_json_number),
    WithJsonSchema({"type": "number", "examples": [0.25]}),
]
Price = Annotated[Number, WithJsonSchema({"type": "number", "examples": [70150.5]})]
Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        json_schema_extra={"format": "date-time"},
        examples=["2026-01-31T12:00:00.000Z"],
    ),
]
Count = Annotated[int, Field(ge=0, strict=True)]
Sequence = Annotated[
    int,
    Field(ge=0, strict=True, description="The instrument's gap-free number of the last event."),
]
InstrumentName = Annotated[str, Field(examples=["BTC-USD"])]
OrderId = Annotated[str, Field(examples=["order-1"])]


class Described(BaseModel):
    """The base of every description: exactly these fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Errors.


class OffendingField(Described):
    """What is wrong with one field."""

    msg: str = Field(examples=["must be greater than 0"])
    param: str = Field(examples=["quantity"])
    location: Literal["body", "query", "path", "header"]


ErrorCode = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(STATUS)})]


class Error(Described):
    """Why a request was refused, and what to do."""

    error: ErrorCode
    message: str
    errors: list[OffendingField] = absent(description="Of a 400: every offending field.")
    order: "Order" = absent(description="Of a cancel that came too late: the finished order.")
    order_id: OrderId = absent(description="Of an unknown outcome: what to ask for or repeat.")
    request_id: str = Field(description="Stands in the server's log as well.")


# Orders.


class Order(Described):
    """An order and its state."""

    order_id: OrderId
    order_no: Annotated[int, Field(ge=1, strict=True, description="Per instrument.")]
    client_id: str = Field(examples=["client-A"])
    instrument: InstrumentName
    side: Side
    type: OrderType
    price: Price | None = Field(description="null for a market order.")
    quantity: Number
    filled_quantity: Number
    remaining_quantity: Number
    average_price: Price | None = Field(description="Of what is filled; null while nothing is.")
    status: Status
    status_reason: Literal["no_liquidity", "expired", "client_request"] | None
    idempotency_key: str | None
    created_at: Timestamp
    updated_at: Timestamp


class Trade(Described):
    """One match of a resting order (maker) and an incoming one (taker)."""

    trade_id: str = Field(examples=["BTC-USD-1"])
    trade_no: Annotated[int, Field(ge=1, strict=True, description="Per instrument.")]
    instrument: InstrumentName
    price: Price
    quantity: Number
    buy_order_id: OrderId
    sell_order_id: OrderId
    taker_side: Side
    timestamp: Timestamp
    sequence: Sequence


class Level(Described):
    """All resting quantity at one price."""

    price: Price
    quantity: Number
    cumulative: Number = Field(description="Quantity at this price and all better ones.")


class Depth(Described):
    """Both sides of a book, best level first."""

    bids: list[Level]
    asks: list[Level]


class OrderAnswer(Described):
    """An order with its trades and the top 20 levels as of this order or later."""

    order: Order
    trades: list[Trade]
    orderbook: Depth | None = Field(
        description="null when this process has no book at the moment; the order is durable."
    )


class CancelAnswer(Described):
    """The order that was cancelled."""

    order: Order


class OrderState(Described):
    """An order and all its trades."""

    order: Order
    trades: list[Trade]


class OrderList(Described):
    """A page of orders, newest first."""

    orders: list[Order]
    next_cursor: str | None = Field(description="Gives the next page; null on the last one.")


class BatchOrder(Described):
    """An order of a batch that was accepted (201) or is a repeat (200)."""

    status: Literal[200, 201]
    order: Order
    trades: list[Trade]


class BatchError(Described):
    """An order of a batch that was refused, with the status it would have had alone."""

    status: Annotated[int, Field(ge=400, le=599, strict=True)]
    error: ErrorCode
    message: str
    errors: list[OffendingField] = absent()
    order: Order = absent()
    order_id: OrderId = absent()


class BatchAnswer(Described):
    """An answer per order, in the order sent."""

    results: list[BatchOrder | BatchError]


# Market.


class Instrument(Described):
    """What is traded."""

    instrument: InstrumentName
    base_asset: str = Field(examples=["BTC"])
    quote_asset: str = Field(examples=["USD"])
    tick_size: Number = Field(description="Prices are multiples of it.")
    lot_size: Number = Field(description="Quantities are multiples of it.")
    status: str = Field(examples=["open"])


class InstrumentList(Described):
    """Every instrument."""

    instruments: list[Instrument]


class Orderbook(Described):
    """The best levels of both sides."""

    instrument: InstrumentName
    sequence: Sequence
    bids: list[Level]
    asks: list[Level]
    timestamp: Timestamp


class TradeList(Described):
    """The newest trades, newest first."""

    instrument: InstrumentName
    trades: list[Trade]
    count: Count


class Aggregate(Described):
    """The trades of one interval."""

    time_bucket: Timestamp
    trade_count: Count
    total_quantity: Number
    avg_price: Price
    min_price: Price
    max_price: Price
    total_volume: Number = Field(description="In the quote asset.")
    vwap: Price


class Analytics(Described):
    """Aggregates per interval that had trades, oldest first."""

    instrument: InstrumentName
    start_time: Timestamp
    end_time: Timestamp
    interval_minutes: Count
    aggregates: list[Aggregate]
    overall_vwap: Price | None = Field(description="null when nothing was traded.")


class Candle(Described):
    """Open, high, low, close of one interval."""

    time_bucket: Timestamp
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Number = Field(description="In the base asset.")
    quote_volume: Number
    trade_count: Count


class Candles(Described):
    """Candles, oldest first."""

    instrument: InstrumentName
    start_time: Timestamp
    end_time: Timestamp
    interval_minutes: Count
    candles: list[Candle]


class Ticker(Described):
    """The last 24 hours at a glance; null where there is nothing."""

    instrument: InstrumentName
    last_price: Price | None
    best_bid: Price | None
    best_bid_quantity: Number | None
    best_ask: Price | None
    best_ask_quantity: Number | None
    open: Price | None
    high: Price | None
    low: Price | None
    volume: Number
    quote_volume: Number
    change: Number | None
    change_percent: Number | None
    trade_count: Count
    timestamp: Timestamp


class Position(Described):
    """A client's signed quantity in an instrument, by the average-cost method."""

    instrument: InstrumentName
    net_quantity: Number
    total_cost: Number
    avg_price: Price = Field(description="0 when flat.")
    realized_pnl: Number
    unrealized_pnl: Number | None
    mark_price: Price | None
    last_updated: Timestamp


class PositionList(Described):
    """A client's positions."""

    client_id: str
    positions: list[Position]


class DepthSnapshot(Described):
    """A stored copy of the whole book at a sequence."""

    instrument: InstrumentName
    snapshot_id: Count
    sequence: Sequence
    snapshot: Depth
    timestamp: Timestamp


class SnapshotSummary(Described):
    """A stored snapshot without its levels."""

    snapshot_id: Count
    sequence: Sequence
    bid_levels: Count
    ask_levels: Count
    best_bid: Price | None
    best_ask: Price | None
    timestamp: Timestamp


class SnapshotList(Described):
    """Stored snapshots, newest first."""

    instrument: InstrumentName
    snapshots: list[SnapshotSummary]
    count: Count


# Operations.


class Index(Described):
    """Where everything is."""

    name: str
    version: str
    description: str
    links: dict[str, str] = Field(description="What there is, and its path.")


class Alive(Described):
    """The process answers."""

    status: Literal["alive"]


class Ready(Described):
    """Whether an order could be accepted, and what is missing if not."""

    status: Literal["ready", "not ready"]
    missing: list[str]


CheckState = Literal["healthy", "unhealthy", "disabled"]


class Checks(Described):
    """The state of each dependency."""

    postgres: CheckState
    redis: CheckState
    kafka: CheckState


class MirrorLag(Described):
    """How far the Kafka mirror is behind in an instrument: events, and the age of the oldest."""

    instrument: str
    lag_events: int
    lag_seconds: float


class Health(Described):
    """The state of the exchange: degraded means that trading goes on.

    `mirror` is there where Kafka is not disabled.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: Timestamp
    checks: Checks
    mirror: list[MirrorLag] = absent()
