"""The short way of orders over HTTP: nobody can tell it from the long one."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.exchange import Answer, Exchange, eventually, running

# Any header that is not known makes a request go the long way.
LONG = {"X-Any": "1"}
# What differs between any two answers.
VARYING = ("ratelimit-remaining", "ratelimit-reset")


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


def request(path: str = "/orders", **fields: Any) -> bytes:
    body = {"client_id": "a", "side": "buy", "type": "limit", "quantity": 1, "price": 10}
    payload = json.dumps(body | fields).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    ).encode() + payload


def connect(exchange: Exchange) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", exchange.port), timeout=20)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def read(made: socket.socket, count: int) -> list[Answer]:
    """Return so many answers, and see that nothing else comes with them."""
    data, answers = b"", []
    while len(answers) < count:
        while b"\r\n\r\n" not in data:
            data += made.recv(65_536) or pytest.fail("the connection was closed")
        head, _, data = data.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(data) < length:
            data += made.recv(65_536) or pytest.fail("the connection was closed")
        answers.append(Answer(int(line.split()[1]), headers, data[:length]))
        data = data[length:]
    assert data == b""
    return answers


@pytest.mark.parametrize(
    ("fields", "headers", "status"),
    [
        ({}, {}, 201),
        ({"type": "market", "price": None}, {}, 201),
        ({"idempotency_key": "first"}, {}, 200),
        ({}, {"Idempotency-Key": "first"}, 200),
        ({"idempotency_key": "first", "quantity": 2}, {"X-Request-ID": "mine"}, 409),
        ({"order_id": "taken"}, {"X-Request-ID": "mine"}, 409),
        ({"instrument": "NO-SUCH"}, {"X-Request-ID": "mine"}, 404),
        ({"quantity": -1}, {"X-Request-ID": "mine"}, 400),
    ],
)  # fmt: skip
def test_both_ways_answer_the_same(
    exchange: Exchange, fields: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    order = {"client_id": "a", "side": "buy", "type": "limit", "quantity": 1, "price": 10}
    with exchange.client() as client:
        client.post("/orders", order | {"idempotency_key": "first"})
        client.post("/orders", order | {"client_id": "b", "order_id": "taken", "price": 9})
        # From here on they are counted in the process, which the short way needs.
        short, long = (
            client.post("/orders", order | fields, headers | more) for more in ({}, LONG)
        )
    assert (short.status, long.status) == (status, status)
    assert list(short.headers) == list(long.headers)
    for name, value in short.headers.items():
        if name not in (*VARYING, "content-length"):
            assert long.headers[name] == value
    if status in (200, 400, 404, 409):
        assert short.raw == long.raw
    else:
        assert short.json.keys() == long.json.keys()
        assert short.json["order"].keys() == long.json["order"].keys()


def test_what_is_sent_ahead_waits_its_turn(exchange: Exchange) -> None:
    with closing(connect(exchange)) as made:
        made.sendall(request(order_id="o-0"))
        read(made, 1)
        for number in range(1, 9):
            made.sendall(request(order_id=f"o-{number}"))
        made.sendall(request(order_id="o-9") + request("/nowhere") + request(order_id="o-10"))
        answers = read(made, 11)
    *orders, nowhere, last = answers
    assert [answer.json["order"]["order_id"] for answer in orders] == [
        f"o-{number}" for number in range(1, 10)
    ]
    assert nowhere.status == 404
    assert last.json["order"]["order_id"] == "o-10"


def test_a_request_may_come_in_pieces(exchange: Exchange) -> None:
    whole = request(quantity=0.5)
    with closing(connect(exchange)) as made:
        for cut in range(1, len(whole), 7):
            made.sendall(whole[:cut])
            made.sendall(whole[cut:])
            (answer,) = read(made, 1)
            assert answer.status == 201


def test_the_body_of_a_refused_request_is_no_request(exchange: Exchange) -> None:
    """Not even when it looks like one, and comes after the refusal."""
    hidden = request(order_id="hidden")
    with closing(connect(exchange)) as made:
        made.sendall(request(order_id="before"))
        read(made, 1)
        made.sendall(
            b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(hidden)
        )
        (refused,) = read(made, 1)
        assert refused.status == 404
        made.sendall(hidden)
        made.sendall(request(order_id="after"))
        (after,) = read(made, 1)
        assert after.json["order"]["order_id"] == "after"
    with exchange.client() as client:
        assert client.get("/orders/hidden").status == 404


def test_an_order_goes_on_without_its_client(exchange: Exchange) -> None:
    with exchange.client() as client, closing(connect(exchange)) as made:
        made.sendall(request(order_id="first"))
        read(made, 1)
        made.sendall(request(order_id="left"))
        made.close()
        eventually(lambda: client.get("/orders/left").status == 200, "the order is there")
