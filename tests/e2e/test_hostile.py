"""Clients that mean harm, and servers that fall silent: others are served on, and quickly."""

import asyncio
import base64
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from ops.embedded import Postgres, Valkey
from ops.migrate import migrate
from tests.exchange import Client, Exchange, eventually, running

QUICKLY_S = 1.5
TEXT, CONTINUATION, PING, PONG, CLOSE = 0x1, 0x0, 0x9, 0xA, 0x8


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a client's frame, masked with zeros."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + struct.pack(">H", length)
    return bytes([(0x80 if fin else 0) | opcode]) + size + bytes(4) + payload


def connect(exchange: Exchange, **headers: str) -> socket.socket:
    """Return a raw connection after the WebSocket handshake."""
    made = socket.create_connection(("127.0.0.1", exchange.port), timeout=10)
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{exchange.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"{more}\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += made.recv(1)
    assert b" 101 " in answer.splitlines()[0]
    return made


def close_code(made: socket.socket) -> int | None:
    """Read to the end; return the code of the server's close frame."""
    data = bytearray()
    made.settimeout(15)
    try:
        while piece := made.recv(65_536):
            data += piece
    except ConnectionError:
        pass
    at = 0
    while at + 2 <= len(data):
        length, head = data[at + 1], 2
        if length == 126:
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        if data[at] & 0xF == CLOSE:
            return int.from_bytes(data[at + head : at + head + 2], "big")
        at += head + length
    return None


def alive_in(exchange: Exchange) -> float:
    """Return how long the process takes to say that it is alive."""
    began = time.monotonic()
    with Client(exchange.port, 30) as client:
        assert client.get("/livez").status == 200
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", frame(PONG)),
        (b"", frame(PING)),
        (frame(TEXT, b"{", fin=False), frame(CONTINUATION, fin=False)),
    ],
    ids=["pong", "ping", "fragments"],
)
def test_frames_that_ask_nothing(exchange: Exchange, start: bytes, piece: bytes) -> None:
    with closing(connect(exchange)) as flood:
        flood.settimeout(5)
        try:
            flood.sendall(start + piece * (2_000_000 // len(piece)))
        except (TimeoutError, ConnectionError):
            pass  # cut off before it was done
        assert alive_in(exchange) < QUICKLY_S
        # Cut off; a reset, because much was left unread, may overtake the close frame.
        assert close_code(flood) in (1008, None)


def test_tiny_messages_without_end(exchange: Exchange) -> None:
    """Each is answered with an error, so they wait for their turn, unread."""
    web = psutil.Process(exchange.processes[1].pid)
    before = web.memory_info().rss
    with closing(connect(exchange)) as flood:
        flood.setblocking(False)
        data = frame(TEXT, b"{}") * 100_000
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                flood.send(data)
            except BlockingIOError:
                time.sleep(0.01)  # the server does not read on, and that is right
        assert alive_in(exchange) < QUICKLY_S
        assert web.memory_info().rss - before < 50 * 2**20


def test_resuming_again_and_again(exchange: Exchange) -> None:
    fill_history(exchange, 1_500)
    web = psutil.Process(exchange.processes[1].pid)
    before = web.memory_info().rss
    ask = json.dumps({"type": "subscribe", "channels": ["trades", "orders"], "resume_from": 0})
    with closing(connect(exchange)) as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        greedy.sendall(frame(TEXT, ask.encode()) * 200)
        for _ in range(5):
            assert alive_in(exchange) < QUICKLY_S
        assert web.memory_info().rss - before < 50 * 2**20


def fill_history(exchange: Exchange, pairs: int) -> None:
    with exchange.client() as client:
        sides = [
            {"client_id": "a", "side": side, "type": "limit", "price": 10, "quantity": 1}
            for side in ("buy", "sell")
        ]
        for _ in range(pairs // 50):
            answer = client.post("/orders/batch", {"orders": sides * 50})
            assert {result["status"] for result in answer.json["results"]} == {201}


async def test_one_order_that_trades_with_thousands(exchange: Exchange) -> None:
    """A subscriber that keeps up gets every one of its trades."""
    with exchange.client() as client:
        for _ in range(30):
            asks = [
                {"client_id": "a", "side": "sell", "type": "limit", "price": 10, "quantity": 1}
            ] * 100
            assert client.post("/orders/batch", {"orders": asks}).status == 200
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{exchange.port}/stream", max_msg_size=0) as ws,
    ):
        await ws.send_json({"type": "subscribe", "channels": ["trades", "orders"]})
        await ws.send_json({"type": "ping"})
        while (await ws.receive_json())["type"] != "pong":
            pass
        with exchange.client() as client:
            assert client.order("buy", 3_000, client_id="b").json["order"]["status"] == "filled"
        trades: list[int] = []
        async with asyncio.timeout(20):
            while len(trades) < 3_000:
                message = await ws.receive_json()
                assert message["type"] in ("trades", "orders")
                if message["type"] == "trades":
                    trades.append(message["data"]["trade_no"])
    assert trades == list(range(1, 3_001))


async def test_a_cancel_right_behind_its_order(exchange: Exchange) -> None:
    """Whatever the pause between the two, the order is known."""

    async def work(session: aiohttp.ClientSession, number: int) -> list[dict[str, Any]]:
        problems = []
        url = f"ws://127.0.0.1:{exchange.port}/stream"
        async with session.ws_connect(url) as ws:
            await ws.receive_json()
            for n in range(100):
                name = f"{number}-{n}"
                await ws.send_json(
                    {"type": "limit", "client_id": "a", "side": "buy", "price": 1, "quantity": 1,
                     "order_id": name}
                )  # fmt: skip
                await asyncio.sleep((n % 12) / 1000)
                await ws.send_json({"type": "cancel", "order_id": name})
                answers = [await ws.receive_json(), await ws.receive_json()]
                problems += [answer for answer in answers if answer["type"] == "error"]
        return problems

    async with aiohttp.ClientSession() as session:
        assert await asyncio.gather(*(work(session, n) for n in range(6))) == [[]] * 6


async def test_resuming_a_little_ahead_of_this_process(exchange: Exchange) -> None:
    fill_history(exchange, 50)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{exchange.port}/stream") as ws,
    ):
        await ws.receive_json()
        await ws.send_json({"type": "subscribe", "channel": "trades", "resume_from": 152})
        assert (await ws.receive_json())["type"] == "subscribed"
        fill_history(exchange, 50)
        first = await ws.receive_json()
        # 150 events were there; the 153rd is the trade of the next pair.
        assert (first["type"], first["data"]["sequence"]) == ("trades", 153)


def test_pages_of_others_may_not_connect(database_url: str, redis_url: str, tmp_path: Path) -> None:
    friends = {"EXCHANGE_ORIGINS": "https://friend.example, https://other.example"}
    with running(database_url, redis_url, tmp_path, **friends) as exchange:
        for origin, welcome in (
            ("http://evil.example", False),
            (f"http://127.0.0.1:{exchange.port}", True),
            ("https://friend.example", True),
            ("null", False),
        ):
            with closing(connect(exchange, Origin=origin)) as made:
                if welcome:
                    assert b"connected" in made.recv(1_000), origin
                else:
                    assert close_code(made) == 1008, origin


def test_pages_of_others_may_not_post(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """A browser asks nobody before it sends a page's POST without a body, wherever it goes."""
    friends = {"EXCHANGE_ORIGINS": "https://friend.example, https://other.example"}
    with running(database_url, redis_url, tmp_path, **friends) as exchange, exchange.client() as us:
        for number, (origin, welcome) in enumerate((
            ("http://evil.example", False),
            (f"http://127.0.0.1:{exchange.port + 1}", False),
            ("null", False),
            ("http://[", False),
            (f"http://127.0.0.1:{exchange.port}", True),
            ("https://friend.example", True),
        )):  # fmt: skip
            us.order("buy", 1, 10, order_id=f"order-{number}")
            page = {"Origin": origin}
            for method, path in (
                ("POST", f"/orders/order-{number}/cancel"),
                ("POST", "/market/orderbook/snapshot"),
            ):
                answer = us.request(method, path, headers=page)
                if welcome:
                    assert answer.status in (200, 201), (origin, path)
                else:
                    assert answer.status == 403, (origin, path)
                    assert answer.json["error"] == "origin_not_allowed"
            # What a page reads it may not see, and it changes nothing.
            assert us.request("GET", "/market/orderbook", headers=page).status == 200


def test_a_request_id_that_is_no_text(exchange: Exchange) -> None:
    with socket.create_connection(("127.0.0.1", exchange.port), timeout=10) as made:
        made.sendall(
            b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: \xff\xfe\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = b""
        while piece := made.recv(65_536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert json.loads(body)["error"] == "not_found"
    assert json.loads(body)["request_id"].isascii()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/jsonfoo"}, b"{}", 415),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, b"{}", 400),
        ({}, b'"' + b"x" * 17_000 + b'"', 413),
    ],
)
def test_what_is_refused_at_the_door_counts(
    exchange: Exchange, headers: dict[str, str], body: bytes, status: int
) -> None:
    with exchange.client() as client:
        answer = client.request("POST", "/orders", body, headers)
    assert answer.status == status
    assert "ratelimit-remaining" in answer.headers


@pytest.mark.parametrize("order_id", ["batch", ".", ".."])
def test_an_order_id_that_no_path_can_name(exchange: Exchange, order_id: str) -> None:
    with exchange.client() as client:
        answer = client.order("buy", 1, 1, order_id=order_id)
    assert (answer.status, answer.json["errors"][0]["param"]) == (400, "order_id")


def test_redis_falls_silent(server_folder: Path, tmp_path: Path) -> None:
    with Postgres(server_folder) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        with running(postgres.url, valkey.url, tmp_path) as exchange:
            _, web = exchange.processes
            with exchange.client() as client:
                assert client.order("buy", 1, 10).status == 201
                os.kill(valkey.pid, signal.SIGSTOP)
                try:
                    for path in ("/market/orderbook", "/market/trades", "/instruments"):
                        began = time.monotonic()
                        assert client.get(path).status == 200
                        assert time.monotonic() - began < QUICKLY_S
                    began = time.monotonic()
                    assert client.get("/healthz").json["checks"]["redis"] == "unhealthy"
                    assert client.get("/readyz").status == 503
                    assert time.monotonic() - began < 2 * QUICKLY_S
                    # Longer than any connection of ours waits.
                    assert client.order("buy", 1, 10).status in (503, 504)
                    time.sleep(3)
                finally:
                    os.kill(valkey.pid, signal.SIGCONT)
            eventually(lambda: placed(exchange), "orders are taken again")
            assert web.poll() is None


def placed(exchange: Exchange) -> bool:
    with exchange.client() as client:
        return client.order("buy", 1, 10).status == 201


def test_postgres_falls_silent(server_folder: Path, tmp_path: Path) -> None:
    with Postgres(server_folder) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        with running(postgres.url, valkey.url, tmp_path) as exchange:
            servers = psutil.Process(postgres.pid)
            family = [servers, *servers.children(recursive=True)]
            with exchange.client() as client:
                assert client.order("buy", 1, 10, order_id="it").status == 201
                for process in family:
                    process.suspend()
                try:
                    began = time.monotonic()
                    assert client.get("/healthz").json["checks"]["postgres"] == "unhealthy"
                    assert client.get("/readyz").status == 503
                    assert client.get("/market/orderbook").status == 200
                    assert time.monotonic() - began < 3 * QUICKLY_S
                    assert client.get("/orders/it").status == 503
                    assert time.monotonic() - began < 12
                finally:
                    for process in family:
                        process.resume()
            eventually(lambda: placed(exchange), "orders are taken again")


async def test_connections_that_come_while_it_stops(exchange: Exchange) -> None:
    matcher, web = exchange.processes
    matcher.send_signal(signal.SIGSTOP)
    url = f"http://127.0.0.1:{exchange.port}"
    body = {"client_id": "a", "side": "buy", "type": "limit", "price": 1, "quantity": 1}
    async with aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(session.post(f"{url}/orders", json=body))
        await asyncio.to_thread(eventually, lambda: in_flight(exchange) == 1, "an order waits")
        web.send_signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, lambda: not exchange.ready(), "not ready")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}/stream")
        assert refused.value.status == 503
        began = time.monotonic()
        matcher.send_signal(signal.SIGCONT)
        assert (await waiting).status == 201
    assert await asyncio.to_thread(web.wait, 15) == 0
    assert time.monotonic() - began < 5


def in_flight(exchange: Exchange) -> float:
    with exchange.client() as client:
        text = client.get("/metrics").raw.decode()
    return sum(
        float(line.split()[1]) for line in text.splitlines() if line.startswith("commands_in_")
    )
