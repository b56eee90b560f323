"""The OpenAPI document says what the app does."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from api import answers, docs, openapi
from api.errors import STATUS, ApiError, invalid
from api.schemas import (
    AMOUNT_SCHEMA,
    IDENTIFIER_SCHEMA,
    dump,
    levels_json,
    order_json,
    read_json,
    read_order,
    trade_json,
)
from tests.routes import served
from workers.core.codec import IDENTIFIER
from workers.core.records import OrderRecord, TradeRecord
from workers.core.units import parse_units

DOCUMENT = openapi.document("1.2.3")

# Files of pages: what they are is nobody's business but the pages'.
NOT_DESCRIBED = {
    ("get", "/docs/{folder}/{name}"),
    ("get", "/static/{version}/{folder}/{name}"),
}


def test_it_is_an_openapi_document() -> None:
    validate(DOCUMENT)


def test_it_has_the_routes_of_the_app_and_no_other() -> None:
    described = {(operation.method, operation.path) for operation in openapi.TABLE}
    http = {route for route in served() if route[0] != "websocket"}
    assert described == http - NOT_DESCRIBED


def test_the_index_leads_to_routes_of_the_app() -> None:
    paths = {path for _, path in served()} | {"/stream"}
    assert set(docs.LINKS.values()) <= paths


def test_every_status_of_an_error_is_described() -> None:
    # The text says of these that any request can get them, or none should.
    assert set(STATUS.values()) - {403, 405, 408, 500} <= set(openapi.ERRORS)
    assert all(set(operation.errors) <= set(openapi.ERRORS) for operation in openapi.TABLE)


def test_everything_with_a_body_can_refuse_it() -> None:
    for operation in openapi.TABLE:
        assert (operation.body is not None) == (set(openapi.BODY_ERRORS) <= set(operation.errors))


@pytest.mark.parametrize("operation", openapi.TABLE, ids=lambda operation: operation.name)
def test_examples_are_what_the_schemas_say(operation: openapi.Operation) -> None:
    for example in operation.examples.values():
        assert operation.body is not None
        schema = dict(operation.body) | {"components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(example)
        for order in example.get("orders", [example]):
            assert read_order(read_json(dump(order)))
    for parameter in operation.parameters:
        if parameter.example is not None:
            Draft202012Validator(parameter.schema).validate(parameter.example)


@pytest.mark.parametrize("status", sorted(openapi.ERRORS))
def test_examples_of_errors_are_as_described(status: int) -> None:
    (content,) = DOCUMENT["components"]["responses"][str(status)]["content"].values()
    assert answers.Error.model_validate(content["example"])
    assert STATUS.get(content["example"]["error"], status) == status


@given(st.from_regex(re.compile(AMOUNT_SCHEMA["pattern"], re.ASCII), fullmatch=True))
def test_a_described_amount_is_accepted(text: str) -> None:
    text = text.removesuffix("\n")  # `$` of Python matches before it, that of JSON schemas does not
    assert parse_units(text) > 0


@pytest.mark.parametrize(
    ("amount", "good"),
    [
        ("1", True), ("0.00000001", True), ("999999999999.99999999", True), (70150.5, True),
        (1e-8, True), (0, False), ("0", False), ("0.0", False), (-1, False), ("-1", False),
        ("1234567890123", False), ("0.123456789", False), (10**12, False), ("", False),
        (" 1", False), (1e-9, False), (True, False), (None, False), ([], False),
    ],
)  # fmt: skip
def test_amounts(amount: Any, good: bool) -> None:
    assert Draft202012Validator(AMOUNT_SCHEMA).is_valid(amount) == good


def test_an_identifier_is_described_by_the_rule_itself() -> None:
    assert IDENTIFIER_SCHEMA["pattern"] == f"^{IDENTIFIER.pattern}$"


# (change of the example, whether it is an order)
ORDERS = [
    ({}, True),
    ({"price": None}, False),
    ({"price": "1"}, True),
    ({"type": "market"}, False),
    ({"type": "market", "price": None}, True),
    ({"type": "stop"}, False),
    ({"side": "BUY"}, False),
    ({"leverage": 1}, False),
    ({"order_id": None, "idempotency_key": None}, True),
    ({"client_id": ""}, False),
    ({"client_id": 1}, False),
]


@pytest.mark.parametrize(("change", "good"), ORDERS)
def test_an_order_is_described_as_it_is_read(change: dict[str, Any], good: bool) -> None:
    schema = {"$ref": "#/components/schemas/OrderBody", "components": DOCUMENT["components"]}
    order = openapi.LIMIT_ORDER | change
    assert Draft202012Validator(schema).is_valid(order) == good
    try:
        read_order(read_json(json.dumps(order).encode()))
    except ApiError:
        assert not good
    else:
        assert good


# What is encoded by hand is what is described.

ORDER = OrderRecord(
    "b1", 7, "alice", "BTC-USD", "buy", "limit", 10**8, 10**8, 5 * 10**7, 5 * 10**15,
    "partially_filled", "", "", 1_700_000_000_123_456, 1_700_000_000_999_999,
)  # fmt: skip
TRADE = TradeRecord(3, 9, "BTC-USD", 10**8, 10**8, "b1", "s1", "sell", 1_700_000_000_000_999)


def test_orders_trades_and_levels_are_as_described() -> None:
    for order in (ORDER, ORDER._replace(price_ticks=0, filled_lots=0, idempotency_key="k")):
        assert answers.Order.model_validate_json(dump(order_json(order)))
    assert answers.Trade.model_validate_json(dump(trade_json(TRADE)))
    for level in levels_json([(10**8, 10**7)]):
        assert answers.Level.model_validate_json(dump(level))


def test_errors_are_as_described() -> None:
    for error in (
        invalid("levels", "must be a number", "query"),
        ApiError("order_finished", "too late", extra={"order": order_json(ORDER)}),
        ApiError("unknown_outcome", "who knows", extra={"order_id": "b1"}),
    ):
        assert answers.Error.model_validate_json(dump(error.body() | {"request_id": "r1"}))


@pytest.mark.parametrize(
    "change", [{"price": "1"}, {"price": True}, {"more": 1}, {"created_at": "2026-01-31"}]
)
def test_a_description_notices_drift(change: dict[str, Any]) -> None:
    order = json.loads(dump(order_json(ORDER)))
    assert answers.Order.model_validate_json(json.dumps(order))
    with pytest.raises(ValueError, match="1 validation error"):
        answers.Order.model_validate_json(json.dumps(order | change))
