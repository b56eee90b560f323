"""Processes are killed; what was acknowledged stays, and nothing happens twice."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from ops.embedded import Postgres, Valkey
from ops.migrate import migrate
from ops.verify import broken_invariants, compare_books
from tests.exchange import Exchange, Load, eventually


@pytest.fixture
def own_servers(server_folder: Path) -> Iterator[tuple[Postgres, Valkey]]:
    """Servers of our own: these tests kill them."""
    with Postgres(server_folder) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        yield postgres, valkey


def check(database_url: str, load: Load) -> None:
    """Everything acknowledged is stored with the same terms, and everything stored agrees."""
    with psycopg.connect(database_url) as connection:
        stored = {
            order_id: terms
            for order_id, *terms in connection.execute(
                "SELECT order_id, order_no, side::text, type::text, price, quantity,"
                " filled_quantity, status::text FROM exchange.orders"
            )
        }
        trades = {
            f"BTC-USD-{trade_no}": (price, quantity)
            for trade_no, price, quantity in connection.execute(
                "SELECT trade_no, price, quantity FROM exchange.trades"
            )
        }
        assert broken_invariants(connection) == {}
        assert {row[-1] for row in compare_books(connection)} == {"ok"}
    for order_id, order in load.acknowledged.items():
        order_no, side, type, price, quantity, filled, status = stored[order_id]
        assert (order_no, side, type, quantity) == (
            order["order_no"], order["side"], order["type"], order["quantity"],
        )  # fmt: skip
        assert price == order["price"]
        assert filled >= order["filled_quantity"]
        if order["status"] in ("filled", "cancelled", "rejected"):
            assert (status, filled) == (order["status"], order["filled_quantity"])
    for trade_id, trade in load.trades.items():
        assert trades[trade_id] == (trade["price"], trade["quantity"])
    assert not load.refused & stored.keys(), "a definite refusal left a trace"


def acknowledged(load: Load, count: int) -> None:
    target = len(load.acknowledged) + count
    eventually(
        lambda: load.problems or len(load.acknowledged) >= target,
        f"{count} more acknowledged orders",
    )
    assert load.problems == []


def test_a_standby_takes_over_from_a_killed_matcher(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path)
    try:
        exchange.start()
        first = exchange.processes[0]
        second = exchange.matcher()
        with Load(exchange.port) as load:
            acknowledged(load, 100)
            first.kill()
            acknowledged(load, 100)
            third = exchange.matcher()
            second.send_signal(signal.SIGTERM)
            second.wait(15)
            acknowledged(load, 100)
            assert third.poll() is None
        check(database_url, load)
    finally:
        exchange.stop()


def test_a_zombie_is_fenced(database_url: str, redis_url: str, tmp_path: Path) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path, EXCHANGE_LEASE_MS="500")
    try:
        exchange.start()
        zombie = exchange.processes[0]
        exchange.matcher()
        with Load(exchange.port) as load, psycopg.connect(database_url, autocommit=True) as look:
            acknowledged(load, 50)
            before = epoch(look)
            zombie.send_signal(signal.SIGSTOP)
            eventually(lambda: epoch(look) > before, "a take-over")
            acknowledged(load, 50)
            zombie.send_signal(signal.SIGCONT)
            eventually(
                lambda: any(word in exchange.logs() for word in ("fenced", "standing by")),
                "the zombie notices",
            )
            acknowledged(load, 50)
        check(database_url, load)
    finally:
        exchange.stop()


def epoch(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT epoch FROM exchange.shard WHERE instrument_id = 1").fetchone()
    assert row is not None
    return int(row[0])


def test_orders_wait_for_a_matcher_and_expire_without_one(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path, EXCHANGE_SUBMIT_TIMEOUT_MS="400")
    try:
        exchange.start()
        matcher = exchange.processes[0]
        matcher.send_signal(signal.SIGSTOP)
        with exchange.client() as client:
            began = time.monotonic()
            answer = client.order("buy", 1, 10, order_id="late")
            assert time.monotonic() - began < 5
            assert (answer.status, answer.json["error"]) == (504, "unknown_outcome")
            assert answer.json["order_id"] == "late"
            time.sleep(0.5)  # beyond the entry's deadline, by any clock
            matcher.send_signal(signal.SIGCONT)
            repeat = eventually(
                lambda: (a := client.order("buy", 1, 10, order_id="late")).status == 200 and a,
                "a final outcome",
            )
        order = repeat.json["order"]
        assert (order["status"], order["status_reason"]) == ("rejected", "expired")
    finally:
        exchange.stop()


def test_killed_with_everything_else(own_servers: tuple[Postgres, Valkey], tmp_path: Path) -> None:
    postgres, valkey = own_servers
    load_url = ""
    for round, wreck in enumerate(("nothing", "valkey's folder", "the last of the log")):
        exchange = Exchange(postgres.url, valkey.url, tmp_path)
        try:
            exchange.start()
            with Load(exchange.port) as load:
                acknowledged(load, 200)
                postgres.kill()
                valkey.kill()
                for process in exchange.processes:
                    process.kill()
                load.stop()
        finally:
            exchange.stop(signal.SIGKILL)
        if wreck == "valkey's folder":
            shutil.rmtree(valkey.folder)
        elif wreck == "the last of the log":
            (log,) = valkey.folder.glob("appendonlydir/*.incr.aof")
            size = log.stat().st_size
            with log.open("rb+") as file:
                file.truncate(size - size // 3)
        postgres.start()
        valkey.start()
        load_url = postgres.url
        check(load_url, load)
        exchange = Exchange(postgres.url, valkey.url, tmp_path)
        try:
            exchange.start()
            with exchange.client() as client:
                for order_id, order in list(load.acknowledged.items())[:20]:
                    assert (
                        client.get(f"/orders/{order_id}").json["order"]["order_no"]
                        == (order["order_no"])
                    )
                assert client.order("buy", 1, 1, order_id=f"after-{round}").status == 201
            # What waited in the stream was applied at most once, like everything else.
            check(postgres.url, load)
        finally:
            exchange.stop()


@pytest.mark.parametrize("loss", ["flushall", "delete the stream", "restart empty", "kill"])
def test_redis_loses_data_while_trading(
    own_servers: tuple[Postgres, Valkey], tmp_path: Path, loss: str
) -> None:
    postgres, valkey = own_servers
    exchange = Exchange(postgres.url, valkey.url, tmp_path)
    try:
        exchange.start()
        with Load(exchange.port) as load, redis.from_url(valkey.url) as connection:
            acknowledged(load, 100)
            if loss == "flushall":
                connection.flushall()
            elif loss == "delete the stream":
                connection.delete("orders:{BTC-USD}")
            else:
                port = valkey.port
                valkey.kill()
                if loss == "restart empty":
                    shutil.rmtree(valkey.folder)
                valkey.start(port)
            acknowledged(load, 100)
        exchange.wait_ready()
        with exchange.client() as client:
            assert client.order("buy", 1, 1).status == 201
        check(postgres.url, load)
    finally:
        exchange.stop()


def test_postgres_is_killed_while_trading(
    own_servers: tuple[Postgres, Valkey], tmp_path: Path
) -> None:
    postgres, valkey = own_servers
    exchange = Exchange(postgres.url, valkey.url, tmp_path)
    try:
        exchange.start()
        with Load(exchange.port) as load:
            acknowledged(load, 100)
            port = postgres.port
            postgres.kill()
            postgres.start(port)
            acknowledged(load, 100)
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                for _ in range(5):
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name LIKE 'exchange_%'"
                    )
                    acknowledged(load, 20)
        check(postgres.url, load)
    finally:
        exchange.stop()
