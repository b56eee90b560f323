"""What the edge reads, against the same worked out in Python from what was put in."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import count, product
from random import Random
from typing import NamedTuple

import psycopg
import pytest

from tests.matcher import BTC_USD, ONE, Matcher, cancel, limit, market
from workers.adapters.errors import DataRejected, TimedOut, Unavailable
from workers.adapters.ledger import Ledger
from workers.adapters.lookups import Lookups
from workers.adapters.postgres import connect, translated
from workers.core.messages import Command, Trade
from workers.core.records import Candle, Changes, OrderPlace, Ticker, record_trade

MINUTE_US = 60 * 1_000_000
DAY_US = 24 * 60 * MINUTE_US
# A midnight.
START_US = 1_700_006_400_000_000
STATUSES = ("open", "partially_filled", "filled", "cancelled", "rejected")


@pytest.fixture
async def lookups(database_url: str) -> AsyncIterator[Lookups]:
    lookups = Lookups(database_url, 2)
    await lookups.open()
    yield lookups
    await lookups.close()


@pytest.fixture
def tables(database_url: str) -> psycopg.Connection:
    """Direct access to the tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


# Listing.


class StoredOrder(NamedTuple):
    """Sorts as the listing does, but upwards."""

    created_us: int
    instrument_id: int
    order_no: int
    client_no: int
    status: str

    @property
    def order_id(self) -> str:
        return f"{self.instrument_id}-{self.order_no}"


def store_orders(tables: psycopg.Connection, lengths: dict[int, int]) -> list[StoredOrder]:
    """Store orders of four clients, many of equal times; return them newest first."""
    random = Random(1)
    orders = []
    for instrument_id, length in lengths.items():
        created_us = START_US
        for order_no in range(1, length + 1):
            created_us += random.choice((0, 0, 0, 1, 1_000))
            (status,) = random.choices(STATUSES, (10, 5, 50, 30, 1))
            orders.append(
                StoredOrder(created_us, instrument_id, order_no, random.randint(1, 4), status)
            )
    tables.execute(
        "INSERT INTO exchange.clients (client_id) SELECT 'c' || n FROM generate_series(1, 4) n"
    )
    tables.execute(
        "INSERT INTO exchange.orders (instrument_id, order_no, order_id, client_no, side, type,"
        " price, quantity, filled_quantity, filled_value, status, sequence, created_at, updated_at)"
        " SELECT i, n, i || '-' || n, c, 'buy', 'limit', 5, 2, f, 5 * f, s::exchange.order_status,"
        " n, exchange.from_us(at), exchange.from_us(at)"
        " FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::text[])"
        " AS u(at, i, n, c, s),"
        " LATERAL (SELECT CASE s WHEN 'filled' THEN 2 WHEN 'partially_filled' THEN 1 ELSE 0 END)"
        " AS l(f)",
        list(map(list, zip(*orders, strict=True))),
    )
    tables.execute(
        "UPDATE exchange.shard s SET order_no ="
        " (SELECT count(*) FROM exchange.orders o WHERE o.instrument_id = s.instrument_id)"
    )
    return sorted(orders, reverse=True)


async def pages(lookups: Lookups, length: int, *filters: object) -> list[str]:
    """Return the order ids of all pages, one after the other."""
    found: list[str] = []
    place: OrderPlace | None = None
    while True:
        page = await lookups.list_orders(*filters, place, length)  # type: ignore[arg-type]
        found += (order.order_id for order in page.orders)
        assert len(page.orders) == length or page.next is None
        place = page.next
        if place is None:
            return found


async def test_pages_hold_every_order_once_in_order(
    lookups: Lookups, tables: psycopg.Connection
) -> None:
    orders = store_orders(tables, {1: 300, 2: 200, 3: 1})
    assert len({order.created_us for order in orders}) < 300
    instruments = {None: {1, 2, 3}, "BTC-USD": {1}, "ETH-USD": {2}, "SOL-USD": {3}}
    combinations = product(
        (None, "c1", "nobody"), instruments, (None, ["open"], ["rejected"], ["filled", "cancelled"])
    )
    for client_id, instrument, statuses in combinations:
        expected = [
            order.order_id
            for order in orders
            if order.instrument_id in instruments[instrument]
            and client_id in (None, f"c{order.client_no}")
            and (statuses is None or order.status in statuses)
        ]
        for length in (7, 1_000):
            found = await pages(lookups, length, client_id, instrument, statuses)
            assert found == expected, (client_id, instrument, statuses, length)
    assert await pages(lookups, 1, None, None, None) == [order.order_id for order in orders]
    assert await pages(lookups, 10, None, "NO-NE", None) == []


async def test_a_listed_order_is_the_order(lookups: Lookups, tables: psycopg.Connection) -> None:
    store_orders(tables, {1: 20, 2: 20})
    page = await lookups.list_orders(None, None, None, None, 40)
    assert page.next is None
    assert {order.order_id: order for order in page.orders} == await lookups.orders(
        [order.order_id for order in page.orders]
    )


async def test_last_order_at(tables: psycopg.Connection) -> None:
    orders = store_orders(tables, {1: 50})
    for at in range(START_US - 1, orders[0].created_us + 2):
        if at not in {order.created_us + d for order in orders for d in (-1, 0, 1)}:
            continue
        (found,) = tables.execute(
            "SELECT exchange.last_order_at(1, exchange.from_us(%s))", (at,)
        ).fetchone()  # type: ignore[misc]
        assert found == max(
            (order.order_no for order in orders if order.created_us <= at), default=0
        )


DEEP = [
    (None, None, None),
    (None, "BTC-USD", ["open", "rejected"]),
    (None, None, ["rejected"]),
    ("c1", None, None),
    ("c1", "BTC-USD", ["filled"]),
]


def test_a_page_reads_no_more_rows_when_it_is_deep(tables: psycopg.Connection) -> None:
    """Indexes are used whatever statistics there are: here none, then good ones."""
    orders = store_orders(tables, {1: 20_000, 2: 10_000})
    for analyze in (False, True):
        if analyze:
            tables.execute("ANALYZE exchange.orders")
        for filters in DEEP:
            before = rows_read(tables)
            for place in (None, orders[len(orders) // 2][:3], orders[-100][:3]):
                tables.execute(
                    "SELECT count(*) FROM exchange.list_orders_v1(%s, %s, %s, %s, %s, %s, 10)",
                    (*filters, *(place or (None, None, None))),
                )
            # Three pages of ten rows per instrument and status, each with its client and
            # instrument, and three binary searches.
            assert rows_read(tables) - before < 2_000, (filters, analyze)


def rows_read(tables: psycopg.Connection) -> int:
    """Return how many rows this session has read from tables."""
    tables.execute("SELECT pg_stat_force_next_flush()")
    row = tables.execute(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint"
        " FROM pg_stat_user_tables WHERE schemaname = 'exchange'"
    ).fetchone()
    assert row is not None
    return int(row[0])


# Candles and ticker.


class StoredTrade(NamedTuple):
    time_us: int
    price_ticks: int
    quantity_lots: int


def store_trades(tables: psycopg.Connection, trades: list[StoredTrade]) -> None:
    tables.execute(
        "INSERT INTO exchange.trades"
        " SELECT 1, n, n, p * 0.00000001, q * 0.00000001, 'buy', 1, 2, 1, 2, exchange.from_us(at)"
        " FROM unnest(%s::bigint[], %s::numeric[], %s::numeric[]) WITH ORDINALITY u(at, p, q, n)",
        list(map(list, zip(*trades, strict=True))),
    )


def candles(trades: list[StoredTrade], interval: int, from_us: int, to_us: int) -> list[Candle]:
    """Return the same by the rule: intervals are counted anew from each midnight."""
    buckets: dict[int, list[StoredTrade]] = defaultdict(list)
    for trade in trades:
        if from_us <= trade.time_us < to_us:
            into_day = trade.time_us % DAY_US
            start = (
                trade.time_us
                - into_day
                + into_day // (interval * MINUTE_US) * (interval * MINUTE_US)
            )
            buckets[start].append(trade)
    return [
        Candle(
            start_us=start,
            trade_count=len(bucket),
            open_ticks=bucket[0].price_ticks,
            high_ticks=max(trade.price_ticks for trade in bucket),
            low_ticks=min(trade.price_ticks for trade in bucket),
            close_ticks=bucket[-1].price_ticks,
            quantity_lots=sum(trade.quantity_lots for trade in bucket),
            value=sum(trade.price_ticks * trade.quantity_lots for trade in bucket),
            price_sum_ticks=sum(trade.price_ticks for trade in bucket),
        )
        for start, bucket in sorted(buckets.items())
    ]


async def test_candles(lookups: Lookups, tables: psycopg.Connection) -> None:
    random = Random(3)
    minutes = sorted(random.randrange(3 * 24 * 60) for _ in range(2_000))
    times = [START_US + minute * MINUTE_US + random.choice((0, 59_999_999)) for minute in minutes]
    # On and next to an hour's and a day's end.
    times += [START_US + DAY_US + d for d in (-1, 0, 1, -MINUTE_US, 61 * MINUTE_US)]
    trades = [
        StoredTrade(time_us, random.randint(1, 10**20 - 1), random.choice((1, ONE, 10**20 - 1)))
        for time_us in sorted(times)
    ]
    store_trades(tables, trades)
    end_us = START_US + 3 * DAY_US
    for interval in (1, 7, 45, 60, 999, 1_440):
        found = await lookups.candles("BTC-USD", START_US, end_us, interval, 10_000)
        assert found == candles(trades, interval, START_US, end_us), interval
        assert await lookups.candles("BTC-USD", START_US, end_us, interval, 2) == found[:2]
    # From is inclusive, to exclusive.
    edges = (times[5], times[-5], START_US + DAY_US)
    for from_us, to_us in product(edges, edges):
        found = await lookups.candles("BTC-USD", from_us, to_us, 30, 10_000)
        assert found == candles(trades, 30, from_us, to_us)
    assert await lookups.candles("ETH-USD", START_US, end_us, 1, 10) == []
    assert await lookups.candles("NO-NE", START_US, end_us, 1, 10) == []


async def test_seven_minutes_start_anew_at_midnight(
    lookups: Lookups, tables: psycopg.Connection
) -> None:
    """205 times seven minutes after midnight is 23:55: the last interval of a day is short."""
    midnight = START_US + DAY_US
    store_trades(
        tables, [StoredTrade(midnight + d * MINUTE_US, 1, 1) for d in (-6, -5, -1, 0, 6, 7)]
    )
    found = await lookups.candles("BTC-USD", START_US, midnight + DAY_US, 7, 10)
    assert [((c.start_us - midnight) // MINUTE_US, c.trade_count) for c in found] == [
        (-12, 1), (-5, 2), (0, 2), (7, 1),
    ]  # fmt: skip


async def test_ticker(lookups: Lookups, tables: psycopg.Connection) -> None:
    assert await lookups.ticker("BTC-USD") == Ticker(None, None, None, None, None, 0, 0, 0)
    (now_us,) = tables.execute("SELECT exchange.to_us(now())").fetchone()  # type: ignore[misc]
    hour_us = 60 * MINUTE_US
    old = StoredTrade(now_us - 25 * hour_us, 99 * ONE, ONE)
    store_trades(tables, [old])
    assert await lookups.ticker("BTC-USD") == Ticker(
        99 * ONE, old.time_us, None, None, None, 0, 0, 0
    )
    recent = [
        StoredTrade(now_us - 23 * hour_us, 5 * ONE, 3),
        StoredTrade(now_us - 23 * hour_us, 8 * ONE, ONE),
        StoredTrade(now_us - 2 * hour_us, 4 * ONE, 10**20 - 1),
        StoredTrade(now_us - hour_us, 6 * ONE, 7),
    ]
    tables.execute("SET session_replication_role = replica")
    tables.execute("DELETE FROM exchange.trades")
    store_trades(tables, [old, *recent])
    assert await lookups.ticker("BTC-USD") == Ticker(
        6 * ONE,
        now_us - hour_us,
        5 * ONE,
        8 * ONE,
        4 * ONE,
        sum(trade.quantity_lots for trade in recent),
        sum(trade.quantity_lots * trade.price_ticks for trade in recent),
        4,
    )


# What a feed missed, and snapshots.


@pytest.fixture
async def matcher(database_url: str) -> AsyncIterator[Matcher]:
    ledger = await Ledger.open(database_url, BTC_USD, 10_000)
    standing = await ledger.acquire("test")
    assert standing is not None
    yield Matcher(ledger, standing)
    await ledger.close()


async def test_changes_after_every_sequence(matcher: Matcher, lookups: Lookups) -> None:
    random = Random(5)
    touched: list[tuple[int, str]] = []
    trades: list[Trade] = []
    for _ in range(8):
        commands: list[Command] = []
        for _ in range(10):
            side = random.choice(("buy", "sell"))
            if random.random() < 0.2 and matcher.engine.book.orders:
                commands.append(cancel(random.choice(list(matcher.engine.book.orders))))
            elif random.random() < 0.3:
                commands.append(market(side, ONE))
            else:
                price_ticks = (100 + random.randint(-2, 2)) * ONE
                commands.append(limit(side, price_ticks, random.choice((1, ONE, 3 * ONE))))
        batch = await matcher.apply(*commands)
        await matcher.commit(batch)
        trades += batch.trades
        touched += ((sequence, order.order_id) for sequence, order in batch.orders)
        touched += ((event.sequence, event.order.order_id) for event in batch.cancels)
        for trade in batch.trades:
            touched += ((trade.sequence, side.order_id) for side in (trade.maker, trade.taker))
    sequence = matcher.engine.sequence
    orders = await lookups.orders([order_id for _, order_id in touched])
    for after in range(sequence + 1):
        last: dict[str, int] = {}
        for changed, order_id in sorted(touched):
            if changed > after:
                last[order_id] = changed
        expected = sorted(
            (changed, orders[order_id].order_no, order_id) for order_id, changed in last.items()
        )
        stored, changes = await lookups.changes(1, after, 10_000)
        assert changes is not None
        assert (stored, changes.prev_sequence, changes.sequence) == (sequence, after, sequence)
        assert changes.trades == tuple(
            record_trade("BTC-USD", trade) for trade in trades if trade.sequence > after
        )
        assert changes.orders == tuple(
            (changed, orders[order_id]) for changed, _, order_id in expected
        )
    _, just_right = await lookups.changes(1, sequence - 10, 10)
    assert just_right is not None
    assert just_right.orders
    assert await lookups.changes(1, sequence - 11, 10) == (sequence, None)
    assert await lookups.changes(1, sequence + 1, 10) == (sequence, None)
    assert await lookups.changes(2, 0, 10) == (0, Changes(0, 0, (), ()))


async def test_changes_are_of_one_moment(matcher: Matcher, lookups: Lookups) -> None:
    """While batches are committed, trades and orders tell of the same sequence."""
    done = asyncio.Event()

    async def trade() -> None:
        for n in count():
            await matcher.commit(
                await matcher.apply(limit("sell", ONE, ONE, order_id=f"s{n}"), market("buy", ONE))
            )
            if done.is_set():
                return

    trading = asyncio.create_task(trade())
    seen = set()
    while len(seen) < 30:
        _, changes = await lookups.changes(1, 0, 1_000_000)
        assert changes is not None
        seen.add(changes.sequence)
        assert max((changed for changed, _ in changes.orders), default=0) == changes.sequence
        # Each batch is two orders, their two events and a trade.
        assert len(changes.trades) == changes.sequence / 3 == len(changes.orders) / 2
    done.set()
    await trading


async def test_snapshots(matcher: Matcher, lookups: Lookups) -> None:
    empty = await lookups.take_snapshot(1)
    assert (empty.sequence, empty.bids, empty.asks) == (0, [], [])
    await matcher.commit(
        await matcher.apply(
            limit("buy", 10**20 - 2, 10**20 - 2),
            limit("buy", 10**20 - 2, 1),
            limit("buy", 3, 2),
            limit("sell", 10**20 - 1, 3),
            market("buy", 2),
        )
    )
    stored = await lookups.take_snapshot(1)
    assert (stored.instrument, stored.sequence) == ("BTC-USD", 6)
    assert stored.bids == [(10**20 - 2, 10**20 - 1), (3, 2)]
    assert stored.asks == [(10**20 - 1, 1)]
    assert await lookups.book_snapshot(stored.snapshot_id) == stored
    assert await lookups.book_snapshot(stored.snapshot_id + 999) is None
    assert await lookups.take_snapshot(1) == stored
    assert await lookups.book_snapshots("BTC-USD", 10) == [
        (stored.snapshot_id, 6, stored.taken_us, 2, 1, 10**20 - 2, 10**20 - 1),
        (empty.snapshot_id, 0, empty.taken_us, 0, 0, None, None),
    ]
    assert len(await lookups.book_snapshots("BTC-USD", 1)) == 1
    assert await lookups.book_snapshots("ETH-USD", 10) == []


async def test_two_snapshots_of_one_sequence_at_once(lookups: Lookups) -> None:
    both = await asyncio.gather(*(lookups.take_snapshot(1) for _ in range(2)))
    assert both[0] == both[1]
    assert len(await lookups.book_snapshots("BTC-USD", 10)) == 1


async def test_no_snapshot_of_an_unknown_instrument(lookups: Lookups) -> None:
    with pytest.raises(DataRejected):
        await lookups.take_snapshot(99)


# What edges of the release before store: the depth that they have.

UNUSABLE = {
    "not committed": "1, 1, '{}', '{}', '{}', '{}'",
    "negative sequence": "1, -1, '{}', '{}', '{}', '{}'",
    "nothing at a level": "1, 0, '{2}', '{0}', '{}', '{}'",
    "negative price": "1, 0, '{}', '{}', '{-2}', '{1}'",
    "worst bid first": "1, 0, '{1,2}', '{1,1}', '{}', '{}'",
    "worst ask first": "1, 0, '{}', '{}', '{2,1}', '{1,1}'",
    "a level twice": "1, 0, '{2,2}', '{1,1}', '{}', '{}'",
    "crossed": "1, 0, '{2}', '{1}', '{2}', '{1}'",
    "unequal lengths": "1, 0, '{1}', '{}', '{}', '{}'",
    "unknown instrument": "99, 0, '{}', '{}', '{}', '{}'",
}


@pytest.mark.parametrize("arguments", UNUSABLE.values(), ids=UNUSABLE)
async def test_no_book_looks_like_this(
    lookups: Lookups, tables: psycopg.Connection, arguments: str
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        tables.execute(f"SELECT exchange.store_book_snapshot_v1({arguments})")
    assert refused.value.sqlstate in ("23514", "EX003")
    assert await lookups.book_snapshots("BTC-USD", 10) == []


@pytest.mark.parametrize("table", ["book_snapshots", "engine_snapshots", "engine_snapshot_parts"])
async def test_a_snapshot_is_never_changed_but_may_go(
    matcher: Matcher, lookups: Lookups, tables: psycopg.Connection, table: str
) -> None:
    await matcher.commit(await matcher.apply(limit("buy", 1, 1)))
    await lookups.take_snapshot(1)
    for change in (
        f"UPDATE exchange.{table} SET sequence = 7",
        f"TRUNCATE exchange.{table} CASCADE",
    ):
        with pytest.raises(psycopg.Error) as refused:
            tables.execute(change)
        assert refused.value.sqlstate == "EX004"
    assert tables.execute(f"DELETE FROM exchange.{table}").rowcount == 1


# Limits.


async def test_a_statement_that_takes_too_long(database_url: str, lookups: Lookups) -> None:
    connection = await connect(database_url, "exchange_edge")
    await connection.execute("SET statement_timeout = '20ms'")
    with pytest.raises(TimedOut):
        async with translated():
            await connection.execute("SELECT pg_sleep(60)")
    await connection.close()
    async with lookups._pool.connection() as pooled:
        cursor = await pooled.execute("SHOW statement_timeout")
        assert await cursor.fetchone() == ("5s",)


async def test_long_questions_leave_room_for_short_ones(
    lookups: Lookups, tables: psycopg.Connection
) -> None:
    with tables.transaction():
        tables.execute("LOCK TABLE exchange.trades")
        long = [asyncio.create_task(lookups.candles("BTC-USD", 0, 1, 1, 1)) for _ in range(4)]
        long += [asyncio.create_task(lookups.ticker("BTC-USD")) for _ in range(4)]
        # The second, which has no turn, is refused; all the while, orders are answered.
        done, waiting = await asyncio.wait(long, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), Unavailable)
        assert waiting
        assert await lookups.order("nobody") is None
    answers = await asyncio.gather(*long, return_exceptions=True)
    assert [] in answers
