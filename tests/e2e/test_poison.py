"""Streams that hold what no edge would write: the others go through."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from ops.verify import broken_invariants, compare_books
from tests.exchange import Exchange, eventually, running

STREAM = "orders:{BTC-USD}"

GOOD = {
    "command": "submit", "order_id": "id", "client_id": "c", "side": "buy", "type": "limit",
    "price": "100000000", "quantity": "100000000", "key": "", "given": False, "ttl_ms": 60_000,
    "reply_to": "replies.nobody", "correlation": 1,
}  # fmt: skip


def request(**replaced: object) -> bytes:
    return json.dumps(GOOD | replaced).encode()


POISON = [
    b"",
    b"\x00",
    b"not json",
    b"[]",
    b"{}",
    request(command="steal"),
    request(order_id="a\x00b"),
    request(client_id=5),
    request(side="both"),
    request(type="stop"),
    request(quantity="0"),
    request(quantity="9" * 30),
    request(price=1.5),
    request(price="0"),
    request(type="market"),
    request(key=None),
    request(ttl_ms="soon"),
    request(reply_to=None),
    request(correlation="x"),
    json.dumps({name: value for name, value in GOOD.items() if name != "side"}).encode(),
]


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.fixture
def stream(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.from_url(redis_url) as stream:
        yield stream


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def append(stream: "redis.Redis", *payloads: bytes) -> None:
    with stream.pipeline(transaction=True) as pipeline:
        for payload in payloads:
            pipeline.xadd(STREAM, {"request": payload})
        pipeline.execute()


def count(look: psycopg.Connection, table: str) -> int:
    row = look.execute(f"SELECT count(*) FROM exchange.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_undecodable_entries_become_dead_letters(
    exchange: Exchange, stream: "redis.Redis", look: psycopg.Connection
) -> None:
    mixed = [
        payload
        for number, poison in enumerate(POISON)
        for payload in (poison, request(order_id=f"good-{number}"))
    ]
    append(stream, *mixed)
    stream.xadd(STREAM, {"unknown": "field"})
    eventually(lambda: count(look, "orders") == len(POISON), "the good orders")
    payloads = look.execute("SELECT payload FROM exchange.dead_letters").fetchall()
    assert sorted(bytes(payload) for (payload,) in payloads) == sorted(POISON)
    with exchange.client() as client:
        assert client.order("buy", 1, 1).status == 201


def test_doubled_and_shuffled_entries_are_applied_once(
    exchange: Exchange, stream: "redis.Redis", look: psycopg.Connection
) -> None:
    """Also when the edge made the order_ids up, which are not looked up without a reason."""
    entries = [request(order_id=f"order-{n}", price=str(10**8 + n)) for n in range(50)]
    append(stream, *entries)
    eventually(lambda: count(look, "orders") == 50, "the first time")
    append(stream, *reversed(entries), *entries, request(order_id="last"))
    eventually(lambda: count(look, "orders") == 51, "the entry after them")
    assert count(look, "dead_letters") == 0
    assert broken_invariants(look) == {}
    assert {row[-1] for row in compare_books(look)} == {"ok"}
    with exchange.client() as client:
        assert client.order("buy", 1, 1).status == 201


def test_an_entry_that_the_database_refuses_is_found_by_halves(
    exchange: Exchange, stream: "redis.Redis", look: psycopg.Connection
) -> None:
    look.execute(
        "ALTER TABLE exchange.orders ADD CONSTRAINT poison CHECK (order_id NOT LIKE 'poison%')"
    )
    orders = [f"good-{n}" for n in range(60)]
    orders[7] = orders[8] = "poison-1"
    orders[44] = "poison-2"
    append(stream, *(request(order_id=order_id) for order_id in orders))
    eventually(lambda: count(look, "orders") == 57, f"the good orders\n{exchange.logs()}")
    eventually(lambda: count(look, "dead_letters") >= 2, "dead letters")
    assert broken_invariants(look) == {}
    assert {row[-1] for row in compare_books(look)} == {"ok"}
    with exchange.client() as client:
        answer = client.order("buy", 1, 1, order_id="poison-3")
        assert (answer.status, answer.json["error"]) == (503, "unavailable")
        assert client.order("buy", 1, 1).status == 201
