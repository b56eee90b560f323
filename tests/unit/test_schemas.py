"""Untrusted JSON to orders, exactly or not at all; and orders to JSON, exact and shortest."""

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import ApiError
from api.schemas import (
    NewOrder,
    OrderBody,
    check_sizes,
    dump,
    levels_json,
    order_json,
    printable,
    read_count,
    read_identifier,
    read_json,
    read_order,
    timestamp,
    trade_json,
    validate_order,
)
from tests.builders import unhurried
from workers.core.instruments import Instrument
from workers.core.records import OrderRecord, TradeRecord
from workers.core.units import UNITS_MAX

ORDER = {"client_id": "alice", "side": "buy", "type": "limit", "quantity": 1, "price": 100}
BODY_LENGTH_MAX = 16 * 1024


def read(body: bytes, header_key: str | None = None) -> NewOrder:
    """Read an order, having seen that the model says the same as the short way."""
    fields = read_json(body)
    order = read_order(fields, header_key)
    try:
        assert validate_order(fields, header_key) == order
    except ApiError as refusal:
        pytest.fail(f"taken for an order, which the model refuses: {refusal}")
    return order


def body(**changes: Any) -> bytes:
    """Return an order with some fields changed; a field that is `...` is left out."""
    return json.dumps(
        {name: value for name, value in (ORDER | changes).items() if value is not ...}
    ).encode()


def raw(field: str, text: str) -> bytes:
    """Return an order with `field` spelled as `text`."""
    return body(**{field: "RAW"}).replace(b'"RAW"', text.encode("utf-8", "surrogatepass"))


def refusal(body: bytes, header_key: str | None = None) -> ApiError:
    """Return the 400, having seen that it can be answered."""
    with pytest.raises(ApiError) as refused:
        read(body, header_key)
    error = refused.value
    assert error.status == 400
    assert error.code == "invalid_request"
    answer = orjson.loads(dump(error.body()))
    assert answer["error"] == "invalid_request"
    assert answer["message"]
    for each in error.errors:
        assert set(each) == {"msg", "param", "location"}
        assert each["msg"]
    return error


def params(error: ApiError) -> list[str]:
    return [each["param"] for each in error.errors]


# Bodies that are not one JSON object. (what it is, body)
NOT_OBJECTS = [
    ("nothing", b""),
    ("spaces", b"  \n"),
    ("a word", b"hello"),
    ("a form", b"client_id=alice&side=buy"),
    ("half an object", body()[:-1]),
    ("two objects", body() * 2),
    ("something after", body() + b" x"),
    ("a comma too many", b'{"side":"buy",}'),
    ("single quotes", b"{'side':'buy'}"),
    ("a comment", b'{"side":"buy"} // buy'),
    ("an array", b"[]"),
    ("an array of an order", b"[" + body() + b"]"),
    ("null", b"null"),
    ("true", b"true"),
    ("a number", b"1"),
    ("a text", b'"buy"'),
    ("NaN alone", b"NaN"),
    ("a name twice", b'{"side":"buy","side":"sell"}'),
    ("a name twice, the same", b'{"side":"buy","side":"buy"}'),
    ("a name twice, spelled differently", b'{"side":"buy","\\u0073ide":"sell"}'),
    ("a name twice, inside", b'{"side":{"a":1,"a":2}}'),
    ("a byte order mark", b"\xef\xbb\xbf" + body()),
    ("UTF-16", body().decode().encode("utf-16")),
    ("UTF-16 without a mark", body().decode().encode("utf-16-le")),
    ("UTF-32", body().decode().encode("utf-32")),
    ("Latin-1", '{"side":"b\u00fcy"}'.encode("latin-1")),
    ("an overlong slash", b'{"side":"\xc0\xaf"}'),
    ("a surrogate in UTF-8", b'{"side":"\xed\xa0\x80"}'),
    ("a cut character", b'{"side":"\xe2\x82"}'),
    ("a NUL", b"\x00"),
    ("a NUL after", body() + b"\x00"),
    ("a raw NUL in a text", b'{"side":"b\x00uy"}'),
    ("a raw line in a text", b'{"side":"b\nuy"}'),
    ("a wrong escape", b'{"side":"\\x62uy"}'),
    ("half an escape", b'{"side":"\\u00"}'),
    ("deep arrays", b"[" * BODY_LENGTH_MAX),
    ("deep arrays, closed", b"[" * (BODY_LENGTH_MAX // 2) + b"]" * (BODY_LENGTH_MAX // 2)),
    ("deep objects", b'{"a":' * (BODY_LENGTH_MAX // 5)),
    (
        "deep objects, closed",
        b'{"a":' * (BODY_LENGTH_MAX // 6 - 1) + b"1" + b"}" * (BODY_LENGTH_MAX // 6 - 1),
    ),
    ("a lone surrogate for a name", b'{"\\ud800":1,' + body()[1:]),
    ("a lone surrogate for a name, inside", b'{"side":{"\\udc00":1}}'),
    ("a vertical tab", b"\x0b" + body()),
    ("a no-break space", "\u00a0".encode() + body()),
]


@pytest.mark.parametrize(
    "body", [row[1] for row in NOT_OBJECTS], ids=[row[0] for row in NOT_OBJECTS]
)
def test_what_is_not_one_json_object_is_refused(body: bytes) -> None:
    refusal(body)


# Texts that are no JSON value at all.
NOT_VALUES = [
    "NaN", "-NaN", "Infinity", "-Infinity", "nan", "inf", "01", "-01", "00", "+1", ".5", "5.",
    "1.e2", "1e", "1_000", "1,000", "0x10", "--1", "- 1", "\uff11\uff12", "\u0661", "\u22121",
    "1\u0660", "1.\uff15", "1e\uff11", "None", "True", "undefined", "",
]  # fmt: skip
# Values that are JSON and no amount, as numbers and, in quotes, as texts.
NOT_AMOUNTS = [
    "0", "-0", "0.0", "-0.0", "0e5", "-1", "-0.5", "1e400", "1e-400", "1e999", "-1e400", "1e99999",
    "0.123456789", "1e-9", "0.000000001", "1234567890123", "1e12", "1000000000000",
    "1" * 40, "1" * 41, "1" * 5_000, "0." + "1" * 40, "1" * 400 + "." + "1" * 400, "1e" + "1" * 400,
]  # fmt: skip
# Texts that are no amount.
NOT_AMOUNT_TEXTS = [
    "", " ", " 1", "1 ", "1\\n", "one", "1 BTC", "$1", "1\\u0000", "\\u0000", "\\ud800",
    "\\udc00\\ud800", "\\ufeff1", "1\\u00a0", "\\uff11\\uff12", "\\u0661", "\\u00b2",
]  # fmt: skip


@pytest.mark.parametrize("field", ["quantity", "price"])
@pytest.mark.parametrize("text", NOT_VALUES, ids=ascii)
def test_what_is_not_a_number_is_not_json(field: str, text: str) -> None:
    assert "not JSON" in refusal(raw(field, text)).message


@pytest.mark.parametrize("field", ["quantity", "price"])
@pytest.mark.parametrize(
    "text",
    [
        *NOT_AMOUNTS,
        *(f'"{text}"' for text in NOT_AMOUNTS),
        *(f'"{text}"' for text in NOT_AMOUNT_TEXTS),
        *(f'"{text}"' for text in NOT_VALUES),
        "true",
        "false",
        "[]",
        "[1]",
        "{}",
        '{"$numberDecimal": "1"}',
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_what_is_not_an_amount_is_refused_by_name(field: str, text: str) -> None:
    assert params(refusal(raw(field, text))) == [field]


# Identifiers and words: what no text is, and what these texts are not.
WRONG_TYPES = [None, True, False, 0, 1, -1, 1.5, [], ["alice"], {}, {"a": "b"}]
BAD_IDENTIFIERS = [
    "", " ", "a" * 65, "a b", " a", "a\n", "a\x00", "\x00", "\x1b[0m", "\ud800", "\udfff\ud800",
    "\u00e4", "\uff41", "\u0430lice", "a\u200b", "\ufeffa", "\U0001f600", "a/b", "../x", "a,b",
    "'; DROP TABLE orders; --", "{BTC}", "a\u202e", "x" * 10_000,
]  # fmt: skip
BAD_WORDS = ["", "Buy", "BUY", " buy", "bid", "b", "buy\x00", "\ud800", "\uff42uy", "x" * 10_000]

BAD_FIELDS: list[tuple[str, list[Any]]] = [
    ("client_id", WRONG_TYPES + BAD_IDENTIFIERS),
    ("order_id", WRONG_TYPES[1:] + BAD_IDENTIFIERS),
    ("idempotency_key", WRONG_TYPES[1:] + BAD_IDENTIFIERS),
    ("instrument", WRONG_TYPES[1:] + BAD_IDENTIFIERS),
    ("side", WRONG_TYPES + BAD_WORDS),
    ("type", [*WRONG_TYPES, "", "Limit", "stop", "limit\x00", "\ud800", "x" * 10_000]),
    ("quantity", [None]),
    ("price", [None]),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in BAD_FIELDS for value in values],
    ids=lambda value: ascii(value)[:24],
)
def test_a_wrong_field_is_refused_by_name(field: str, value: Any) -> None:
    assert params(refusal(body(**{field: value}))) == [field]


# (what it shows, body, offending fields)
OFFENDING = [
    ("nothing given", b"{}", ["client_id", "quantity", "side", "type"]),
    ("no client", body(client_id=...), ["client_id"]),
    ("no side", body(side=...), ["side"]),
    ("no type", body(type=...), ["type"]),
    ("no quantity", body(quantity=...), ["quantity"]),
    ("limit without a price", body(price=...), ["price"]),
    ("limit with a null price", body(price=None), ["price"]),
    ("market with a price", body(type="market"), ["price"]),
    ("market with a text price", body(type="market", price="100"), ["price"]),
    ("negative", body(quantity=-1, price="-1"), ["price", "quantity"]),
    ("zero", body(quantity=0, price="0.00"), ["price", "quantity"]),
    ("two missing, one wrong", b'{"side":"up","quantity":1}', ["client_id", "side", "type"]),
    ("unknown field", body(stop_price=1), ["stop_price"]),
    ("two unknown fields", body(post_only=True, tif="GTC"), ["post_only", "tif"]),
    ("unknown and missing", body(sides="buy", side=...), ["side", "sides"]),
    ("almost a field", body(**{"Side": "buy", "price ": 1}), ["Side", "price "]),
    ("an unknown empty name", body(**{"": 1}), [""]),
    ("an unknown name with NUL", body(**{"a\x00": 1}), ["a\\x00"]),
    ("an unknown long name", body(**{"x" * 1_000: 1}), ["x" * 200]),
    ("an unknown name of this class", body(model_config={}), ["model_config"]),
    ("an unknown dunder", body(__proto__={}, __class__=1), ["__class__", "__proto__"]),
    (
        "everything wrong",
        body(
            client_id="",
            side="",
            type="",
            quantity="",
            price="",
            instrument="",
            order_id="",
            idempotency_key="",
            x="",
        ),
        [
            "client_id",
            "idempotency_key",
            "instrument",
            "order_id",
            "price",
            "quantity",
            "side",
            "type",
            "x",
        ],
    ),
]


@pytest.mark.parametrize(
    ("body", "fields"), [row[1:] for row in OFFENDING], ids=[row[0] for row in OFFENDING]
)
def test_every_offending_field_is_listed(body: bytes, fields: list[str]) -> None:
    assert sorted(params(refusal(body))) == fields


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (body(client_id=...), "client_id is required"),
        (body(stop_price=1), "stop_price is not a known field"),
        (body(side="bid"), "side must be 'buy' or 'sell'"),
        (body(quantity=0), "quantity must be greater than 0"),
        (body(quantity=True), "quantity must be a number or a decimal string"),
        (body(price="0.123456789"), "price must have at most 8 decimals"),
        (body(price="1234567890123"), "price must have at most 12 digits before the point"),
        (body(price=...), "price is required for a limit order"),
        (body(type="market"), "price must be absent or null for a market order"),
        (b"[]", "the body must be a JSON object"),
        (b'{"a":1,"a":2}', "the body is not JSON: an object has the same name twice"),
        (b"\xff", "the body is not UTF-8 text"),
    ],
)
def test_the_message_says_what_to_do(body: bytes, message: str) -> None:
    assert refusal(body).message == message


# Good forms.

# (text in the body, units of 1e-8)
AMOUNTS = [
    ("1", 10**8),
    ("1.0", 10**8),
    ("0.1", 10**7),
    ("0.3", 3 * 10**7),
    ("1e2", 10**10),
    ("1E2", 10**10),
    ("1e+2", 10**10),
    ("1e-8", 1),
    ("0.00000001", 1),
    ("0.100000000000", 10**7),
    ("70150.5", 7_015_050_000_000),
    ("12345678901.12345678", 1_234_567_890_112_345_678),
    ("900719925474.09930001", 90_071_992_547_409_930_001),
    ("999999999999.99999999", UNITS_MAX),
]


@pytest.mark.parametrize("field", ["quantity", "price"])
@pytest.mark.parametrize(("text", "units"), AMOUNTS)
def test_amounts_are_taken_digit_for_digit(field: str, text: str, units: int) -> None:
    for written in (text, f'"{text}"'):
        assert getattr(read(raw(field, written)), field) == units


def test_a_whole_order() -> None:
    given = body(
        order_id="o-1",
        idempotency_key="k:1",
        instrument="ETH-USD",
        quantity="0.25",
        price=70150.5,
    )
    assert read(given) == NewOrder(
        client_id="alice",
        side="buy",
        type="limit",
        quantity=25_000_000,
        price=7_015_050_000_000,
        instrument="ETH-USD",
        order_id="o-1",
        idempotency_key="k:1",
    )


@pytest.mark.parametrize("price", [..., None], ids=["absent", "null"])
def test_a_market_order(price: Any) -> None:
    order = read(body(type="market", side="sell", price=price))
    assert (order.type, order.side, order.price) == ("market", "sell", None)


def test_what_is_left_out_has_a_default() -> None:
    order = read(body())
    assert (order.instrument, order.order_id, order.idempotency_key) == ("BTC-USD", None, None)
    order = read(body(order_id=None, idempotency_key=None))
    assert (order.order_id, order.idempotency_key) == (None, None)


@pytest.mark.parametrize("text", ["a", "A-Z.a_z:0-9", "x" * 64, "0", "-", "null", "1e5"])
def test_identifiers(text: str) -> None:
    order = read(body(client_id=text, order_id=text, idempotency_key=text))
    assert (order.client_id, order.order_id, order.idempotency_key) == (text, text, text)


def test_escapes_and_spaces_change_nothing() -> None:
    spaced = b' \t\r\n{ "client_id" : "\\u0061lice",' + body()[1:].split(b",", 1)[1] + b"\n "
    assert read(spaced) == read(body())


# (header, field, key, whether it is accepted)
KEYS = [
    (None, ..., None, True),
    (None, "k1", "k1", True),
    ("k1", ..., "k1", True),
    ("k1", None, "k1", True),
    ("k1", "k1", "k1", True),
    ("k1", "k2", None, False),
    ("k1", 1, None, False),
    ("1", 1, None, False),
    ("k1", [], None, False),
    ("k1", "", None, False),
    ("", ..., None, False),
    ("k 1", ..., None, False),
    ("k" * 65, ..., None, False),
    ("\u00e4", ..., None, False),
    ("\ud800", ..., None, False),
]


@pytest.mark.parametrize(("header", "field", "key", "good"), KEYS, ids=ascii)
def test_the_header_is_the_field(
    header: str | None, field: Any, key: str | None, good: bool
) -> None:
    given = body(idempotency_key=field)
    if good:
        assert read(given, header).idempotency_key == key
    else:
        assert set(params(refusal(given, header))) == {"idempotency_key"}


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=True, allow_infinity=True),
        st.text(st.characters()),
        st.sampled_from(["buy", "sell", "limit", "market", "0", "1", "1e2", "alice"]),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=3), inner)),
    max_leaves=5,
)


@settings(unhurried, max_examples=500)
@given(
    changes=st.dictionaries(
        st.one_of(st.sampled_from(list(OrderBody.model_fields)), st.text(max_size=5)),
        json_values,
        max_size=4,
    ),
    header=st.one_of(st.none(), st.text(max_size=5)),
)
def test_any_json_is_an_order_or_a_400(changes: dict[str, Any], header: str | None) -> None:
    assert_order_or_400(json.dumps(ORDER | changes).encode(), header)


@settings(unhurried, max_examples=500)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4)), max_size=4
    )
)
def test_any_damage_is_an_order_or_a_400(edits: list[tuple[int, int, bytes]]) -> None:
    damaged = body()
    for place, length, put in edits:
        place %= len(damaged) + 1
        damaged = damaged[:place] + put + damaged[place + length :]
    assert_order_or_400(damaged, None)


def assert_order_or_400(given: bytes, header: str | None) -> None:
    try:
        order = read(given, header)
    except ApiError:
        refusal(given, header)
        return
    assert 0 < order.quantity <= UNITS_MAX
    assert (order.price is None) is (order.type == "market")


# Sizes, paths and queries.

INSTRUMENT = Instrument(1, "BTC-USD", "BTC", "USD", 50_000_000, 100_000, "open")


@pytest.mark.parametrize(
    ("price", "quantity", "fields"),
    [
        ("100.5", "0.001", []),
        ("100", "1", []),
        ("100.25", "1", ["price"]),
        ("100", "0.0001", ["quantity"]),
        ("0.1", "0.0015", ["price", "quantity"]),
        (None, "1", []),
        (None, "0.0001", ["quantity"]),
    ],
)
def test_tick_and_lot(price: str | None, quantity: str, fields: list[str]) -> None:
    order = read(body(type="limit" if price else "market", price=price, quantity=quantity))
    if not fields:
        check_sizes(order, INSTRUMENT)
        return
    with pytest.raises(ApiError) as refused:
        check_sizes(order, INSTRUMENT)
    assert refused.value.status == 400
    assert params(refused.value) == fields
    sizes = {"price": "a multiple of the tick, 0.5", "quantity": "a multiple of the lot, 0.001"}
    assert all(sizes[field] in refused.value.message for field in fields)


@pytest.mark.parametrize("text", BAD_IDENTIFIERS, ids=lambda text: ascii(text)[:24])
def test_a_wrong_identifier_of_a_path_is_a_400(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_identifier(text, "order_id", "path")
    assert refused.value.status == 400
    assert [(e["param"], e["location"]) for e in refused.value.errors] == [("order_id", "path")]
    assert dump(refused.value.body())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (None, 50), ("1", 1), ("1000", 1_000), ("0050", 50), ("0", None), ("1001", None),
        ("-1", None), ("+1", None), ("1.0", None), ("1e2", None), ("1_0", None), ("", None),
        (" 1", None), ("x", None), ("\uff11", None), ("\u00b2", None), ("9" * 5_000, None),
        ("1\x00", None), ("\ud800", None),
    ],
    ids=lambda value: ascii(value)[:12],
)  # fmt: skip
def test_counts(text: str | None, count: int | None) -> None:
    if count is not None:
        assert read_count(text, "limit", 50, 1_000) == count
        return
    with pytest.raises(ApiError) as refused:
        read_count(text, "limit", 50, 1_000)
    assert refused.value.status == 400
    assert dump(refused.value.body())


@unhurried
@given(st.text(st.characters()))
def test_printable_can_be_answered(text: str) -> None:
    assert orjson.loads(dump(printable(text))).isprintable()


# Events to JSON.

RECORD = OrderRecord(
    order_id="b1",
    order_no=7,
    client_id="alice",
    instrument="BTC-USD",
    side="buy",
    type="limit",
    price_ticks=7_015_050_000_000,
    quantity_lots=100_000_000,
    filled_lots=0,
    filled_value=0,
    status="open",
    status_reason="",
    idempotency_key="",
    created_us=1_700_000_000_123_456,
    updated_us=1_700_000_000_999_999,
)


def test_an_open_order() -> None:
    assert dump(order_json(RECORD)) == (
        b'{"order_id":"b1","order_no":7,"client_id":"alice","instrument":"BTC-USD","side":"buy",'
        b'"type":"limit","price":70150.5,"quantity":1,"filled_quantity":0,"remaining_quantity":1,'
        b'"average_price":null,"status":"open","status_reason":null,"idempotency_key":null,'
        b'"created_at":"2023-11-14T22:13:20.123Z","updated_at":"2023-11-14T22:13:20.999Z"}'
    )


def test_a_market_order_has_no_price_and_says_why_it_ended() -> None:
    order = orjson.loads(
        dump(
            order_json(
                RECORD._replace(
                    type="market",
                    price_ticks=0,
                    status="rejected",
                    status_reason="no_liquidity",
                    idempotency_key="k1",
                )
            )
        )
    )
    assert order["price"] is None
    assert (order["status"], order["status_reason"]) == ("rejected", "no_liquidity")
    assert order["idempotency_key"] == "k1"


# (quantity, filled, value in 1e-16, filled_quantity, remaining_quantity, average_price)
FILLS = [
    (100_000_000, 25_000_000, 25_000_000 * 10**8, "0.25", "0.75", "1"),
    (30_000_000, 10_000_000, 10_000_000 * 10, "0.1", "0.2", "0.0000001"),
    (3, 3, 10 * 10**8, "0.00000003", "0", "3.33333333"),
    (2, 2, 3, "0.00000002", "0", "0.00000002"),
    (UNITS_MAX, UNITS_MAX, UNITS_MAX**2, "999999999999.99999999", "0", "999999999999.99999999"),
]


@pytest.mark.parametrize(
    ("quantity_lots", "filled_lots", "value", "filled", "remaining", "average"), FILLS
)
def test_numbers_are_exact_and_shortest(
    quantity_lots: int, filled_lots: int, value: int, filled: str, remaining: str, average: str
) -> None:
    written = dump(
        order_json(
            RECORD._replace(
                quantity_lots=quantity_lots, filled_lots=filled_lots, filled_value=value
            )
        )
    )
    order = json.loads(written, parse_float=str, parse_int=str)
    assert order["filled_quantity"] == filled
    assert order["remaining_quantity"] == remaining
    assert order["average_price"] == average


def test_a_trade() -> None:
    record = TradeRecord(
        trade_no=3,
        sequence=9,
        instrument="BTC-USD",
        price_ticks=1_234_567_890_112_345_678,
        quantity_lots=30_000_000,
        buy_order_id="b1",
        sell_order_id="s1",
        taker_side="sell",
        time_us=1_700_000_000_000_999,
    )
    assert dump(trade_json(record)) == (
        b'{"trade_id":"BTC-USD-3","trade_no":3,"instrument":"BTC-USD",'
        b'"price":12345678901.12345678,"quantity":0.3,"buy_order_id":"b1","sell_order_id":"s1",'
        b'"taker_side":"sell","timestamp":"2023-11-14T22:13:20.000Z","sequence":9}'
    )


def test_levels_are_cumulative() -> None:
    assert dump(levels_json([(10**8, 10**7), (2 * 10**8, 2 * 10**7)])) == (
        b'[{"price":1,"quantity":0.1,"cumulative":0.1},{"price":2,"quantity":0.2,"cumulative":0.3}]'
    )
    assert levels_json([]) == []


@unhurried
@given(st.integers(1, UNITS_MAX))
def test_what_is_answered_can_be_sent_again(units: int) -> None:
    written = dump(order_json(RECORD._replace(price_ticks=units)))
    price = json.loads(written, parse_float=str, parse_int=str)["price"]
    assert Decimal(price) * 10**8 == units
    assert read(raw("price", price)).price == units


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_999, "1970-01-01T00:00:00.001Z"),
        (1_700_000_000_999_999, "2023-11-14T22:13:20.999Z"),
        (1_709_164_800_000_000, "2024-02-29T00:00:00.000Z"),
    ],
)
def test_timestamps(time_us: int, text: str) -> None:
    assert timestamp(time_us) == text
