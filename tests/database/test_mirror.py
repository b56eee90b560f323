"""The Kafka mirror against librdkafka's mock cluster: every event once, in order, whatever dies."""

import random
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest

from tests.kafka import Record, distinct, mock_cluster, publisher, read_topic
from tests.matcher import BTC_USD, ONE, Matcher, cancel, limit, market
from tests.ranges import shorten
from workers.adapters.errors import Fenced, Stale, Unavailable
from workers.adapters.ledger import Ledger
from workers.adapters.mirror import MirrorLog, SyncConnection
from workers.adapters.public_json import order_json
from workers.core.messages import Event, Order, Trade
from workers.core.records import record_order
from workers.jobs.errors import Stopped
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import EVENTS, ORDERS, TOPICS, TRADES, UPDATES

LEASE_MS = 10_000


class Recorder(Matcher):
    """A matcher that remembers how each order stood after each command."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # By sequence of the last event about it, and order_no: the order's public form.
        self.stood: dict[tuple[int, int], Any] = {}

    def applied(self, events: list[Event]) -> None:
        last: dict[int, tuple[int, Order]] = {}
        for event in events:
            if isinstance(event, Trade):
                last[event.maker.order_no] = (event.sequence, event.maker)
                last[event.taker.order_no] = (event.sequence, event.taker)
            elif hasattr(event, "sequence"):
                last[event.order.order_no] = (event.sequence, event.order)
        for order_no, (sequence, order) in last.items():
            public = order_json(record_order(self.instrument, order))
            self.stood[sequence, order_no] = orjson.loads(orjson.dumps(public))


@pytest.fixture
async def matcher(database_url: str) -> Any:
    ledger = await Ledger.open(database_url, BTC_USD, LEASE_MS)
    standing = await ledger.acquire("test")
    assert standing is not None
    yield Recorder(ledger, standing)
    await ledger.close()


@pytest.fixture
def brokers() -> Iterator[str]:
    with mock_cluster() as brokers:
        yield brokers


@pytest.fixture
def jobs(database_url: str) -> Iterator[SyncConnection]:
    """A connection as jobs have it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET ROLE exchange_jobs")
        yield connection


async def some_trading(matcher: Matcher, commands: int = 200, seed: int = 1) -> None:
    """Commit random orders and cancellations in batches of up to twenty."""
    choose = random.Random(seed)
    ids: list[str] = []
    while commands > 0:
        batch: list[Any] = []
        for _ in range(choose.randint(1, 20)):
            kind = choose.random()
            if kind < 0.2 and ids:
                batch.append(cancel(ids.pop(choose.randrange(len(ids)))))
                continue
            side: Any = choose.choice(["buy", "sell"])
            quantity = choose.randint(1, 9) * ONE // 2
            client_id = f"client-{choose.randint(1, 5)}"
            if kind < 0.4:
                batch.append(market(side, quantity, client_id=client_id))
            else:
                price = (100 + choose.randint(-3, 3)) * ONE
                key = f"key-{seed}-{commands}-{len(batch)}" if kind < 0.6 else ""
                batch.append(limit(side, price, quantity, client_id=client_id, idempotency_key=key))
                ids.append(batch[-1].order_id)
        commands -= len(batch)
        await matcher.commit(await matcher.apply(*batch))


def mirror_all(jobs: SyncConnection, brokers: str, page_length: int = 50) -> int:
    with publisher(brokers) as kafka:
        return mirror_slice(jobs, kafka, BTC_USD, page_length=page_length)


def everything(brokers: str) -> dict[str, list[Record]]:
    """Return what each topic holds, repeats dropped."""
    return {topic: distinct(read_topic(brokers, topic)) for topic in TOPICS}


async def test_each_event_is_in_each_topic_that_it_concerns(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    await some_trading(matcher)
    sequence = matcher.engine.sequence
    assert mirror_all(jobs, brokers) == sequence
    topics = everything(brokers)
    assert [r.sequence for r in topics[EVENTS]] == list(range(1, sequence + 1))
    assert [r.sequence for r in topics[UPDATES]] == list(range(1, sequence + 1))
    assert [r.value["trade_no"] for r in topics[TRADES]] == list(
        range(1, matcher.engine.trade_no + 1)
    )
    assert len(topics[ORDERS]) == sequence + matcher.engine.trade_no
    kinds = {record.value["kind"] for record in topics[EVENTS]}
    assert kinds == {"accepted", "rejected", "cancelled", "trade"}
    # Nothing happened since, so there is nothing more to do.
    assert mirror_all(jobs, brokers) == 0


async def test_orders_are_told_as_they_stood_after_each_event(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    # Small pages: most orders were filled in part before the page, and are filled further after it.
    await some_trading(matcher, 300, seed=2)
    mirror_all(jobs, brokers, page_length=7)
    told = {
        (record.sequence, record.value["order_no"]): record.value
        for record in everything(brokers)[ORDERS]
    }
    assert len(matcher.stood) > 300
    for place, stood in matcher.stood.items():
        assert {name: told[place][name] for name in stood} == stood


async def test_updates_give_the_book_after_each_command(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    await some_trading(matcher, 300, seed=3)
    mirror_all(jobs, brokers)
    book: dict[int, tuple[str, Decimal, Decimal]] = {}
    for record in everything(brokers)[UPDATES]:
        update = orjson.loads(record.raw)
        for change in update["changes"]:
            if change["remaining_quantity"]:
                book[change["order_no"]] = (
                    change["side"],
                    Decimal(str(change["price"])),
                    Decimal(str(change["remaining_quantity"])),
                )
            else:
                del book[change["order_no"]]
        bids = [price for side, price, _ in book.values() if side == "buy"]
        asks = [price for side, price, _ in book.values() if side == "sell"]
        # A taker is not in the book before its command has ended, so it is never crossed.
        assert not (bids and asks) or max(bids) < min(asks)
    assert book == {
        order.order_no: (
            order.side,
            Decimal(order.price_ticks) / ONE,
            Decimal(order.remaining_lots) / ONE,
        )
        for order in matcher.engine.book.orders.values()
    }


async def test_pages_end_where_commands_do(matcher: Recorder, jobs: SyncConnection) -> None:
    """A taker of many is never cut, nor what cancels the rest of a market order."""
    await matcher.commit(
        await matcher.apply(
            *(limit("sell", 100 * ONE, ONE) for _ in range(10)), market("buy", 20 * ONE)
        )
    )
    log = MirrorLog(jobs, BTC_USD, LEASE_MS)
    place = log.begin("test")
    assert place is not None
    ends = [log.read(place, length).events[-1].sequence for length in (1, 9, 10, 11, 15, 21, 99)]
    assert ends == [1, 9, 10, 22, 22, 22, 22]


async def test_a_mirror_that_died_before_the_offset_writes_the_same_again(
    matcher: Recorder, jobs: SyncConnection, brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_trading(matcher)
    stores = 0
    store = MirrorLog.store

    def dies(self: MirrorLog, *places: Any) -> None:
        nonlocal stores
        stores += 1
        if stores % 2:
            raise Unavailable("died between produce and offset")
        store(self, *places)

    monkeypatch.setattr(MirrorLog, "store", dies)
    done = 0
    while done < matcher.engine.sequence:
        try:
            mirror_all(jobs, brokers)
        except Unavailable:
            pass
        ((done,),) = jobs_place(jobs)
    # Every page came twice, and a reader who drops repeats sees each event once.
    assert len(read_topic(brokers, EVENTS)) == 2 * matcher.engine.sequence
    assert len(everything(brokers)[EVENTS]) == matcher.engine.sequence


def jobs_place(jobs: SyncConnection) -> list[Any]:
    return jobs.execute("SELECT mirrored_sequence FROM exchange.mirror_lags_v1()").fetchall()[:1]


async def test_of_two_mirrors_one_waits(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    await some_trading(matcher)
    first = MirrorLog(jobs, BTC_USD, LEASE_MS)
    place = first.begin("first")
    assert place is not None
    assert mirror_all(jobs, brokers) == 0
    assert read_topic(brokers, EVENTS) == []
    first.end(place)
    assert mirror_all(jobs, brokers) == matcher.engine.sequence


async def test_a_mirror_that_slept_through_its_lease_is_fenced(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    await some_trading(matcher)
    asleep = MirrorLog(jobs, BTC_USD, 1)
    place = asleep.begin("asleep")
    assert place is not None
    jobs.execute("SELECT pg_sleep(0.01)")
    assert mirror_all(jobs, brokers) == matcher.engine.sequence
    with pytest.raises(Fenced):
        asleep.store(place, place._replace(sequence=10))
    asleep.end(place)  # harms nobody
    assert jobs_place(jobs) == [(matcher.engine.sequence,)]


async def test_an_offset_never_goes_back(matcher: Recorder, jobs: SyncConnection) -> None:
    await some_trading(matcher)
    log = MirrorLog(jobs, BTC_USD, LEASE_MS)
    place = log.begin("test")
    assert place is not None
    ahead = place._replace(sequence=20, trade_no=3)
    log.store(place, ahead)
    for before, after in ((place, ahead), (ahead, place), (ahead, ahead._replace(trade_no=2))):
        with pytest.raises(Stale):
            log.store(before, after)


async def test_two_mirrors_at_once_leave_no_gap(
    matcher: Recorder, jobs: SyncConnection, brokers: str, database_url: str
) -> None:
    """With leases that run out at once both write, and fence each other all the time."""
    await some_trading(matcher, 400)
    end = matcher.engine.sequence
    # They may do so for ever: after so many tries one of them gives up, and the other gets through.
    tries_max = {"one": 100, "other": 1_000_000}

    def run(tries: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as own, publisher(brokers) as kafka:
            while tries and jobs_place(own) != [(end,)]:
                tries -= 1
                try:
                    mirror_slice(own, kafka, BTC_USD, page_length=5, lease_ms=1)
                except (Fenced, Stale):
                    pass

    threads = [threading.Thread(target=run, args=(tries,)) for tries in tries_max.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert len(everything(brokers)[EVENTS]) == end
    epochs = {record.epoch for record in read_topic(brokers, EVENTS)}
    assert len(epochs) > 1


async def test_kafka_down_fails_in_time_and_loses_nothing(
    matcher: Recorder, jobs: SyncConnection
) -> None:
    await some_trading(matcher)
    with publisher("127.0.0.1:1") as kafka, pytest.raises(Unavailable):
        mirror_slice(jobs, kafka, BTC_USD, publish_timeout_s=0.5)
    # The lease is given back, so another need not wait for it.
    with mock_cluster() as brokers:
        assert mirror_all(jobs, brokers) == matcher.engine.sequence


async def test_a_stop_is_heard_between_pages_and_while_waiting(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    await some_trading(matcher)

    def stop(done: int, total: int | None, detail: str = "") -> None:
        if done >= 100:
            raise Stopped

    with publisher(brokers) as kafka:
        with pytest.raises(Stopped):
            mirror_slice(jobs, kafka, BTC_USD, stop, page_length=50)
        assert 100 <= jobs_place(jobs)[0][0] < matcher.engine.sequence
        mirror_slice(jobs, kafka, BTC_USD)
    assert len(everything(brokers)[EVENTS]) == matcher.engine.sequence


async def test_lag_is_told_in_events_and_seconds(
    matcher: Recorder, jobs: SyncConnection, brokers: str
) -> None:
    def lag() -> tuple[Any, ...]:
        return jobs.execute("SELECT * FROM exchange.mirror_lags_v1()").fetchall()[0]

    assert lag() == ("BTC-USD", None, 0, 0, 0)
    await some_trading(matcher)
    sequence = matcher.engine.sequence
    name, mirrored, now, events, seconds = lag()
    assert (name, mirrored, now, events) == ("BTC-USD", None, sequence, sequence)
    assert seconds > 1_000  # this matcher's clock stands in the past
    mirror_all(jobs, brokers)
    assert lag() == ("BTC-USD", sequence, sequence, 0, 0)


async def test_a_range_stays_until_the_mirror_has_passed_it(
    matcher: Recorder, jobs: SyncConnection, brokers: str, database_url: str
) -> None:
    """A mirror that begins after it, in the middle of a command, knows what was filled before."""
    with psycopg.connect(database_url, autocommit=True) as look:

        def retire() -> Any:
            rows = look.execute("SELECT exchange.retire_range_v2(1, 0, '2024-01-01')").fetchall()
            return rows[0][0]

        shorten(look, 22)  # 0 to 21
        sells = [limit("sell", 100 * ONE, ONE) for _ in range(11)]
        await matcher.commit(await matcher.apply(*sells, limit("buy", 105 * ONE, 11 * ONE)))
        assert matcher.engine.sequence == 23
        await matcher.commit(await matcher.apply(*sells_again(), market("buy", 3 * ONE)))
        look.execute("SELECT exchange.settle_v1('2023-11-14', 'test')")
        log = MirrorLog(jobs, BTC_USD, LEASE_MS)
        place = log.begin("test")
        assert place is not None
        assert retire() == "the Kafka mirror has not passed it yet"
        log.end(place)
        mirror_all(jobs, brokers)
        assert retire() is None
        for (statement,) in look.execute("SELECT exchange.detach_statements_v1()").fetchall():
            look.execute(statement)
        assert look.execute("SELECT exchange.forget_mirror_v1('BTC-USD')").fetchall() == [(True,)]
        assert look.execute("SELECT exchange.forget_mirror_v1('BTC-USD')").fetchall() == [(False,)]
    with mock_cluster() as others:
        assert mirror_all(jobs, others) == matcher.engine.sequence - 21
        records = read_topic(others, ORDERS)
        assert [record.raw for record in records] == [
            record.raw for record in read_topic(brokers, ORDERS)[-len(records) :]
        ]
        assert records[0].sequence == 22


def sells_again() -> list[Any]:
    return [limit("sell", 100 * ONE, 2 * ONE), limit("sell", 101 * ONE, ONE)]
