"""Who may connect, under which name, how often, and how slowly: trading goes on meanwhile."""

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.exchange import Client, Exchange, Load, eventually, running

UNUSED = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.mark.parametrize("module", ["api", "workers.matching"])
def test_nothing_listens_for_strangers_by_accident(module: str) -> None:
    env = {**os.environ, **UNUSED, "HOST": "0.0.0.0", "PORT": "0", "METRICS_PORT": "1"}
    env.pop("EXCHANGE_INSECURE", None)
    ended = subprocess.run(
        [sys.executable, "-m", module], env=env, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "EXCHANGE_INSECURE=1" in ended.stderr
    assert "HOST=127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ops_run_refuses_it_before_it_starts_anything(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ops", "run", "--host", "0.0.0.0", "--data", str(tmp_path / "d")],
        env={k: v for k, v in os.environ.items() if k != "EXCHANGE_INSECURE"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: HOST=0.0.0.0")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:3000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:3000", 200),
        ("friend.example", 200),
        ("friend.example:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:3000", 403),
        ("friend.example.evil.example", 403),
    ],
)
def test_names_that_are_not_ours(host: str, status: int, named: Exchange) -> None:
    with named.client() as client:
        for path in ("/instruments", "/livez", "/docs"):
            answer = client.request("GET", path, headers={"Host": host})
            assert answer.status == status, path
        order = {"client_id": "a", "side": "buy", "type": "limit", "price": 1, "quantity": 1}
        answer = client.request("POST", "/orders", order, {"Host": host})
        assert answer.status == (201 if status == 200 else 403)
        if status == 403:
            assert answer.json["error"] == "host_not_allowed"
    with closing(handshake(named, host)) as made:
        assert status_of(made) == (101 if status == 200 else 403)


@pytest.fixture(scope="module")
def named(
    postgres_url: str, redis_server_url: str, migrated_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Exchange]:  # fmt: skip
    """An exchange that has a friend."""
    from tests import servers

    folder = tmp_path_factory.mktemp("named")
    with (
        servers.fresh_database(postgres_url, migrated_database) as url,
        running(url, redis_server_url, folder, EXCHANGE_HOSTS="friend.example") as exchange,
    ):
        yield exchange


def handshake(exchange: Exchange, host: str = "127.0.0.1") -> socket.socket:
    """Ask for a WebSocket; the answer is still to be read."""
    made = socket.create_connection(("127.0.0.1", exchange.port), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET /stream HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return made


def status_of(made: socket.socket) -> int:
    """Read an answer's first line; 0 when the connection is closed without one."""
    answer = b""
    try:
        while b"\r\n" not in answer:
            piece = made.recv(1)
            if not piece:
                return 0
            answer += piece
    except ConnectionError:
        return 0
    return int(answer.split()[1])


def test_websockets_of_one_address_are_limited(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    limits = {"EXCHANGE_ADDRESS_WEBSOCKETS_MAX": "5"}
    with running(database_url, redis_url, tmp_path, **limits) as exchange, ExitStack() as stack:
        made = [stack.enter_context(closing(handshake(exchange))) for _ in range(5)]
        assert [status_of(one) for one in made] == [101] * 5
        with closing(handshake(exchange)) as sixth:
            assert status_of(sixth) == 429
        with exchange.client() as client:
            assert client.order("buy", 1, 1).status == 201
        made[0].close()

        def welcome() -> bool:
            with closing(handshake(exchange)) as another:
                return status_of(another) == 101

        eventually(welcome, "room for another one")


def test_connections_of_one_address_are_limited(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    limits = {"EXCHANGE_ADDRESS_CONNECTIONS_MAX": "20"}
    with running(database_url, redis_url, tmp_path, **limits) as exchange, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", exchange.port), timeout=5))
            for _ in range(60)
        ]
        closed = eventually(lambda: (n := sum(map(is_closed, idle))) >= 40 and n, "40 are closed")
        assert closed <= 41
        # Another address of this machine is served.
        with socket.create_connection(
            ("127.0.0.1", exchange.port), timeout=5, source_address=("127.0.0.2", 0)
        ) as other:
            other.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert status_of(other) == 200
        for one in idle:
            one.close()
        eventually(lambda: exchange.ready(), "served again")


def is_closed(made: socket.socket) -> bool:
    made.setblocking(False)
    try:
        return made.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_thousand_idle_connections_do_not_stop_trading(exchange: Exchange) -> None:
    with ExitStack() as stack, Load(exchange.port, threads=2) as load:
        for _ in range(900):
            stack.enter_context(socket.create_connection(("127.0.0.1", exchange.port), timeout=5))
        target = len(load.acknowledged) + 100
        eventually(lambda: len(load.acknowledged) >= target, "100 more orders")
    assert undisturbed(load), exchange.logs()


def undisturbed(load: Load) -> bool:
    """Tell whether clients were served: on busy processors an order may be late all the same."""
    return len(load.unknown) + len(load.refused) <= len(load.acknowledged) / 50


HEAD = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
# A client's way to be slow: what it sends at once, what it then repeats every half a second, and
# the status that ends it.
SLOW = {
    "headers": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ", b"x", 408),
    "first line": (b"G", b"E", 408),
    "body": (HEAD + b"Content-Length: 10000\r\n\r\n", b" ", 408),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 408),
}


def test_slow_requests_end_and_trading_goes_on(exchange: Exchange) -> None:
    """However slowly it drips, a request has ten seconds from its first byte."""
    results: dict[str, tuple[int, float]] = {}

    def drip(name: str, start: bytes, piece: bytes) -> None:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", exchange.port), timeout=10) as made:
            made.sendall(start)
            made.settimeout(0.5)
            while time.monotonic() - began < 40:
                try:
                    made.sendall(piece)
                    made.recv(1, socket.MSG_PEEK)
                    break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            made.settimeout(5)
            results[name] = (status_of(made), time.monotonic() - began)

    threads = [
        threading.Thread(target=drip, args=(name, start, piece))
        for name, (start, piece, _) in SLOW.items()
        for _ in range(10)
    ]
    with Load(exchange.port, threads=2) as load:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(load.acknowledged) > 100
    for name, (_, _, status) in SLOW.items():
        assert results[name][0] == status, results
        assert results[name][1] < 20, results
    assert undisturbed(load), exchange.logs()


ENDLESS = {
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "declared": (HEAD + b"Content-Length: 100000000\r\n\r\n", b"x" * 4096),
    "headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x" * 4096),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_requests_are_cut_off(exchange: Exchange, name: str) -> None:
    start, piece = ENDLESS[name]
    sent = 0
    with socket.create_connection(("127.0.0.1", exchange.port), timeout=10) as made:
        made.sendall(start)
        try:
            while sent < 100_000_000:
                made.sendall(piece)
                sent += len(piece)
        except (ConnectionError, TimeoutError):
            pass
    assert sent < 20_000_000
    with Client(exchange.port) as client:
        assert client.order("buy", 1, 1).status == 201


def test_it_stops_while_slow_requests_wait(exchange: Exchange) -> None:
    with socket.create_connection(("127.0.0.1", exchange.port), timeout=10) as made:
        made.sendall(SLOW["body"][0])
        _, web = exchange.processes
        web.send_signal(signal.SIGTERM)
        assert web.wait(20) == 0
