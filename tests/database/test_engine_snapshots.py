"""Engine snapshots: whatever is wrong with them, recovery ends where a full rebuild ends."""

import asyncio
import logging
from collections.abc import Iterator
from random import Random

import psycopg
import pytest

import sql
from ops.verify import broken_invariants
from tests.builders import Shape, picture_order, random_commands
from tests.exchange import eventually
from tests.matcher import ONE, Matcher, cancel, limit, market
from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.adapters.ledger import Standing
from workers.core.depth import take_snapshot
from workers.core.engine import MatchingEngine
from workers.jobs.errors import Stopped
from workers.jobs.progress import no_progress
from workers.jobs.snapshots import snapshot
from workers.matching import recovery
from workers.matching.recovery import load_resting

SHAPES = (
    Shape("deep", gap_ticks=8, spread_ticks=12, cancel_share=0.1),
    Shape("busy", spread_ticks=3, market_share=0.15),
)


@pytest.fixture
def jobs(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection with the rights of the jobs."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET ROLE exchange_jobs")
        yield connection


@pytest.fixture(autouse=True)
def any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Books are small here: a snapshot is used however much happened since."""
    monkeypatch.setattr(recovery, "EVENTS_PER_ORDER_MAX", float("inf"))


def take(jobs: psycopg.Connection) -> str:
    return snapshot(jobs, "BTC-USD", no_progress)


async def recovered(matcher: Matcher) -> MatchingEngine:
    """Return the engine that recovery would go on with."""
    engine = matcher.engine
    standing = Standing(1, "0-0", engine.sequence, engine.order_no, engine.trade_no, 0)
    resting = await load_resting(matcher.ledger, standing, {})
    return MatchingEngine(engine.sequence, engine.order_no, engine.trade_no, resting)


def pictures(engine: MatchingEngine) -> dict[str, object]:
    return {name: picture_order(order) for name, order in engine.book.orders.items()}


async def check_recovery(matcher: Matcher) -> None:
    """Recovery, the full rebuild and the engine that did it all are equal, order by order."""
    engine = matcher.engine
    restored = await recovered(matcher)
    rebuilt = MatchingEngine(
        engine.sequence, engine.order_no, engine.trade_no, await matcher.ledger.load_open_orders()
    )
    assert restored.state_hash() == rebuilt.state_hash() == engine.state_hash()
    assert pictures(restored) == pictures(rebuilt) == pictures(engine)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
async def test_after_any_history_the_state_is_that_of_a_full_rebuild(
    matcher: Matcher,
    jobs: psycopg.Connection,
    shape: Shape,
    seed: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    random = Random(seed)
    caplog.set_level(logging.INFO)
    commands = list(random_commands(seed, shape, 1_200))
    while commands:
        length = random.randint(1, 60)
        batch, commands = commands[:length], commands[length:]
        await matcher.commit(await matcher.apply(*batch))
        if random.random() < 0.3:
            take(jobs)
        if random.random() < 0.5:
            await check_recovery(matcher)
    uses = [record.args for record in caplog.records if "recovered from the snapshot" in record.msg]
    assert len(uses) > 5
    assert max(events for _, events in uses) > 50  # type: ignore[misc, operator]
    assert "broken" not in caplog.text


async def test_large_amounts_survive(matcher: Matcher, jobs: psycopg.Connection) -> None:
    most = 10**20 - 1
    await matcher.commit(
        await matcher.apply(
            limit("sell", most, most, order_id="a" * 64, client_id="c" * 64, idempotency_key="k"),
            market("buy", 1),
            limit("buy", 1, most),
        )
    )
    take(jobs)
    await matcher.commit(await matcher.apply(market("buy", 7)))
    await check_recovery(matcher)


def make_small(look: psycopg.Connection) -> None:
    """Make pages of three orders, and sum levels up whenever there are a few."""
    for name, size in (
        ("take_snapshot_v2", "DEFAULT 2000"),
        ("load_orders_v2", "DEFAULT 50000"),
    ):
        text = sql.script(f"functions/{name}.sql")
        assert size in text
        replace_function(look, text.replace(size, "DEFAULT 3").replace("4000", "4"))


def replace_function(look: psycopg.Connection, text: str) -> None:
    look.execute("SET ROLE exchange_owner")
    look.execute(text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    look.execute("RESET ROLE")


async def test_many_parts(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    """Parts are of 2,000 orders, pages of a full rebuild of 50,000; here they are made smaller."""
    make_small(look)
    for n in range(20):
        await matcher.commit(await matcher.apply(limit("buy", 1 + n, 2), limit("sell", 100 + n, 2)))
    await matcher.commit(await matcher.apply(market("buy", 5), market("sell", 7)))
    take(jobs)
    assert look.execute("SELECT parts, orders FROM exchange.engine_snapshots").fetchall() == [
        (12, 35)
    ]
    await check_recovery(matcher)
    await matcher.commit(await matcher.apply(market("sell", 9), limit("buy", 50, 1)))
    await check_recovery(matcher)


# What a snapshot is.


async def some_orders(matcher: Matcher, number: int = 12) -> None:
    """Commit orders that rest, one of them partially filled."""
    await matcher.commit(
        await matcher.apply(
            *(limit("buy", 10 + n, 5, client_id=f"c{n % 3}") for n in range(number)),
            market("sell", 2),
        )
    )


async def test_depth_and_state_are_of_one_sequence(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    await some_orders(matcher)
    assert take(jobs) == "sequence 14, 12 orders; 0 old ones deleted"
    depth = take_snapshot(matcher.engine.book, 14)
    ((sequence, prices, quantities, asks),) = look.execute(
        "SELECT sequence, bid_prices, bid_quantities, ask_prices FROM exchange.book_snapshots"
    ).fetchall()
    assert (sequence, asks) == (14, [])
    units = [(int(p * ONE), int(q * ONE)) for p, q in zip(prices, quantities, strict=True)]
    assert units == depth.bids
    assert look.execute(
        "SELECT sequence, format, stream_id, order_no, trade_no, orders, parts"
        " FROM exchange.engine_snapshots"
    ).fetchall() == [(14, 1, matcher.batch.position, 13, 1, 12, 2)]


async def test_nothing_new_is_not_stored_again(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    assert take(jobs).startswith("sequence 0, 0 orders")
    await some_orders(matcher)
    assert "12 orders" in take(jobs)
    assert "nothing new" in take(jobs)
    for table in ("book_snapshots", "engine_snapshots"):
        rows = look.execute(f"SELECT sequence FROM exchange.{table} ORDER BY sequence").fetchall()
        assert rows == [(0,), (14,)]


async def test_matching_is_not_waited_for(
    matcher: Matcher, jobs: psycopg.Connection, database_url: str
) -> None:
    """A commit holds the shard row; a snapshot of what is committed is taken meanwhile."""
    await some_orders(matcher)
    jobs.execute("SET lock_timeout = '2s'")
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM exchange.shard FOR UPDATE")
        assert "12 orders" in take(jobs)


# What the snapshot does between its pieces here: it goes through a turnstile, locks 7 and then 8,
# of which one is always held.
STEP = """
CREATE FUNCTION exchange.give_way_v1(p_since timestamptz, p_until timestamptz) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = exchange, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(7);
    PERFORM pg_advisory_unlock_shared(7);
    PERFORM pg_advisory_lock_shared(8);
    PERFORM pg_advisory_unlock_shared(8);
    RETURN p_since;
END
$$;
"""
WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"


async def test_commits_go_on_between_its_pieces_and_are_not_in_it(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    """Before each of its pieces orders come, are filled and are cancelled."""
    make_small(look)
    replace_function(look, STEP)
    await some_orders(matcher, 30)
    await matcher.commit(
        await matcher.apply(*(limit("sell", 100 + n % 9, 3, order_id=f"s{n}") for n in range(27)))
    )
    engine = matcher.engine
    sequence, depth = engine.sequence, take_snapshot(engine.book, engine.sequence)
    then = {name: picture_order(order) for name, order in engine.book.orders.items()}
    look.execute("SELECT pg_advisory_lock(7), pg_advisory_lock(8)")
    taking = asyncio.create_task(asyncio.to_thread(take, jobs))
    commits = 0
    while not taking.done():
        if not look.execute(WAITS, (7,)).fetchall():
            await asyncio.sleep(0.01)
            continue
        batch = await matcher.apply(
            market("sell", 2), market("buy", 2), cancel(f"s{26 - commits}"),
            limit("buy", 50, 1), limit("sell", 90, 4),
        )  # fmt: skip
        async with asyncio.timeout(30):
            await matcher.commit(batch)
        commits += 1
        look.execute("SELECT pg_advisory_unlock(7)")
        eventually(lambda: look.execute(WAITS, (8,)).fetchall(), "it is between the two locks")
        look.execute("SELECT pg_advisory_lock(7), pg_advisory_unlock(8), pg_advisory_lock(8)")
    assert await taking == f"sequence {sequence}, {len(then)} orders; 0 old ones deleted"
    # 57 orders in pages of three, for depth and for the state.
    assert commits >= 2 * 57 / 3
    sides = look.execute(
        "SELECT bid_prices, bid_quantities, ask_prices, ask_quantities FROM exchange.book_snapshots"
        " WHERE sequence = %s", (sequence,)
    ).fetchone()  # fmt: skip
    assert sides is not None
    bids, bid_quantities, asks, ask_quantities = (
        [int(amount * ONE) for amount in side] for side in sides
    )
    assert list(zip(bids, bid_quantities, strict=True)) == depth.bids
    assert list(zip(asks, ask_quantities, strict=True)) == depth.asks
    (stored,) = await matcher.ledger.engine_snapshots()
    assert stored.counters.sequence == sequence
    orders = await matcher.ledger.load_snapshot(stored)
    assert {order.order_id: picture_order(order) for order in orders} == then
    await check_recovery(matcher)


async def test_what_another_session_is_taking_is_left_to_it(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    await some_orders(matcher)
    key = "hashtext('engine_snapshots'), 1"
    look.execute(f"SELECT pg_advisory_lock({key})")
    assert "nothing new" in take(jobs)
    assert look.execute("SELECT sequence FROM exchange.book_snapshots").fetchall() == [(14,)]
    look.execute(f"SELECT pg_advisory_unlock({key})")
    assert "12 orders" in take(jobs)


def test_it_rests_as_long_as_it_worked_within_bounds(look: psycopg.Connection) -> None:
    def rest(worked: str, until: str) -> float:
        """Return the seconds for which it slept, 0 when it did not."""
        ((slept,),) = look.execute(
            "WITH began AS MATERIALIZED (SELECT clock_timestamp() AS at),"
            " given AS MATERIALIZED ("
            "  SELECT at, at - %s::interval AS since,"
            "         exchange.give_way_v1(at - %s::interval, %s) AS rested FROM began)"
            " SELECT CASE WHEN rested <> since THEN extract(epoch FROM rested - at) ELSE 0 END"
            " FROM given",
            (worked, worked, until),
        ).fetchall()
        return float(slept)

    assert rest("8 ms", "infinity") >= 0.008
    assert rest("1 hour", "infinity") >= 0.02
    assert rest("-1 hour", "infinity") == 0, "short work goes on"
    assert rest("1 hour", "-infinity") == 0, "somebody waits"


async def test_depth_over_and_over_does_not_store_large_state_over_and_over(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    look.execute(
        "INSERT INTO exchange.engine_snapshots"
        " (instrument_id, sequence, format, stream_id, order_no, trade_no, orders, parts)"
        " VALUES (1, 0, 1, '0-0', 0, 0, 100000000, 1)"
    )  # young for 5,000 s
    await some_orders(matcher)
    assert take(jobs).startswith("sequence 14, nothing new")
    assert look.execute("SELECT sequence FROM exchange.book_snapshots").fetchall() == [(14,)]
    assert look.execute("SELECT sequence FROM exchange.engine_snapshots").fetchall() == [(0,)]
    look.execute("DELETE FROM exchange.engine_snapshots")
    assert take(jobs).startswith("sequence 14, 12 orders")
    assert look.execute("SELECT sequence FROM exchange.book_snapshots").fetchall() == [(14,)]


# Faults: no. 40, and others.

REPLICA = "SET session_replication_role = replica; "
FAULTS = {
    "a bit of the numbers": (
        "UPDATE exchange.engine_snapshot_parts"
        " SET numbers = set_bit(numbers, 70, 1 - get_bit(numbers, 70))",
        "digest differs",
    ),
    "a letter of the texts": (
        "UPDATE exchange.engine_snapshot_parts SET texts = overlay(texts placing 'x' from 1)",
        "digest differs",
    ),
    "the end is missing": (
        "UPDATE exchange.engine_snapshot_parts SET texts = left(texts, -3)",
        "digest differs",
    ),
    "truncated, with a digest that fits": (
        "UPDATE exchange.engine_snapshot_parts SET numbers = ''::bytea,"
        " digest = sha256(convert_to(texts, 'UTF8'))",
        "wrong length",
    ),
    "a part is missing": (
        "DELETE FROM exchange.engine_snapshot_parts WHERE part = 2",
        "part 2 of 2 is missing",
    ),
    "a part less, and said to be so": (
        "DELETE FROM exchange.engine_snapshot_parts WHERE part = 2;"
        "UPDATE exchange.engine_snapshots SET parts = 1",
        "it has 11 orders, not 12",
    ),
    "other counters": (
        "UPDATE exchange.engine_snapshots SET order_no = order_no - 1",
        "lead to",
    ),
    "another history's": (
        "UPDATE exchange.engine_snapshots SET trade_no = trade_no + 1",
        "lead to",
    ),
    "later events are gone": (
        "DELETE FROM exchange.order_events WHERE sequence = 16",
        "the events after it lead to",
    ),
    "another format": (
        "UPDATE exchange.engine_snapshots SET format = 2",
        "has format 2, and this program reads 1",
    ),
    "missing": ("DELETE FROM exchange.engine_snapshots", "there is no snapshot"),
    "parts cannot be read": (
        "DROP FUNCTION exchange.load_snapshot_part_v1",
        "does not exist",
    ),
    "the list cannot be read": (
        "DROP FUNCTION exchange.list_engine_snapshots_v1",
        "snapshots cannot be read",
    ),
    "changes cannot be read": ("DROP FUNCTION exchange.changed_orders_v1", "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_a_full_rebuild_and_a_line_that_says_why(
    matcher: Matcher,
    jobs: psycopg.Connection,
    look: psycopg.Connection,
    fault: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    statement, reason = fault
    caplog.set_level(logging.INFO)
    await some_orders(matcher)
    take(jobs)
    order_id = next(iter(matcher.engine.book.orders))
    await matcher.commit(
        await matcher.apply(limit("buy", 3, 1), cancel(order_id), market("sell", 1))
    )
    await check_recovery(matcher)
    assert "recovered from the snapshot" in caplog.text
    caplog.clear()
    with psycopg.ClientCursor(look) as cursor:
        cursor.execute(REPLICA + statement)
    await check_recovery(matcher)
    assert "recovered from the snapshot" not in caplog.text
    assert "recovering from the resting orders" in caplog.text
    assert reason in caplog.text


async def test_an_older_one_stands_in_for_a_broken_one(
    matcher: Matcher,
    jobs: psycopg.Connection,
    look: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    await some_orders(matcher)
    take(jobs)
    await matcher.commit(await matcher.apply(limit("buy", 3, 1)))
    take(jobs)
    look.execute("DELETE FROM exchange.engine_snapshot_parts WHERE sequence = 15 AND part = 1")
    await check_recovery(matcher)
    assert "the snapshot at sequence 15 is broken" in caplog.text
    assert "recovered from the snapshot at sequence 14 and 1 events" in caplog.text


async def test_what_is_newer_than_a_restored_database_goes(
    matcher: Matcher,
    jobs: psycopg.Connection,
    look: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another history will come to the same sequences: nothing of the lost one may wait there."""
    caplog.set_level(logging.INFO)
    await some_orders(matcher)
    take(jobs)
    look.execute("SET session_replication_role = replica")
    for table in ("book_snapshots", "engine_snapshots", "engine_snapshot_parts"):
        look.execute(f"UPDATE exchange.{table} SET sequence = 20")
    take(jobs)
    await check_recovery(matcher)
    assert "2 snapshots newer than sequence 14 deleted: was the database restored?" in caplog.text
    assert "recovered from the snapshot at sequence 14" in caplog.text
    for table in ("book_snapshots", "engine_snapshots", "engine_snapshot_parts"):
        assert {row[0] for row in look.execute(f"SELECT sequence FROM exchange.{table}")} == {14}


async def test_one_that_is_newer_is_not_used(
    matcher: Matcher, jobs: psycopg.Connection, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Also while it is still there."""
    caplog.set_level(logging.INFO)
    await some_orders(matcher)
    earlier = matcher.engine.sequence - 1
    take(jobs)

    async def nothing(after: int) -> int:
        return 0

    monkeypatch.setattr(matcher.ledger, "discard_snapshots", nothing)
    await load_resting(matcher.ledger, Standing(1, "0-0", earlier, 13, 1, 0), {})
    assert f"is newer than what is committed, sequence {earlier}" in caplog.text


async def test_too_much_has_changed(
    matcher: Matcher,
    jobs: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(recovery, "EVENTS_PER_ORDER_MAX", 0.25)
    caplog.set_level(logging.INFO)
    await some_orders(matcher, 12)
    take(jobs)
    await matcher.commit(await matcher.apply(*(limit("buy", 1, 1) for _ in range(3))))
    await check_recovery(matcher)
    assert "recovered from the snapshot" in caplog.text
    caplog.clear()
    await matcher.commit(await matcher.apply(limit("buy", 1, 1)))
    await check_recovery(matcher)
    assert "is 4 events old, which is more work than its 12 orders" in caplog.text


async def test_a_lost_connection_is_no_fault_of_the_snapshot(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    await some_orders(matcher)
    take(jobs)
    (pid,) = await (await matcher.ledger._commits.execute("SELECT pg_backend_pid()")).fetchone()  # type: ignore[misc]
    look.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises((OutcomeUnknown, Unavailable)):
        await matcher.ledger.engine_snapshots()


# Retention, and the job.


async def test_the_newest_engine_snapshots_stay(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    taken = []
    for _ in range(5):
        await some_orders(matcher, 2)
        snapshot(jobs, "BTC-USD", no_progress, kept=2)
        taken.append((matcher.engine.sequence,))
    kept = look.execute("SELECT sequence FROM exchange.engine_snapshots ORDER BY 1").fetchall()
    assert kept == taken[-2:]
    parts = look.execute("SELECT DISTINCT sequence FROM exchange.engine_snapshot_parts ORDER BY 1")
    assert parts.fetchall() == kept
    await check_recovery(matcher)


# (hours ago, sequence) of depth snapshots; hours are counted from the beginning of this one.
THINNED = [
    # All of the last day.
    *(((0.2, 900), True), ((0.3, 899), True), ((20.1, 890), True), ((20.2, 889), True)),
    # Then the first of each hour.
    *(((50.1, 800), False), ((50.5, 799), False), ((50.9, 798), True), ((51.5, 797), True)),
    # Then the first of each day, and of each range of partitions.
    *(((24 * 50 + 0.1, 501), False), ((24 * 50 + 0.2, 500), True)),
    *(((24 * 50 + 0.3, 499), False), ((24 * 50 + 0.4, 498), True), ((24 * 52, 497), True)),
]


async def test_depth_thins_out_with_age(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    look.execute("UPDATE exchange.shard SET sequence = 900 WHERE instrument_id = 1")
    look.execute("UPDATE exchange.partition_ranges SET last_sequence = 499 WHERE instrument_id = 1"
                 " AND first_sequence = (SELECT min(first_sequence) FROM exchange.partition_ranges"
                 " WHERE instrument_id = 1)")  # fmt: skip
    look.execute("INSERT INTO exchange.partition_ranges VALUES (1, 500, 999, NULL, NULL)")
    for (hours, sequence), _ in THINNED:
        look.execute(
            "INSERT INTO exchange.book_snapshots (instrument_id, sequence, taken_at, bid_prices,"
            " bid_quantities, ask_prices, ask_quantities)"
            " VALUES (1, %s, CASE WHEN %s > 24 * 40 THEN date_trunc('day', now(), 'UTC')"
            " + interval '23 hours' ELSE date_trunc('hour', now(), 'UTC') END"
            " - %s * interval '1 hour', '{}', '{}', '{}', '{}')",
            (sequence, hours, hours),
        )
    wanted = sorted(sequence for (_, sequence), stays in THINNED if stays)

    def kept() -> list[int]:
        rows = look.execute("SELECT sequence FROM exchange.book_snapshots ORDER BY 1").fetchall()
        return [sequence for (sequence,) in rows]

    thin = "SELECT exchange.thin_snapshots_v1(1, 3, %s)"
    jobs.execute(thin, (2,))
    assert len(kept()) == len(THINNED) - 2, "at most as many as asked for"
    jobs.execute(thin, (100,))
    assert kept() == wanted
    assert jobs.execute(thin, (100,)).fetchall() == [(0,)]


async def test_the_newest_depth_stays(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    """A quiet instrument's last snapshot is not the first of its hour, and still what there is."""
    for sequence in (1, 2, 3):
        look.execute(
            "INSERT INTO exchange.book_snapshots (instrument_id, sequence, taken_at, bid_prices,"
            " bid_quantities, ask_prices, ask_quantities) VALUES (1, %s, date_trunc('day', now())"
            " - interval '50 days' + %s * interval '1 s', '{}', '{}', '{}', '{}')",
            (sequence, sequence),
        )
    jobs.execute("SELECT exchange.thin_snapshots_v1(1, 3, 100)")
    rows = look.execute("SELECT sequence FROM exchange.book_snapshots ORDER BY 1").fetchall()
    assert rows == [(1,), (3,)]


def test_the_job_stops_between_its_steps(
    jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    told = []

    def stop_after_the_first(done: int, total: int | None, detail: str = "") -> None:
        told.append(detail)
        if len(told) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        snapshot(jobs, "BTC-USD", stop_after_the_first)
    assert told == ["taking a snapshot", "sequence 0, 0 orders; letting old ones go"]
    assert look.execute("SELECT count(*) FROM exchange.book_snapshots").fetchone() == (1,)
    assert take(jobs) == "sequence 0, nothing new; 0 old ones deleted"


def test_an_unknown_instrument(jobs: psycopg.Connection) -> None:
    with pytest.raises(LookupError):
        snapshot(jobs, "NO-SUCH", no_progress)


async def test_an_exchange_with_snapshots_is_whole(
    matcher: Matcher, jobs: psycopg.Connection, look: psycopg.Connection
) -> None:
    await some_orders(matcher)
    take(jobs)
    assert broken_invariants(look) == {}
