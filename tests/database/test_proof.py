"""After many random orders the books prove themselves; then each tampering is named."""

import asyncio
from random import Random

import psycopg
import pytest

from ops.verify import broken_invariants, compare_books
from tests.matcher import ONE, Matcher, cancel, limit, market
from workers.adapters.ledger import Ledger
from workers.core.instruments import Instrument
from workers.core.messages import Command

ORDERS = 200_000
CLIENTS = 500
BATCH = 256
NAMES = ("BTC-USD", "ETH-USD", "SOL-USD")
SEGMENTS = {"standard": ("1", "2.5"), "vip": ("-0.25", "1.7777"), "broker": ("0", "0")}


async def trade(url: str, number: int, orders: int) -> None:
    """Commit random orders and cancels to one instrument."""
    random = Random(number)
    ledger = await Ledger.open(url, Instrument(number, NAMES[number - 1], "", "", 1, 1, ""), 60_000)
    standing = await ledger.acquire("test")
    assert standing is not None
    matcher = Matcher(ledger, standing)
    clients = [f"c{n}" for n in range(CLIENTS)]
    await ledger.ensure_clients(clients)
    for start in range(0, orders, BATCH):
        commands: list[Command] = []
        resting = list(matcher.engine.book.orders)[:BATCH]
        for n in range(start, min(start + BATCH, orders)):
            side = random.choice(("buy", "sell"))
            lots = random.randint(1, 10**9)
            order_id = f"{number}-{n}"
            client_id = random.choice(clients)
            if random.random() < 0.3:
                order = market(side, lots, client_id=client_id)._replace(order_id=order_id)
            else:
                price = 100 * ONE + random.randint(-50, 50) * 12345
                order = limit(side, price, lots, client_id=client_id, order_id=order_id)
            commands.append(order)
        commands += map(cancel, random.sample(resting, min(len(resting), BATCH // 10)))
        await matcher.commit(await matcher.apply(*commands))
    await ledger.close()


@pytest.mark.slow
def test_200_000_orders(database_url: str, look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.settings SET range_length = 50000")
    look.execute("SELECT exchange.ensure_clients_v1(%s)", ([f"c{n}" for n in range(CLIENTS)],))
    for place, (segment, (maker, taker)) in enumerate(SEGMENTS.items()):
        if place:
            look.execute("SELECT exchange.add_segment_v1(%s, '')", (segment,))
        for name in NAMES:
            fees = (name, segment, maker, taker)
            look.execute("SELECT exchange.set_fees_v1(%s, %s, %s, %s)", fees)
        members = [f"c{n}" for n in range(place, CLIENTS, len(SEGMENTS))]
        look.execute("SELECT exchange.assign_segment_v1(%s, %s)", (segment, members))

    async def all_three() -> None:
        await asyncio.gather(*(trade(database_url, n, ORDERS // 3 + 1) for n in (1, 2, 3)))

    asyncio.run(all_three())
    for n in range(CLIENTS):
        look.execute(
            "SELECT exchange.post_entry_v1('deposit', %s, ARRAY['USD'], ARRAY[9.5], 'me', %s, '')",
            ([f"c{n}"], f"key-{n}"),
        )
    look.execute("SELECT exchange.settle_v1('2023-11-14', 'me')")
    (orders, trades, fees) = look.execute(
        "SELECT (SELECT count(*) FROM exchange.orders), count(*), sum(maker_fee + taker_fee)"
        " FROM exchange.trades"
    ).fetchone()  # type: ignore[misc]
    assert orders >= ORDERS
    assert trades > ORDERS / 4
    assert fees > 0
    assert broken_invariants(look) == {}
    assert {row[-1] for row in compare_books(look)} == {"ok"}

    # One posting, one balance, one fill, one fee, by somebody who switches every defence off.
    look.execute("SET session_replication_role = replica")
    one = "(SELECT {key} FROM exchange.{table} WHERE {where} OFFSET 1000 LIMIT 1)"
    for table, key, where, change, named in [
        ("postings", "instrument_id, sequence, leg", "instrument_id = 1 AND leg = 1",
         "amount = amount + 1e-16",
         {"entries_balance", "balances_are_their_postings", "positions_are_their_postings",
          "settlements_are_their_trades", "closing_balances_are_their_postings"}),
        ("postings", "instrument_id, sequence, leg", "leg = 6", "amount = amount + 1e-16",
         {"entries_balance", "balances_are_their_postings", "trades_are_entered",
          "fees_are_their_trades", "settlements_are_their_trades",
          "closing_balances_are_their_postings"}),
        ("balances", "client_no, asset_id, instrument_id", "client_no > 0",
         "posted = posted - 1e-16", {"balances_are_their_postings", "assets_sum_to_zero"}),
        ("orders", "instrument_id, order_no", "status = 'cancelled' AND filled_quantity > 0",
         "filled_quantity = filled_quantity + 1e-8", {"fills_are_their_trades"}),
        ("trades", "instrument_id, sequence", "true", "taker_fee = taker_fee + 1e-16",
         {"trades_are_entered", "fees_are_their_trades"}),
    ]:  # fmt: skip
        which = one.format(key=key, table=table, where=where)
        with look.transaction(force_rollback=True):
            changed = look.execute(f"UPDATE exchange.{table} SET {change} WHERE ({key}) = {which}")
            assert changed.rowcount == 1, table
            assert broken_invariants(look).keys() == named, table
    assert broken_invariants(look) == {}
