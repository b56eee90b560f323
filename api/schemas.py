"""Untrusted JSON to commands, and events to JSON. Pure.

Numbers are taken exactly. JSON readers that make floats turn 12345678901.12345678 into something
else, so numbers stay text until they become integer ticks and lots, and integers become numbers
again as text.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from api.errors import ApiError, invalid
from workers.adapters.public_json import number as number
from workers.adapters.public_json import order_json as order_json
from workers.adapters.public_json import timestamp as timestamp
from workers.adapters.public_json import trade_json as trade_json
from workers.core.codec import IDENTIFIER
from workers.core.depth import DepthLevel
from workers.core.instruments import DEFAULT_INSTRUMENT, Instrument
from workers.core.messages import OrderType, Side
from workers.core.records import OrderRecord, TradeRecord
from workers.core.units import InexactNumber, format_units, parse_units


class Number(str):
    """The text of a JSON number, exactly as it was sent."""

    __slots__ = ()


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("an object has the same name twice")
    return names


def _message_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take the reference's own sample order, whose `type` is first `order` and then `limit`."""
    types = [value for name, value in pairs if name == "type"]
    if len(types) == 2 and types.count("order") == 1:
        types.remove("order")
        rest = [(name, value) for name, value in pairs if name != "type"]
        return _unique_names([("type", "order"), ("order_type", types[0]), *rest])
    return _unique_names(pairs)


def _decoder(names: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_float=Number,
        parse_int=Number,
        parse_constant=_refuse_constant,
        object_pairs_hook=names,
    )


_DECODER = _decoder(_unique_names)
_MESSAGE_DECODER = _decoder(_message_names)


def read_json(body: bytes, decoder: json.JSONDecoder = _DECODER) -> dict[str, Any]:
    """Return the JSON object in `body`, with its numbers as text. Raises ApiError (400)."""
    try:
        value = decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ApiError("invalid_request", "the body is not UTF-8 text") from error
    except RecursionError as error:
        raise ApiError("invalid_request", "the body is nested too deeply") from error
    except ValueError as error:
        raise ApiError(
            "invalid_request", f"the body is not JSON: {printable(str(error))}"
        ) from error
    if not isinstance(value, dict):
        raise ApiError("invalid_request", "the body must be a JSON object")
    return value


def printable(text: str) -> str:
    """Return `text` so that it can be part of any answer: no lone surrogates, no controls."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:200])


def _identifier(value: object) -> str:
    if type(value) is not str or not IDENTIFIER.fullmatch(value):
        raise ValueError("must be a string of 1 to 64 characters of A-Z a-z 0-9 . _ : -")
    return value


def _amount(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("must be a number or a decimal string")
    try:
        units = parse_units(value)
    except InexactNumber as error:
        raise ValueError(str(error)) from error
    if units <= 0:
        raise ValueError("must be greater than 0")
    return units


def _word(value: object) -> object:
    # Anything but a plain word is refused by the choice that follows, which names the words.
    return value if type(value) is str and value.isascii() else ""


# What the public description says of these types: it accepts nothing that they refuse. They take
# some odd spellings more (an exponent, trailing zeros), which nobody needs to be told to send.
IDENTIFIER_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{IDENTIFIER.pattern}$"}
AMOUNT_SCHEMA: dict[str, Any] = {
    "type": ["number", "string"],
    "exclusiveMinimum": 0,
    "exclusiveMaximum": 10**12,
    "multipleOf": 1e-8,
    "pattern": r"^(?!0(\.0+)?$)(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?$",
    "description": (
        "A JSON number or a decimal string, taken exactly: greater than zero, "
        "at most 12 digits before the point and 8 after it."
    ),
}
Identifier = Annotated[str, BeforeValidator(_identifier), WithJsonSchema(IDENTIFIER_SCHEMA)]
Amount = Annotated[int, BeforeValidator(_amount), WithJsonSchema(AMOUNT_SCHEMA)]

_ORDER_SCHEMA: dict[str, Any] = {
    "description": "An order to buy or sell: a limit order with a price, or a market order without",
    # How price and type belong together.
    "oneOf": [
        {
            "title": "limit",
            "required": ["price"],
            "properties": {"type": {"const": "limit"}, "price": {"type": ["number", "string"]}},
        },
        {
            "title": "market",
            "properties": {"type": {"const": "market"}, "price": {"type": "null"}},
        },
    ],
}


class OrderBody(BaseModel):
    """The body of `POST /orders`. `price` is in ticks, `quantity` in lots."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_ORDER_SCHEMA)

    client_id: Annotated[Identifier, Field(description="Whose order it is.")]
    side: Annotated[Literal["buy", "sell"], BeforeValidator(_word)]
    type: Annotated[Literal["limit", "market"], BeforeValidator(_word)]
    quantity: Annotated[Amount, Field(description="A multiple of the instrument's lot.")]
    price: Annotated[
        Amount | None,
        Field(
            description="Of a limit order, a multiple of the instrument's tick. "
            "A market order has none."
        ),
    ] = None
    instrument: Identifier = DEFAULT_INSTRUMENT
    order_id: Annotated[
        Identifier | None, Field(description="Absent: the server makes a time-ordered UUID.")
    ] = None
    idempotency_key: Annotated[
        Identifier | None,
        Field(description="The same key again gives the first result; one order at most."),
    ] = None


class NewOrder(NamedTuple):
    """An order that is well-formed: what `OrderBody` describes. Ticks and lots."""

    client_id: str
    side: Side
    type: OrderType
    quantity: int
    price: int | None = None
    instrument: str = DEFAULT_INSTRUMENT
    order_id: str | None = None
    idempotency_key: str | None = None


_FIELDS = frozenset(NewOrder._fields)

# Order ids that `GET /orders/{order_id}` could not be asked for.
NOT_IN_A_PATH = ("batch", ".", "..")
# Orders in one batch: bounds the work that one request may ask for.
BATCH_ORDERS_MAX = 100

# Members of an order message that are not about the order.
_ENVELOPE = ("type", "order_type", "request_id")

_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
}


def read_order(body: Mapping[str, Any], header_key: str | None = None) -> NewOrder:
    """Validate an order. Raises ApiError (400) that lists every offending field."""
    return _well_formed(body, header_key) or validate_order(body, header_key)


def _well_formed(body: Mapping[str, Any], header_key: str | None) -> NewOrder | None:
    """Return a common order at once: a quarter of the time that the model takes.

    None says nothing: the model decides, and tells what is wrong. Both agree on what an order is,
    which a test holds them to.
    """
    if not body.keys() <= _FIELDS:
        return None
    get = body.get
    client_id, side, kind = get("client_id"), get("side"), get("type")
    instrument, order_id = get("instrument", DEFAULT_INSTRUMENT), get("order_id")
    key, quantity, price = get("idempotency_key"), get("quantity"), get("price")
    if key is None:
        key = header_key
    elif header_key is not None:
        return None
    for name in (client_id, instrument, order_id, key):
        if name is not None and not (type(name) is str and IDENTIFIER.fullmatch(name)):
            return None
    if client_id is None or instrument is None or order_id in NOT_IN_A_PATH:
        return None
    if side not in ("buy", "sell") or not isinstance(quantity, str):
        return None
    if not ((kind == "limit" and isinstance(price, str)) or (kind == "market" and price is None)):
        return None
    try:
        quantity_lots = parse_units(quantity)
        price_ticks = parse_units(price) if price is not None else None
    except InexactNumber:
        return None
    if quantity_lots <= 0 or (price_ticks is not None and price_ticks <= 0):
        return None
    return NewOrder(client_id, side, kind, quantity_lots, price_ticks, instrument, order_id, key)


def validate_order(body: Mapping[str, Any], header_key: str | None = None) -> NewOrder:
    """Validate any order by its model. Raises ApiError (400) that lists every offending field."""
    errors: list[dict[str, str]] = []
    # No field has such a name, and pydantic cannot even say so.
    errors += (_error(name, _MESSAGES["extra_forbidden"]) for name in body if not name.isascii())
    fields = {name: value for name, value in body.items() if name.isascii()}
    if header_key is not None:
        if fields.get("idempotency_key") is None:
            fields["idempotency_key"] = header_key
        elif fields["idempotency_key"] != header_key:
            errors.append(_error("idempotency_key", "differs from the Idempotency-Key header"))
    order: OrderBody | None = None
    try:
        order = OrderBody.model_validate(fields)
    except ValidationError as problems:
        for problem in problems.errors(include_url=False, include_input=False):
            message = _MESSAGES.get(problem["type"])
            if problem["type"] == "literal_error":
                message = f"must be {problem['ctx']['expected']}"
            errors.append(
                _error(
                    str(problem["loc"][0]),
                    message or problem["msg"].removeprefix("Value error, "),
                )
            )
    if fields.get("order_id") in NOT_IN_A_PATH:
        errors.append(_error("order_id", "must not be batch, . or .., which no path can name"))
    if any(error["param"] == "price" for error in errors):
        pass  # one complaint about a field is enough
    elif fields.get("type") == "limit" and fields.get("price") is None:
        errors.append(_error("price", "is required for a limit order"))
    elif fields.get("type") == "market" and fields.get("price") is not None:
        errors.append(_error("price", "must be absent or null for a market order"))
    if errors or order is None:
        message = "; ".join(f"{error['param']} {error['msg']}" for error in errors)
        raise ApiError("invalid_request", message, errors)
    return NewOrder(*(getattr(order, name) for name in NewOrder._fields))


def read_message(payload: bytes) -> dict[str, Any]:
    """Return a WebSocket message, its numbers as text. Raises ApiError (400)."""
    return read_json(payload, _MESSAGE_DECODER)


def read_order_message(fields: Mapping[str, Any]) -> NewOrder:
    """Validate an order message: `type` is `order`, with `order_type`; or itself the order's type.

    Raises ApiError (400).
    """
    body = {name: value for name, value in fields.items() if name not in _ENVELOPE}
    order_type = fields.get("order_type")
    if fields.get("type") != "order":
        if order_type not in (None, fields["type"]):
            raise invalid("order_type", f"differs from type, {printable(str(fields['type']))}")
        order_type = fields["type"]
    if order_type is None:
        raise invalid("order_type", "is required: limit or market")
    return read_order(body | {"type": order_type})


def read_batch(body: bytes) -> list[NewOrder | ApiError]:
    """Return the orders of a batch, with the error in place of each that is none.

    Raises ApiError (400) when it is not a batch of 1 to `BATCH_ORDERS_MAX` orders.
    """
    fields = read_json(body)
    items = fields.get("orders")
    unknown = [_error(name, _MESSAGES["extra_forbidden"]) for name in fields if name != "orders"]
    if unknown:
        raise ApiError("invalid_request", f"{unknown[0]['param']} {unknown[0]['msg']}", unknown)
    if not isinstance(items, list) or not 1 <= len(items) <= BATCH_ORDERS_MAX:
        raise invalid("orders", f"must be a list of 1 to {BATCH_ORDERS_MAX} orders")
    return [_read_item(item) for item in items]


def _read_item(item: object) -> NewOrder | ApiError:
    if not isinstance(item, dict):
        return ApiError("invalid_request", "an order must be a JSON object")
    try:
        return read_order(item)
    except ApiError as error:
        return error


def check_sizes(order: NewOrder, instrument: Instrument) -> None:
    """Raise ApiError (400) unless price and quantity are multiples of tick and lot."""
    errors = []
    if order.price is not None and order.price % instrument.tick_size_ticks:
        tick = format_units(instrument.tick_size_ticks)
        errors.append(_error("price", f"must be a multiple of the tick, {tick}"))
    if order.quantity % instrument.lot_size_lots:
        lot = format_units(instrument.lot_size_lots)
        errors.append(_error("quantity", f"must be a multiple of the lot, {lot}"))
    if errors:
        message = "; ".join(f"{error['param']} {error['msg']}" for error in errors)
        raise ApiError("invalid_request", message, errors)


def read_identifier(text: object, param: str, location: str) -> str:
    """Return an identifier of a path, a query or a message. Raises ApiError (400)."""
    try:
        return _identifier(text)
    except ValueError as error:
        raise invalid(param, str(error), location) from error


def read_count(text: str | None, param: str, default: int, most: int) -> int:
    """Return a count from 1 to `most` of a query. Raises ApiError (400)."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise invalid(param, f"must be a whole number from 1 to {most}", "query")
    return int(text)


def _error(param: str, message: str) -> dict[str, str]:
    return {"msg": message, "param": printable(param), "location": "body"}


# Events to JSON.


def dump(value: Any) -> bytes:
    """Return JSON."""
    return orjson.dumps(value)


def submitted_json(order: OrderRecord, trades: Iterable[TradeRecord]) -> dict[str, Any]:
    """Return the public form of an order and the trades it made on arrival."""
    return {"order": order_json(order), "trades": [trade_json(trade) for trade in trades]}


def levels_json(levels: list[DepthLevel], before_lots: int = 0) -> list[dict[str, Any]]:
    """Return the public form of one side's levels, best first, with cumulative quantity.

    `before_lots` is the quantity of better levels that are not among them.
    """
    cumulative = before_lots
    rows = []
    for price_ticks, quantity_lots in levels:
        cumulative += quantity_lots
        rows.append(
            {
                "price": number(price_ticks),
                "quantity": number(quantity_lots),
                "cumulative": number(cumulative),
            }
        )
    return rows
