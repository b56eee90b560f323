"""A feed that never lies: whoever applies all of it has the server's book, whatever happens."""

import asyncio
import itertools
import json
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import psutil
import psycopg
import redis.asyncio

from tests.exchange import Exchange
from tests.follower import Follower

CHANNELS = ("trades", "orders", "orderbook")
# A minute alone; processors may be busy otherwise.
PATIENCE_S = 240.0
# As many prices as `GET /market/orderbook` can show per side, at most.
PRICES = range(9_951, 10_051)


def orders(seed: int, count: int) -> list[dict[str, Any]]:
    """Return random orders of which about half trade, with quantities of many decimals."""
    random = Random(seed)
    return [
        {
            "client_id": f"client-{random.randrange(20)}",
            "side": random.choice(("buy", "sell")),
            "type": "limit",
            "price": random.choice(PRICES),
            "quantity": f"{random.randrange(1, 10**10) / 10**8:.8f}",
        }
        if random.random() < 0.8
        else {
            "client_id": f"client-{random.randrange(20)}",
            "side": random.choice(("buy", "sell")),
            "type": "market",
            "quantity": f"{random.randrange(1, 10**10) / 10**8:.8f}",
        }
        for _ in range(count)
    ]


async def send(url: str, orders: list[dict[str, Any]], connections: int = 4) -> None:
    """Send orders in batches of 100 over several connections; each must be accepted."""
    batches = iter([orders[start : start + 100] for start in range(0, len(orders), 100)])
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for batch in batches:
                async with session.post(f"{url}/orders/batch", json={"orders": batch}) as answer:
                    results = (await answer.json())["results"]
                    assert {result["status"] for result in results} == {201}, results

        await asyncio.gather(*(work() for _ in range(connections)))


async def send_one_by_one(url: str, orders: list[dict[str, Any]], connections: int = 32) -> None:
    """Send orders in a request each over several connections."""
    left = iter(orders)
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for order in left:
                async with session.post(f"{url}/orders", json=order) as answer:
                    assert answer.status == 201, await answer.text()

        await asyncio.gather(*(work() for _ in range(connections)))


async def book(url: str) -> dict[str, Any]:
    """Return the whole book as one of the web processes shows it."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/market/orderbook?levels=100") as answer,
    ):
        shown = json.loads(await answer.read(), parse_float=Decimal, parse_int=Decimal)
    return {name: shown[name] for name in ("bids", "asks", "sequence")}


async def until(condition: Any, what: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0.02)
    raise AssertionError(what)


def stored(database_url: str) -> tuple[int, dict[int, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """Return the sequence, the trades by sequence, and the orders by order_id."""
    with psycopg.connect(database_url) as connection:
        (sequence,) = connection.execute(
            "SELECT sequence FROM exchange.shard WHERE instrument_id = 1"
        ).fetchone()
        trades = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT sequence, trade_no, price, quantity FROM exchange.trades"
            )
        }
        orders = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT order_id, status::text, filled_quantity FROM exchange.orders"
            )
        }
    return sequence, trades, orders


def check(follower: Follower, shown: dict[str, Any], database_url: str) -> None:
    """The follower has the server's book, every trade once, and the last state of every order."""
    assert follower.problems == []
    assert follower.book == shown
    _, trades, orders = stored(database_url)
    assert {
        sequence: (trade["trade_no"], trade["price"], trade["quantity"])
        for sequence, trade in follower.trades.items()
    } == trades
    assert {
        order_id: (order["status"], order["filled_quantity"])
        for order_id, order in follower.orders.items()
    } == orders


async def test_20_000_orders_a_redis_disconnect_and_a_slow_client(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path, WEB_CONCURRENCY="2")
    url = f"http://127.0.0.1:{exchange.port}"
    stream = f"ws://127.0.0.1:{exchange.port}/stream"
    try:
        exchange.start()
        async with AsyncExitStack() as stack:
            followers = [
                await stack.enter_async_context(Follower(stream, CHANNELS)) for _ in range(6)
            ]
            slow = await stack.enter_async_context(Follower(stream, CHANNELS, receive_buffer=4_096))
            await until(
                lambda: all(f.snapshots for f in [*followers, slow]), "everybody's first snapshot"
            )
            slow.pause()
            await send(url, orders(1, 10_000))
            slow.resume()
            # Before the disconnect, which starts everybody over and would hide this one.
            await until(lambda: slow.snapshots == 2, "the slow client is started over")
            sending = asyncio.create_task(send(url, orders(2, 10_000)))
            reached = stored(database_url)[0]
            await until(lambda: followers[0].sequence > reached, "orders flow")
            async with redis.asyncio.from_url(redis_url) as server:
                killed = await server.client_kill_filter(_type="pubsub")
                assert killed >= 2  # both web processes
            await sending
            sequence, trades, _ = stored(database_url)
            assert len(trades) > 5_000
            await until(lambda: all(f.sequence == sequence for f in followers), "all caught up")
            shown = await book(url)
            assert shown["sequence"] == sequence
            for follower in followers:
                await until(lambda f=follower: len(f.trades) >= len(trades), "every trade has come")
                check(follower, shown, database_url)
                # One to begin with, and one more for the disconnect; and never a resync.
                assert follower.snapshots <= 2
                assert follower.resyncs == 0

            await until(lambda: slow.sequence == sequence, "the slow client has caught up")
            assert slow.problems == []
            assert slow.book == shown
            # It was taken off and started over, of all channels; and it goes on like the others.
            assert slow.snapshots > followers[0].snapshots
            await until(lambda: slow.resyncs >= 2, "a resync of trades and one of orders")
            await send(url, orders(3, 100))
            sequence, _, _ = stored(database_url)
            everybody = [*followers, slow]
            await until(lambda: all(f.sequence == sequence for f in everybody), "all go on")
            assert {str(f.book) for f in everybody} == {str(slow.book)}
            assert all(f.problems == [] for f in everybody)
    finally:
        exchange.stop()


async def test_200_subscribers_of_two_web_processes(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Orders one by one, so there are many deltas; and one client that does not read them."""
    folder = str(tmp_path / "metrics")
    exchange = Exchange(
        database_url, redis_url, tmp_path, WEB_CONCURRENCY="2", PROMETHEUS_MULTIPROC_DIR=folder
    )
    url = f"http://127.0.0.1:{exchange.port}"
    stream = f"ws://127.0.0.1:{exchange.port}/stream"
    try:
        exchange.start()
        webs = psutil.Process(exchange.processes[1].pid).children()
        async with AsyncExitStack() as stack:
            followers = [
                await stack.enter_async_context(Follower(stream, ("orderbook",)))
                for _ in range(200)
            ]
            slow = await stack.enter_async_context(Follower(stream, CHANNELS, receive_buffer=4_096))
            everybody = [*followers, slow]
            await until(lambda: all(f.snapshots for f in everybody), "everybody's first snapshot")
            assert await metric(url, "websocket_connections") == 201
            await send(url, orders(0, 200))
            before = sum(web.memory_info().rss for web in webs)
            slow.pause()
            await send_one_by_one(url, orders(1, 5_000))
            peak = sum(web.memory_info().rss for web in webs)
            slow.resume()
            sequence, _, _ = stored(database_url)
            await until(lambda: all(f.sequence == sequence for f in everybody), "all caught up")
            shown = await book(url)
            assert [f.problems for f in everybody if f.problems] == []
            assert [f.book for f in everybody if f.book != shown] == []
            assert [f.snapshots for f in followers] == [1] * 200
            assert slow.snapshots == 2
            assert await metric(url, "websocket_clients_resynced_total") == 1
            assert await metric(url, "websocket_clients_dropped_total") == 0
            # What two processes keep for 5,000 orders and one client's full queue.
            assert peak - before < 60 * 2**20
            print(f"memory of both web processes: {before >> 20} MiB, then {peak >> 20} MiB")
    finally:
        exchange.stop()


async def test_a_client_that_never_reads_is_closed_at_last(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path, EXCHANGE_SLOW_CLIENT_MS="300")
    url = f"http://127.0.0.1:{exchange.port}"
    try:
        exchange.start()
        async with Follower(f"ws://127.0.0.1:{exchange.port}/stream", CHANNELS) as slow:
            await until(lambda: slow.snapshots, "the first snapshot")
            slow.pause()
            for seed in itertools.count():
                await send(url, orders(seed, 1_000))
                if await metric(url, "websocket_clients_dropped_total") == 1:
                    break
            assert await metric(url, "websocket_connections") == 0
            slow.resume()
            await until(lambda: slow.close_code is not None, "the end")
            assert slow.close_code == 1013
    finally:
        exchange.stop()


async def metric(url: str, name: str) -> float:
    """Return the sum of a metric's samples."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        text = await answer.text()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.split("{")[0].split(" ")[0] == name
    )
