"""The OpenAPI document of the HTTP API: one table of operations, and what makes JSON of it.

A test compares the table with the app's routes, so neither can have one that the other lacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from api import answers
from api.errors import STATUS
from api.jsonschemas import component_schemas, reference
from api.schemas import IDENTIFIER_SCHEMA, OrderBody
from workers.core.instruments import DEFAULT_INSTRUMENT

ORDERS, MARKET, OPERATIONS = "Orders", "Market data", "Operations"
TAGS = {
    ORDERS: "Submit, cancel and read orders.",
    MARKET: "Books, trades, statistics, positions and snapshots.",
    OPERATIONS: "Whether the exchange is well, and what it offers. Never rate limited.",
}

ABOUT = """\
An answer to an order comes after the order, its fills and its ledger entries are durable.

- **Numbers** in answers are JSON numbers, exact and shortest. In requests a number or a decimal
  string is taken exactly, digit for digit.
- **Times** are ISO 8601, UTC, with milliseconds.
- **Errors** have one shape. `error` is a code for programs, `message` says what happened and what
  to do, `errors` lists every offending field. Beside those listed below, any request can get 403
  (the Host header names somebody else, or a page of another origin wants to change something), 404
  (no such path), 405 (no such method there) or 408 (it did not arrive in time), in the same shape.
- **Idempotency**: repeat an order with the same `idempotency_key` (or `Idempotency-Key` header), or
  with the same `order_id`, and it has one effect; the repeat gets 200 and the first result.
- **Limits**: 429 and 503 say in `Retry-After` when to try again. After a 504 the order may still be
  applied; repeating it with its key or `order_id` is safe.

Orders and live data over one WebSocket: see [/asyncapi.json](/asyncapi.json) and the section below.
"""

# What one batch may hold: the answers of all must fit into one wait.
BATCH_LENGTH_MAX = 100


@dataclass(frozen=True)
class Parameter:
    """A parameter in the path, the query or a header."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]
    example: Any = None

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "name": self.name,
            "in": self.place,
            "description": self.description,
            "required": self.place == "path",
            "schema": dict(self.schema),
        }
        if self.schema.get("type") == "array":
            document["explode"] = False  # a=1,2 and not a=1&a=2
        if self.example is not None:
            document["example"] = self.example
        return document


@dataclass(frozen=True)
class Answer:
    """What comes with one status: a JSON model, or other media types without a schema."""

    description: str
    model: type[BaseModel] | None = None
    media: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """A method on a path, and every status it can answer."""

    method: str
    path: str
    tag: str
    name: str
    summary: str
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] | None = None
    # Of the body, by name; each works as it stands.
    examples: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


# Of what may be read from a replica.
AGE = "Data-Age-Ms"

# Parameters.

INSTRUMENT = Parameter(
    "instrument",
    "query",
    "The instrument, by its public name.",
    IDENTIFIER_SCHEMA | {"default": DEFAULT_INSTRUMENT},
    DEFAULT_INSTRUMENT,
)
ORDER_ID = Parameter("order_id", "path", "The order.", IDENTIFIER_SCHEMA, "order-1")
SNAPSHOT_ID = Parameter(
    "snapshot_id",
    "path",
    "The snapshot.",
    {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    1,
)
INTERVAL = Parameter(
    "interval",
    "query",
    "Minutes per bucket. Buckets are aligned from midnight UTC.",
    {"type": "integer", "minimum": 1, "maximum": 1440, "default": 1},
)
_TIME = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {
            "type": "integer",
            "minimum": 0,
            "maximum": 253_402_300_799_999,
            "description": "Milliseconds since 1970.",
        },
    ]
}
RANGE = (
    Parameter(
        "start_time", "query", "From this time on; 24 hours before the end if absent.", _TIME
    ),
    Parameter("end_time", "query", "Before this time; now if absent.", _TIME),
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key", "header", "The same as the field `idempotency_key`.", IDENTIFIER_SCHEMA
)


def limit(default: int, most: int = 1000) -> Parameter:
    """Return the parameter that bounds a list."""
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("limit", "query", "How many at most.", schema)


def identifier(name: str, description: str) -> Parameter:
    return Parameter(name, "query", description, IDENTIFIER_SCHEMA)


# Bodies.

LIMIT_ORDER = {
    "order_id": "order-1",
    "client_id": "client-A",
    "instrument": "BTC-USD",
    "side": "buy",
    "type": "limit",
    "price": 70150.5,
    "quantity": 0.25,
}
MARKET_ORDER = {"client_id": "client-B", "side": "sell", "type": "market", "quantity": "0.1"}
BATCH = {
    "type": "object",
    "additionalProperties": False,
    "required": ["orders"],
    "properties": {
        "orders": {
            "type": "array",
            "minItems": 1,
            "maxItems": BATCH_LENGTH_MAX,
            "items": reference(OrderBody),
        }
    },
}
BODY_ERRORS = (413, 415)

# Operations.

CANCELLED = {200: Answer("The order, cancelled.", answers.CancelAnswer)}
CANCEL_ERRORS = (400, 404, 409, 429, 503, 504)
READ_ERRORS = (400, 404, 429, 503)
HTML, TEXT, JSON = "text/html", "text/plain", "application/json"

TABLE: tuple[Operation, ...] = (
    Operation(
        "post", "/orders", ORDERS, "submit_order",
        "Submit an order; answered when it, its fills and its ledger entries are durable",
        {
            201: Answer(
                "The order and its trades. One that the market refuses is `rejected`, and 201 too.",
                answers.OrderAnswer,
                links=("read_order", "cancel_order"),
            ),
            200: Answer(
                "A repeat: the first result, and nothing was matched again.",
                answers.OrderAnswer,
                headers=("Idempotent-Replayed",),
                links=("read_order",),
            ),
        },
        errors=(400, 404, 409, *BODY_ERRORS, 429, 503, 504),
        parameters=(IDEMPOTENCY_KEY,),
        body=reference(OrderBody),
        examples={"limit": LIMIT_ORDER, "market": MARKET_ORDER},
        description="A body has at most 16 KiB.",
    ),
    Operation(
        "post", "/orders/batch", ORDERS, "submit_orders",
        "Submit up to 100 orders; those that fail do not stop the others",
        {200: Answer("An answer per order, in the order sent.", answers.BatchAnswer)},
        errors=(400, *BODY_ERRORS, 429, 503),
        body=BATCH,
        examples={"two orders": {"orders": [LIMIT_ORDER, MARKET_ORDER]}},
        description="A body has at most 64 KiB. Each order has the status it would have alone.",
    ),
    Operation(
        "get", "/orders", ORDERS, "list_orders",
        "List orders, newest first",
        {200: Answer("A page of orders.", answers.OrderList)},
        errors=READ_ERRORS,
        parameters=(
            identifier("client_id", "Only this client's."),
            identifier("instrument", "Only those in this instrument."),
            Parameter(
                "status", "query", "Only those with one of these statuses.",
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "enum": ["open", "partially_filled", "filled", "cancelled", "rejected"]
                    },
                },
            ),
            limit(50),
            Parameter(
                "cursor", "query", "The `next_cursor` of the page before.", {"type": "string"}
            ),
        ),
    ),
    Operation(
        "get", "/orders/{order_id}", ORDERS, "read_order",
        "Read an order and all its trades",
        {200: Answer("The order and its trades.", answers.OrderState)},
        errors=READ_ERRORS,
        parameters=(ORDER_ID,),
    ),
    Operation(
        "post", "/orders/{order_id}/cancel", ORDERS, "cancel_order",
        "Cancel what remains of a resting order",
        CANCELLED,
        errors=CANCEL_ERRORS,
        parameters=(ORDER_ID, identifier("instrument", "Saves a look-up, if known.")),
    ),
    Operation(
        "delete", "/orders/{order_id}", ORDERS, "delete_order",
        "Cancel what remains of a resting order, as a DELETE",
        CANCELLED,
        errors=CANCEL_ERRORS,
        parameters=(ORDER_ID, identifier("instrument", "Saves a look-up, if known.")),
    ),
    Operation(
        "get", "/instruments", MARKET, "list_instruments",
        "List what is traded",
        {200: Answer("Every instrument.", answers.InstrumentList)},
        errors=(429, 503),
    ),
    Operation(
        "get", "/market/orderbook", MARKET, "read_orderbook",
        "Read the best levels of both sides",
        {200: Answer("The book at a sequence.", answers.Orderbook)},
        errors=READ_ERRORS,
        parameters=(
            INSTRUMENT,
            Parameter(
                "levels", "query", "Levels per side at most.",
                {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            ),
        ),
    ),
    Operation(
        "get", "/market/trades", MARKET, "list_trades",
        "List the newest trades, newest first",
        {200: Answer("The newest trades.", answers.TradeList)},
        errors=READ_ERRORS,
        parameters=(INSTRUMENT, limit(50)),
    ),
    Operation(
        "get", "/market/analytics", MARKET, "read_analytics",
        "Aggregate trades per interval: quantity, prices, VWAP",
        {200: Answer("Aggregates, oldest first.", answers.Analytics, headers=(AGE,))},
        errors=READ_ERRORS,
        parameters=(INSTRUMENT, *RANGE, INTERVAL),
    ),
    Operation(
        "get", "/market/candles", MARKET, "read_candles",
        "Read candles: open, high, low, close, volume",
        {200: Answer("Candles, oldest first.", answers.Candles, headers=(AGE,))},
        errors=READ_ERRORS,
        parameters=(INSTRUMENT, *RANGE, INTERVAL),
    ),
    Operation(
        "get", "/market/ticker", MARKET, "read_ticker",
        "Read the last price, the best bid and ask, and the last 24 hours",
        {200: Answer("The ticker.", answers.Ticker)},
        errors=READ_ERRORS,
        parameters=(INSTRUMENT,),
    ),
    Operation(
        "get", "/market/positions/{client_id}", MARKET, "list_positions",
        "List a client's positions with their profit and loss; none if it has not traded",
        {200: Answer("The client's positions.", answers.PositionList)},
        errors=(400, 404, 429, 503),
        parameters=(
            Parameter("client_id", "path", "The client.", IDENTIFIER_SCHEMA, "client-A"),
        ),
    ),
    Operation(
        "post", "/market/orderbook/snapshot", MARKET, "take_snapshot",
        "Store a snapshot of the whole book",
        {
            201: Answer(
                "The stored snapshot.", answers.DepthSnapshot, links=("read_snapshot",)
            )
        },
        errors=READ_ERRORS,
        parameters=(INSTRUMENT,),
    ),
    Operation(
        "get", "/market/orderbook/snapshots", MARKET, "list_snapshots",
        "List stored snapshots, newest first",
        {200: Answer("Snapshots without their levels.", answers.SnapshotList)},
        errors=READ_ERRORS,
        parameters=(INSTRUMENT, limit(50)),
    ),
    Operation(
        "get", "/market/orderbook/snapshots/{snapshot_id}", MARKET, "read_snapshot",
        "Read a stored snapshot",
        {200: Answer("The snapshot.", answers.DepthSnapshot)},
        errors=READ_ERRORS,
        parameters=(SNAPSHOT_ID,),
    ),
    Operation(
        "get", "/", OPERATIONS, "index",
        "Show what there is",
        {
            200: Answer(
                "The index; for a browser (`Accept: text/html`) the trading page.",
                answers.Index, media=(JSON, HTML),
            ),
        },
    ),
    Operation(
        "get", "/status", OPERATIONS, "status",
        "Show the state of the exchange to humans",
        {200: Answer("A web page.", media=(HTML,))},
    ),
    Operation(
        "get", "/healthz", OPERATIONS, "healthz",
        "Return the state of each dependency",
        {
            200: Answer("Orders can be handled.", answers.Health),
            503: Answer("Something that trading needs is down.", answers.Health),
        },
    ),
    Operation(
        "get", "/livez", OPERATIONS, "livez",
        "Answer while the process can answer at all",
        {200: Answer("Alive.", answers.Alive)},
    ),
    Operation(
        "get", "/readyz", OPERATIONS, "readyz",
        "Say whether an order could be accepted, else what is missing",
        {
            200: Answer("Ready.", answers.Ready),
            503: Answer("Not ready.", answers.Ready),
        },
    ),
    Operation(
        "get", "/metrics", OPERATIONS, "metrics",
        "Return metrics in Prometheus' text format",
        {200: Answer("The metrics.", media=(TEXT,))},
    ),
    Operation(
        "get", "/openapi.json", OPERATIONS, "openapi",
        "Return this document",
        {200: Answer("OpenAPI 3.1.", media=(JSON,))},
    ),
    Operation(
        "get", "/asyncapi.json", OPERATIONS, "asyncapi",
        "Return the description of the WebSocket `/stream`",
        {200: Answer("AsyncAPI 3.0.", media=(JSON,))},
    ),
    Operation(
        "get", "/docs", OPERATIONS, "docs",
        "Show the API to humans",
        {200: Answer("A web page.", media=(HTML,))},
    ),
)  # fmt: skip

# The document.

ERRORS = {
    400: "A field or parameter is missing, unknown or out of range, or the JSON is malformed.",
    404: "There is no such order, instrument or snapshot.",
    409: "The order is finished, or its order_id or idempotency_key belongs to another request.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "Too many requests.",
    503: "Overloaded, or a dependency is down. Nothing was applied.",
    504: "No answer in time: it may still be applied. Repeating it is safe.",
}

# What the example of an error has beside code and message.
EXTRA: dict[int, dict[str, Any]] = {
    400: {
        "errors": [{"msg": "must be greater than 0", "param": "quantity", "location": "body"}],
    },
    504: {"order_id": "order-1"},
}

_SECONDS = {"type": "integer", "minimum": 0}
RATE_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
# Name: description, schema, whether it always comes. The rate limit is not always on.
HEADERS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "Idempotent-Replayed": ("This is a repeat.", {"type": "string", "enum": ["true"]}, True),
    AGE: (
        "How many milliseconds old it may be; absent when it is not read from a replica.",
        _SECONDS,
        False,
    ),
    "Location": ("Where it is.", {"type": "string"}, True),
    "Retry-After": ("Seconds to wait.", _SECONDS, True),
    "RateLimit-Limit": ("Requests allowed in a window.", _SECONDS, False),
    "RateLimit-Remaining": ("Requests left now.", _SECONDS, False),
    "RateLimit-Reset": ("Seconds until all are allowed again.", _SECONDS, False),
}

_ORDER_LINK = {"order_id": "$response.body#/order/order_id"}
LINKS: dict[str, dict[str, str]] = {
    "read_order": _ORDER_LINK,
    "cancel_order": _ORDER_LINK,
    "read_snapshot": {"snapshot_id": "$response.body#/snapshot_id"},
}


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in TABLE:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    models = {answer.model for operation in TABLE for answer in operation.answers.values()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trade engine",
            "version": version,
            "summary": "A trading exchange over HTTP and WebSocket.",
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": component_schemas(
                [
                    OrderBody,
                    answers.Error,
                    *sorted(
                        (model for model in models if model is not None),
                        key=lambda model: model.__name__,
                    ),
                ]
            ),
            "headers": {
                name: {"description": about, "schema": schema, "required": always}
                for name, (about, schema, always) in HEADERS.items()
            },
            "responses": {str(status): _error(status) for status in ERRORS},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    limited = operation.tag != OPERATIONS
    responses = {
        str(status): _answer(answer, limited) for status, answer in operation.answers.items()
    }
    responses |= {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in operation.errors
    }
    document: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [parameter.document() for parameter in operation.parameters],
        "responses": dict(sorted(responses.items())),
    }
    if operation.description:
        document["description"] = operation.description
    if operation.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {
                JSON: {
                    "schema": dict(operation.body),
                    "examples": {
                        name: {"value": value} for name, value in operation.examples.items()
                    },
                }
            },
        }
    return document


def _answer(answer: Answer, limited: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"description": answer.description}
    content: dict[str, Any] = {media: {} for media in answer.media}
    if answer.model is not None:
        content[JSON] = {"schema": reference(answer.model)}
    if content:
        document["content"] = content
    headers = answer.headers + (RATE_HEADERS if limited else ())
    if headers:
        document["headers"] = _header_references(headers)
    if answer.links:
        document["links"] = {
            name: {"operationId": name, "parameters": LINKS[name]} for name in answer.links
        }
    return document


def _error(status: int) -> dict[str, Any]:
    codes = [code for code, its_status in STATUS.items() if its_status == status]
    listed = ", ".join(f"`{code}`" for code in codes)
    example = {
        "error": codes[0] if codes else "refused",
        "message": ERRORS[status],
        **EXTRA.get(status, {}),
        "request_id": "01a2148e-81a0-70e1-8228-2d49a47fc9e0",
    }
    wait = ("Retry-After",) if status in (429, 503) else ()
    return {
        "description": f"{ERRORS[status]} Codes: {listed}." if listed else ERRORS[status],
        "content": {JSON: {"schema": reference(answers.Error), "example": example}},
        "headers": _header_references(wait + RATE_HEADERS),
    }


def _header_references(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
