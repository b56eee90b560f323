"""What a client keeps of the feed, and its rates."""

from typing import Any

import pytest

from ops.client.connection import Backoff, check_url
from ops.client.feed import Feed
from ops.client.messages import parse
from ops.client.rates import Rates
from ops.errors import OpsError


def level(price: str, quantity: str) -> dict[str, str]:
    return {"price": price, "quantity": quantity}


def snapshot(sequence: int, bids: list, asks: list) -> dict[str, Any]:
    data = {"snapshot": True, "sequence": str(sequence), "bids": bids, "asks": asks}
    return {"type": "orderbook", "data": data}


def delta(before: int, sequence: int, bids: list, asks: list) -> dict[str, Any]:
    data = {
        "snapshot": False,
        "prev_sequence": str(before),
        "sequence": str(sequence),
        "bids": bids,
        "asks": asks,
    }
    return {"type": "orderbook", "data": data}


def trade(sequence: int) -> dict[str, Any]:
    return {
        "sequence": str(sequence),
        "price": "10.5",
        "quantity": "0.25",
        "taker_side": "buy",
        "buy_order_id": "b",
        "sell_order_id": "s",
        "timestamp": "2026-01-01T00:00:00.000Z",
    }


def test_numbers_are_exact() -> None:
    text = '{"price":123456789012.12345678,"sequence":9007199254740993}'
    assert parse(text) == {"price": "123456789012.12345678", "sequence": "9007199254740993"}


def test_deltas_make_the_book() -> None:
    feed = Feed("BTC-USD")
    feed.take(snapshot(5, [level("10", "1"), level("9.5", "2")], [level("11", "3")]))
    assert feed.take(delta(5, 8, [level("10", "0")], [level("10.5", "0.1")])) is None
    assert feed.book is not None
    assert feed.book.sequence == 8
    assert feed.book.bids.top(9) == [(950_000_000, 200_000_000)]
    assert feed.book.asks.top(1) == [(1_050_000_000, 10_000_000)]
    assert feed.updates == 1


def test_a_gap_takes_the_book_until_there_is_a_new_snapshot() -> None:
    feed = Feed("BTC-USD")
    feed.take(snapshot(5, [], []))
    assert feed.take(delta(6, 7, [], [])) == "gap"
    assert feed.book is None
    # What was on its way meanwhile belongs to no book.
    assert feed.take(delta(7, 8, [], [])) is None
    assert feed.gaps == 1
    feed.take(snapshot(9, [], []))
    assert feed.take(delta(9, 10, [], [])) is None
    assert feed.book.sequence == 10


def test_a_trade_counts_once() -> None:
    feed = Feed("BTC-USD")
    for sequence in (3, 4, 4, 3, 7):
        feed.take({"type": "trades", "data": trade(sequence)})
    assert [each.sequence for each in feed.tape] == [3, 4, 7]
    assert feed.trades == 3
    assert feed.tape[-1].price_ticks == 1_050_000_000


def test_orders_are_counted_by_their_numbers() -> None:
    feed = Feed("BTC-USD")
    for order_no in (40, 41, 40, 44):
        feed.take({"type": "orders", "data": {"order_no": str(order_no)}})
    assert feed.orders == 4


def test_a_resync_goes_on_from_there() -> None:
    feed = Feed("BTC-USD")
    feed.take({"type": "trades", "data": trade(3)})
    newest_first = {"sequence": "9", "trades": [trade(9), trade(8), trade(3)]}
    feed.take({"type": "resync", "channel": "trades:BTC-USD", "data": newest_first})
    orders = {"orders": [{"order_no": "70"}, {"order_no": "60"}]}
    feed.take({"type": "resync", "channel": "orders:BTC-USD", "data": orders})
    feed.take({"type": "orders", "data": {"order_no": "71"}})
    assert [each.sequence for each in feed.tape] == [3, 8, 9]
    assert feed.orders == 1
    assert feed.resyncs == 2


def test_rates_are_of_the_last_seconds() -> None:
    rates = Rates(window_s=5.0)
    assert rates.per_second("n") == 0
    for now in range(20):
        rates.sample(float(now), {"n": 10 * now if now <= 10 else 100})
    assert rates.per_second("n") == 0
    rates.sample(20.0, {"n": 150})
    assert rates.per_second("n") == pytest.approx(10)


def test_backoff_grows_to_its_limit_and_starts_again() -> None:
    backoff = Backoff()
    waits = [backoff.next() for _ in range(12)]
    assert waits[0] <= 0.1
    assert 2.5 <= waits[-1] <= 5
    backoff.succeeded()
    assert backoff.next() <= 0.1


@pytest.mark.parametrize("url", ["ws://localhost:3000", "localhost:3000", "http://", ""])
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(OpsError, match="http"):
        check_url(url)
