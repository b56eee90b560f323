"""/metrics over real processes: whichever web process is asked, it tells of all of them."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from ops.embedded import Valkey
from tests.exchange import Client, Exchange, eventually, free_port, running
from tests.servers import server_folder as make_folder

# The names of the public contract, with the labels that each must have.
NAMES = {
    "orders_received_total": {"type", "side"},
    "orders_matched_total": {"instrument"},
    "orders_rejected_total": {"reason"},
    "order_latency_seconds_bucket": {"le"},
    "order_latency_seconds_sum": set(),
    "order_latency_seconds_count": set(),
    "current_orderbook_depth": {"instrument", "side"},
    "trades_total": {"instrument"},
    "trade_volume_total": {"instrument"},
    "fills_total": {"instrument", "role"},
    "fees_earned": {"instrument", "asset"},
    "stream_lag_entries": {"instrument"},
    "commit_batch_entries_count": set(),
    "commit_batch_seconds_count": set(),
    "publish_seconds_count": set(),
    "matcher_epoch": {"instrument"},
    "matcher_lease_held": {"instrument"},
    "dead_letters_total": {"instrument"},
    "websocket_connections": set(),
    "websocket_clients_resynced_total": set(),
    "websocket_clients_dropped_total": set(),
    "feed_reconnects_total": set(),
    "commands_in_flight": set(),
    "http_requests_total": {"route", "method", "status"},
    "http_request_seconds_count": {"route", "method"},
    "dependency_up": {"dependency"},
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    """Return every sample; fails when one is there twice or the text is not valid."""
    with Client(port) as client:
        answer = client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in parser.text_string_to_metric_families(answer.raw.decode()):
        assert family.documentation, family.name
        assert family.type != "unknown", family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of the samples with this name and these labels."""
    return sum(
        value
        for (sample, given), value in samples.items()
        if sample == name and set(labels.items()) <= given
    )


def trade(ports: list[int]) -> None:
    """Send 30 orders in turn to the ports, each on a connection of its own; see `check`."""
    bodies = [
        *(("sell", 1, 100 + number) for number in range(5)),  # 5 rest
        *(("buy", 1, 101) for _ in range(3)),  # 2 trade, 1 rests
        *(("buy", 3, None) for _ in range(2)),  # the first takes 3 sells, the other finds none
        *(("buy", 1, 0) for _ in range(4)),  # refused
        *(("buy", 1, 50) for _ in range(16)),  # rest
    ]
    for number, (side, quantity, price) in enumerate(bodies):
        with Client(ports[number % len(ports)]) as client:
            status = client.order(side, quantity, price).status
        assert status == (400 if price == 0 else 201)


def check(samples: Samples) -> None:
    assert value(samples, "orders_received_total") == 26
    assert value(samples, "orders_received_total", type="limit", side="buy") == 19
    assert value(samples, "orders_received_total", type="market", side="buy") == 2
    assert value(samples, "orders_received_total", type="market", side="sell") == 0
    assert value(samples, "order_latency_seconds_count") == 26
    assert value(samples, "orders_rejected_total") == 5
    assert value(samples, "orders_rejected_total", reason="no_liquidity") == 1
    assert value(samples, "orders_rejected_total", reason="invalid_request") == 4
    assert value(samples, "trades_total", instrument="BTC-USD") == 5
    assert value(samples, "trades_total", instrument="ETH-USD") == 0
    assert value(samples, "trade_volume_total", instrument="BTC-USD") == 5
    assert value(samples, "fills_total", role="maker") == 5
    assert value(samples, "fills_total", role="taker") == 5
    assert value(samples, "orders_matched_total") == 8
    assert value(samples, "http_requests_total", route="/orders", method="POST") == 30
    assert value(samples, "http_requests_total", route="/orders", status="400") == 4
    assert value(samples, "http_request_seconds_count", route="/orders") == 30
    assert value(samples, "current_orderbook_depth", instrument="BTC-USD", side="bid") == 2
    assert value(samples, "current_orderbook_depth", instrument="BTC-USD", side="ask") == 0
    assert value(samples, "matcher_epoch", instrument="BTC-USD") == 1
    assert value(samples, "matcher_lease_held", instrument="BTC-USD") == 1
    assert value(samples, "stream_lag_entries") == 0
    assert value(samples, "dependency_up") == 2


def test_two_web_processes_and_a_matcher_on_one_folder(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "metrics"
    other_port = free_port()
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with running(database_url, redis_url, tmp_path, **shared) as exchange:
        other = exchange.web(PORT=str(other_port))
        exchange.wait_ready(other_port)
        trade([exchange.port, other_port])
        for port in (exchange.port, other_port):
            # At once: a batch is counted before its orders are answered.
            check(scrape(port))

        samples = scrape(exchange.port)
        there = {(name, frozenset(label for label, _ in labels)) for name, labels in samples}
        assert {(name, frozenset(labels)) for name, labels in NAMES.items()} <= there

        # What a process that was killed counted stays; the next one adds to it.
        other.kill()
        other.wait()
        check(scrape(exchange.port))
        exchange.web(PORT=str(other_port))
        exchange.wait_ready(other_port)
        check(scrape(other_port))
        with Client(other_port) as client:
            client.order("buy", 1, 50)
        for port in (exchange.port, other_port):
            assert value(scrape(port), "orders_received_total") == 27
    assert folder.is_dir()


def test_web_concurrency(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes behind one port share a folder of their own, and it goes with them."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"WEB_CONCURRENCY": "2", "TMPDIR": str(temporary)}
    with running(database_url, redis_url, tmp_path, **environment) as exchange:
        eventually(lambda: len({process_of(exchange.port) for _ in range(20)}) == 2, "both answer")
        trade([exchange.port])
        for _ in range(10):
            samples = scrape(exchange.port)
            assert value(samples, "orders_received_total") == 26
            assert value(samples, "http_requests_total", route="/orders") == 30
            # The matcher has a private folder too: what it counted is not here, the rest is.
            assert value(samples, "trades_total") == 0
            assert value(samples, "matcher_lease_held", instrument="BTC-USD") == 1
            assert value(samples, "matcher_epoch", instrument="BTC-USD") == 1
            assert value(samples, "current_orderbook_depth", instrument="BTC-USD") == 2
            assert value(samples, "stream_lag_entries") == 0
        assert len(list(temporary.glob("trade-engine-metrics-*"))) == 2
    assert not list(temporary.glob("trade-engine-metrics-*"))


def process_of(port: int) -> int:
    """Return the process that takes the next connection to a port."""
    with Client(port) as client:
        client.get("/livez")
        local = client.connection.sock.getsockname()
        for connection in psutil.net_connections("tcp"):
            if connection.raddr == local and connection.pid != os.getpid():
                return int(connection.pid or 0)
    raise AssertionError("nobody has the other end")


def test_a_matcher_serves_its_own_metrics(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    exchange = Exchange(database_url, redis_url, tmp_path)
    try:
        exchange.matcher(METRICS_PORT=str(port))
        exchange.web()
        exchange.wait_ready()
        trade([exchange.port])
        samples = scrape(port)
        assert value(samples, "trades_total") == 5
        assert value(samples, "orders_rejected_total") == 1
        assert value(samples, "matcher_lease_held", instrument="BTC-USD") == 1

        # A port that is taken is a clear refusal.
        second = exchange.matcher(METRICS_PORT=str(port))
        assert second.wait(20) == 2
        assert f"METRICS_PORT {port} cannot be used" in exchange.logs()
    finally:
        exchange.stop()


def test_fees_earned(exchange: Exchange, database_url: str) -> None:
    """As the ledger has them, so also those that processes before this one have seen."""
    assert value(scrape(exchange.port), "fees_earned", instrument="BTC-USD", asset="USD") == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT exchange.set_fees_v1('BTC-USD', 'standard', '-1', '2.5')")
    trade([exchange.port])  # 510 USD change hands
    samples = scrape(exchange.port)
    assert value(samples, "fees_earned", instrument="BTC-USD", asset="USD") == 0.0765
    assert value(samples, "fees_earned", instrument="ETH-USD", asset="USD") == 0


def test_openmetrics_if_it_is_asked_for(exchange: Exchange) -> None:
    accept = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"
    with exchange.client() as client:
        answer = client.request("GET", "/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert list(openmetrics_parser.text_string_to_metric_families(answer.raw.decode()))


def test_what_clients_make_up_makes_no_labels(exchange: Exchange) -> None:
    with exchange.client() as client:
        for path in ("/nowhere-1", "/orders/no-such-order", "/market/nowhere-2?x=1"):
            assert client.get(path).status == 404
        assert client.request("BREW", "/orders").status in (404, 405)
    with exchange.client() as client:
        text = client.get("/metrics").raw.decode()
    samples = scrape(exchange.port)
    assert "nowhere" not in text
    assert "no-such-order" not in text
    assert "BREW" not in text
    assert value(samples, "http_requests_total", route="unknown", status="404") >= 2
    assert value(samples, "http_requests_total", route="/orders/<order_id:str>", status="404") == 1


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@contextmanager
def paused(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_a_scrape_answers_while_redis_is_away(database_url: str, tmp_path: Path) -> None:
    """Frozen, so that it takes connections and answers nothing; then gone."""
    with (
        make_folder() as folder,
        Valkey(folder) as redis,
        running(database_url, redis.url, tmp_path) as exchange,
    ):
        trade([exchange.port])
        before = value(scrape(exchange.port), "orders_received_total")
        with paused(psutil.Process(redis.pid)):
            for _ in range(2):
                began = time.monotonic()
                samples = scrape(exchange.port)
                assert time.monotonic() - began < 1.5
                assert value(samples, "orders_received_total") == before
                assert value(samples, "dependency_up", dependency="redis") == 0
                assert value(samples, "dependency_up", dependency="postgres") == 1
                assert not [name for name, _ in samples if name == "stream_lag_entries"]
        eventually(up(exchange, "redis"), "redis is up again")
        os.kill(redis.pid, signal.SIGKILL)
        eventually(lambda: not up(exchange, "redis")(), "redis is down")


def up(exchange: Exchange, dependency: str) -> Callable[[], bool]:
    return lambda: value(scrape(exchange.port), "dependency_up", dependency=dependency) == 1


def test_a_scrape_answers_while_postgres_is_away(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A closed port in its place: nothing answers there from the start."""
    away = f"postgresql://x:secret@127.0.0.1:{free_port()}/x"
    exchange = Exchange(away, redis_url, tmp_path)
    try:
        exchange.web()

        def answers() -> bool:
            try:
                with exchange.client() as client:
                    return client.get("/livez").status == 200
            except OSError:
                return False

        eventually(answers, "it answers")
        began = time.monotonic()
        samples = scrape(exchange.port)
        assert time.monotonic() - began < 1.5
        assert value(samples, "dependency_up", dependency="postgres") == 0
        assert value(samples, "dependency_up", dependency="redis") == 1
        assert "secret" not in exchange.logs()
    finally:
        exchange.stop()
