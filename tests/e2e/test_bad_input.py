"""Malformed input gets a clear 4xx, at once, and leaves no trace."""

from collections import Counter
from pathlib import Path

import psycopg
import redis

from tests.exchange import running


def body(**replaced: str) -> bytes:
    """Return a good order with some fields replaced by raw JSON."""
    fields = {
        "client_id": '"a"',
        "side": '"buy"',
        "type": '"limit"',
        "price": "10",
        "quantity": "1",
    } | replaced
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()


BAD = {
    "empty": b"",
    "not json": b"{",
    "array": b"[]",
    "string": b'"x"',
    "null": b"null",
    "trailing": body() + b"x",
    "duplicate keys": b'{"client_id":"a",' + body()[1:],
    "NaN": body(price="NaN"),
    "Infinity": body(price="Infinity"),
    "-Infinity": body(quantity="-Infinity"),
    "1e400": body(quantity="1e400"),
    "-0": body(quantity="-0"),
    "0.0": body(price="0.0"),
    "negative": body(price="-1"),
    "01": body(quantity="01"),
    ".5": body(quantity=".5"),
    "5.": body(quantity="5."),
    "+1": body(quantity="+1"),
    "hex": body(quantity="0x10"),
    "40 digits": body(quantity="1" * 40),
    "4000 digits": body(quantity="1" * 4000),
    "13 digits": body(price="1234567890123"),
    "9 decimals": body(price="0.123456789"),
    "tiny": body(quantity="1e-9"),
    "deep nesting": body(price="[" * 8000 + "]" * 8000),
    "BOM": b"\xef\xbb\xbf" + body(),
    "utf-16": body().decode().encode("utf-16"),
    "invalid utf-8": body(client_id='"\\u0041"').replace(b"\\u0041", b"\xff\xfe"),
    "lone surrogate": body(client_id='"\\ud800"'),
    "lone surrogate name": body(**{"\\ud800": "1"}),
    "lone surrogate side": body(side='"\\ud800"'),
    "NUL": body(client_id='"a\\u0000b"'),
    "raw NUL": body(client_id='"a\x00b"'),
    "NUL in order_id": body(order_id='"\\u0000"'),
    "full-width digits": body(quantity='"\uff11"'),
    "underscore": body(quantity='"1_000"'),
    "spaces": body(quantity='" 1"'),
    "true": body(quantity="true"),
    "list": body(quantity="[1]"),
    "object": body(price="{}"),
    "null quantity": body(quantity="null"),
    "number as client_id": body(client_id="1"),
    "number as side": body(side="1"),
    "unknown side": body(side='"BUY"'),
    "unknown type": body(type='"stop"'),
    "empty client_id": body(client_id='""'),
    "65 characters": body(client_id='"' + "a" * 65 + '"'),
    "newline": body(client_id='"a\\n"'),
    "quote": body(client_id='"a\\"b"'),
    "backslash": body(client_id='"a\\\\b"'),
    "unicode client": body(client_id='"\u00e9"'),
    "price with market": body(type='"market"'),
    "no price": body(price="null"),
    "unknown field": body(leverage="10"),
    "unknown instrument": body(instrument='"NO-NE"'),
    "lower instrument": body(instrument='"btc-usd"'),
    "too large": body(client_id='"' + "a" * 17_000 + '"'),
    "empty key": body(idempotency_key='""'),
    "number key": body(idempotency_key="7"),
}


def test_the_whole_corpus(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with (
        running(database_url, redis_url, tmp_path) as exchange,
        exchange.client() as client,
        psycopg.connect(database_url, autocommit=True) as connection,
        redis.from_url(redis_url) as stream,
    ):
        before = traces(connection, stream)
        statuses: Counter[int] = Counter()
        for name, bad in BAD.items():
            answer = client.post("/orders", bad)
            statuses[answer.status] += 1
            assert 400 <= answer.status < 500, (name, answer.status, answer.raw)
            assert answer.json["error"], name
            assert answer.json["message"], name
            if answer.headers.get("connection") == "close":
                client.connection.close()
        print(f"{len(BAD)} bad bodies: {dict(sorted(statuses.items()))}")
        assert traces(connection, stream) == before
        assert client.post("/orders", body()).status == 201
        assert traces(connection, stream) != before


def traces(connection: psycopg.Connection, stream: "redis.Redis") -> list[object]:
    """Return everything that an order leaves somewhere."""
    counts = [
        connection.execute(f"SELECT count(*) FROM exchange.{table}").fetchone()
        for table in ("clients", "orders", "order_events", "trades", "postings", "dead_letters")
    ]
    return [*counts, stream.xinfo_stream("orders:{BTC-USD}")["last-generated-id"]]


def test_all_offending_fields_are_listed(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with running(database_url, redis_url, tmp_path) as exchange, exchange.client() as client:
        answer = client.post("/orders", {"side": "up", "quantity": -1, "type": "limit"})
    assert answer.status == 400
    assert sorted(error["param"] for error in answer.json["errors"]) == [
        "client_id", "price", "quantity", "side",
    ]  # fmt: skip
    assert all(error["msg"] and error["location"] == "body" for error in answer.json["errors"])
