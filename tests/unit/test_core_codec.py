"""What travels through Redis: the same back, and nothing else gets in."""

from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import TIME_US, cancel, commands, submit, unhurried
from workers.core.codec import (
    CodecError,
    EncodedChanges,
    Reply,
    Request,
    decode_depth,
    decode_replies,
    decode_request,
    decode_snapshot,
    encode_changes,
    encode_delta,
    encode_replies,
    encode_request,
    encode_reset,
)
from workers.core.depth import DepthDelta, DepthReplica, take_snapshot
from workers.core.engine import MatchingEngine
from workers.core.messages import Command, SubmitOrder
from workers.core.records import Changes, OrderRecord, TradeRecord
from workers.core.units import UNITS_MAX

TTL_MS = 5_000


def encode(command: Command) -> bytes:
    return encode_request(command, ttl_ms=TTL_MS, reply_to="edge-1", correlation=7)


def decode(payload: bytes) -> Request:
    return decode_request(payload, time_us=TIME_US, age_us=0)


@pytest.mark.parametrize(
    "command",
    [
        submit("b1", "buy", 5, 100),
        submit("s1", "sell", 5, 100, client_id="bob", idempotency_key="key:1"),
        submit("m1", "buy", 5),
        submit("A" * 64, "sell", UNITS_MAX, UNITS_MAX, order_id_given=False),
        submit("._:-", "sell", 1, 1, client_id="Z" * 64, idempotency_key="k" * 64),
        cancel("b1"),
    ],
    ids=["limit", "with a key", "market", "huge", "every character", "cancel"],
)
def test_request_round_trip(command: Command) -> None:
    assert decode(encode(command)) == Request(command, "edge-1", 7)


identifiers = st.text(
    "ABCXYZabcxyz0189._:-",
    min_size=1,
    max_size=64,
)
amounts = st.integers(1, UNITS_MAX)


@unhurried
@given(
    order_id=identifiers,
    client_id=identifiers,
    key=st.one_of(st.just(""), identifiers),
    side=st.sampled_from(["buy", "sell"]),
    quantity_lots=amounts,
    price_ticks=st.one_of(st.just(0), amounts),
    given_=st.booleans(),
)
def test_any_request_round_trip(
    order_id: str,
    client_id: str,
    key: str,
    side: Any,
    quantity_lots: int,
    price_ticks: int,
    given_: bool,
) -> None:
    command = submit(
        order_id,
        side,
        quantity_lots,
        price_ticks,
        client_id=client_id,
        idempotency_key=key,
        order_id_given=given_,
    )
    assert decode(encode(command)).command == command


@pytest.mark.parametrize(
    ("age_us", "ttl_ms", "deadline_us"),
    [
        (0, 5_000, TIME_US + 5_000_000),
        (1_000_000, 5_000, TIME_US + 4_000_000),
        (5_000_000, 5_000, TIME_US),
        (6_000_000, 5_000, TIME_US - 1_000_000),
        (0, 0, TIME_US),
    ],
)
def test_the_deadline_counts_from_the_append(age_us: int, ttl_ms: int, deadline_us: int) -> None:
    for command in (submit("b1", "buy", 1, 1), cancel("b1")):
        payload = encode_request(command, ttl_ms=ttl_ms, reply_to="e", correlation=1)
        decoded = decode_request(payload, time_us=TIME_US, age_us=age_us).command
        assert (decoded.time_us, decoded.deadline_us) == (TIME_US, deadline_us)


def test_amounts_are_text_because_readers_have_64_bits() -> None:
    fields = orjson.loads(encode(submit("b1", "buy", UNITS_MAX, UNITS_MAX)))
    assert fields["price"] == fields["quantity"] == "99999999999999999999"


def test_unknown_fields_are_ignored() -> None:
    command = submit("b1", "buy", 5, 100)
    newer = orjson.loads(encode(command)) | {"time_in_force": "GTC", "flags": [1, {"a": None}]}
    assert decode(orjson.dumps(newer)).command == command


# Payloads that no edge wrote.

SUBMIT: dict[str, Any] = orjson.loads(encode(submit("b1", "buy", 5, 100, idempotency_key="k")))
CANCEL: dict[str, Any] = orjson.loads(encode(cancel("b1")))

# (what it is, payload)
NOT_OBJECTS = [
    ("nothing", b""),
    ("a space", b" "),
    ("not JSON", b"hello"),
    ("NUL", b"\x00"),
    ("NULs", b"\x00" * 100),
    ("half an object", orjson.dumps(SUBMIT)[:40]),
    ("two objects", orjson.dumps(CANCEL) * 2),
    ("null", b"null"),
    ("true", b"true"),
    ("a number", b"1"),
    ("a text", b'"submit"'),
    ("an array", b"[]"),
    ("an array of an object", b"[" + orjson.dumps(SUBMIT) + b"]"),
    ("an empty object", b"{}"),
    ("invalid UTF-8", b'{"command":"\xff\xfe"}'),
    ("a lone surrogate", b'{"command":"\\ud800"}'),
    ("a byte order mark", b"\xef\xbb\xbf" + orjson.dumps(SUBMIT)),
    ("UTF-16", orjson.dumps(SUBMIT).decode().encode("utf-16")),
    ("NaN", orjson.dumps(CANCEL).replace(b"5000", b"NaN")),
    ("Infinity", orjson.dumps(CANCEL).replace(b"5000", b"Infinity")),
    ("1e400", orjson.dumps(CANCEL).replace(b"5000", b"1e400")),
    ("40 digits", orjson.dumps(CANCEL).replace(b"5000", b"1" * 40)),
    ("a million digits", orjson.dumps(CANCEL).replace(b"5000", b"1" * 1_000_000)),
    ("deep arrays", b"[" * 100_000),
    ("deep objects", b'{"a":' * 100_000),
    ("deep and closed", b"[" * 100_000 + b"]" * 100_000),
    ("pickle", b"\x80\x04K\x01."),
]

WRONG_TYPES = [None, True, False, 0, 1, -1, 1.5, 2**64 - 1, [], {}, ["b1"], {"a": 1}]
BAD_IDENTIFIERS = [
    "",
    " ",
    "a" * 65,
    "a b",
    "a\n",
    "a\x00",
    "\x00",
    "\u00e4",
    "\uff41",
    "a/b",
    "'; --",
    "\U0001f600",
]
BAD_AMOUNTS = [
    "",
    "0x1",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "1.5",
    "1e2",
    "1_000",
    "\uff11",
    "\u00b2",
    "\u0661",
    "1\x00",
    "NaN",
    str(UNITS_MAX + 1),
    "9" * 21,
    "0" * 20 + "1",
    "9" * 5_000,
]
# (field, values it cannot have)
BAD_FIELDS: list[tuple[str, list[Any]]] = [
    ("command", [*WRONG_TYPES, "", "Submit", "amend", "submit\x00"]),
    ("order_id", [*WRONG_TYPES, *BAD_IDENTIFIERS]),
    ("client_id", [*WRONG_TYPES, *BAD_IDENTIFIERS]),
    ("key", [*WRONG_TYPES, *BAD_IDENTIFIERS[1:]]),
    ("side", [*WRONG_TYPES, "", "Buy", "BUY", "bid", "buy\x00"]),
    ("type", [*WRONG_TYPES, "", "Limit", "stop", "market"]),
    ("price", [*WRONG_TYPES, *BAD_AMOUNTS, "0"]),
    ("quantity", [*WRONG_TYPES, *BAD_AMOUNTS, "0", "000"]),
    ("given", [None, 0, 1, "true", "", [], {}]),
    ("ttl_ms", [None, True, "5000", 1.5, [], {}]),
    ("correlation", [None, False, "7", 1.5, [], {}]),
    ("reply_to", WRONG_TYPES),
]


@pytest.mark.parametrize(
    "payload", [row[1] for row in NOT_OBJECTS], ids=[row[0] for row in NOT_OBJECTS]
)
def test_what_is_not_a_request_is_refused(payload: bytes) -> None:
    with pytest.raises(CodecError):
        decode(payload)


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in BAD_FIELDS for value in values],
    ids=lambda value: repr(value)[:30].encode("unicode_escape").decode(),
)
def test_bad_fields_are_refused(field: str, value: Any) -> None:
    with pytest.raises(CodecError):
        decode(orjson.dumps(SUBMIT | {field: value}))
    if field in CANCEL and field != "command":
        with pytest.raises(CodecError):
            decode(orjson.dumps(CANCEL | {field: value}))


@pytest.mark.parametrize("whole", [SUBMIT, CANCEL], ids=["submit", "cancel"])
def test_every_field_is_required(whole: dict[str, Any]) -> None:
    for field in whole:
        with pytest.raises(CodecError):
            decode(orjson.dumps({name: value for name, value in whole.items() if name != field}))


def test_a_market_order_has_no_price() -> None:
    with pytest.raises(CodecError, match="market order has none"):
        decode(orjson.dumps(SUBMIT | {"type": "market"}))
    assert decode(orjson.dumps(SUBMIT | {"type": "market", "price": "0"}))


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.sampled_from(["buy", "sell", "limit", "market", "submit", "cancel", "0", "1", "k"]),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text("abc"), inner)),
    max_leaves=5,
)


@settings(unhurried, max_examples=500)
@given(
    whole=st.sampled_from([SUBMIT, CANCEL]),
    changes=st.dictionaries(st.sampled_from([*SUBMIT, "unknown"]), json_values, max_size=4),
    lost=st.sets(st.sampled_from(list(SUBMIT)), max_size=2),
)
def test_a_changed_request_is_a_request_or_refused(
    whole: dict[str, Any], changes: dict[str, Any], lost: set[str]
) -> None:
    fields = {name: value for name, value in (whole | changes).items() if name not in lost}
    assert_request_or_refused(orjson.dumps(fields))


@settings(unhurried, max_examples=500)
@given(
    whole=st.sampled_from([SUBMIT, CANCEL]),
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=4)), max_size=4
    ),
)
def test_a_damaged_request_is_a_request_or_refused(
    whole: dict[str, Any], edits: list[tuple[int, int, bytes]]
) -> None:
    payload = orjson.dumps(whole)
    for place, length, put in edits:
        place %= len(payload) + 1
        payload = payload[:place] + put + payload[place + length :]
    assert_request_or_refused(payload)


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(payload: bytes) -> None:
    assert_request_or_refused(payload)


def assert_request_or_refused(payload: bytes) -> None:
    """Nothing but CodecError is raised, and what is let in is fit for the engine."""
    try:
        request = decode(payload)
    except CodecError:
        return
    command = request.command
    if isinstance(command, SubmitOrder):
        assert 0 < command.quantity_lots <= UNITS_MAX
        assert 0 <= command.price_ticks <= UNITS_MAX
        assert (command.type == "market") is (command.price_ticks == 0)
        assert command.side in ("buy", "sell")
        assert command.type in ("limit", "market")
    MatchingEngine().apply(command)


# Replies.

ORDER = OrderRecord(
    "b1", 2**53, "alice", "BTC-USD", "buy", "limit", UNITS_MAX, UNITS_MAX, UNITS_MAX,
    UNITS_MAX**2, "filled", "", "key", TIME_US, TIME_US + 1,
)  # fmt: skip
TRADE = TradeRecord(
    2**53, 2**53, "BTC-USD", UNITS_MAX, UNITS_MAX, "b1", "s1", "sell", TIME_US
)  # fmt: skip


@pytest.mark.parametrize(
    "replies",
    [
        [],
        [Reply(1, "not_resting", 5, "b1")],
        [Reply(1, "unusable", 0)],
        [Reply(1, "accepted", 5, "b1", ORDER)],
        [Reply(1, "accepted", 5, "b1", ORDER, (TRADE,))],
        [Reply(1, "duplicate", 5, "b1"), Reply(2, "accepted", 9, "b1", ORDER, (TRADE, TRADE))],
        [Reply(3, "cancelled", 5, "b1", ORDER._replace(status_reason="client_request"))],
        [Reply(4, "conflict", 5, "b0")],
    ],
)
def test_replies_round_trip(replies: list[Reply]) -> None:
    decoded = decode_replies(encode_replies(replies))
    assert decoded == replies
    for reply in decoded:
        assert isinstance(reply.trades, tuple)
        assert reply.order is None or type(reply.order) is OrderRecord
        assert all(type(trade) is TradeRecord for trade in reply.trades)


def test_changes_come_back_as_they_were() -> None:
    """Amounts beyond 64 bits too; and as often as somebody asks."""
    order = OrderRecord(
        "o", 1, "a", "BTC-USD", "buy", "limit", UNITS_MAX, UNITS_MAX, 5, UNITS_MAX**2,
        "partially_filled", "", "k", 1, 2,
    )  # fmt: skip
    trade = TradeRecord(7, 12, "BTC-USD", UNITS_MAX, 5, "o", "s", "sell", 2)
    changes = Changes(10, 13, (trade,), ((12, order), (13, order._replace(order_id="s"))))
    encoded = EncodedChanges(encode_changes(changes, 3))
    assert (encoded.prev_sequence, encoded.sequence, encoded.length) == (10, 13, 3)
    assert encoded.decode() == changes
    assert encoded.decode() == changes
    assert changes.decode() is changes
    assert changes.length == 3


def test_changes_of_a_matcher_that_does_not_count_them_are_read_too() -> None:
    order = OrderRecord("o", 1, "a", "BTC-USD", "buy", "limit", 1, 1, 0, 0, "open", "", "", 1, 1)
    changes = Changes(10, 13, (), ((12, order), (13, order)))
    fields = orjson.loads(encode_changes(changes, 3))
    assert fields.pop("records") == 2
    encoded = EncodedChanges(orjson.dumps(fields | {"newer": True}))
    assert (encoded.prev_sequence, encoded.sequence, encoded.length) == (10, 13, 2)
    assert encoded.decode() == changes


def test_encoding_changes_nothing() -> None:
    replies = [Reply(1, "accepted", 5, "b1", ORDER, (TRADE,))]
    before = deepcopy(replies)
    encode_replies(replies)
    assert replies == before


# Depth.

levels = st.lists(st.tuples(amounts, st.integers(0, 10 * UNITS_MAX)), max_size=5)


@unhurried
@given(bids=levels, asks=levels, sequence=st.integers(1, 2**53))
def test_delta_round_trip(bids: list, asks: list, sequence: int) -> None:
    delta = DepthDelta(sequence - 1, sequence, bids, asks)
    assert decode_depth(encode_delta(delta, 3)) == delta


def test_a_reset_is_no_delta() -> None:
    assert decode_depth(encode_reset(sequence=10, epoch=3)) == 10
    assert orjson.loads(encode_reset(10, 3)) == {"epoch": 3, "reset": True, "sequence": 10}


def test_the_epoch_is_readable() -> None:
    assert orjson.loads(encode_delta(DepthDelta(1, 2, [], []), 3))["epoch"] == 3


def test_a_snapshot_from_hashes_of_text_is_the_book() -> None:
    engine = MatchingEngine()
    for each in commands("b1 buy 5@99; b2 buy 1@98; s1 sell 2@101"):
        engine.apply(each)
    engine.apply(submit("s2", "sell", UNITS_MAX, UNITS_MAX))
    expected = take_snapshot(engine.book, engine.sequence)
    snapshot = decode_snapshot(
        b"4",
        {b"98": b"1", b"99": b"5"},
        {b"%d" % UNITS_MAX: b"%d" % UNITS_MAX, b"101": b"2"},
    )
    assert snapshot.sequence == expected.sequence
    assert DepthReplica(snapshot).bids.top(9) == DepthReplica(expected).bids.top(9)
    assert DepthReplica(snapshot).asks.top(9) == DepthReplica(expected).asks.top(9)
