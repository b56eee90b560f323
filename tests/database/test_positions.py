"""Positions by the average-cost method, against a model in fractions."""

from collections import defaultdict
from collections.abc import AsyncIterator
from fractions import Fraction
from math import trunc
from random import Random

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.matcher import BTC_USD, ONE, Matcher, limit, market
from workers.adapters.ledger import Ledger
from workers.core.messages import Trade

UNIT = Fraction(1, 10**8)
VALUE_UNIT = Fraction(1, 10**16)


class Position:
    """What the rules say, in the rules' own words."""

    def __init__(self) -> None:
        self.net = self.cost = self.realized = Fraction(0)

    def fill(self, quantity: Fraction, price: Fraction) -> None:
        """Bought (+) or sold (-) `quantity`."""
        sign = 1 if self.net > 0 else -1
        if self.net * quantity < 0:
            closed = min(abs(quantity), abs(self.net))
            removed = trunc(self.cost * closed / abs(self.net) / VALUE_UNIT) * VALUE_UNIT
            self.realized += sign * closed * price - removed
            self.cost -= removed
            self.net -= sign * closed
            quantity += sign * closed
        self.net += quantity
        self.cost += quantity * price

    @property
    def state(self) -> tuple[Fraction, Fraction, Fraction]:
        return self.net, self.cost, self.realized


def random_fills(seed: int, length: int) -> list[tuple[Fraction, Fraction]]:
    """Return fills of few sizes, so that positions come back to zero, some of them extreme."""
    random = Random(seed)
    sizes = [1, 2, 3, 7, 10**8, 3 * 10**8, 10**20 - 1]
    sizes = random.sample(sizes, random.randint(1, 3))
    prices = [1, 3, 10**8, 7015050000000, 10**20 - 1]
    prices = random.sample(prices, random.randint(1, len(prices)))
    return [
        (random.choice((-1, 1)) * random.choice(sizes) * UNIT, random.choice(prices) * UNIT)
        for _ in range(length)
    ]


@pytest.fixture
def look(database_url: str) -> psycopg.Connection:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


RUNNING = """
    SELECT (f.state).net_quantity, (f.state).total_cost, (f.state).realized_pnl
    FROM (
        SELECT n, exchange.position_fold(%s::exchange.position_state, quantity, price)
            OVER (ORDER BY n) AS state
        FROM unnest(%s::numeric[], %s::numeric[]) WITH ORDINALITY AS u(quantity, price, n)
    ) f ORDER BY n
"""


def decimals(amounts: list[Fraction]) -> list[str]:
    return [f"{trunc(amount / UNIT)}e-8" for amount in amounts]


def test_every_step_of_the_fold(look: psycopg.Connection) -> None:
    flat = crossed = 0
    for seed in range(40):
        fills = random_fills(seed, 200)
        model = Position()
        expected = []
        paid = Fraction(0)
        for quantity, price in fills:
            before = model.net
            model.fill(quantity, price)
            expected.append(model.state)
            net, cost, realized = model.state
            paid += quantity * price
            assert cost - realized == paid
            assert cost == 0 if net == 0 else cost * net > 0
            flat += net == 0
            crossed += before * net < 0
        quantities, prices = map(list, zip(*fills, strict=True))
        states = look.execute(RUNNING, (None, decimals(quantities), decimals(prices))).fetchall()
        assert [tuple(map(Fraction, state)) for state in states] == expected, seed
        # In two parts, the second starting where the first ended.
        start = f"({','.join(map(str, states[99]))})"
        rest = look.execute(
            RUNNING, (start, decimals(quantities[100:]), decimals(prices[100:]))
        ).fetchall()
        assert rest == states[100:], seed
    assert flat > 100
    assert crossed > 100


TABLE = [
    # fills as quantity@price; net quantity, cost, realized
    ("2@10", "2", "20", "0"),
    ("2@10 2@13", "4", "46", "0"),
    ("2@10 2@13 -1@20", "3", "34.5", "8.5"),
    ("-2@10 1@4", "-1", "-10", "6"),
    ("2@10 -2@7", "0", "0", "-6"),
    ("2@10 -3@7", "-1", "-7", "-6"),
    ("-3@7 5@4", "2", "8", "9"),
    # A third of 10 is rounded towards zero; the rest stays in the cost.
    ("1@5 2@2.5 -1@0.00000001", "2", "6.6666666666666667", "-3.3333333233333333"),
    ("-1@5 -2@2.5 1@0.00000001", "-2", "-6.6666666666666667", "3.3333333233333333"),
]


def test_the_rules(look: psycopg.Connection) -> None:
    for fills, *state in TABLE:
        quantities, prices = zip(*(fill.split("@") for fill in fills.split()), strict=True)
        rows = look.execute(RUNNING, (None, list(quantities), list(prices))).fetchall()
        assert list(map(Fraction, rows[-1])) == list(map(Fraction, state)), fills


@pytest.fixture
async def matcher(database_url: str) -> AsyncIterator[Matcher]:
    ledger = await Ledger.open(database_url, BTC_USD, 10_000)
    standing = await ledger.acquire("test")
    assert standing is not None
    yield Matcher(ledger, standing)
    await ledger.close()


@pytest.mark.parametrize("seed", range(3))
async def test_commits_fold_their_trades(
    matcher: Matcher, look: psycopg.Connection, seed: int
) -> None:
    random = Random(seed)
    model: dict[str, Position] = defaultdict(Position)
    trades: list[Trade] = []
    for _ in range(15):
        commands = []
        for _ in range(random.randint(1, 40)):
            client_id = random.choice(("alice", "bob", "carol"))
            side = random.choice(("buy", "sell"))
            lots = random.choice((1, 3, ONE // 3, ONE, 2 * ONE))
            if random.random() < 0.3:
                commands.append(market(side, lots, client_id=client_id))
            else:
                price_ticks = 100 * ONE + random.randint(-3, 3)
                commands.append(limit(side, price_ticks, lots, client_id=client_id))
        batch = await matcher.apply(*commands)
        await matcher.commit(batch)
        trades += batch.trades
    for trade in trades:
        maker, taker = trade.maker.client_id, trade.taker.client_id
        buyer, seller = (taker, maker) if trade.taker.side == "buy" else (maker, taker)
        quantity, price = trade.quantity_lots * UNIT, trade.price_ticks * UNIT
        model[buyer].fill(quantity, price)
        model[seller].fill(-quantity, price)
    assert any(trade.maker.client_id == trade.taker.client_id for trade in trades)
    stored = look.execute(
        "SELECT client_id, net_quantity, total_cost, realized_pnl FROM exchange.positions"
        " JOIN exchange.clients USING (client_no)"
    ).fetchall()
    assert {client_id: tuple(map(Fraction, amounts)) for client_id, *amounts in stored} == {
        client_id: position.state for client_id, position in model.items()
    }
    assert broken_invariants(look) == {}


async def test_whoever_trades_with_himself_buys_first(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    await matcher.commit(
        await matcher.apply(
            limit("buy", 10 * ONE, ONE, client_id="me"),
            market("sell", ONE, client_id="other"),
            limit("sell", 16 * ONE, ONE, client_id="me"),
            market("buy", ONE, client_id="me"),
        )
    )
    (row,) = look.execute(
        "SELECT net_quantity, total_cost, realized_pnl FROM exchange.positions"
        " JOIN exchange.clients USING (client_no) WHERE client_id = 'me'"
    ).fetchall()
    # 1@10, then another 1@16, then one of the two sold at 16: it had cost 13.
    assert row == (1, 13, 3)
    assert broken_invariants(look) == {}


async def test_a_cost_moved_into_the_profit_is_named(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    await matcher.commit(
        await matcher.apply(
            limit("buy", 10 * ONE, ONE, client_id="a"), market("sell", ONE, client_id="b")
        )
    )
    look.execute(
        "UPDATE exchange.positions SET total_cost = total_cost + 1, realized_pnl = realized_pnl + 1"
    )
    assert broken_invariants(look).keys() == {"positions_are_their_fills"}
    look.execute("UPDATE exchange.positions SET realized_pnl = realized_pnl - 1")
    assert broken_invariants(look).keys() == {
        "positions_are_their_fills",
        "positions_cost_their_postings",
    }
