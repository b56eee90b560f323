"""What travels through Redis, as bytes: requests, replies, depth, changes.

JSON, so that an operator can read a stream with redis-cli. Amounts are decimal strings of integers,
because they may need more than 64 bits. Objects ignore fields they do not know: a newer edge and
an older matcher understand each other during a rolling upgrade.
"""

import re
from typing import Any, Final, Literal, NamedTuple, TypeVar

import orjson

from workers.core.depth import DepthDelta, DepthLevel, DepthSnapshot
from workers.core.messages import CancelOrder, Command, SubmitOrder
from workers.core.records import Changes, OrderRecord, TradeRecord
from workers.core.units import UNITS_MAX

# The public API's limits on ids, repeated here because a stream may hold what no edge wrote.
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

Outcome = Literal["accepted", "cancelled", "duplicate", "conflict", "not_resting", "unusable"]


class CodecError(Exception):
    """Raised when bytes are not a message; the entry becomes a dead letter."""


class Request(NamedTuple):
    """A command and where its answer goes."""

    command: Command
    reply_to: str
    correlation: int


class Reply(NamedTuple):
    """The answer to one request.

    `duplicate` and `conflict` name the first order by `order_id`; `not_resting` and `unusable` say
    that nothing was changed. `sequence` is the depth that the answer is part of.
    """

    correlation: int
    outcome: Outcome
    sequence: int
    order_id: str = ""
    order: OrderRecord | None = None
    trades: tuple[TradeRecord, ...] = ()


def encode_request(command: Command, *, ttl_ms: int, reply_to: str, correlation: int) -> bytes:
    """Encode a request. Its times are left out: the matcher stamps them when it reads it."""
    if isinstance(command, SubmitOrder):
        fields: dict[str, Any] = {
            "command": "submit",
            "order_id": command.order_id,
            "client_id": command.client_id,
            "side": command.side,
            "type": command.type,
            "price": str(command.price_ticks),
            "quantity": str(command.quantity_lots),
            "key": command.idempotency_key,
            "given": command.order_id_given,
        }
    else:
        fields = {"command": "cancel", "order_id": command.order_id}
    fields["ttl_ms"] = ttl_ms
    fields["reply_to"] = reply_to
    fields["correlation"] = correlation
    return orjson.dumps(fields)


def decode_request(payload: bytes, *, time_us: int, age_us: int) -> Request:
    """Decode a request read at `time_us`, `age_us` after it was appended.

    Raises CodecError when the payload is not a request that an edge could have written.
    """
    try:
        fields = orjson.loads(payload)
        deadline_us = time_us - age_us + 1000 * _integer(fields["ttl_ms"])
        reply_to = fields["reply_to"]
        correlation = _integer(fields["correlation"])
        if not isinstance(reply_to, str):
            raise CodecError("reply_to must be a string")
        match fields["command"]:
            case "submit":
                command: Command = _decode_submit(fields, time_us, deadline_us)
            case "cancel":
                command = CancelOrder(_identifier(fields["order_id"]), time_us, deadline_us)
            case _:
                raise CodecError("command must be submit or cancel")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise CodecError(f"{type(error).__name__}: {error}") from error
    return Request(command, reply_to, correlation)


def _decode_submit(fields: dict[str, Any], time_us: int, deadline_us: int) -> SubmitOrder:
    side, type, key, given = fields["side"], fields["type"], fields["key"], fields["given"]
    if side not in ("buy", "sell"):
        raise CodecError("side must be buy or sell")
    if type not in ("limit", "market"):
        raise CodecError("type must be limit or market")
    if not isinstance(given, bool):
        raise CodecError("given must be true or false")
    price_ticks, quantity_lots = _amount(fields["price"]), _amount(fields["quantity"])
    if quantity_lots == 0:
        raise CodecError("quantity must be greater than 0")
    if (price_ticks == 0) is not (type == "market"):
        raise CodecError("a limit order has a price and a market order has none")
    return SubmitOrder(
        _identifier(fields["order_id"]),
        _identifier(fields["client_id"]),
        side,
        type,
        price_ticks,
        quantity_lots,
        key if key == "" else _identifier(key),
        given,
        time_us,
        deadline_us,
    )


def _integer(value: object) -> int:
    if type(value) is not int:
        raise CodecError("expected an integer")
    return value


def _amount(value: object) -> int:
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20):
        raise CodecError("expected an amount")
    amount = int(value)
    if amount > UNITS_MAX:
        raise CodecError("amount out of range")
    return amount


def _identifier(value: object) -> str:
    if not (isinstance(value, str) and IDENTIFIER.fullmatch(value)):
        raise CodecError("expected an identifier")
    return value


def encode_replies(replies: list[Reply]) -> bytes:
    """Encode one edge's replies of one batch."""
    return orjson.dumps(
        [
            (
                reply.correlation,
                reply.outcome,
                reply.sequence,
                reply.order_id,
                _pack(reply.order, ORDER_AMOUNTS) if reply.order else None,
                [_pack(trade, TRADE_AMOUNTS) for trade in reply.trades],
            )
            for reply in replies
        ]
    )


def decode_replies(payload: bytes) -> list[Reply]:
    """Decode what `encode_replies` made."""
    return [
        Reply(
            correlation,
            outcome,
            sequence,
            order_id,
            _unpack(OrderRecord, order, ORDER_AMOUNTS) if order else None,
            tuple(_unpack(TradeRecord, trade, TRADE_AMOUNTS) for trade in trades),
        )
        for correlation, outcome, sequence, order_id, order, trades in orjson.loads(payload)
    ]


def encode_changes(changes: Changes, epoch: int) -> bytes:
    """Encode trades and changed orders, and the epoch that publishes them."""
    return orjson.dumps(
        {
            "epoch": epoch,
            "prev_sequence": changes.prev_sequence,
            "sequence": changes.sequence,
            "records": changes.length,
            "trades": [_pack(trade, TRADE_AMOUNTS) for trade in changes.trades],
            "orders": [
                (sequence, _pack(order, ORDER_AMOUNTS)) for sequence, order in changes.orders
            ],
        }
    )


# How what `encode_changes` makes begins.
_CHANGES_HEAD: Final = re.compile(
    rb'\{"epoch":\d+,"prev_sequence":(\d+),"sequence":(\d+),"records":(\d+),'
)


class EncodedChanges:
    """What `encode_changes` made. Its records are read when somebody asks for them, if ever: every
    edge hears of every order, and few are asked about.
    """

    __slots__ = ("_payload", "length", "prev_sequence", "sequence")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        head = _CHANGES_HEAD.match(payload)
        if head is not None:
            # `length` is how many records there are.
            self.prev_sequence, self.sequence, self.length = map(int, head.groups())
        else:  # another version wrote it
            self.prev_sequence, self.sequence, trades, orders = self.decode()
            self.length = len(trades) + len(orders)

    def decode(self) -> Changes:
        """Return the changes."""
        fields = orjson.loads(self._payload)
        return Changes(
            fields["prev_sequence"],
            fields["sequence"],
            tuple(_unpack(TradeRecord, trade, TRADE_AMOUNTS) for trade in fields["trades"]),
            tuple(
                (sequence, _unpack(OrderRecord, order, ORDER_AMOUNTS))
                for sequence, order in fields["orders"]
            ),
        )


Record = TypeVar("Record", OrderRecord, TradeRecord)


def _indexes(record: type[OrderRecord] | type[TradeRecord], *names: str) -> tuple[int, ...]:
    return tuple(record._fields.index(name) for name in names)


# Where the records hold amounts: these may need more than the 64 bits that JSON readers give.
ORDER_AMOUNTS: Final = _indexes(
    OrderRecord, "price_ticks", "quantity_lots", "filled_lots", "filled_value"
)
TRADE_AMOUNTS: Final = _indexes(TradeRecord, "price_ticks", "quantity_lots")


def _pack(record: OrderRecord | TradeRecord, amounts: tuple[int, ...]) -> list[Any]:
    fields: list[Any] = list(record)
    for index in amounts:
        fields[index] = str(fields[index])
    return fields


def _unpack(kind: type[Record], fields: list[Any], amounts: tuple[int, ...]) -> Record:
    for index in amounts:
        fields[index] = int(fields[index])
    return kind._make(fields)


def encode_delta(delta: DepthDelta, epoch: int) -> bytes:
    """Encode a depth delta and the epoch that published it."""
    return orjson.dumps(
        {
            "epoch": epoch,
            "prev_sequence": delta.prev_sequence,
            "sequence": delta.sequence,
            "bids": _pack_levels(delta.bids),
            "asks": _pack_levels(delta.asks),
        }
    )


def encode_reset(sequence: int, epoch: int) -> bytes:
    """Encode the notice that the depth was published anew: every replica must resync."""
    return orjson.dumps({"epoch": epoch, "reset": True, "sequence": sequence})


def decode_depth(payload: bytes) -> DepthDelta | int:
    """Decode a depth message: a delta, or the sequence of a reset."""
    fields = orjson.loads(payload)
    if fields.get("reset"):
        return int(fields["sequence"])
    return DepthDelta(
        fields["prev_sequence"],
        fields["sequence"],
        _unpack_levels(fields["bids"]),
        _unpack_levels(fields["asks"]),
    )


def decode_snapshot(
    sequence: bytes, bids: dict[bytes, bytes], asks: dict[bytes, bytes]
) -> DepthSnapshot:
    """Decode the complete depth as Redis keeps it."""
    return DepthSnapshot(
        int(sequence),
        [(int(price), int(quantity)) for price, quantity in bids.items()],
        [(int(price), int(quantity)) for price, quantity in asks.items()],
    )


def _pack_levels(levels: list[DepthLevel]) -> list[tuple[str, str]]:
    return [(str(price_ticks), str(quantity_lots)) for price_ticks, quantity_lots in levels]


def _unpack_levels(levels: list[tuple[str, str]]) -> list[DepthLevel]:
    return [(int(price), int(quantity)) for price, quantity in levels]
