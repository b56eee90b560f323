"""A matcher that is started again goes on from a snapshot that was asked for over HTTP."""

import signal
import threading
from pathlib import Path

import psycopg

from ops.verify import broken_invariants, compare_books
from tests.exchange import DEADLINE_S, Client, Exchange, Load, eventually, running

URL = "/market/orderbook/snapshot?instrument=BTC-USD"


def matcher_says(exchange: Exchange, words: str) -> bool:
    return any(words in path.read_text() for path in exchange.folder.glob("workers.matching-*"))


def test_recovery_from_a_snapshot(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with running(database_url, redis_url, tmp_path) as exchange, exchange.client() as client:
        for n in range(40):
            assert client.order("buy", 2, 100 + n, order_id=f"o{n}").status == 201
        assert client.order("sell", 1).status == 201
        stored = client.post(URL)
        assert stored.status == 201
        sequence = stored.json["sequence"]
        assert client.post("/orders/o7/cancel").status == 200
        assert client.order("sell", 3, 138).status == 201
        before = client.get("/market/orderbook?depth=100").json
        exchange.processes[0].send_signal(signal.SIGKILL)
        exchange.processes[0].wait()
        exchange.matcher()
        eventually(
            lambda: matcher_says(exchange, f"recovered from the snapshot at sequence {sequence}"),
            "recovery from the snapshot",
        )
        exchange.wait_ready()
        after = client.get("/market/orderbook?depth=100").json
        assert (after["bids"], after["asks"]) == (before["bids"], before["asks"])
        assert client.order("sell", 80).json["order"]["filled_quantity"] > 70
        with psycopg.connect(database_url) as connection:
            assert broken_invariants(connection) == {}
            assert {row[-1] for row in compare_books(connection)} == {"ok"}


def test_a_flood_of_snapshots_while_orders_flow(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Every one that is answered is of one sequence, stored, and as new as what was seen before."""
    with running(database_url, redis_url, tmp_path) as exchange:
        answers: list[tuple[int, int]] = []
        problems: list[str] = []

        def ask() -> None:
            with Client(exchange.port, DEADLINE_S) as client:
                for _ in range(25):
                    seen = client.get("/market/orderbook").json["sequence"]
                    answer = client.post(URL)
                    if answer.status != 201:
                        problems.append(f"{answer.status} {answer.raw!r}")
                    elif answer.json["sequence"] < seen:
                        problems.append(f"{answer.json['sequence']} after {seen}")
                    else:
                        answers.append((answer.json["snapshot_id"], answer.json["sequence"]))

        with Load(exchange.port) as load:
            eventually(lambda: len(load.acknowledged) > 20, "orders")
            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert problems == []
        with psycopg.connect(database_url) as connection:
            rows = dict(
                connection.execute("SELECT snapshot_id, sequence FROM exchange.book_snapshots")
            )
            assert set(answers) <= set(rows.items())
            assert len(rows) < len(answers), "those who wait share one"
            # Against the same worked out from the events.
            wrong = connection.execute(
                "SELECT b.sequence FROM exchange.book_snapshots b"
                " CROSS JOIN LATERAL (SELECT"
                " coalesce(array_agg(price ORDER BY price DESC) FILTER (WHERE side = 'buy'), '{}'),"
                "  coalesce(array_agg(price ORDER BY price) FILTER (WHERE side = 'sell'), '{}')"
                "  FROM (SELECT side, price FROM exchange.book_changes_v1(1, 0, b.sequence)"
                "   GROUP BY side, price HAVING sum(quantity) <> 0) l) AS e(bids, asks)"
                " WHERE b.bid_prices <> e.bids OR b.ask_prices <> e.asks"
            ).fetchall()
            assert wrong == []
