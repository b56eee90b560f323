"""What clients read of the market, against values worked out here, in fractions."""

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import trunc
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.exchange import Answer, Client, Exchange, eventually, running

CLIENTS = ("alice", "bob", "carol")


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.fixture
def client(exchange: Exchange) -> Iterator[Client]:
    with exchange.client() as client:
        yield client


def exact(answer: Answer) -> Any:
    """Return an answer with its numbers as they are written."""
    return json.loads(answer.raw, parse_float=Decimal)


def get(client: Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status == 200, answer.raw
    return exact(answer)


def rounded(amount: Fraction) -> Decimal:
    """Round half to even to 8 decimals."""
    return Decimal(round(amount * 10**8)) / 10**8


class Account:
    """One client's position by the rules of the average-cost method."""

    def __init__(self) -> None:
        self.net = self.cost = self.realized = Fraction(0)

    def fill(self, quantity: Fraction, price: Fraction) -> None:
        if self.net * quantity < 0:
            share = min(Fraction(1), abs(quantity) / abs(self.net))
            removed = Fraction(trunc(self.cost * share * 10**16), 10**16)
            self.realized += self.net * share * price - removed
            self.cost -= removed
            quantity, self.net = quantity + self.net * share, self.net * (1 - share)
        self.net += quantity
        self.cost += quantity * price


def trade_at_random(client: Client, length: int = 120) -> tuple[list[Any], dict[str, Account]]:
    """Submit orders; return their trades, oldest first, and everybody's position."""
    random = Random(7)
    owners: dict[str, str] = {}
    trades: list[Any] = []
    accounts = {name: Account() for name in CLIENTS}
    for n in range(length):
        owner = random.choice(CLIENTS)
        price = Decimal(random.randint(-300, 300)) / 100 + Decimal("70150.00000001")
        answer = client.order(
            random.choice(("buy", "sell")),
            str(random.choice((Decimal("0.1"), Decimal("0.33333333"), 2, Decimal("0.00000001")))),
            None if n % 5 == 4 else str(price),
            client_id=owner,
            order_id=f"order-{n}",
        )
        assert answer.status == 201
        owners[f"order-{n}"] = owner
        for trade in exact(answer)["trades"]:
            trades.append(trade)
            quantity, price_paid = Fraction(trade["quantity"]), Fraction(trade["price"])
            accounts[owners[trade["buy_order_id"]]].fill(quantity, price_paid)
            accounts[owners[trade["sell_order_id"]]].fill(-quantity, price_paid)
    assert len(trades) > 30
    return trades, accounts


def test_analytics_candles_ticker_and_positions(client: Client, database_url: str) -> None:
    trades, accounts = trade_at_random(client)
    prices = [Fraction(trade["price"]) for trade in trades]
    quantities = [Fraction(trade["quantity"]) for trade in trades]
    values = [price * quantity for price, quantity in zip(prices, quantities, strict=True)]
    vwap = rounded(sum(values) / sum(quantities))

    # A day long, so that there is one interval, unless midnight passes just now.
    analytics = get(client, "/market/analytics?interval=1440")
    assert (analytics["instrument"], analytics["interval_minutes"]) == ("BTC-USD", 1440)
    assert analytics["overall_vwap"] == vwap
    aggregates = analytics["aggregates"]
    assert sum(row["trade_count"] for row in aggregates) == len(trades)
    assert sum(Fraction(row["total_volume"]) for row in aggregates) == sum(values)
    if len(aggregates) == 1:
        assert aggregates[0] == {
            "time_bucket": trades[0]["timestamp"][:11] + "00:00:00.000Z",
            "trade_count": len(trades),
            "total_quantity": sum(quantities),
            "avg_price": rounded(sum(prices) / len(prices)),
            "min_price": min(prices),
            "max_price": max(prices),
            "total_volume": sum(values),
            "vwap": vwap,
        }

    candles = get(client, "/market/candles?interval=1440")
    assert candles.keys() == {
        "instrument", "start_time", "end_time", "interval_minutes", "candles",
    }  # fmt: skip
    assert candles["candles"][0]["open"] == prices[0]
    assert candles["candles"][-1]["close"] == prices[-1]
    if len(candles["candles"]) == 1:
        assert candles["candles"][0] == {
            "time_bucket": trades[0]["timestamp"][:11] + "00:00:00.000Z",
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": sum(quantities),
            "quote_volume": sum(values),
            "trade_count": len(trades),
        }

    book = get(client, "/market/orderbook?levels=1")
    (bid,), (ask,) = book["bids"], book["asks"]
    ticker = get(client, "/market/ticker")
    assert ticker | {"timestamp": ""} == {
        "instrument": "BTC-USD",
        "last_price": prices[-1],
        "best_bid": bid["price"],
        "best_bid_quantity": bid["quantity"],
        "best_ask": ask["price"],
        "best_ask_quantity": ask["quantity"],
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "volume": sum(quantities),
        "quote_volume": sum(values),
        "change": prices[-1] - prices[0],
        "change_percent": rounded((prices[-1] - prices[0]) / prices[0] * 100),
        "trade_count": len(trades),
        "timestamp": "",
    }

    mark = rounded((Fraction(bid["price"]) + Fraction(ask["price"])) / 2)
    for name, account in accounts.items():
        answer = get(client, f"/market/positions/{name}")
        (position,) = answer["positions"]
        assert answer["client_id"] == name
        assert position.pop("last_updated") <= trades[-1]["timestamp"]
        assert position == {
            "instrument": "BTC-USD",
            "net_quantity": account.net,
            "total_cost": account.cost,
            "avg_price": rounded(account.cost / account.net) if account.net else 0,
            "realized_pnl": account.realized,
            "unrealized_pnl": account.net * Fraction(mark) - account.cost,
            "mark_price": mark,
        }
    with psycopg.connect(database_url) as connection:
        assert broken_invariants(connection) == {}


def test_where_nothing_has_traded(client: Client) -> None:
    assert get(client, "/market/ticker?instrument=ETH-USD") | {"timestamp": ""} == {
        "instrument": "ETH-USD", "last_price": None, "best_bid": None, "best_bid_quantity": None,
        "best_ask": None, "best_ask_quantity": None, "open": None, "high": None, "low": None,
        "volume": 0, "quote_volume": 0, "change": None, "change_percent": None, "trade_count": 0,
        "timestamp": "",
    }  # fmt: skip
    analytics = get(client, "/market/analytics?start_time=2024-01-01&end_time=2024-01-02T00:00Z")
    assert analytics == {
        "instrument": "BTC-USD",
        "start_time": "2024-01-01T00:00:00.000Z",
        "end_time": "2024-01-02T00:00:00.000Z",
        "interval_minutes": 1,
        "aggregates": [],
        "overall_vwap": None,
    }
    assert get(client, "/market/candles")["candles"] == []
    assert get(client, "/orders") == {"orders": [], "next_cursor": None}
    assert get(client, "/market/orderbook/snapshots") == {
        "instrument": "BTC-USD", "snapshots": [], "count": 0,
    }  # fmt: skip
    assert get(client, "/instruments")["instruments"][1] == {
        "instrument": "ETH-USD",
        "base_asset": "ETH",
        "quote_asset": "USD",
        "tick_size": Decimal("0.00000001"),
        "lot_size": Decimal("0.00000001"),
        "status": "trading",
    }


def test_a_client_is_known_from_its_first_order(client: Client) -> None:
    unknown = client.get("/market/positions/ada")
    assert (unknown.status, unknown.json["error"]) == (404, "not_found")
    assert "ada" in unknown.json["message"]
    assert client.order("buy", 1, 1, client_id="ada").status == 201
    assert get(client, "/market/positions/ada") == {"client_id": "ada", "positions": []}
    # Of a listing it is one condition of several, which nothing fulfils.
    assert get(client, "/orders?client_id=bob") == {"orders": [], "next_cursor": None}


def test_a_flat_position_keeps_its_profit_and_the_mark_falls_back(client: Client) -> None:
    client.order("buy", 1, 10, client_id="a")
    client.order("sell", 1, client_id="b")
    (position,) = get(client, "/market/positions/a")["positions"]
    assert (position["mark_price"], position["unrealized_pnl"]) == (10, 0)
    client.order("sell", 3, 12, client_id="b")
    client.order("buy", 2, client_id="a")
    # One side of the book is empty: the last trade's price is the mark.
    (position,) = get(client, "/market/positions/a")["positions"]
    assert (position["net_quantity"], position["total_cost"]) == (3, 34)
    assert position["avg_price"] == Decimal("11.33333333")
    assert (position["mark_price"], position["unrealized_pnl"]) == (12, 2)
    client.order("buy", 3, 11, client_id="c")
    (position,) = get(client, "/market/positions/a")["positions"]
    assert (position["mark_price"], position["unrealized_pnl"]) == (
        Decimal("11.5"), Decimal("0.5"),
    )  # fmt: skip
    client.order("sell", 3, client_id="a")
    (position,) = get(client, "/market/positions/a")["positions"]
    assert position.pop("last_updated")
    assert position == {
        "instrument": "BTC-USD", "net_quantity": 0, "total_cost": 0, "avg_price": 0,
        "realized_pnl": -1, "unrealized_pnl": 0, "mark_price": 11,
    }  # fmt: skip


def test_a_ticker_catches_up_and_shows_the_book_as_it_is(client: Client) -> None:
    client.order("buy", 1, 10)
    assert get(client, "/market/ticker")["trade_count"] == 0
    client.order("sell", "0.5")
    assert get(client, "/market/ticker")["best_bid_quantity"] == Decimal("0.5")
    eventually(lambda: get(client, "/market/ticker")["trade_count"] == 1, "a fresh ticker")


def test_orders_are_listed_once_in_order(client: Client) -> None:
    for n in range(40):
        client.order(
            "buy" if n % 3 else "sell",
            1,
            10 + n % 4,
            instrument=("BTC-USD", "ETH-USD", "SOL-USD")[n % 3],
            client_id=CLIENTS[n % 2],
            order_id=f"order-{n}",
        )
        if n % 7 == 6:
            client.post(f"/orders/order-{n}/cancel")
    everything = get(client, "/orders?limit=1000")
    assert everything["next_cursor"] is None
    assert {order["order_id"] for order in everything["orders"]} == {
        f"order-{n}" for n in range(40)
    }
    times = [order["created_at"] for order in everything["orders"]]
    assert times == sorted(times, reverse=True)
    for order in everything["orders"]:
        assert get(client, f"/orders/{order['order_id']}")["order"] == order
    for query, wanted in {
        "": lambda order: True,
        "client_id=alice": lambda order: order["client_id"] == "alice",
        "client_id=nobody": lambda order: False,
        "instrument=ETH-USD": lambda order: order["instrument"] == "ETH-USD",
        "status=cancelled": lambda order: order["status"] == "cancelled",
        "status=open,filled&client_id=bob": lambda order: (
            order["status"] in ("open", "filled") and order["client_id"] == "bob"
        ),
    }.items():
        expected = [order for order in everything["orders"] if wanted(order)]
        assert get(client, f"/orders?{query}&limit=1000")["orders"] == expected
        assert pages(client, f"/orders?{query}&limit=3") == expected
    assert len(get(client, "/orders")["orders"]) == 40


def pages(client: Client, path: str) -> list[Any]:
    rows: list[Any] = []
    answer = get(client, path)
    while True:
        rows += answer["orders"]
        if answer["next_cursor"] is None:
            return rows
        answer = get(client, f"{path}&cursor={answer['next_cursor']}")


def test_snapshots(client: Client) -> None:
    for n in range(120):
        client.order("buy", "0.5", 100 + n, instrument="ETH-USD")
    client.order("sell", 2, "300.5", instrument="ETH-USD")
    answer = client.post("/market/orderbook/snapshot?instrument=ETH-USD")
    assert answer.status == 201
    stored = exact(answer)
    assert stored.keys() == {"instrument", "snapshot_id", "sequence", "snapshot", "timestamp"}
    assert (stored["instrument"], stored["sequence"]) == ("ETH-USD", 121)
    assert stored["snapshot"]["bids"] == [
        {"price": 219 - n, "quantity": Decimal("0.5"), "cumulative": Decimal(n + 1) / 2}
        for n in range(120)
    ]
    assert stored["snapshot"]["asks"] == [
        {"price": Decimal("300.5"), "quantity": 2, "cumulative": 2}
    ]
    again = exact(client.post("/market/orderbook/snapshot?instrument=ETH-USD"))
    assert again == stored
    assert get(client, f"/market/orderbook/snapshots/{stored['snapshot_id']}") == stored
    client.order("buy", 2, instrument="ETH-USD")
    newer = exact(client.post("/market/orderbook/snapshot?instrument=ETH-USD"))
    listed = get(client, "/market/orderbook/snapshots?instrument=ETH-USD")
    assert listed == {
        "instrument": "ETH-USD",
        "count": 2,
        "snapshots": [
            {
                "snapshot_id": newer["snapshot_id"], "sequence": newer["sequence"],
                "bid_levels": 120, "ask_levels": 0, "best_bid": 219, "best_ask": None,
                "timestamp": newer["timestamp"],
            },
            {
                "snapshot_id": stored["snapshot_id"], "sequence": 121,
                "bid_levels": 120, "ask_levels": 1, "best_bid": 219,
                "best_ask": Decimal("300.5"), "timestamp": stored["timestamp"],
            },
        ],
    }  # fmt: skip
    limited = get(client, "/market/orderbook/snapshots?instrument=ETH-USD&limit=1")
    assert limited["snapshots"] == listed["snapshots"][:1]


RANGES = {
    "start_time=2024-01-01T00:00:00Z&end_time=2024-01-02": ("2024-01-01T00", "2024-01-02T00"),
    "start_time=2024-01-01T01:00:00%2B01:00&end_time=2024-01-01T00:00:00-01:00": (
        "2024-01-01T00",
        "2024-01-01T01",
    ),
    # The plus sign arrives as a space.
    "start_time=2024-01-01T01:00:00+01:00&end_time=2024-01-01T10:00:00.000+00:00": (
        "2024-01-01T00",
        "2024-01-01T10",
    ),
    "start_time=1704067200000&end_time=1704070800000": ("2024-01-01T00", "2024-01-01T01"),
    "end_time=2024-01-02": ("2024-01-01T00", "2024-01-02T00"),
    "start_time=2024-01-01&end_time=2024-01-01": ("2024-01-01T00", "2024-01-01T00"),
}

REFUSED = [
    *(
        (404, f"{path}instrument=NO-NE")
        for path in (
            "/orders?", "/market/orderbook?", "/market/trades?", "/market/analytics?",
            "/market/candles?", "/market/ticker?", "/market/orderbook/snapshots?",
        )
    ),
    (404, "/market/orderbook/snapshots/999"),
    (404, "/market/orderbook/snapshots/999999999999999999"),
    *(
        (400, f"{path}{query}")
        for path in ("/orders?", "/market/trades?", "/market/orderbook/snapshots?")
        for query in (
            "limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1.0", "limit=%EF%BC%91",
            "limit=", "limit=1&limit=2", "instrument=", "instrument=a%20b", "instrument=%00",
            "instrument=%FF", "instrument=BTC-USD&instrument=BTC-USD",
        )
    ),
    *((400, f"/orders?{query}") for query in (
        "status=OPEN", "status=", "status=open,", "status=open&status=filled", "client_id=",
        "client_id=a%20b", f"client_id={'a' * 65}", "cursor=", "cursor=x", "cursor=" + "A" * 32,
        "cursor=" + "!" * 32, "cursor=%F0%9F%98%80",
    )),
    *(
        (400, f"{path}?{query}")
        for path in ("/market/analytics", "/market/candles")
        for query in (
            "interval=0", "interval=1441", "interval=1m", "interval=", "interval=1&interval=1",
            "start_time=", "start_time=now", "start_time=2024-13-01", "start_time=2024-02-30",
            "start_time=2024-01-01T24:00:00Z", "start_time=2024-01-01T00:00:60Z",
            "start_time=2024-01-01T00:00:00%2B24:00", "start_time=1969-12-31",
            "start_time=-1", "start_time=999999999999999", "start_time=1e3",
            "start_time=10000-01-01", "start_time=2024-01-01&start_time=2024-01-01",
            "start_time=0000-01-01", "start_time=%EF%BC%92024-01-01",
            "start_time=2024-01-02&end_time=2024-01-01", "start_time=9999-01-01",
            "end_time=2024-01-01T00:00:00%20", "end_time=1970-01-01T00:00:00%2B00:01",
        )
    ),
    (400, "/market/orderbook?levels="),
    (400, "/market/orderbook?levels=1&levels=1"),
    (400, "/market/ticker?instrument="),
    (400, "/market/positions/a%20b"),
    (400, f"/market/positions/{'a' * 65}"),
    (400, "/market/orderbook/snapshots/x"),
    (400, "/market/orderbook/snapshots/-1"),
    (400, "/market/orderbook/snapshots/9999999999999999999"),
]  # fmt: skip


def test_parameters(client: Client) -> None:
    for query, (start, end) in RANGES.items():
        answer = get(client, f"/market/candles?{query}")
        assert answer["start_time"] == f"{start}:00:00.000Z", query
        assert answer["end_time"] == f"{end}:00:00.000Z", query
    for status, path in REFUSED:
        answer = client.get(path)
        assert answer.status == status, (path, answer.raw)
        assert answer.json["error"] == {400: "invalid_request", 404: "not_found"}[status], path
        assert answer.json["message"], path
        if status == 400:
            (error,) = answer.json["errors"]
            assert error["location"] in ("query", "path"), path
    for path in ("/orders", "/market/trades", "/market/ticker", "/market/candles", "/instruments"):
        assert client.get(f"{path}?unknown=&unknown=2").status == 200
    assert client.post("/market/orderbook/snapshot?instrument=NO-NE").status == 404
    assert client.post("/market/orderbook/snapshot?instrument=").status == 400


def test_too_many_intervals(client: Client, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO exchange.trades SELECT 1, n, n, 1, 1, 'buy', 1, 2, 1, 2,"
            " timestamptz '2024-01-01 00:00Z' + n * interval '1 minute'"
            " FROM generate_series(1, 10001) n"
        )
    for path in ("/market/analytics", "/market/candles"):
        day = f"{path}?start_time=2024-01-01&end_time=2024-01-09"
        answer = client.get(day)
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")
        assert "longer interval" in answer.json["message"]
        assert "shorter range" in answer.json["message"]
        assert client.get(f"{day}&interval=2").status == 200
    candles = get(client, "/market/candles?start_time=2024-01-01T00:02Z&end_time=2024-01-09")[
        "candles"
    ]
    assert len(candles) == 10_000
