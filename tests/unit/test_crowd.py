"""The participants of a made-up market, against the real engine."""

from collections import Counter, defaultdict
from itertools import islice, pairwise
from random import Random
from statistics import mean, median

import pytest

from ops.client.feed import mid_ticks
from ops.crowd.crowd import Crowd
from ops.crowd.desk import Cancel, Desk, Submit
from ops.crowd.fair import FairPrice
from ops.crowd.maker import Maker
from ops.crowd.others import take
from ops.crowd.terms import Terms
from tests.simulated_market import SimulatedMarket
from workers.core.depth import DepthReplica, DepthSnapshot
from workers.core.units import UNITS_PER_ONE

BTC = Terms.of("BTC-USD", 1, 1)


def market(seed: int = 1, rate: float = 50.0, terms: Terms = BTC, **options) -> SimulatedMarket:
    return SimulatedMarket(Crowd(terms, seed=seed, rate=rate, **options))


def decisions(seed: int, seconds: float = 60.0) -> list:
    return list(market(seed).run(seconds))


def test_the_same_seed_decides_the_same_and_another_does_not() -> None:
    first = decisions(7)
    assert len(first) > 1_000
    assert decisions(7) == first
    assert decisions(8) != first


def test_instruments_of_one_seed_are_not_copies_of_each_other() -> None:
    eth = Terms.of("ETH-USD", 1, 1)
    first, second = (list(islice(market(terms=terms).run(9), 50)) for terms in (BTC, eth))
    assert [now for now, _ in first] != [now for now, _ in second]


def test_arrivals_do_not_depend_on_what_the_market_says() -> None:
    empty = DepthReplica(DepthSnapshot(0, [], []))
    alone, traded = Crowd(BTC, seed=1, rate=50.0), market()
    times = []
    for _ in traded.run(20):
        times.append(traded.crowd.next_at)
    deaf = []
    while alone.next_at < 20:
        alone.act(empty)
        deaf.append(alone.next_at)
    assert set(times) <= set(deaf)


def test_makers_never_cross_their_own_quotes_and_nobody_trades_with_itself() -> None:
    simulated = market(rate=120.0)
    for _, decision in simulated.run(120):
        if not isinstance(decision, Submit) or "-maker-" not in decision.client_id:
            continue
        prices = defaultdict(list)
        for order in simulated.engine.book.orders.values():
            if order.client_id == decision.client_id:
                prices[order.side].append(order.price_ticks)
        if prices["buy"] and prices["sell"]:
            assert max(prices["buy"]) < min(prices["sell"])
    assert len(simulated.trades) > 1_000
    assert all(trade.maker.client_id != trade.taker.client_id for trade in simulated.trades)


def test_a_maker_does_not_quote_through_a_quote_that_may_still_be_there() -> None:
    """Its cancel is on its way, but until that is answered the quote may trade."""
    desk = Desk("r")
    maker = Maker("m", 0, BTC, Random(1))
    high, low = 70_000 * UNITS_PER_ONE, 69_000 * UNITS_PER_ONE
    bids: list[Submit] = []
    for _ in range(100):
        for decision in maker.turn(desk, high, 0.0):
            if isinstance(decision, Submit):
                desk.rests(decision.order_id)
                bids += [decision] if decision.side == "buy" else []
    assert bids
    # The price falls, and no cancel is ever answered.
    for _ in range(200):
        for decision in maker.turn(desk, low, 0.0):
            if isinstance(decision, Submit) and decision.side == "sell":
                assert decision.price_ticks > max(bid.price_ticks for bid in bids)


def test_the_market_looks_like_one() -> None:
    simulated = market(seed=3)
    spreads, mids, kinds, profiles = [], {}, Counter(), []
    for now, decision in simulated.run(300):
        kinds["cancel" if isinstance(decision, Cancel) else "order"] += 1
        if now < 10:
            continue
        book = simulated.book
        bids, asks = book.bids.top(1), book.asks.top(1)
        assert bids
        assert asks
        spreads.append((asks[0][0] - bids[0][0]) / BTC.step_ticks)
        if int(now) not in mids:
            for side in ("bids", "asks"):
                profiles.append((side, [lots for _, lots in getattr(book, side).top(30)]))
        mids[int(now)] = mid_ticks(book)
    assert kinds.total() / 300 == pytest.approx(50, rel=0.2)
    assert kinds["cancel"] / kinds.total() == pytest.approx(0.4, abs=0.1)
    # A spread of a few steps, seldom wide.
    assert 1 <= median(spreads) <= 4
    assert sorted(spreads)[int(len(spreads) * 0.99)] <= 20
    # It moves all the time, without jumps: in most seconds, and by less than a thousandth.
    moves = [abs(b - a) / BTC.step_ticks for a, b in pairwise(mids.values())]
    assert mean(move > 0 for move in moves) > 0.6
    assert max(moves) < 70
    # Many trades of all sizes.
    quantities = sorted(trade.quantity_lots for trade in simulated.trades)
    assert len(quantities) > 1_500
    assert quantities[int(len(quantities) * 0.95)] > 6 * quantities[len(quantities) // 4]
    # A hump behind the touch on both sides, as in what J.-P. Bouchaud, M. Mezard and M. Potters
    # measured ("Statistical properties of stock order books", Quantitative Finance 2, 2002).
    for side in ("bids", "asks"):
        seen = [profile for which, profile in profiles if which == side]
        assert median(map(len, seen)) > 12
        near = mean(lots for profile in seen for lots in profile[:2])
        assert mean(lots for profile in seen for lots in profile[4:15]) > 1.5 * near


def test_takers_come_in_bursts_and_follow_each_other() -> None:
    simulated = market(seed=4)
    seconds = Counter()
    sides = []
    for now, decision in simulated.run(600):
        if isinstance(decision, Submit) and not decision.price_ticks:
            seconds[int(now)] += 1
            sides.append(decision.side)
    counts = [seconds[second] for second in range(600)]
    spread = mean((count - mean(counts)) ** 2 for count in counts) / mean(counts)
    # Of arrivals that know nothing of each other both would be 1 and a half.
    assert spread > 2.5
    assert mean(a == b for a, b in pairwise(sides)) > 0.53


@pytest.mark.parametrize("clients", [1, 2, 39, 40, 100])
def test_as_many_patient_clients_buy_as_sell(clients: int) -> None:
    simulated = market(seed=5, clients=clients)
    sides = defaultdict(set)
    for _, decision in simulated.run(120):
        if isinstance(decision, Submit) and "-patient-" in decision.client_id:
            sides[decision.client_id].add(decision.side)
    assert all(len(each) == 1 for each in sides.values())
    counts = Counter(side for each in sides.values() for side in each)
    assert counts["buy"] == counts["sell"] == max(1, clients // 6)


def test_a_maker_that_holds_much_quotes_lower() -> None:
    desk = Desk("r")
    maker = Maker("m", 0, BTC, Random(1))
    flat = maker.targets("buy", desk, 70_000e8, 5e-5)
    desk.positions["m"] = 100 * BTC.unit_lots
    long = maker.targets("buy", desk, 70_000e8, 5e-5)
    assert all(b < a for (a, _), (b, _) in zip(flat, long, strict=True))


def test_a_taker_leaves_most_of_the_book() -> None:
    desk = Desk("r")
    levels = [(100 * UNITS_PER_ONE, 40 * BTC.step_lots)]
    book = DepthReplica(DepthSnapshot(1, [], levels))
    (order,) = take(desk, "n", "buy", 1e6, book, BTC)
    assert order.quantity_lots == 10 * BTC.step_lots
    assert take(desk, "n", "sell", 1.0, book, BTC) == []


def test_a_trade_of_somebody_moves_the_price_makers_believe_in() -> None:
    fair = FairPrice(Random(1), 70_000_00, 70_000_00)
    before = fair.price_ticks
    fair.trade(True, 100.0)
    up = fair.price_ticks
    assert up > before
    fair.trade(False, 1e9)
    assert fair.price_ticks > up * 0.998


def test_the_price_comes_back_in_the_long_run() -> None:
    fair = FairPrice(Random(2), 60_000_00, 70_000_00)
    prices = []
    for _ in range(20_000):
        fair.advance(60.0)
        prices.append(fair.price_ticks)
    assert median(prices[1_000:]) == pytest.approx(70_000_00, rel=0.01)
    assert 0.9 < min(prices[1_000:]) / 70_000_00 < max(prices[1_000:]) / 70_000_00 < 1.1


class TestDesk:
    def test_a_fill_may_come_before_the_answer(self) -> None:
        desk = Desk("r")
        order = desk.submit("a", "buy", 100, 5)
        assert desk.traded(order.order_id, True, 5)
        desk.rests(order.order_id)
        assert not desk.orders
        assert desk.positions["a"] == 5

    def test_what_is_partly_filled_still_rests(self) -> None:
        desk = Desk("r")
        order = desk.submit("a", "sell", 100, 5)
        desk.rests(order.order_id)
        desk.traded(order.order_id, False, 3)
        assert [own.remaining_lots for own in desk.of("a")] == [2]
        assert desk.positions["a"] == -3

    def test_a_market_order_is_not_kept_and_its_fills_count(self) -> None:
        desk = Desk("r")
        order = desk.submit("a", "buy", 0, 5)
        assert not desk.orders
        assert desk.traded(order.order_id, True, 5)
        assert desk.positions["a"] == 5

    def test_trades_of_others_are_not_ours(self) -> None:
        desk = Desk("r")
        assert not desk.traded("a.other-run.1", True, 5)
        assert not desk.traded("my-first-order", True, 5)
        assert not desk.positions

    def test_what_an_earlier_run_left_is_ours_once_adopted(self) -> None:
        crowd = Crowd(BTC, seed=1, rate=10, run="now")
        crowd.adopt([Submit("market-maker-1.before.9", "buy", 100, 7)])
        assert [own.resting for own in crowd.desk.of("market-maker-1")] == [True]
        crowd.trade("market-maker-1.before.9", "whoever", "sell", 7)
        assert not crowd.desk.orders
        assert crowd.desk.positions["market-maker-1"] == 7


@pytest.mark.parametrize(
    ("name", "tick", "lot", "last", "anchor", "expected"),
    [
        # name, tick size, lot size, last trade, price asked for; step, lots step, start
        ("BTC-USD", 1, 1, None, None, (UNITS_PER_ONE, 10_000, 70_000 * UNITS_PER_ONE)),
        ("BTC-USD", 1, 1, 71_000 * 10**8, None, (UNITS_PER_ONE, 10_000, 71_000 * 10**8)),
        # A trade at 1 says nothing of a price of 70,000.
        ("BTC-USD", 1, 1, 10**8, None, (UNITS_PER_ONE, 10_000, 56_000 * 10**8)),
        ("DOGE-USD", 1, 1, 25 * 10**6, None, (500, 20 * 10**8, 25 * 10**6)),
        ("DOGE-USD", 1_000, 3, None, 10**7, (1_000, 100 * 10**8 - 1, 10**7)),
        ("NEW-USD", 1, 1, None, None, (200_000, 10_000_000, 100 * 10**8)),
    ],
)
def test_terms_suit_the_instrument(name, tick, lot, last, anchor, expected) -> None:
    terms = Terms.of(name, tick, lot, last, anchor)
    assert (terms.step_ticks, terms.step_lots, terms.start_ticks) == expected
    for units in (0.0001, 0.5, 3.3):
        assert terms.quantity(units) > 0
        assert terms.quantity(units) % terms.step_lots == 0
    assert terms.price(1.0) % tick == 0
    assert terms.quantity(1.0) % lot == 0
