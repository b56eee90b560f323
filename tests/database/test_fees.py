"""What makers and takers pay, against the rule in fractions."""

from decimal import Decimal
from fractions import Fraction
from math import ceil
from random import Random

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.matcher import ONE, Matcher, limit, market

UNIT = Fraction(1, 10**16)


def set_fees(look: psycopg.Connection, *values: str, instrument: str = "BTC-USD") -> None:
    look.execute("SELECT exchange.set_fees_v1(%s, %s, %s, %s)", (instrument, *values))


async def test_a_trade_s_entry_holds_its_fees(matcher: Matcher, look: psycopg.Connection) -> None:
    look.execute("SELECT exchange.add_segment_v1('vip', '')")
    set_fees(look, "standard", "1", "2.5")
    set_fees(look, "vip", "-0.5", "0")
    await matcher.ledger.ensure_clients(["maker", "taker"])
    look.execute("SELECT exchange.assign_segment_v1('vip', ARRAY['maker'])")
    await matcher.commit(
        await matcher.apply(
            limit("sell", 100 * ONE, ONE, client_id="maker"), market("buy", ONE, client_id="taker"),
            limit("sell", 100 * ONE, ONE, client_id="taker"), market("buy", ONE, client_id="maker"),
        )
    )  # fmt: skip
    assert look.execute(
        "SELECT trade_no, leg, client_id, asset, amount FROM exchange.postings"
        " JOIN exchange.trades USING (instrument_id, sequence)"
        " JOIN exchange.clients USING (client_no) JOIN exchange.assets USING (asset_id)"
        " WHERE leg > 4 ORDER BY trade_no, leg"
    ).fetchall() == [
        (1, 5, "taker", "USD", Decimal("-0.025")),
        (1, 6, "@fees", "USD", Decimal("0.025")),
        (1, 7, "maker", "USD", Decimal("0.005")),
        (1, 8, "@fees", "USD", Decimal("-0.005")),
        # A vip takes for nothing: no legs of zero.
        (2, 7, "taker", "USD", Decimal("-0.01")),
        (2, 8, "@fees", "USD", Decimal("0.01")),
    ]
    assert look.execute(
        "SELECT maker_fee, taker_fee, maker_segment_id, taker_segment_id FROM exchange.trades"
        " ORDER BY trade_no"
    ).fetchall() == [(Decimal("-0.005"), Decimal("0.025"), 2, 1), (Decimal("0.01"), 0, 1, 2)]
    # Positions are before fees: both have bought and sold at 100.
    assert look.execute("SELECT total_cost, realized_pnl FROM exchange.positions").fetchall() == [
        (0, 0),
        (0, 0),
    ]
    assert broken_invariants(look) == {}


async def test_fees_round_up_whoever_pays(matcher: Matcher, look: psycopg.Connection) -> None:
    random = Random(7)
    clients = [f"c{n}" for n in range(6)]
    await matcher.ledger.ensure_clients(clients)
    look.execute("SELECT exchange.add_segment_v1('b', ''), exchange.add_segment_v1('c', '')")
    rates = {
        "standard": ("-0.3333", "2.0001"),
        "b": ("1.7777", "0"),
        "c": ("0", "9999.9999"),
    }
    segments = dict(zip(clients, [segment for segment in rates for _ in range(2)], strict=True))
    for segment, (maker, taker) in rates.items():
        set_fees(look, segment, maker, taker)
    for client_id, segment in segments.items():
        look.execute("SELECT exchange.assign_segment_v1(%s, ARRAY[%s])", (segment, client_id))
    expected = []
    for _ in range(20):
        commands = []
        for _ in range(20):
            side = random.choice(("buy", "sell"))
            price = random.choice((1, 3, 7015050000001, 10**20 - 1))
            lots = random.choice((1, 7, 3 * ONE, 10**15))
            commands.append(limit(side, price, lots, client_id=random.choice(clients)))
        batch = await matcher.apply(*commands)
        await matcher.commit(batch)
        for trade in batch.trades:
            value = Fraction(trade.price_ticks * trade.quantity_lots) * UNIT
            fees = (
                ceil(value * Fraction(rates[segments[it.client_id]][place]) / 10_000 / UNIT) * UNIT
                for place, it in enumerate((trade.maker, trade.taker))
            )
            expected.append((trade.sequence, *fees))
    stored = look.execute(
        "SELECT sequence, maker_fee, taker_fee FROM exchange.trades ORDER BY sequence"
    ).fetchall()
    assert [(n, Fraction(maker), Fraction(taker)) for n, maker, taker in stored] == expected
    signs = {(fee > 0) - (fee < 0) for _, *fees in expected for fee in fees}
    assert signs == {-1, 0, 1}
    (revenue,) = look.execute(
        "SELECT sum(posted) FROM exchange.balances WHERE client_no = -2"
    ).fetchone()  # type: ignore[misc]
    assert Fraction(revenue) == sum(maker + taker for _, maker, taker in expected)
    assert broken_invariants(look) == {}


async def test_fees_hold_from_the_next_batch_on(matcher: Matcher, look: psycopg.Connection) -> None:
    async def trade() -> Decimal:
        await matcher.commit(await matcher.apply(limit("sell", 100 * ONE, ONE), market("buy", ONE)))
        return look.execute(
            "SELECT maker_fee + taker_fee FROM exchange.trades ORDER BY sequence DESC LIMIT 1"
        ).fetchone()[0]  # type: ignore[index]

    assert await trade() == 0
    set_fees(look, "standard", "1", "1")
    assert await trade() == Decimal("0.02")
    set_fees(look, "standard", "1", "1", instrument="ETH-USD")
    set_fees(look, "standard", "0", "0")
    assert look.execute("SELECT instrument FROM exchange.list_fees_v1()").fetchall() == [
        ("ETH-USD",)
    ]
    assert await trade() == 0
    # A segment without fees is kept with the trade all the same.
    look.execute("SELECT exchange.add_segment_v1('vip', '')")
    look.execute("SELECT exchange.assign_segment_v1('vip', ARRAY['c'])")
    assert await trade() == 0
    assert look.execute(
        "SELECT maker_segment_id, taker_segment_id FROM exchange.trades ORDER BY sequence"
    ).fetchall() == [(1, 1)] * 3 + [(2, 2)]
    assert broken_invariants(look) == {}


@pytest.mark.parametrize(
    "values",
    [
        ("NO-NE", "standard", 1, 1), ("BTC-USD", "none", 1, 1), ("BTC-USD", "standard", 1, -1),
        ("BTC-USD", "standard", 10001, 1), ("BTC-USD", "standard", -10001, 1),
        ("BTC-USD", "standard", 1, "0.00001"), ("BTC-USD", "standard", None, 1),
        ("BTC-USD", "standard", "NaN", 1), ("BTC-USD", "standard", 1, "Infinity"),
    ],
)  # fmt: skip
def test_unusable_fees(look: psycopg.Connection, values: tuple[object, ...]) -> None:
    with pytest.raises(psycopg.Error) as refused:
        look.execute("SELECT exchange.set_fees_v1(%s, %s, %s, %s)", values)
    assert refused.value.sqlstate == "EX005"


@pytest.mark.parametrize(
    "call",
    [
        "add_segment_v1('standard', '')", "add_segment_v1('Standard', '')",
        "add_segment_v1(NULL, '')", "add_segment_v1('', '')",
        "assign_segment_v1('none', ARRAY['a'])", "assign_segment_v1('standard', ARRAY['nobody'])",
        "assign_segment_v1('standard', ARRAY['@fees'])",
    ],
)  # fmt: skip
def test_unusable_segments(look: psycopg.Connection, call: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        look.execute(f"SELECT exchange.{call}")
    assert refused.value.sqlstate == "EX005"
