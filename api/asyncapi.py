"""The AsyncAPI document of the WebSocket `/stream`, and its messages for the page of /docs."""

from dataclasses import dataclass
from typing import Any, get_args

from api import messages
from api.answers import Described
from api.jsonschemas import component_schemas, reference

PATH = "/stream"

# What no message says of itself; rules of the whole connection.
NOTES = {
    "Orders": "may be sent without waiting for answers. They enter the book in the order sent, and "
    "an answer carries the request_id that its message had.",
    "orderbook": "first comes a snapshot, then deltas. Each delta's prev_sequence equals the "
    "sequence before it, so whoever applies them all has exactly the server's book.",
    "trades, orders": "every trade, and every order that changed. resume_from sends first what "
    "came after a sequence; when that is too long ago, a resync comes instead.",
    "Too slow a reader": "gets a resync (of orderbook: a new snapshot) instead of what it missed, "
    "and at last the close code 1013. A server that stops closes with 1001 or 1012.",
    "Limits": "a message has at most 64 KiB. The server pings every 20 seconds.",
}
ABOUT = (
    "Orders in, and what happens out, over one connection. The first message is `connected`.\n\n"
    + "\n".join(f"- **{name}**: {note}" for name, note in NOTES.items())
)


@dataclass(frozen=True)
class Inward:
    """A message from the client, what it is answered with, and an example that works."""

    model: type[Described]
    answers: tuple[type[Described], ...]
    example: dict[str, Any]

    @property
    def name(self) -> str:
        return type_of(self.model)


INWARD = (
    Inward(
        messages.Subscribe,
        (messages.Subscribed, messages.ErrorMessage),
        {"type": "subscribe", "channels": ["trades", "orderbook"], "instrument": "BTC-USD"},
    ),
    Inward(
        messages.Unsubscribe,
        (messages.Unsubscribed, messages.ErrorMessage),
        {"type": "unsubscribe", "channels": ["trades"], "instrument": "BTC-USD"},
    ),
    Inward(
        messages.SubmitOrder,
        (messages.OrderAccepted, messages.ErrorMessage),
        {
            "type": "order",
            "order_type": "limit",
            "client_id": "client-A",
            "instrument": "BTC-USD",
            "side": "buy",
            "price": 70000,
            "quantity": 1,
            "idempotency_key": "ws-order-1",
            "request_id": 1,
        },
    ),
    Inward(
        messages.Cancel,
        (messages.OrderCancelled, messages.ErrorMessage),
        {"type": "cancel", "order_id": "order-1", "request_id": 2},
    ),
    Inward(messages.Ping, (messages.Pong,), {"type": "ping"}),
)
OUTWARD: tuple[type[Described], ...] = get_args(get_args(messages.ServerMessage)[0])
# What comes unasked. All others are answers.
PUSHED = (
    messages.Connected,
    messages.Trades,
    messages.Orders,
    messages.Orderbook,
    messages.Resync,
)


def type_of(model: type[Described]) -> str:
    """Return what the field `type` of such a message says first of all."""
    return str(get_args(model.model_fields["type"].annotation)[0])


def document(version: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document."""
    described = {message.name: _message(message.model, message.example) for message in INWARD}
    described |= {type_of(model): _message(model) for model in OUTWARD}
    operations: dict[str, Any] = {
        message.name: {
            "action": "receive",
            "channel": {"$ref": "#/channels/stream"},
            "summary": _about(message.model),
            "messages": [_in_channel(message.name)],
            "reply": {
                "channel": {"$ref": "#/channels/stream"},
                "messages": [_in_channel(type_of(model)) for model in message.answers],
            },
        }
        for message in INWARD
    }
    operations["publish"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/stream"},
        "summary": "What comes unasked.",
        "messages": [_in_channel(type_of(model)) for model in PUSHED],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trade engine: the stream",
            "version": version,
            "description": ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "localhost:3000",
                "protocol": "ws",
                "description": "Where `./ops/run` listens. Yours is where this document is.",
            }
        },
        "channels": {
            "stream": {
                "address": PATH,
                "description": ABOUT,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in described},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": operations,
        "components": {
            "messages": described,
            "schemas": component_schemas([*(message.model for message in INWARD), *OUTWARD]),
        },
    }


def rows() -> list[tuple[str, str, str, dict[str, Any] | None]]:
    """Return direction, type, explanation and example of each message, for a page."""
    sent: list[tuple[str, str, str, dict[str, Any] | None]] = [
        ("you send", message.name, _about(message.model), message.example) for message in INWARD
    ]
    return sent + [("you get", type_of(model), _about(model), None) for model in OUTWARD]


def _about(model: type[Described]) -> str:
    return (model.__doc__ or "").split("\n\n")[0].replace("\n    ", " ")


def _message(model: type[Described], example: dict[str, Any] | None = None) -> dict[str, Any]:
    name = type_of(model)
    message: dict[str, Any] = {
        "name": name,
        "summary": _about(model),
        "payload": reference(model),
    }
    if example is not None:
        message["examples"] = [{"name": name, "payload": example}]
    return message


def _in_channel(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/stream/messages/{name}"}
