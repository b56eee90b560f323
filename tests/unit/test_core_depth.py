"""Depth: what the deltas add up to is the book, and a missing one is noticed."""

import pytest

from tests.builders import Shape, commands, random_commands
from tests.naive_book import NaiveBook
from workers.core.depth import (
    DepthDelta,
    DepthReplica,
    DepthSnapshot,
    take_delta,
    take_snapshot,
)
from workers.core.engine import MatchingEngine

ALL = 10_000


def delta_of(engine: MatchingEngine, text: str) -> DepthDelta:
    before = engine.sequence
    for each in commands(text):
        engine.apply(each)
    bids_and_asks = take_delta(engine.book, before, engine.sequence)
    return bids_and_asks._replace(bids=sorted(bids_and_asks.bids), asks=sorted(bids_and_asks.asks))


# (what it shows, commands before, commands, changed bids, changed asks)
DELTAS = [
    ("nothing", "b1 buy 5@99", "", [], []),
    ("a new level", "", "b1 buy 5@99", [(99, 5)], []),
    ("a level grows", "b1 buy 5@99", "b2 buy 2@99", [(99, 7)], []),
    ("a maker is part filled", "s1 sell 5@100", "b1 buy 2@100", [], [(100, 3)]),
    ("a level is eaten", "s1 sell 5@100", "b1 buy 5@100", [], [(100, 0)]),
    ("the remainder rests", "s1 sell 5@100", "b1 buy 7@100", [(100, 2)], [(100, 0)]),
    (
        "a walk over levels",
        "s1 sell 1@100; s2 sell 1@101; s3 sell 9@102",
        "b1 buy 4@102",
        [],
        [(100, 0), (101, 0), (102, 7)],
    ),
    ("a cancel, others at the price", "b1 buy 5@99; b2 buy 2@99", "cancel b1", [(99, 2)], []),
    ("a cancel, the last at the price", "b1 buy 5@99", "cancel b1", [(99, 0)], []),
    ("a cancel of what trades left", "b1 buy 5@99; s1 sell 4@99", "cancel b1", [(99, 0)], []),
    ("came and went", "", "b1 buy 5@99; cancel b1", [(99, 0)], []),
    ("went and came", "b1 buy 5@99", "cancel b1; b2 buy 4@99", [(99, 4)], []),
    ("a refusal", "b1 buy 5@99", "m1 buy 5@market; cancel nobody; late s1 sell 5@99", [], []),
]


@pytest.mark.parametrize(
    ("before", "text", "bids", "asks"), [row[1:] for row in DELTAS], ids=[row[0] for row in DELTAS]
)
def test_delta(before: str, text: str, bids: list, asks: list) -> None:
    engine = MatchingEngine()
    delta_of(engine, before)
    prev_sequence = engine.sequence
    delta = delta_of(engine, text)
    assert delta == (prev_sequence, engine.sequence, bids, asks)
    assert take_delta(engine.book, 0, 0) == (0, 0, [], []), "a delta is taken once"


@pytest.mark.parametrize("each_of", [1, 7], ids=["each command", "batches of 7"])
@pytest.mark.parametrize("gap_ticks", [0, 10], ids=["tight", "deep"])
def test_replica_follows_the_book(each_of: int, gap_ticks: int) -> None:
    engine, naive = MatchingEngine(), NaiveBook()
    replica = DepthReplica(take_snapshot(engine.book, engine.sequence))
    late_replica: DepthReplica | None = None
    shape = Shape("any", spread_ticks=12, gap_ticks=gap_ticks, market_share=0.1)
    published = 0
    for number, each in enumerate(random_commands(11, shape, 3_000)):
        engine.apply(each)
        naive.apply(each)
        if number % each_of:
            continue
        delta = take_delta(engine.book, published, engine.sequence)
        assert delta.prev_sequence == replica.sequence, "update ids are contiguous"
        published = delta.sequence
        assert replica.apply(delta)
        assert replica.sequence == naive.sequence
        assert replica.bids.top(ALL) == naive.depth("buy")
        assert replica.asks.top(ALL) == naive.depth("sell")
        assert len(replica.bids) == len(naive.depth("buy"))
        if late_replica is None:
            if number >= 1_500:
                late_replica = DepthReplica(take_snapshot(engine.book, engine.sequence))
        else:
            assert late_replica.apply(delta)
            assert late_replica.bids.top(ALL) == replica.bids.top(ALL)
            assert late_replica.asks.top(ALL) == replica.asks.top(ALL)
    assert late_replica is not None


def test_a_snapshot_is_the_whole_depth() -> None:
    engine = MatchingEngine()
    delta_of(engine, "b1 buy 5@99; b2 buy 2@99; b3 buy 1@98; s1 sell 4@101")
    snapshot = take_snapshot(engine.book, engine.sequence)
    assert snapshot == (4, [(99, 7), (98, 1)], [(101, 4)])


def test_a_snapshot_takes_no_change_from_the_next_delta() -> None:
    engine = MatchingEngine()
    engine.apply(commands("b1 buy 5@99")[0])
    take_snapshot(engine.book, engine.sequence)
    assert take_delta(engine.book, 0, 1) == (0, 1, [(99, 5)], [])


SNAPSHOT = DepthSnapshot(10, [(99, 5), (98, 1)], [(101, 4)])
# (what it shows, delta, answer, sequence after, bids after)
APPLIED = [
    ("the next", DepthDelta(10, 12, [(99, 6)], []), True, 12, [(99, 6), (98, 1)]),
    ("the next, empty", DepthDelta(10, 12, [], []), True, 12, [(99, 5), (98, 1)]),
    ("a better level", DepthDelta(10, 11, [(100, 1)], []), True, 11, [(100, 1), (99, 5), (98, 1)]),
    ("a level goes", DepthDelta(10, 11, [(99, 0)], []), True, 11, [(98, 1)]),
    ("an unknown level goes", DepthDelta(10, 11, [(7, 0)], []), True, 11, [(99, 5), (98, 1)]),
    ("an old one", DepthDelta(8, 9, [(99, 6)], []), True, 10, [(99, 5), (98, 1)]),
    ("the one before", DepthDelta(9, 10, [(99, 6)], []), True, 10, [(99, 5), (98, 1)]),
    ("no sequence passed", DepthDelta(10, 10, [], []), True, 10, [(99, 5), (98, 1)]),
    ("a gap", DepthDelta(11, 12, [(99, 6)], []), False, 10, [(99, 5), (98, 1)]),
    ("an overlap", DepthDelta(9, 12, [(99, 6)], []), False, 10, [(99, 5), (98, 1)]),
]


@pytest.mark.parametrize(
    ("delta", "answer", "sequence", "bids"),
    [row[1:] for row in APPLIED],
    ids=[row[0] for row in APPLIED],
)
def test_apply(delta: DepthDelta, answer: bool, sequence: int, bids: list) -> None:
    replica = DepthReplica(SNAPSHOT)
    assert replica.apply(delta) is answer
    assert replica.sequence == sequence
    assert replica.bids.top(ALL) == bids
    assert replica.asks.top(ALL) == [(101, 4)]


def test_a_gap_is_final_until_a_new_snapshot() -> None:
    replica = DepthReplica(SNAPSHOT)
    assert not replica.apply(DepthDelta(11, 12, [(99, 6)], []))
    assert not replica.apply(DepthDelta(12, 13, [(99, 7)], []))
    assert DepthReplica(DepthSnapshot(12, [(99, 6)], [])).apply(DepthDelta(12, 13, [], []))


@pytest.mark.parametrize(
    ("levels_max", "bids", "asks"),
    [
        (1, [(99, 5)], [(101, 4)]),
        (2, [(99, 5), (98, 1)], [(101, 4), (102, 2)]),
        (100, [(99, 5), (98, 1), (97, 3)], [(101, 4), (102, 2)]),
    ],
)
def test_top_is_best_first(levels_max: int, bids: list, asks: list) -> None:
    replica = DepthReplica(
        DepthSnapshot(1, [(98, 1), (97, 3), (99, 5)], [(102, 2), (101, 4)]),
    )
    assert replica.bids.top(levels_max) == bids
    assert replica.asks.top(levels_max) == asks
