"""The fast engine against the naive one: same commands, equal events, equal state hash."""

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import (
    TIME_US,
    Shape,
    cancel,
    describe_book,
    picture,
    random_commands,
    rebuild,
    resting,
    submit,
    unhurried,
)
from tests.naive_book import NaiveBook
from workers.core.engine import MatchingEngine
from workers.core.messages import CancelRefused, Command, OrderCancelled, OrderRejected, Trade
from workers.core.units import UNITS_MAX

SHAPES = [
    Shape("tight book", spread_ticks=2),
    Shape("wide book", spread_ticks=500, cancel_share=0.3),
    Shape("deep book", gap_ticks=20, spread_ticks=25, cancel_share=0.1, quantity_lots_max=50),
    Shape("many cancels", cancel_share=0.6, spread_ticks=20, gap_ticks=5, memory_length=30),
    Shape("market heavy", market_share=0.5, spread_ticks=10, cancel_share=0.05),
    Shape("one price", spread_ticks=0, cancel_share=0.3),
    Shape("many late", late_share=0.3, spread_ticks=5),
    Shape(
        "huge amounts",
        middle_ticks=UNITS_MAX - 10,
        spread_ticks=4,
        quantity_lots_max=UNITS_MAX,
        gap_ticks=1,
    ),
]
SEEDS = range(5)
COMMANDS = 2_500
assert len(SHAPES) * len(SEEDS) * COMMANDS >= 100_000


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_bulk(shape: Shape, seed: int) -> None:
    fast, naive = MatchingEngine(), NaiveBook()
    kinds = set()
    for number, each in enumerate(random_commands(seed, shape, COMMANDS)):
        events = fast.apply(each)
        assert list(map(picture, events)) == list(map(picture, naive.apply(each))), each
        kinds.update(map(type, events))
        if number % 100 == 0:
            assert fast.state_hash() == naive.state_hash(), f"after {each}"
    assert fast.state_hash() == naive.state_hash()
    assert kinds >= {Trade, OrderCancelled, OrderRejected, CancelRefused}, (
        "the run shows too little"
    )

    # Another process loads the resting orders in any order, and goes on where this one stands.
    orders = resting(fast)
    assert len(orders) > 0
    Random(seed).shuffle(orders)
    again = rebuild(fast, orders)
    assert again.state_hash() == fast.state_hash()
    assert describe_book(again) == describe_book(fast)
    for each in random_commands(seed + 1_000, shape, 250):
        expected = list(map(picture, fast.apply(each)))
        assert list(map(picture, again.apply(each))) == expected, each
    for order in resting(again):
        each = cancel(order.order_id)
        assert list(map(picture, again.apply(each))) == list(map(picture, fast.apply(each)))
    assert again.state_hash() == fast.state_hash()
    assert describe_book(fast) == "|"


def _commands(rows: list[tuple]) -> list[Command]:
    commands: list[Command] = []
    for number, row in enumerate(rows):
        time_us = TIME_US + number
        kind, late, *terms = row
        deadline_us = time_us - late
        if kind == "cancel":
            # Of any earlier command, or of an order nobody knows.
            target = terms[0] % (number + 1)
            commands.append(cancel(f"o{target}", time_us=time_us, deadline_us=deadline_us))
        else:
            side, quantity_lots, price_ticks = terms
            commands.append(
                submit(
                    f"o{number}",
                    side,
                    quantity_lots,
                    price_ticks,
                    time_us=time_us,
                    deadline_us=deadline_us,
                )
            )
    return commands


late = st.sampled_from([0, 0, 0, 0, 1])
sides = st.sampled_from(["buy", "sell"])
submits = st.tuples(
    st.just("submit"),
    late,
    sides,
    st.one_of(st.integers(1, 5), st.integers(1, UNITS_MAX)),
    st.sampled_from([0, 1, 2, 3, 4, 5, 5, 5, UNITS_MAX]),
)
cancels = st.tuples(st.just("cancel"), late, st.integers(0, 40))
sequences = st.lists(st.one_of(submits, submits, submits, cancels), max_size=40).map(_commands)


@settings(unhurried, max_examples=400)
@given(sequences)
@example([])
def test_small_sequences(commands: list[Command]) -> None:
    fast, naive = MatchingEngine(), NaiveBook()
    for each in commands:
        assert list(map(picture, fast.apply(each))) == list(map(picture, naive.apply(each)))
        assert fast.state_hash() == naive.state_hash()
        assert rebuild(fast).state_hash() == naive.state_hash()
        assert [(o.price_ticks, o.quantity_lots) for o in fast.book.bids] == naive.depth("buy")
        assert [(o.price_ticks, o.quantity_lots) for o in fast.book.asks] == naive.depth("sell")
        assert set(fast.book.orders) == {order.order_id for order in naive.orders}
