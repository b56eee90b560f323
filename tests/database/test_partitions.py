"""History in partitions: made in time whatever happens, and let go only when nothing needs it."""

import threading
from datetime import UTC, datetime

import psycopg
import pytest

from ops.verify import broken_invariants, compare_books
from tests.exchange import eventually
from tests.matcher import ONE, Matcher, cancel, limit, market
from tests.ranges import WHOLE, shorten
from tests.threads import in_threads
from workers.core.engine import MatchingEngine


def ranges(look: psycopg.Connection, book: int) -> list[tuple[int, int]]:
    return look.execute(
        "SELECT first_sequence, last_sequence FROM exchange.partition_ranges"
        " WHERE instrument_id = %s ORDER BY 1",
        (book,),
    ).fetchall()


def attached(look: psycopg.Connection, book: int) -> list[str]:
    """Return the suffixes of a book's partitions, which all of its tables must have."""
    suffixes = []
    for whole in WHOLE:
        rows = look.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            (f"exchange.{whole}_i{book}",),
        ).fetchall()
        suffixes.append(sorted((name.rsplit("_", 1)[1] for (name,) in rows), key=len))
    assert all(names == suffixes[0] for names in suffixes)
    return suffixes[0]


async def trade(matcher: Matcher, trades: int, time_us: int | None = None) -> None:
    """Commit a batch of so many trades: each takes three sequences."""
    commands = (limit("sell", ONE, ONE, client_id="a"), market("buy", ONE, client_id="b"))
    batch = await matcher.apply(*(command for _ in range(trades) for command in (
        commands[0]._replace(order_id=f"{matcher.engine.sequence}-{_}"),
        commands[1]._replace(order_id=f"{matcher.engine.sequence}-{_}-m"),
    )))  # fmt: skip
    if time_us is not None:
        batch.time_us = time_us
    await matcher.commit(batch)


async def test_trading_goes_on_past_every_range(
    matcher: Matcher, look: psycopg.Connection, database_url: str
) -> None:
    """No job has made partitions, and an analyst reads, and a writer writes, all the while."""
    shorten(look, 10)
    with psycopg.connect(database_url) as analyst:
        analyst.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        count = "SELECT count(*) FROM exchange.trades"
        assert analyst.execute(count).fetchone() == (0,)
        # 3, then 33 sequences more: one batch over several ranges.
        await trade(matcher, 1)
        await trade(matcher, 11)
        assert analyst.execute(count).fetchone() == (0,)
    assert ranges(look, 1) == [(0, 9), (10, 19), (20, 29), (30, 39)]
    assert attached(look, 1) == ["s0", "s10", "s20", "s30"]
    assert look.execute(count).fetchone() == (12,)
    assert broken_invariants(look) == {}
    assert {row[-1] for row in compare_books(look)} == {"ok"}
    engine = matcher.engine
    loaded = MatchingEngine(
        engine.sequence, engine.order_no, engine.trade_no, await matcher.ledger.load_open_orders()
    )
    assert loaded.state_hash() == engine.state_hash()


async def test_a_refused_batch_leaves_no_partition(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    shorten(look, 3)
    batch = await matcher.apply(*(limit("buy", ONE, ONE) for _ in range(5)))
    parameters = matcher.ledger.parameters(batch, matcher.epoch)
    parameters[15] = "{200000000,0,0,0,0}"
    with pytest.raises(Exception, match="orders_status_check"):
        await matcher.ledger.commit(parameters)
    assert ranges(look, 1) == [(0, 2)]
    await matcher.commit(batch)
    assert ranges(look, 1) == [(0, 2), (3, 5)]


def test_a_new_instrument_has_its_partitions(look: psycopg.Connection) -> None:
    (number,) = look.execute(
        "SELECT exchange.add_instrument_v2('XYZ-USD', 'XYZ', 'USD', 1, 1)"
    ).fetchone()  # type: ignore[misc]
    assert attached(look, number) == ["s0"]
    assert broken_invariants(look) == {}


def test_made_ahead_of_need(look: psycopg.Connection, database_url: str) -> None:
    shorten(look, 10)
    look.execute("UPDATE exchange.shard SET sequence = 25 WHERE instrument_id = 1")
    made = look.execute("SELECT * FROM exchange.make_partitions_v1(1)").fetchall()
    assert made == [(0, 5000000, 5000009), (1, 10, 19), (1, 20, 29), (1, 30, 39)]
    assert look.execute("SELECT * FROM exchange.make_partitions_v1(1)").fetchall() == []
    # Many at once make each once.
    in_threads(
        database_url, 6, lambda c, _: c.execute("SELECT exchange.make_partitions_v1(3)").fetchall()
    )
    assert ranges(look, 1) == [(n, n + 9) for n in range(0, 60, 10)]
    assert attached(look, 1) == [f"s{n}" for n in range(0, 60, 10)]
    with pytest.raises(psycopg.Error) as refused:
        look.execute("SELECT exchange.make_partitions_v1(-1)")
    assert refused.value.sqlstate == "EX005"


async def test_making_waits_for_a_commit_and_not_the_other_way_round(
    matcher: Matcher, look: psycopg.Connection, database_url: str
) -> None:
    """A transaction that holds the shard row, as a commit does, is not waited for without need."""
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM exchange.shard FOR UPDATE")
        assert len(look.execute("SELECT * FROM exchange.make_partitions_v1(1)").fetchall()) == 1


HISTORY = 60  # ranges


async def test_nothing_slows_down_with_history(matcher: Matcher, look: psycopg.Connection) -> None:
    """Rows read by index, and partitions locked, stay the same when there are many ranges."""
    shorten(look, 120)
    await trade(matcher, 20)
    order_id = look.execute("SELECT order_id FROM exchange.orders LIMIT 1").fetchone()[0]  # type: ignore[index]

    async def cost() -> dict[str, int]:
        costs = {}
        before = await rows_read(matcher, look)
        await trade(matcher, 5)
        costs["commit"] = await rows_read(matcher, look) - before
        for name, call in {
            "find": f"find_first_orders_v1(1, ARRAY['{order_id}'], ARRAY[]::text[], NULL)",
            "order's trades": f"get_order_trades_v2('{order_id}', false)",
            "trades": "get_trades_v2('BTC-USD', 5)",
            "ticker": "ticker_v2('BTC-USD')",
            "positions": "get_positions_v1('a')",
            "events": f"read_events_v1(1, {matcher.engine.sequence - 9}, 100)",
            "changes": f"read_changes_v1(1, {matcher.engine.sequence - 9}, 100)",
            "changed orders": f"read_changed_orders_v1(1, {matcher.engine.sequence - 9}, 100)",
            "recovery": "load_orders_v1(1, 'open', 0)",
        }.items():
            before = await rows_read(matcher, look)
            look.execute(f"SELECT * FROM exchange.{call}").fetchall()
            costs[name] = await rows_read(matcher, look) - before
        return costs

    young = await cost()
    while len(ranges(look, 1)) < HISTORY:
        await trade(matcher, 100)
    look.execute("VACUUM ANALYZE")
    old = await cost()
    # Loops over the ranges, of which there are sixty now, fetch ten at a time.
    assert {name: n for name, n in old.items() if n > young[name] + 30} == {}, young


async def rows_read(matcher: Matcher, look: psycopg.Connection) -> int:
    """Return how many rows both connections have read so far."""
    await matcher.ledger._commits.execute("SELECT pg_stat_force_next_flush()")
    look.execute("SELECT pg_stat_force_next_flush()")
    (count,) = look.execute(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables"
        " WHERE schemaname = 'exchange'"
    ).fetchone()  # type: ignore[misc]
    return int(count)


# Letting go.

DAY_US = 86_400 * 1_000_000
MIDNIGHT_US = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000


def retire(look: psycopg.Connection, first: int, before: str) -> str | None:
    return look.execute("SELECT exchange.retire_range_v2(1, %s, %s)", (first, before)).fetchone()[0]  # type: ignore[index]


async def test_old_ranges_go_when_nothing_needs_them(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    shorten(look, 10)
    look.execute("SELECT exchange.set_fees_v1('BTC-USD', 'standard', -1, 2)")
    await matcher.commit(await matcher.apply(limit("buy", 1, ONE, order_id="open", client_id="z")))
    await trade(matcher, 4, MIDNIGHT_US)  # to 13
    await trade(matcher, 4, MIDNIGHT_US + DAY_US)  # to 25
    assert retire(look, 5, "2024-06-01") == "there is no such range, or it is retired already"
    assert retire(look, 20, "2024-06-01") == "it is in use"
    assert retire(look, 10, "2024-05-02") == "it is not wholly older than 2024-05-02"
    assert retire(look, 10, "2024-06-01") == "the range before it has to stay"
    assert retire(look, 0, "2024-05-02") == "orders accepted in it are still open"
    batch = await matcher.apply(cancel("open"))
    batch.time_us = MIDNIGHT_US + DAY_US
    await matcher.commit(batch)
    assert retire(look, 0, "2024-05-02") == "its trades are not settled yet"
    look.execute("SELECT exchange.settle_v1('2024-05-01', 'me')")
    assert retire(look, 0, "2024-05-02") is None
    assert retire(look, 0, "2024-05-02") == "there is no such range, or it is retired already"
    assert broken_invariants(look) == {}
    assert retire(look, 10, "2024-06-01") == "its trades are not settled yet"
    look.execute("SELECT exchange.settle_v1('2024-05-02', 'me')")
    assert retire(look, 10, "2024-06-01") is None
    assert look.execute("SELECT exchange.retire_range_v2(0, 0, '2024-06-01')").fetchone() == (
        "the book of the house is kept whole",
    )
    assert broken_invariants(look) == {}
    statements = [s for (s,) in look.execute("SELECT exchange.detach_statements_v1()").fetchall()]
    assert len(statements) == 8
    for statement in statements:
        look.execute(statement)
    assert look.execute("SELECT exchange.detach_statements_v1()").fetchall() == []
    assert attached(look, 1) == ["s20"]
    assert look.execute("SELECT count(*) FROM exchange.trades_i1_s0").fetchone() != (0,)
    # Trading and proofs go on.
    await trade(matcher, 7, MIDNIGHT_US + 2 * DAY_US)
    assert broken_invariants(look) == {}
    verdicts = [row[-1] for row in compare_books(look)]
    assert verdicts == ["begins after sequence 19", "ok", "ok"]
    look.execute("SELECT exchange.settle_v1('2024-05-03', 'me')")
    assert broken_invariants(look) == {}
    look.execute("SET session_replication_role = replica")
    look.execute("UPDATE exchange.carried_balances SET posted = posted + 1 WHERE client_no > 0")
    assert "balances_are_their_postings" in broken_invariants(look)


async def test_detaching_waits_for_nobody_who_trades(
    matcher: Matcher, look: psycopg.Connection, database_url: str
) -> None:
    """An analyst's open transaction holds the detaching up, and nobody else."""
    shorten(look, 10)
    await trade(matcher, 8, MIDNIGHT_US)
    look.execute("SELECT exchange.settle_v1('2024-05-01', 'me')")
    assert retire(look, 0, "2024-06-01") is None
    statements = [s for (s,) in look.execute("SELECT exchange.detach_statements_v1()").fetchall()]
    with psycopg.connect(database_url) as analyst:
        analyst.execute("SELECT FROM exchange.postings")
        detaching = threading.Thread(target=look.execute, args=(statements[0],))
        detaching.start()
        with psycopg.connect(database_url, autocommit=True) as observer:
            eventually(
                lambda: (
                    observer.execute(
                        "SELECT FROM pg_stat_activity WHERE query LIKE '%DETACH%'"
                        " AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
                    ).rowcount
                ),
                "detaching waits",
            )
            # Over the end of a range meanwhile, so that one is attached.
            await trade(matcher, 8, MIDNIGHT_US)
            assert ranges(observer, 1)[-1] == (40, 49)
            assert detaching.is_alive()
    detaching.join(30)
    assert not detaching.is_alive()
    for statement in statements[1:]:
        look.execute(statement)
    assert broken_invariants(look) == {}
