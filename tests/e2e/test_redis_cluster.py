"""The exchange on a real Redis Cluster of three nodes, its instruments on different ones."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import psycopg
import pytest

from ops.verify import broken_invariants
from tests.exchange import Answer, Client, Exchange, Load, eventually
from tests.follower import Follower
from tests.redis_cluster import INSTRUMENTS, Cluster, redis_cluster

CHANNELS = ("trades", "orders", "orderbook")
ORDERS = 3_000
CONNECTIONS = 16


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
def exchange(cluster: Cluster, database_url: str, tmp_path: Path) -> Iterator[Exchange]:
    """Two matchers that share the instruments, and two web processes behind one port."""
    for node in cluster.nodes:
        node.ask("FLUSHALL")
    exchange = Exchange(database_url, cluster.url, tmp_path, WEB_CONCURRENCY="2")
    try:
        exchange.matcher()
        exchange.matcher()
        exchange.web()
        with psycopg.connect(database_url, autocommit=True) as connection:
            owners = "SELECT count(DISTINCT owner) FROM exchange.shard WHERE lease_until > now()"
            eventually(lambda: connection.execute(owners).fetchone() == (2,), "both have a share")
        exchange.wait_ready()
        yield exchange
    finally:
        exchange.stop()


def orders(seed: int, count: int) -> list[dict[str, Any]]:
    chance = Random(seed)
    return [
        {
            "client_id": f"client-{chance.randrange(20)}",
            "instrument": INSTRUMENTS[number % len(INSTRUMENTS)],
            "side": chance.choice(("buy", "sell")),
            "quantity": f"{chance.randrange(1, 10**9) / 10**8:.8f}",
        }
        | (
            {"type": "limit", "price": 1_000 + chance.randrange(-20, 20)}
            if chance.random() < 0.8
            else {"type": "market"}
        )
        for number in range(count)
    ]


async def send(url: str, orders: list[dict[str, Any]]) -> None:
    left = iter(orders)
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for order in left:
                async with session.post(f"{url}/orders", json=order) as answer:
                    assert answer.status == 201, await answer.text()

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


async def book(url: str, instrument: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/market/orderbook?levels=100&instrument={instrument}") as answer,
    ):
        shown = json.loads(await answer.read(), parse_float=Decimal, parse_int=Decimal)
    return {name: shown[name] for name in ("bids", "asks", "sequence")}


async def test_orders_on_several_instruments(
    exchange: Exchange, cluster: Cluster, database_url: str
) -> None:
    url = f"http://127.0.0.1:{exchange.port}"
    async with AsyncExitStack() as stack:
        followers = [
            await stack.enter_async_context(
                Follower(f"ws://127.0.0.1:{exchange.port}/stream", CHANNELS, instrument)
            )
            for instrument in INSTRUMENTS
            for _ in range(4)
        ]
        await asyncio.to_thread(
            eventually, lambda: all(f.snapshots for f in followers), "everybody's first snapshot"
        )
        await send(url, orders(1, ORDERS))
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM exchange.orders").fetchone() == (
                ORDERS,
            )
            reached = dict(
                connection.execute(
                    "SELECT instrument, sequence FROM exchange.shard"
                    " JOIN exchange.instruments USING (instrument_id)"
                ).fetchall()
            )
            assert broken_invariants(connection) == {}
        for follower in followers:
            await asyncio.to_thread(
                eventually,
                lambda f=follower: f.sequence == reached[f.instrument],
                "all caught up",
            )
            shown = await book(url, follower.instrument)
            assert (follower.problems, follower.book) == ([], shown)
            # Nothing was lost on the way, so nothing had to be filled.
            assert (follower.snapshots, follower.resyncs) == (1, 0)
    for number, instrument in enumerate(INSTRUMENTS):
        for kind in ("orders", "depth"):
            assert cluster.holders(f"{kind}:{{{instrument}}}") == [number]


def test_keys_limits_cancels_and_metrics(exchange: Exchange, cluster: Cluster) -> None:
    with exchange.client() as client:
        for number, instrument in enumerate(INSTRUMENTS):
            placed = [place(exchange.port, instrument) for _ in range(6)]
            assert Counter(answer.status for answer in placed) == {201: 1, 200: 5}
            assert cluster.holders(f"first:{{{instrument}}}/client-A/k") == [number]
            order_id = placed[0].json["order"]["order_id"]
            assert client.post(f"/orders/{order_id}/cancel").status == 200
        assert int(client.get("/instruments").headers["ratelimit-remaining"]) < 1_000_000
        text = client.get("/metrics").raw.decode()
        for instrument in INSTRUMENTS:
            assert f'stream_lag_entries{{instrument="{instrument}"}} 0.0' in text
        assert 'dependency_up{dependency="redis"} 1.0' in text
        assert client.get("/healthz").json["status"] == "healthy"


def place(port: int, instrument: str) -> Answer:
    """Place the same order again, on a connection of its own, so with either web process."""
    with Client(port) as client:
        return client.order("buy", 1, 5, instrument=instrument, idempotency_key="k")


def test_the_doctor_sees_every_node(exchange: Exchange, cluster: Cluster) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "ops", "doctor"],
        env=exchange.env, capture_output=True, text=True, check=False, timeout=60,
    ).stdout  # fmt: skip
    assert said.count("maxmemory-policy") == len(cluster.nodes), said
    for instrument in INSTRUMENTS:
        assert f"{instrument} stream" in said


def test_jobs(exchange: Exchange, cluster: Cluster, database_url: str) -> None:
    """Their messages have one hash tag, so one node has them all."""
    exchange.spawn("workers.jobs.clock", EXCHANGE_SNAPSHOT_MS="1000")
    exchange.spawn("workers.jobs", EXCHANGE_SNAPSHOT_MS="1000")
    with psycopg.connect(database_url, autocommit=True) as connection:

        def taken() -> bool:
            rows = "SELECT count(DISTINCT instrument_id) FROM exchange.book_snapshots"
            return connection.execute(rows).fetchone() == (len(INSTRUMENTS),)

        eventually(taken, f"a snapshot of every instrument\n{exchange.logs()}")


def test_an_instrument_moves_to_another_node(
    exchange: Exchange, cluster: Cluster, database_url: str
) -> None:
    """While orders flow. Some are refused meanwhile; none is lost, and none is there twice."""
    with Load(exchange.port, instruments=("BTC-USD", "ETH-USD")) as load:
        eventually(lambda: len(load.acknowledged) > 200, "orders flow")
        assert cluster.move("BTC-USD", 0, 2) >= 2
        try:
            before = count(load, "BTC-USD")
            eventually(
                lambda: count(load, "BTC-USD") > before + 100,
                f"BTC-USD trades again\n{exchange.logs()}",
            )
            load.stop()
        finally:
            cluster.move("BTC-USD", 2, 0)
    check(load, database_url)


def test_a_node_dies_and_comes_back(
    exchange: Exchange, cluster: Cluster, database_url: str
) -> None:
    """Nobody gets wrong answers meanwhile, and everything trades again."""
    with Load(exchange.port, instruments=("BTC-USD", "SOL-USD")) as load:
        eventually(lambda: len(load.acknowledged) > 200, "orders flow")
        cluster.nodes[2].kill()
        eventually(lambda: load.refused, "orders are refused")
        cluster.nodes[2].start()
        before = count(load, "SOL-USD")
        eventually(
            lambda: count(load, "SOL-USD") > before + 100,
            f"SOL-USD trades again\n{exchange.logs()}",
        )
        load.stop()
    check(load, database_url)


def count(load: Load, instrument: str) -> int:
    return sum(order["instrument"] == instrument for order in [*load.acknowledged.values()])


def check(load: Load, database_url: str) -> None:
    """What was acknowledged is there once, and what was refused is not."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT order_id FROM exchange.orders").fetchall()
        assert broken_invariants(connection) == {}
    stored = Counter(order_id for (order_id,) in rows)
    assert set(stored.values()) == {1}
    assert set(load.acknowledged) <= set(stored)
    assert not load.refused & set(stored)
    assert set(stored) <= set(load.acknowledged) | load.unknown
