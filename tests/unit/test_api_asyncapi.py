"""The AsyncAPI document describes the messages of the stream."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from api import asyncapi, messages
from api.schemas import dump, order_json, trade_json
from tests.unit.test_api_openapi import ORDER, TRADE

DOCUMENT = asyncapi.document("1.2.3")
META_SCHEMA = Path(__file__).parents[1] / "vendor" / "asyncapi-3.0.0.json"
SERVER_MESSAGE: TypeAdapter[messages.ServerMessage] = TypeAdapter(messages.ServerMessage)


def test_it_is_an_asyncapi_document() -> None:
    Draft7Validator(json.loads(META_SCHEMA.read_text())).validate(DOCUMENT)


def test_the_meta_schema_refuses_what_is_none() -> None:
    validator = Draft7Validator(json.loads(META_SCHEMA.read_text()))
    assert not validator.is_valid(DOCUMENT | {"channels": {"stream": {"address": 1}}})


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for item in value for found in references(item)]
        if isinstance(value, dict):
            inner = [found for item in value.values() for found in references(item)]
            return inner + ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        return []

    found = references(DOCUMENT)
    assert len(found) > 50
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_no_two_messages_have_one_name() -> None:
    names = [message.name for message in asyncapi.INWARD]
    names += [asyncapi.type_of(model) for model in asyncapi.OUTWARD]
    assert sorted(names) == sorted(set(names)) == sorted(DOCUMENT["components"]["messages"])


@pytest.mark.parametrize("message", asyncapi.INWARD, ids=lambda message: message.name)
def test_examples_are_what_the_schemas_say(message: asyncapi.Inward) -> None:
    assert fits(message.model.__name__, message.example)
    assert not fits(message.model.__name__, message.example | {"more": 1})


def fits(schema: str, value: Any) -> bool:
    reference = f"#/components/schemas/{schema}"
    components = DOCUMENT["components"]
    return bool(Draft202012Validator({"$ref": reference, "components": components}).is_valid(value))


# The forms that clients may send. The last has the key `type` twice, as the reference prints it.
SENT = [
    ("Subscribe", '{"type":"subscribe","channel":"trades"}', True),
    ("Subscribe", '{"type":"subscribe","channels":["trades","orders"],"resume_from":7}', True),
    ("Subscribe", '{"type":"subscribe","channel":"trades","resume_from":7,"timeline":2}', True),
    ("Subscribe", '{"type":"subscribe"}', False),
    ("Subscribe", '{"type":"subscribe","channels":[]}', False),
    ("Subscribe", '{"type":"subscribe","channels":["news"]}', False),
    (
        "SubmitOrder",
        '{"type":"order","client_id":"client-A","instrument":"BTC-USD","side":"buy",'
        '"type":"limit","price":70000,"quantity":1.0,"idempotency_key":"ws-order-1"}',
        True,
    ),
    ("SubmitOrder", '{"type":"order","client_id":"a","side":"buy","quantity":1}', False),
    ("Cancel", '{"type":"cancel","order_id":"order-1","request_id":"mine"}', True),
    ("Cancel", '{"type":"cancel"}', False),
    ("Ping", '{"type":"ping"}', True),
]


@pytest.mark.parametrize(("schema", "text", "good"), SENT)
def test_messages_of_clients(schema: str, text: str, good: bool) -> None:
    assert fits(schema, json.loads(text)) == good


NOW = {"timestamp": "2026-01-31T12:00:00.000Z"}
ORDER_JSON, TRADE_JSON = (
    json.loads(dump(value)) for value in (order_json(ORDER), trade_json(TRADE))
)
LEVEL = {"price": 1, "quantity": 2, "cumulative": 2}
CHANGED = {"price": 1, "quantity": 0}
RECEIVED = [
    {"type": "connected", "client_id": "c1"},
    {"type": "subscribed", "channels": ["trades"], "instrument": "BTC-USD", "timeline": 1},
    {"type": "unsubscribed", "channels": ["trades"], "instrument": "BTC-USD"},
    {"type": "trades", "channel": "trades:BTC-USD", "data": TRADE_JSON},
    {"type": "orders", "channel": "orders:BTC-USD", "data": ORDER_JSON | {"sequence": 4}},
    {
        "type": "orderbook",
        "channel": "orderbook:BTC-USD",
        "data": {"snapshot": True, "sequence": 4, "bids": [LEVEL], "asks": []},
    },
    {
        "type": "orderbook",
        "channel": "orderbook:BTC-USD",
        "data": {
            "snapshot": False, "prev_sequence": 4, "sequence": 5, "bids": [], "asks": [CHANGED],
        },
    },
    {
        "type": "resync",
        "channel": "trades:BTC-USD",
        "instrument": "BTC-USD",
        "timeline": 1,
        "data": {"sequence": 9, "trades": [TRADE_JSON]},
    },
    {
        "type": "resync",
        "channel": "orders:BTC-USD",
        "instrument": "BTC-USD",
        "timeline": 1,
        "data": {"sequence": 9, "orders": [ORDER_JSON], "complete": True},
    },
    {"type": "order_accepted", "order": ORDER_JSON, "trades": [TRADE_JSON], "orderbook": None},
    {
        "type": "order_accepted",
        "order": ORDER_JSON,
        "trades": [],
        "orderbook": {"bids": [LEVEL], "asks": []},
        "idempotent_replayed": True,
        "request_id": 7,
    },
    {"type": "order_cancelled", "order": ORDER_JSON, "request_id": "mine"},
    {"type": "pong"},
    {"type": "error", "error": "invalid_request", "message": "quantity is required"},
    {"type": "error", "error": "unknown_outcome", "message": "no answer", "order_id": "b1"},
]  # fmt: skip


@pytest.mark.parametrize("message", RECEIVED, ids=lambda message: message["type"])
def test_messages_of_the_server(message: dict[str, Any]) -> None:
    assert SERVER_MESSAGE.validate_json(json.dumps(message | NOW))
    names = {asyncapi.type_of(model): model.__name__ for model in asyncapi.OUTWARD}
    assert fits(names[message["type"]], message | NOW)
    for wrong in (message, message | NOW | {"more": 1}, message | NOW | {"type": "news"}):
        with pytest.raises(ValidationError):
            SERVER_MESSAGE.validate_json(json.dumps(wrong))
