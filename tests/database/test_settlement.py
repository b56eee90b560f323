"""Settlement: each day and client once, against nets worked out in Python."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.matcher import ONE, Matcher, limit
from tests.threads import in_threads
from workers.core.messages import Trade

DAY = date(2024, 5, 1)
DAY_US = 86_400 * 1_000_000
MIDNIGHT_US = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
UNIT = Fraction(1, 10**8)
SETTLE = "SELECT * FROM exchange.settle_v1(%s, 'me')"


def settle(look: psycopg.Connection, day: date) -> tuple[Any, ...]:
    """Return the run: day, number, time, actor, clients, whether it is a repeat."""
    return look.execute(SETTLE, (day,)).fetchone()  # type: ignore[return-value]


async def trade(matcher: Matcher, random: Random, time_us: int, length: int = 30) -> list[Trade]:
    """Commit a batch of random orders of one time; return its trades."""
    batch = await matcher.apply(
        *(
            limit(
                random.choice(("buy", "sell")),
                (100 + random.randint(-2, 2)) * ONE,
                random.randint(1, 3) * ONE // 3,
                client_id=f"c{random.randrange(8)}",
            )
            for _ in range(length)
        )
    )
    batch.time_us = time_us
    await matcher.commit(batch)
    return list(batch.trades)


def nets(trades: Iterable[Trade]) -> dict[tuple[str, str], Fraction]:
    """Return what each client has moved per asset, without what is zero."""
    moved: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for trade in trades:
        maker, taker = trade.maker.client_id, trade.taker.client_id
        buyer, seller = (taker, maker) if trade.taker.side == "buy" else (maker, taker)
        quantity, value = trade.quantity_lots * UNIT, (
            trade.quantity_lots * trade.price_ticks * UNIT * UNIT)  # fmt: skip
        for client_id, asset, amount in (
            (buyer, "BTC", quantity), (seller, "BTC", -quantity),
            (seller, "USD", value), (buyer, "USD", -value),
        ):  # fmt: skip
            moved[client_id, asset] += amount
    return {key: amount for key, amount in moved.items() if amount}


def discharged(look: psycopg.Connection, day: date) -> dict[tuple[str, str], Fraction]:
    """Return what a run has taken from each client, and check the form of its entries."""
    rows = look.execute(
        "SELECT c.client_id, a.asset, p.amount, s.amount, s.client_no, e.kind::text, h.actor"
        " FROM exchange.settlement_clients sc"
        " JOIN exchange.ledger_entries e ON e.instrument_id = 0 AND e.sequence = sc.sequence"
        " JOIN exchange.house_entries h ON h.sequence = sc.sequence"
        " JOIN exchange.clients c USING (client_no)"
        " JOIN exchange.postings p ON p.instrument_id = 0 AND p.sequence = sc.sequence"
        "   AND p.leg %% 2 = 1 AND p.client_no = sc.client_no"
        " JOIN exchange.assets a USING (asset_id)"
        " JOIN exchange.postings s ON s.instrument_id = 0 AND s.sequence = sc.sequence"
        "   AND s.leg = p.leg + 1 AND s.asset_id = p.asset_id"
        " WHERE sc.day = %s",
        (day,),
    ).fetchall()
    for _, _, amount, other, other_no, kind, actor in rows:
        assert (other, other_no, kind, actor) == (-amount, -3, "settlement", "me")
    return {(client_id, asset): Fraction(amount) for client_id, asset, amount, *_ in rows}


def closing(look: psycopg.Connection, day: date) -> dict[tuple[str, str], Fraction]:
    rows = look.execute(
        "SELECT client_id, asset, posted FROM exchange.closing_balances"
        " JOIN exchange.clients USING (client_no) JOIN exchange.assets USING (asset_id)"
        " WHERE day = %s AND posted <> 0",
        (day,),
    ).fetchall()
    return {(client_id, asset): Fraction(posted) for client_id, asset, posted in rows}


def bounds(look: psycopg.Connection, instrument_id: int) -> list[tuple[date, int, int]]:
    return look.execute(
        "SELECT day, from_sequence, to_sequence FROM exchange.settlement_bounds"
        " WHERE instrument_id = %s ORDER BY day",
        (instrument_id,),
    ).fetchall()


async def test_each_trade_is_settled_once(matcher: Matcher, look: psycopg.Connection) -> None:
    random = Random(2)
    look.execute(
        "SELECT exchange.post_entry_v1('deposit', ARRAY['c1'], ARRAY['USD'], ARRAY[7.5], 'me',"
        " 'k', '')"
    )
    first = await trade(matcher, random, MIDNIGHT_US + 5)
    first += await trade(matcher, random, MIDNIGHT_US + DAY_US - 1)
    assert broken_invariants(look) == {}
    # What is made at midnight is of the next day, and its times never decrease.
    second = await trade(matcher, random, MIDNIGHT_US + DAY_US)
    run = settle(look, DAY)
    expected = nets(first)
    assert run[:2] == (DAY, 1)
    assert run[3:] == ("me", len({client_id for client_id, _ in expected}), False)
    assert discharged(look, DAY) == {key: -amount for key, amount in expected.items()}
    assert bounds(look, 1) == [(DAY, 0, first[-1].sequence)]
    assert bounds(look, 0) == [(DAY, 0, 1 + run[4])]
    # All that is left is what came from outside.
    assert closing(look, DAY) == {
        ("c1", "USD"): Fraction("7.5"),
        ("@world", "USD"): Fraction("-7.5"),
    }
    assert broken_invariants(look) == {}

    # The same day again, though trades of it come late: they are the next run's.
    assert settle(look, DAY) == (*run[:5], True)
    late = await trade(matcher, random, MIDNIGHT_US + DAY_US)
    assert settle(look, DAY) == (*run[:5], True)
    assert bounds(look, 1) == [(DAY, 0, first[-1].sequence)]
    # Two days are left out: the next run covers what they had.
    third = await trade(matcher, random, MIDNIGHT_US + 3 * DAY_US + 9)
    after = DAY + timedelta(3)
    assert settle(look, after)[1] == 2
    rest = nets([*second, *late, *third])
    assert discharged(look, after) == {key: -amount for key, amount in rest.items()}
    assert bounds(look, 1)[1] == (after, first[-1].sequence, third[-1].sequence)
    assert closing(look, after) == closing(look, DAY)
    assert broken_invariants(look) == {}
    with pytest.raises(psycopg.Error) as refused:
        settle(look, DAY + timedelta(1))
    assert refused.value.sqlstate == "EX008"
    assert f"{after} is settled already" in str(refused.value.diag.message_primary)
    # A day without trades is a run without clients.
    assert settle(look, after + timedelta(1))[4] == 0
    assert broken_invariants(look) == {}


async def test_fees_are_settled_too(matcher: Matcher, look: psycopg.Connection) -> None:
    look.execute("SELECT exchange.set_fees_v1('BTC-USD', 'standard', 1, 2.5)")
    await trade(matcher, Random(3), MIDNIGHT_US)
    (fees,) = look.execute("SELECT sum(maker_fee + taker_fee) FROM exchange.trades").fetchone()  # type: ignore[misc]
    assert fees > 0
    settle(look, DAY)
    assert discharged(look, DAY)["@fees", "USD"] == -Fraction(fees)
    assert closing(look, DAY) == {}
    assert broken_invariants(look) == {}


async def test_who_nets_to_zero_has_no_entry(matcher: Matcher, look: psycopg.Connection) -> None:
    batch = await matcher.apply(
        limit("buy", ONE, ONE, client_id="zero"), limit("sell", ONE, ONE, client_id="a"),
        limit("sell", ONE, ONE, client_id="zero"), limit("buy", ONE, ONE, client_id="b"),
    )  # fmt: skip
    batch.time_us = MIDNIGHT_US
    await matcher.commit(batch)
    assert settle(look, DAY)[4] == 2
    assert {client_id for client_id, _ in discharged(look, DAY)} == {"a", "b"}
    # Its accounts are told of all the same.
    assert look.execute(
        "SELECT posted FROM exchange.closing_balances JOIN exchange.clients USING (client_no)"
        " WHERE client_id = 'zero'"
    ).fetchall() == [(0,), (0,)]
    assert broken_invariants(look) == {}


async def test_many_settle_at_once(
    matcher: Matcher, look: psycopg.Connection, database_url: str
) -> None:
    random = Random(4)
    await trade(matcher, random, MIDNIGHT_US)
    runs = in_threads(database_url, 8, lambda connection, _: settle(connection, DAY))
    assert len({run[:5] for run in runs}) == 1
    assert sorted(run[5] for run in runs) == [False] + [True] * 7
    assert broken_invariants(look) == {}
    # Days race: whichever comes first, nothing is settled twice.
    await trade(matcher, random, MIDNIGHT_US + 2 * DAY_US)
    days = in_threads(
        database_url, 6, lambda connection, n: settle(connection, DAY + timedelta(1 + n))[0]
    )
    assert all(isinstance(day, date) or day == "EX008" for day in days)
    assert broken_invariants(look) == {}


def test_only_days_that_are_over(look: psycopg.Connection) -> None:
    (today,) = look.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone()  # type: ignore[misc]
    for day in (today, today + timedelta(1), "infinity", None):
        with pytest.raises(psycopg.Error) as refused:
            look.execute(SETTLE, (day,))
        assert refused.value.sqlstate == "EX008"
    with pytest.raises(psycopg.Error) as refused:
        look.execute("SELECT exchange.settle_v1('2024-05-01', '')")
    assert refused.value.sqlstate == "EX005"
    assert settle(look, today - timedelta(1))[4] == 0


async def test_a_run_larger_than_a_range(matcher: Matcher, look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.settings SET range_length = 2")
    with look.transaction():
        look.execute(
            "UPDATE exchange.partition_ranges SET last_sequence = 1 WHERE instrument_id = 0"
        )
        for name in ("ledger_entries", "postings"):
            leaf = f"exchange.{name}_i0_s0"
            look.execute(f"ALTER TABLE exchange.{name}_i0 DETACH PARTITION {leaf}")
            look.execute(
                f"ALTER TABLE exchange.{name}_i0 ATTACH PARTITION {leaf} FOR VALUES FROM (0) TO (2)"
            )
    await trade(matcher, Random(5), MIDNIGHT_US)
    assert settle(look, DAY)[4] > 5
    assert broken_invariants(look) == {}
