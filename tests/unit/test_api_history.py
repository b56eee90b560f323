"""Recent changes: gapless, bounded, and passed on in pieces that follow on."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from api.history import PIECE_RECORDS, RECORDS_MAX, History, split
from workers.core.records import Changes, OrderRecord, TradeRecord

ORDER = OrderRecord("o", 1, "a", "BTC-USD", "buy", "limit", 1, 1, 0, 0, "open", "", "", 1, 1)


def trade(sequence: int) -> TradeRecord:
    return TradeRecord(sequence, sequence, "BTC-USD", 1, 1, "b", "s", "buy", 1)


def changes(after: int, upto: int, trades: list[int], orders: list[int]) -> Changes:
    return Changes(
        after, upto, tuple(map(trade, trades)), tuple((sequence, ORDER) for sequence in orders)
    )


@given(st.lists(st.integers(1, 3_000), max_size=1_500), st.lists(st.integers(1, 3_000)))
def test_pieces_are_the_whole_in_order(trades: list[int], orders: list[int]) -> None:
    whole = changes(0, 3_001, sorted(set(trades)), sorted(orders))
    pieces = list(split(whole))
    assert pieces[0].prev_sequence == 0
    assert pieces[-1].sequence == 3_001
    for before, after in pairwise(pieces):
        assert before.sequence == after.prev_sequence
    assert [t for piece in pieces for t in piece.trades] == list(whole.trades)
    assert [o for piece in pieces for o in piece.orders] == list(whole.orders)
    for piece in pieces:
        for sequence in [t.sequence for t in piece.trades] + [o[0] for o in piece.orders]:
            assert piece.prev_sequence < sequence <= piece.sequence
    # Only what has one and the same sequence stays together beyond the limit.
    many = [p for p in pieces if len(p.trades) + len(p.orders) > 2 * PIECE_RECORDS]
    assert all(len({o[0] for o in piece.orders}) < PIECE_RECORDS + 2 for piece in many)


def test_what_came_after_a_sequence() -> None:
    history = History("BTC-USD")
    assert history.since(0) is None  # it knows nothing yet
    history.start(10)
    assert history.since(10) == changes(10, 10, [], [])
    assert history.since(9) is None
    assert history.add(changes(10, 12, [12], [11, 12]))
    assert not history.add(changes(13, 14, [14], []))
    assert history.add(changes(12, 15, [13, 15], [15]))
    assert history.since(11) == changes(11, 15, [12, 13, 15], [12, 15])
    assert history.since(12) == changes(12, 15, [13, 15], [15])
    assert history.since(15) == changes(15, 15, [], [])
    assert history.since(16) is None


def test_it_forgets_the_oldest() -> None:
    history = History("BTC-USD")
    history.start(0)
    for batch in range(30):
        start = batch * 1_000
        assert history.add(changes(start, start + 1_000, list(range(start + 1, start + 1_001)), []))
    assert history.since(30_000 - RECORDS_MAX) is not None
    assert history.since(30_000 - RECORDS_MAX - 1) is None
