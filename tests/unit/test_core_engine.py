"""The matching rules, as tables: commands, the events they give, the book they leave."""

from hashlib import blake2b

import pytest

from tests.builders import (
    TIME_US,
    Shape,
    command,
    commands,
    describe,
    describe_book,
    picture_order,
    random_commands,
    rebuild,
    resting,
    submit,
)
from workers.core.engine import MatchingEngine
from workers.core.messages import FINAL, CancelRefused, Command, Event, Order, OrderRejected, Trade
from workers.core.units import UNITS_MAX


def run(text: str, engine: MatchingEngine | None = None) -> tuple[MatchingEngine, list[Event]]:
    engine = engine or MatchingEngine()
    return engine, [event for each in commands(text) for event in engine.apply(each)]


@pytest.mark.parametrize("slice_orders", [1, 2, 3, 1_000])
def test_the_state_hash_in_slices_is_the_state_hash(slice_orders: int) -> None:
    engine, _ = run("b1 buy 5@99; b2 buy 5@99; b3 buy 1@98; s1 sell 4@100; s2 sell 4@101")
    *steps, state_hash = engine.hash_in_slices(slice_orders)
    assert state_hash == engine.state_hash()
    assert steps == [""] * (5 // slice_orders)


# (what it shows, commands, events of all of them, book afterwards)
SCENARIOS = [
    ("an empty book", "", "", "|"),
    # A limit order rests.
    ("a bid rests", "b1 buy 5@100", "1 b1 accepted", "100:b1*5 |"),
    ("an ask rests", "s1 sell 5@100", "1 s1 accepted", "| 100:s1*5"),
    (
        "bid and ask that do not cross both rest",
        "b1 buy 5@99; s1 sell 4@100",
        "1 b1 accepted; 2 s1 accepted",
        "99:b1*5 | 100:s1*4",
    ),
    (
        "bids high to low, asks low to high",
        "b1 buy 1@98; b2 buy 1@99; b3 buy 1@97; s1 sell 1@102; s2 sell 1@101; s3 sell 1@103",
        "1 b1 accepted; 2 b2 accepted; 3 b3 accepted; 4 s1 accepted; 5 s2 accepted; 6 s3 accepted",
        "99:b2*1 98:b1*1 97:b3*1 | 101:s2*1 102:s1*1 103:s3*1",
    ),
    (
        "orders at one price form one level, by arrival",
        "b1 buy 1@99; b2 buy 2@99; b3 buy 3@99",
        "1 b1 accepted; 2 b2 accepted; 3 b3 accepted",
        "99:b1*1,b2*2,b3*3 |",
    ),
    # A limit order crosses.
    (
        "equal prices cross and both are filled",
        "s1 sell 5@100; b1 buy 5@100",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 5@100 from s1",
        "|",
    ),
    (
        "a buyer who would pay more pays the maker's price",
        "s1 sell 5@100; b1 buy 5@105",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 5@100 from s1",
        "|",
    ),
    (
        "a seller who would take less gets the maker's price",
        "b1 buy 5@105; s1 sell 5@100",
        "1 b1 accepted; 2 s1 accepted; 3 trade 1: s1 takes 5@105 from b1",
        "|",
    ),
    (
        "a maker larger than the taker stays with the remainder",
        "s1 sell 5@100; b1 buy 2@100",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 2@100 from s1",
        "| 100:s1*3",
    ),
    (
        "a taker larger than the maker rests with the remainder, at its own price",
        "s1 sell 2@100; b1 buy 5@101",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 2@100 from s1",
        "101:b1*3 |",
    ),
    (
        "best price first, however late it came",
        "s1 sell 1@103; s2 sell 1@101; s3 sell 1@102; b1 buy 3@103",
        "1 s1 accepted; 2 s2 accepted; 3 s3 accepted; 4 b1 accepted;"
        "5 trade 1: b1 takes 1@101 from s2; 6 trade 2: b1 takes 1@102 from s3;"
        "7 trade 3: b1 takes 1@103 from s1",
        "|",
    ),
    (
        "a seller meets the highest bid first",
        "b1 buy 1@97; b2 buy 1@99; b3 buy 1@98; s1 sell 2@97",
        "1 b1 accepted; 2 b2 accepted; 3 b3 accepted; 4 s1 accepted;"
        "5 trade 1: s1 takes 1@99 from b2; 6 trade 2: s1 takes 1@98 from b3",
        "97:b1*1 |",
    ),
    (
        "first come first at one price",
        "s1 sell 2@100; s2 sell 2@100; s3 sell 2@100; b1 buy 5@100",
        "1 s1 accepted; 2 s2 accepted; 3 s3 accepted; 4 b1 accepted;"
        "5 trade 1: b1 takes 2@100 from s1; 6 trade 2: b1 takes 2@100 from s2;"
        "7 trade 3: b1 takes 1@100 from s3",
        "| 100:s3*1",
    ),
    (
        "a partially filled maker keeps its place",
        "s1 sell 3@100; s2 sell 3@100; b1 buy 1@100; b2 buy 3@100",
        "1 s1 accepted; 2 s2 accepted; 3 b1 accepted; 4 trade 1: b1 takes 1@100 from s1;"
        "5 b2 accepted; 6 trade 2: b2 takes 2@100 from s1; 7 trade 3: b2 takes 1@100 from s2",
        "| 100:s2*2",
    ),
    (
        "a limit order stops at its price",
        "s1 sell 1@100; s2 sell 1@101; s3 sell 1@102; b1 buy 5@101",
        "1 s1 accepted; 2 s2 accepted; 3 s3 accepted; 4 b1 accepted;"
        "5 trade 1: b1 takes 1@100 from s1; 6 trade 2: b1 takes 1@101 from s2",
        "101:b1*3 | 102:s3*1",
    ),
    (
        "an order that rests after trades is behind nobody and before later ones",
        "s1 sell 1@100; b1 buy 2@100; b2 buy 1@100; s2 sell 1@100",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 1@100 from s1; 4 b2 accepted;"
        "5 s2 accepted; 6 trade 2: s2 takes 1@100 from b1",
        "100:b2*1 |",
    ),
    (
        "a client may trade with itself",  # every order here is alice's
        "s1 sell 1@100; b1 buy 1@100",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 1@100 from s1",
        "|",
    ),
    # A market order.
    ("market buy, empty book", "m1 buy 5@market", "1 m1 rejected no_liquidity", "|"),
    ("market sell, empty book", "m1 sell 5@market", "1 m1 rejected no_liquidity", "|"),
    (
        "market order, liquidity on its own side only",
        "b1 buy 5@100; m1 buy 5@market",
        "1 b1 accepted; 2 m1 rejected no_liquidity",
        "100:b1*5 |",
    ),
    (
        "market order, enough liquidity",
        "s1 sell 2@100; s2 sell 9@500; m1 buy 5@market",
        "1 s1 accepted; 2 s2 accepted; 3 m1 accepted; 4 trade 1: m1 takes 2@100 from s1;"
        "5 trade 2: m1 takes 3@500 from s2",
        "| 500:s2*6",
    ),
    (
        "market order, exactly enough liquidity: filled, not cancelled",
        "b1 buy 2@100; b2 buy 3@90; m1 sell 5@market",
        "1 b1 accepted; 2 b2 accepted; 3 m1 accepted; 4 trade 1: m1 takes 2@100 from b1;"
        "5 trade 2: m1 takes 3@90 from b2",
        "|",
    ),
    (
        "market order, some liquidity: the remainder is cancelled and never rests",
        "s1 sell 2@100; m1 buy 5@market; s2 sell 1@100",
        "1 s1 accepted; 2 m1 accepted; 3 trade 1: m1 takes 2@100 from s1;"
        "4 m1 cancelled 3 no_liquidity; 5 s2 accepted",
        "| 100:s2*1",
    ),
    # A cancel.
    (
        "cancel of an open order",
        "b1 buy 5@100; cancel b1",
        "1 b1 accepted; 2 b1 cancelled 5 client_request",
        "|",
    ),
    (
        "cancel of a partially filled order",
        "b1 buy 5@100; s1 sell 2@100; cancel b1",
        "1 b1 accepted; 2 s1 accepted; 3 trade 1: s1 takes 2@100 from b1;"
        "4 b1 cancelled 3 client_request",
        "|",
    ),
    (
        "cancel of the first, middle and last of a level leaves the others in order",
        "b1 buy 1@100; b2 buy 1@100; b3 buy 1@100; b4 buy 1@100; b5 buy 1@100;"
        "cancel b3; cancel b1; cancel b5; b6 buy 1@100; s1 sell 2@100",
        "1 b1 accepted; 2 b2 accepted; 3 b3 accepted; 4 b4 accepted; 5 b5 accepted;"
        "6 b3 cancelled 1 client_request; 7 b1 cancelled 1 client_request;"
        "8 b5 cancelled 1 client_request; 9 b6 accepted; 10 s1 accepted;"
        "11 trade 1: s1 takes 1@100 from b2; 12 trade 2: s1 takes 1@100 from b4",
        "100:b6*1 |",
    ),
    (
        "cancel of one level leaves the levels around it",
        "s1 sell 1@101; s2 sell 1@102; s3 sell 1@103; cancel s2",
        "1 s1 accepted; 2 s2 accepted; 3 s3 accepted; 4 s2 cancelled 1 client_request",
        "| 101:s1*1 103:s3*1",
    ),
    (
        "cancel of a filled order",
        "b1 buy 1@100; s1 sell 1@100; cancel b1; cancel s1",
        "1 b1 accepted; 2 s1 accepted; 3 trade 1: s1 takes 1@100 from b1;"
        "b1 not resting; s1 not resting",
        "|",
    ),
    (
        "cancel of a cancelled order",
        "b1 buy 1@100; cancel b1; cancel b1",
        "1 b1 accepted; 2 b1 cancelled 1 client_request; b1 not resting",
        "|",
    ),
    (
        "cancel of a rejected order",
        "m1 buy 1@market; cancel m1",
        "1 m1 rejected no_liquidity; m1 not resting",
        "|",
    ),
    ("cancel of an unknown order", "cancel nobody", "nobody not resting", "|"),
    # A deadline.
    ("a late limit order", "late b1 buy 5@100", "1 b1 rejected expired", "|"),
    (
        "a late order that would have traded",
        "s1 sell 5@100; late b1 buy 5@100",
        "1 s1 accepted; 2 b1 rejected expired",
        "| 100:s1*5",
    ),
    (
        "a late market order is expired, whether or not there is liquidity",
        "late m1 buy 5@market; s1 sell 5@100; late m2 buy 5@market",
        "1 m1 rejected expired; 2 s1 accepted; 3 m2 rejected expired",
        "| 100:s1*5",
    ),
    (
        "a late cancel",
        "b1 buy 5@100; late cancel b1",
        "1 b1 accepted; b1 not resting",
        "100:b1*5 |",
    ),
    # A level whose quantity is zero is gone, and can come back.
    (
        "a level that was eaten and comes back",
        "s1 sell 1@100; s2 sell 1@101; b1 buy 1@100; s3 sell 4@100",
        "1 s1 accepted; 2 s2 accepted; 3 b1 accepted; 4 trade 1: b1 takes 1@100 from s1;"
        "5 s3 accepted",
        "| 100:s3*4 101:s2*1",
    ),
    (
        "a price whose asks were eaten becomes a bid",
        "s1 sell 1@100; b1 buy 3@100; s2 sell 5@101",
        "1 s1 accepted; 2 b1 accepted; 3 trade 1: b1 takes 1@100 from s1; 4 s2 accepted",
        "100:b1*2 | 101:s2*5",
    ),
]


@pytest.mark.parametrize(
    ("text", "events", "book"), [row[1:] for row in SCENARIOS], ids=[row[0] for row in SCENARIOS]
)
def test_scenario(text: str, events: str, book: str) -> None:
    engine, happened = run(text)
    assert [describe(event) for event in happened] == [
        event.strip() for event in events.split(";") if event
    ]
    assert describe_book(engine) == book


# (what it shows, commands, order, its status, status_reason, filled_lots, filled_value)
FINAL_STATES = [
    ("resting", "b1 buy 5@100", "b1", "open", "", 0, 0),
    ("maker, part", "s1 sell 5@100; b1 buy 2@101", "s1", "partially_filled", "", 2, 200),
    ("maker, whole", "s1 sell 5@100; b1 buy 6@101", "s1", "filled", "", 5, 500),
    ("taker, part", "s1 sell 5@100; b1 buy 6@101", "b1", "partially_filled", "", 5, 500),
    (
        "taker over two levels",
        "s1 sell 5@100; s2 sell 2@103; b1 buy 6@110",
        "b1",
        "filled",
        "",
        6,
        603,
    ),
    ("cancelled open", "b1 buy 5@100; cancel b1", "b1", "cancelled", "client_request", 0, 0),
    (
        "cancelled part keeps its fills",
        "b1 buy 5@100; s1 sell 2@100; cancel b1",
        "b1",
        "cancelled",
        "client_request",
        2,
        200,
    ),
    (
        "market remainder",
        "s1 sell 2@100; m1 buy 5@market",
        "m1",
        "cancelled",
        "no_liquidity",
        2,
        200,
    ),
    ("market filled", "s1 sell 2@100; m1 buy 2@market", "m1", "filled", "", 2, 200),
    ("market, nothing", "m1 buy 2@market", "m1", "rejected", "no_liquidity", 0, 0),
    ("expired", "late b1 buy 5@100", "b1", "rejected", "expired", 0, 0),
]


@pytest.mark.parametrize(
    ("text", "order_id", "status", "reason", "filled_lots", "filled_value"),
    [row[1:] for row in FINAL_STATES],
    ids=[row[0] for row in FINAL_STATES],
)
def test_state_of_an_order(
    text: str, order_id: str, status: str, reason: str, filled_lots: int, filled_value: int
) -> None:
    _, events = run(text)
    order = orders_of(events)[order_id]
    assert (order.status, order.status_reason) == (status, reason)
    assert (order.filled_lots, order.filled_value) == (filled_lots, filled_value)
    assert order.filled_lots + order.remaining_lots == order.quantity_lots


def orders_of(events: list[Event]) -> dict[str, Order]:
    found: dict[str, Order] = {}
    for event in events:
        for part in event:
            if isinstance(part, Order):
                found[part.order_id] = part
    return found


@pytest.mark.parametrize(
    ("early_us", "status"),
    [(1, "open"), (0, "open"), (-1, "rejected")],
    ids=["before the deadline", "at the deadline", "after the deadline"],
)
def test_deadline_is_the_last_moment_that_counts(early_us: int, status: str) -> None:
    events = MatchingEngine().apply(submit("b1", "buy", 1, 100, deadline_us=TIME_US + early_us))
    assert orders_of(events)["b1"].status == status


def test_times_come_from_the_commands() -> None:
    engine, (accepted,) = run("s1 sell 5@100")
    taken = engine.apply(command("b1 buy 2@100", TIME_US + 7))
    cancelled = engine.apply(command("cancel s1", TIME_US + 9))
    assert [event.time_us for event in (accepted, *taken, *cancelled)] == [
        TIME_US,
        TIME_US + 7,
        TIME_US + 7,
        TIME_US + 9,
    ]
    orders = orders_of([accepted, *taken])
    assert (orders["s1"].created_us, orders["s1"].updated_us) == (TIME_US, TIME_US + 9)
    assert (orders["b1"].created_us, orders["b1"].updated_us) == (TIME_US + 7, TIME_US + 7)


def test_the_terms_of_an_order_are_those_of_its_command() -> None:
    wanted = submit("b1", "buy", 5, 100, client_id="bob", idempotency_key="k1")
    (event,) = MatchingEngine().apply(wanted)
    order = orders_of([event])["b1"]
    assert (order.client_id, order.side, order.type) == ("bob", "buy", "limit")
    assert (order.price_ticks, order.quantity_lots) == (100, 5)
    assert (order.idempotency_key, order.order_no) == ("k1", 1)


def test_the_largest_amounts_are_exact() -> None:
    engine = MatchingEngine()
    engine.apply(submit("s1", "sell", UNITS_MAX, UNITS_MAX))
    engine.apply(submit("s2", "sell", UNITS_MAX, UNITS_MAX))
    assert sum(level.quantity_lots for level in engine.book.asks) == 2 * UNITS_MAX
    events = engine.apply(submit("b1", "buy", UNITS_MAX, UNITS_MAX))
    assert orders_of(events)["b1"].filled_value == UNITS_MAX**2
    assert describe_book(engine) == f"| {UNITS_MAX}:s2*{UNITS_MAX}"


# A refusal changes the stated counters and nothing else.
# (what it shows, book before, refused command, rise of sequence, rise of order_no)
REFUSALS = [
    ("late order", "b1 buy 5@99; s1 sell 5@100", "late b2 buy 5@100", 1, 1),
    ("late market order", "b1 buy 5@99; s1 sell 5@100", "late m1 sell 5@market", 1, 1),
    ("no liquidity", "b1 buy 5@99; b2 buy 1@98", "m1 buy 5@market", 1, 1),
    ("unknown order", "b1 buy 5@99; s1 sell 5@100", "cancel nobody", 0, 0),
    ("late cancel", "b1 buy 5@99; s1 sell 5@100", "late cancel b1", 0, 0),
    ("finished order", "b1 buy 5@99; s1 sell 6@99", "cancel b1", 0, 0),
]


@pytest.mark.parametrize(
    ("before", "refused", "sequences", "order_nos"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
def test_after_a_refusal_nothing_else_has_changed(
    before: str, refused: str, sequences: int, order_nos: int
) -> None:
    engine, _ = run(before)
    orders_before = sorted(picture_order(order) for order in resting(engine))
    engine.book.bids.take_changes()
    engine.book.asks.take_changes()
    expected = MatchingEngine(
        engine.sequence + sequences,
        engine.order_no + order_nos,
        engine.trade_no,
        resting(engine),
    )

    (event,) = engine.apply(command(refused))

    assert isinstance(event, OrderRejected | CancelRefused)
    assert engine.state_hash() == expected.state_hash()
    assert describe_book(engine) == describe_book(expected)
    assert sorted(picture_order(order) for order in resting(engine)) == orders_before
    assert engine.book.bids.take_changes() == engine.book.asks.take_changes() == []


# (what differs between the two, one log, the other)
DIFFERENCES = [
    ("quantity", "b1 buy 5@100", "b1 buy 6@100"),
    ("price", "b1 buy 5@100", "b1 buy 5@101"),
    ("side", "b1 buy 5@100", "b1 sell 5@100"),
    ("arrival", "b1 buy 5@100; b2 buy 6@100", "b2 buy 6@100; b1 buy 5@100"),
    ("sequence only", "b1 buy 5@100; cancel b1", "late b1 buy 5@100"),
    ("order_no only", "cancel b1; late b1 buy 5@100", "b1 buy 5@100; cancel b1; cancel b1"),
]


@pytest.mark.parametrize(
    ("one", "other"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES]
)
def test_different_states_have_different_hashes(one: str, other: str) -> None:
    assert run(one)[0].state_hash() != run(other)[0].state_hash()


def test_each_counter_is_part_of_the_hash() -> None:
    states = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (11, 1, 1), (1, 11, 1), (1, 1, 11)]
    assert len({MatchingEngine(*counters).state_hash() for counters in states}) == len(states)


def test_the_hash_is_written_down() -> None:
    """A stored hash must be found again by every later version."""
    engine, _ = run("b1 buy 5@99; b2 buy 4@99; b3 buy 3@98; s1 sell 2@101; s2 sell 3@99")
    assert describe_book(engine) == "99:b1*2,b2*4 98:b3*3 | 101:s1*2"
    text = b"6 5 1|1:99:2;2:99:4;3:98:3;|4:101:2;"
    assert engine.state_hash() == blake2b(text, digest_size=16).hexdigest()


def test_a_rebuilt_engine_keeps_priority_whatever_order_it_is_given() -> None:
    engine, _ = run("b1 buy 5@99; b2 buy 4@99; b3 buy 3@98; s1 sell 2@101; s2 sell 3@99")
    again = rebuild(engine, reversed(resting(engine)))
    assert describe_book(again) == describe_book(engine) == "99:b1*2,b2*4 98:b3*3 | 101:s1*2"
    assert again.state_hash() == engine.state_hash()
    assert again.book.bids.take_changes() == again.book.asks.take_changes() == []


@pytest.mark.parametrize("text", ["cancel b2", "s1 sell 6@100", "cancel b1", "cancel b3"])
def test_an_order_that_left_the_book_holds_on_to_no_other(text: str) -> None:
    """Else a kept order would keep every order that ever stood beside it."""
    engine, events = run("b1 buy 5@100; b2 buy 1@100; b3 buy 1@100")
    run(text, engine)
    gone = [order for order in orders_of(events).values() if order.status in FINAL]
    assert len(gone) > 0
    assert all(order.previous is order.next is None for order in gone)


# Properties of any run.

BUSY = Shape("busy", spread_ticks=5, late_share=0.05, market_share=0.1)
LEGAL = {
    None: {"open", "partially_filled", "filled", "cancelled", "rejected"},
    "open": {"open", "partially_filled", "filled", "cancelled", "rejected"},
    "partially_filled": {"partially_filled", "filled", "cancelled"},
}


@pytest.fixture(scope="module", params=[1, 2, 3])
def history(request: pytest.FixtureRequest) -> list[tuple[Event, dict[str, str], Command]]:
    """Each event of a long run, with the statuses of its orders and the command it is due to."""
    engine = MatchingEngine()
    rows: list[tuple[Event, dict[str, str], Command]] = []
    for each in random_commands(request.param, BUSY, 5_000):
        for event in engine.apply(each):
            orders = [part for part in event if isinstance(part, Order)]
            rows.append((event, {order.order_id: order.status for order in orders}, each))
        bid, ask = engine.book.bids.best(), engine.book.asks.best()
        assert bid is None or ask is None or bid.price_ticks < ask.price_ticks, "crossed"
        for level in (*engine.book.bids, *engine.book.asks):
            assert level.quantity_lots == sum(order.remaining_lots for order in level) > 0
    return rows


def test_sequences_are_gapless_from_1(history: list) -> None:
    sequences = [event.sequence for event, *_ in history if not isinstance(event, CancelRefused)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_trade_nos_are_gapless_from_1(history: list) -> None:
    trade_nos = [event.trade_no for event, *_ in history if isinstance(event, Trade)]
    assert trade_nos == list(range(1, len(trade_nos) + 1))
    assert len(trade_nos) > 1_000


def test_order_nos_are_gapless_from_1_in_order_of_arrival(history: list) -> None:
    arrivals = [
        event.order.order_no
        for event, *_ in history
        if type(event).__name__ in ("OrderAccepted", "OrderRejected")
    ]
    assert arrivals == list(range(1, len(arrivals) + 1))


def test_only_legal_transitions_happen(history: list) -> None:
    known: dict[str, str] = {}
    seen = set()
    for _, statuses, _ in history:
        for order_id, status in statuses.items():
            before = known.get(order_id)
            if before in FINAL:
                # The events of one command show the order as that command left it.
                assert status == before
            else:
                assert status in LEGAL[before]
            seen.add((before, status))
            known[order_id] = status
    assert {("open", "filled"), ("open", "cancelled"), ("partially_filled", "cancelled")} <= seen


def test_a_finished_order_appears_in_no_later_command(history: list) -> None:
    finished: dict[str, object] = {}
    for _, statuses, by in history:
        for order_id, status in statuses.items():
            assert finished.get(order_id, by) is by
            if status in FINAL:
                finished[order_id] = by
