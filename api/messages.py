"""Every message of the WebSocket `/stream`, described. Nothing is built with these models.

The AsyncAPI document is generated from them, and tests hold every message really sent against
`ServerMessage`. See api/answers.py, whose shapes the two have in common.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from api.answers import (
    Depth,
    Described,
    Error,
    InstrumentName,
    Level,
    Number,
    Order,
    Price,
    Sequence,
    Timestamp,
    Trade,
    absent,
)
from api.schemas import AMOUNT_SCHEMA, IDENTIFIER_SCHEMA
from workers.core.instruments import DEFAULT_INSTRUMENT
from workers.core.messages import Side

Channel = Literal["trades", "orders", "orderbook"]
ChannelName = Annotated[
    str, Field(pattern=r"^(trades|orders|orderbook):.+$", examples=["trades:BTC-USD"])
]
RequestId = Annotated[str | int, Field(description="The client's own; comes back with the answer.")]
Identifier = Annotated[str, WithJsonSchema(IDENTIFIER_SCHEMA)]
Timeline = Annotated[
    int,
    Field(
        ge=1,
        description="Which history the sequences are of. It rises when the database was restored "
        "from a backup: sequences are then given a second time.",
    ),
]
Amount = Annotated[Any, WithJsonSchema(AMOUNT_SCHEMA)]

# From the client.

_CHANNELS: dict[str, Any] = {"anyOf": [{"required": ["channels"]}, {"required": ["channel"]}]}


class Subscribe(Described):
    """Follow channels of an instrument; all of them or, after an error, none."""

    model_config = ConfigDict(json_schema_extra=_CHANNELS)

    type: Literal["subscribe"]
    channels: list[Channel] = absent(min_length=1)
    channel: Channel = absent()
    instrument: Identifier = DEFAULT_INSTRUMENT
    resume_from: Sequence = absent(
        description="Send first what came after this sequence (trades and orders)."
    )
    timeline: Timeline = absent(
        description="With `resume_from`: what `subscribed` or `resync` said. When it has changed "
        "since, a `resync` comes in place of what came after."
    )
    request_id: RequestId = absent()


class Unsubscribe(Described):
    """Stop following channels."""

    model_config = ConfigDict(json_schema_extra=_CHANNELS)

    type: Literal["unsubscribe"]
    channels: list[Channel] = absent(min_length=1)
    channel: Channel = absent()
    instrument: Identifier = DEFAULT_INSTRUMENT
    request_id: RequestId = absent()


class SubmitOrder(Described):
    """Submit an order: the fields of `POST /orders`.

    `type` is `order` and `order_type` says which; or `type` is `limit` or `market` itself, which
    is also what remains of a message that says `"type": "order"` and `"type": "limit"` both.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"type": {"enum": ["limit", "market"]}}},
                {"required": ["order_type"]},
            ]
        }
    )

    type: Literal["order", "limit", "market"]
    order_type: Literal["limit", "market"] = absent()
    client_id: Identifier
    side: Side
    quantity: Amount
    price: Amount = absent(description="Of a limit order. A market order has none.")
    instrument: Identifier = DEFAULT_INSTRUMENT
    order_id: Identifier | None = None
    idempotency_key: Identifier | None = None
    request_id: RequestId = absent()


class Cancel(Described):
    """Cancel what remains of a resting order."""

    type: Literal["cancel"]
    order_id: Identifier
    instrument: Identifier = absent(description="Saves a look-up, if known.")
    request_id: RequestId = absent()


class Ping(Described):
    """Ask whether the server is there."""

    type: Literal["ping"]
    request_id: RequestId = absent()


# From the server.


class Connected(Described):
    """The first message of every connection."""

    type: Literal["connected"]
    client_id: str
    timestamp: Timestamp


class Subscribed(Described):
    """These channels are followed from now on."""

    type: Literal["subscribed"]
    channels: list[Channel]
    instrument: InstrumentName
    timeline: Timeline
    timestamp: Timestamp
    request_id: RequestId = absent()


class Unsubscribed(Described):
    """These channels are no longer followed."""

    type: Literal["unsubscribed"]
    channels: list[Channel]
    instrument: InstrumentName
    timestamp: Timestamp
    request_id: RequestId = absent()


class Trades(Described):
    """A trade."""

    type: Literal["trades"]
    channel: ChannelName
    data: Trade
    timestamp: Timestamp


class ChangedOrder(Order):
    """An order as it stands after its last change."""

    sequence: Sequence = Field(description="Of the order's last change.")


class Orders(Described):
    """An order changed its state."""

    type: Literal["orders"]
    channel: ChannelName
    data: ChangedOrder
    timestamp: Timestamp


class BookSnapshot(Described):
    """The whole book: the first message after subscribing, and after a resync."""

    snapshot: Literal[True]
    sequence: Sequence
    bids: list[Level]
    asks: list[Level]


class ChangedLevel(Described):
    """A level's new quantity; 0 removes the level."""

    price: Price
    quantity: Number


class BookDelta(Described):
    """What changed from `prev_sequence`, which is always the sequence before, to `sequence`."""

    snapshot: Literal[False]
    prev_sequence: Sequence
    sequence: Sequence
    bids: list[ChangedLevel]
    asks: list[ChangedLevel]


class Orderbook(Described):
    """A snapshot of the book, or a delta to apply to it."""

    type: Literal["orderbook"]
    channel: ChannelName
    data: BookSnapshot | BookDelta
    timestamp: Timestamp


class RecentTrades(Described):
    """The newest trades, newest first."""

    sequence: Sequence
    trades: list[Trade]


class RestingOrders(Described):
    """Resting orders, newest first."""

    sequence: Sequence
    orders: list[ChangedOrder | Order]
    complete: bool = Field(description="Whether these are all that rest.")


class Resync(Described):
    """Messages were left out (too slow, or `resume_from` is too old, or of another timeline): go on
    from here. When `timeline` is another than before, what was heard before may not hold any more.
    """

    type: Literal["resync"]
    channel: ChannelName
    instrument: InstrumentName
    timeline: Timeline
    data: RecentTrades | RestingOrders
    timestamp: Timestamp


class OrderAccepted(Described):
    """An order and its trades are durable."""

    type: Literal["order_accepted"]
    order: Order
    trades: list[Trade]
    orderbook: Depth | None = Field(description="null when there is no book at the moment.")
    timestamp: Timestamp
    idempotent_replayed: Literal[True] = absent(description="Only of a repeat.")
    request_id: RequestId = absent()


class OrderCancelled(Described):
    """An order was cancelled on request."""

    type: Literal["order_cancelled"]
    order: Order
    timestamp: Timestamp
    request_id: RequestId = absent()


class Pong(Described):
    """The answer to a ping."""

    type: Literal["pong"]
    timestamp: Timestamp
    request_id: RequestId = absent()


class ErrorMessage(Error):
    """Why a message was refused, and what to do; the errors of HTTP."""

    type: Literal["error"]
    request_id: RequestId = absent()  # type: ignore[assignment]
    timestamp: Timestamp


ServerMessage = Annotated[
    Connected
    | Subscribed
    | Unsubscribed
    | Trades
    | Orders
    | Orderbook
    | Resync
    | OrderAccepted
    | OrderCancelled
    | Pong
    | ErrorMessage,
    Field(discriminator="type"),
]
