"""The function that makes a batch durable, called as the matcher calls it."""

from decimal import Decimal

import psycopg
import pytest

from ops.verify import broken_invariants, compare_books
from tests.exchange import eventually
from tests.matcher import BTC_USD, ONE, Matcher, cancel, limit, market
from workers.adapters.errors import DataRejected, Fenced, Stale
from workers.adapters.ledger import Ledger
from workers.core.batch import DeadLetter
from workers.core.engine import MatchingEngine


def rows(connection: psycopg.Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query).fetchall()


async def test_a_trade_is_a_balanced_entry(matcher: Matcher, look: psycopg.Connection) -> None:
    await matcher.commit(
        await matcher.apply(
            limit("sell", 70_150 * ONE + ONE // 2, ONE // 4, client_id="maker"),
            market("buy", ONE // 10, client_id="taker"),
        )
    )
    assert rows(
        look,
        "SELECT leg, client_id, asset, amount FROM exchange.postings"
        " JOIN exchange.clients USING (client_no) JOIN exchange.assets USING (asset_id)"
        " ORDER BY leg",
    ) == [
        (1, "taker", "BTC", Decimal("0.1")),
        (2, "maker", "BTC", Decimal("-0.1")),
        (3, "maker", "USD", Decimal("7015.05")),
        (4, "taker", "USD", Decimal("-7015.05")),
    ]
    assert rows(
        look,
        "SELECT client_id, net_quantity FROM exchange.positions"
        " JOIN exchange.clients USING (client_no) ORDER BY client_id",
    ) == [("maker", Decimal("-0.1")), ("taker", Decimal("0.1"))]
    assert broken_invariants(look) == {}


async def test_what_is_loaded_is_what_the_engine_holds(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    for n in range(30):
        await matcher.commit(
            await matcher.apply(
                limit("buy", (100 + n % 5) * ONE, (1 + n % 3) * ONE, client_id=f"c{n % 4}"),
                limit("sell", (102 + n % 4) * ONE, (1 + n % 2) * ONE, client_id=f"c{n % 3}"),
                market("sell" if n % 2 else "buy", ONE, client_id="t"),
                *([cancel(next(iter(matcher.engine.book.orders)))] if n % 7 == 6 else []),
            )
        )
    engine = matcher.engine
    loaded = MatchingEngine(
        engine.sequence, engine.order_no, engine.trade_no, await matcher.ledger.load_open_orders()
    )
    assert loaded.state_hash() == engine.state_hash()
    for order_id, order in engine.book.orders.items():
        again = loaded.book.orders[order_id]
        for name in ("client_id", "side", "filled_value", "status", "created_us", "updated_us"):
            assert getattr(again, name) == getattr(order, name), name
    assert broken_invariants(look) == {}
    assert {row[-1] for row in compare_books(look)} == {"ok"}
    taken = await matcher.ledger.acquire("test")
    assert taken is not None
    assert taken[1:4] == (matcher.batch.position, engine.sequence, engine.order_no)


async def test_a_commit_reads_no_more_rows_in_a_deep_book(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    """Plans are kept for the session: one made while the tables were small must stay good."""
    await matcher.commit(await matcher.apply(limit("sell", ONE, ONE), market("buy", ONE)))
    for n in range(20):
        await matcher.commit(
            await matcher.apply(*(limit("sell", (n + 2) * ONE, ONE) for _ in range(100)))
        )
    before = await rows_read(matcher, look)
    for _ in range(10):
        await matcher.commit(await matcher.apply(market("buy", 3 * ONE)))
    # Per commit: the shard, the instrument, three makers, and the accounts; by several indexes.
    assert await rows_read(matcher, look) - before <= 10 * 40


async def rows_read(matcher: Matcher, look: psycopg.Connection) -> int:
    """Return how many rows the matcher's commits have read so far."""
    await matcher.ledger._commits.execute("SELECT pg_stat_force_next_flush()")
    ((count,),) = rows(
        look,
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint"
        " FROM pg_stat_user_tables WHERE schemaname = 'exchange'",
    )
    assert isinstance(count, int)
    return count


async def test_an_old_epoch_is_fenced(
    matcher: Matcher, database_url: str, look: psycopg.Connection
) -> None:
    batch = await matcher.apply(limit("buy", ONE, ONE))
    look.execute("UPDATE exchange.shard SET lease_until = '-infinity'")
    other = await Ledger.open(database_url, BTC_USD, 10_000)
    taken = await other.acquire("other")
    await other.close()
    assert taken is not None
    assert taken.epoch == matcher.epoch + 1
    with pytest.raises(Fenced):
        await matcher.commit(batch)
    assert rows(look, "SELECT * FROM exchange.orders") == []
    assert not await matcher.ledger.renew(matcher.epoch)
    assert not await matcher.ledger.release(matcher.epoch)
    assert await matcher.ledger.acquire("test") is None


async def test_the_same_batch_twice_is_stale(matcher: Matcher, look: psycopg.Connection) -> None:
    batch = await matcher.apply(limit("buy", ONE, ONE))
    await matcher.commit(batch)
    with pytest.raises(Stale):
        await matcher.commit(batch)
    assert rows(look, "SELECT count(*) FROM exchange.orders") == [(1,)]


async def test_an_order_id_or_a_key_twice_is_refused_whole(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    await matcher.commit(
        await matcher.apply(limit("buy", ONE, ONE, order_id="one", idempotency_key="key"))
    )
    before = rows(look, "SELECT shard::text FROM exchange.shard")
    for twin in (
        limit("buy", ONE, ONE, order_id="one"),
        limit("buy", ONE, ONE, order_id="two", idempotency_key="key"),
    ):
        fresh = Matcher(matcher.ledger, matcher.standing)
        fresh.engine, fresh.batch = matcher.engine, matcher.batch
        batch = await fresh.apply(limit("sell", 9 * ONE, ONE, order_id="innocent"), twin)
        with pytest.raises(DataRejected):
            await matcher.commit(batch)
        assert rows(look, "SELECT order_id FROM exchange.orders") == [("one",)]
        assert rows(look, "SELECT shard::text FROM exchange.shard") == before
        matcher.engine = MatchingEngine(1, 1, 0, await matcher.ledger.load_open_orders())


@pytest.mark.parametrize(
    ("position", "value"),
    [(4, 5), (5, 3), (6, 2), (20, "{7}"), (15, "{200000000}"), (17, "{filled}"), (7, 1)],
    ids=["sequence", "order_no", "trade_no", "hole", "overfilled", "status", "time goes back"],
)
async def test_a_batch_that_contradicts_itself_is_refused(
    matcher: Matcher, look: psycopg.Connection, position: int, value: object
) -> None:
    await matcher.commit(await matcher.apply(limit("buy", ONE, ONE)))
    parameters = matcher.ledger.parameters(
        await matcher.apply(limit("buy", ONE, ONE)), matcher.epoch
    )
    parameters[position] = value
    with pytest.raises(DataRejected):
        await matcher.ledger.commit(parameters)
    assert rows(look, "SELECT count(*) FROM exchange.orders") == [(1,)]


async def test_a_finished_order_takes_no_more_fills(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    await matcher.commit(await matcher.apply(limit("buy", ONE, ONE), market("sell", ONE)))
    batch = await matcher.apply(limit("buy", ONE, ONE))
    parameters = matcher.ledger.parameters(batch, matcher.epoch)
    parameters[21:26] = ["{1}", "{100000000}", "{1}", "{filled}", '{""}']
    with pytest.raises(DataRejected):
        await matcher.ledger.commit(parameters)
    assert rows(look, "SELECT count(*) FROM exchange.orders") == [(2,)]


async def test_dead_letters_are_kept_whole(matcher: Matcher, look: psycopg.Connection) -> None:
    batch = await matcher.apply()
    batch.add_entry("5-1")
    payload = b'\x00"\\{}\xff,'
    batch.dead_letters.append(DeadLetter("5-1", payload, 'error "with" {quotes}, \\ and more'))
    await matcher.commit(batch)
    assert rows(look, "SELECT stream_id, payload, error FROM exchange.dead_letters") == [
        ("5-1", payload, 'error "with" {quotes}, \\ and more')
    ]
    assert rows(look, "SELECT last_stream_id FROM exchange.shard WHERE instrument_id = 1") == [
        ("5-1",)
    ]


# How often each index was scanned since the matcher began, and how many entries that has read.
SCANS = (
    "SELECT indexrelname, idx_scan, idx_tup_read FROM pg_stat_user_indexes"
    " WHERE relname IN ('orders', 'positions', 'balances') AND idx_scan > 0 ORDER BY 1"
)


async def test_each_row_is_found_by_its_key(matcher: Matcher, look: psycopg.Connection) -> None:
    """Whatever the planner believed of tables that were empty when it made the plans.

    They are kept for the session, so one that walks all rows of an instrument per row that is
    wanted would go on doing so while the tables grow.
    """
    batches, makers = 40, 5
    for n in range(batches):
        # Everybody trades in each batch: each maker with the taker, once.
        await matcher.commit(
            await matcher.apply(
                *(limit("sell", (100 + n) * ONE, 2 * ONE, client_id=f"c{m}") for m in range(makers))
            )
        )
        await matcher.commit(await matcher.apply(market("buy", 10 * ONE, client_id="taker")))
    await matcher.ledger.close()
    trades, accounts = batches * makers, batches * (makers + 1)
    eventually(
        lambda: (
            {name: read for name, _, read in rows(look, SCANS)}.get("balances_pkey", 0)
            >= 2 * (accounts - makers - 1)
        ),
        "the session's counts",
    )
    scans = {str(name): (scans, read) for name, scans, read in rows(look, SCANS)}
    assert set(scans) == {"orders_pkey", "positions_pkey", "balances_pkey"}
    # Each maker's order, once.
    assert scans["orders_pkey"][0] == trades
    # Of both sides of each trade, its client's position; then both accounts of each client.
    assert scans["positions_pkey"][0] == 2 * trades
    for _, read in scans.values():
        # Some more: versions of a row that are not cleaned away yet, and what inserts check.
        assert read < 3 * 2 * trades
