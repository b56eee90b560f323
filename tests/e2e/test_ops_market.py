"""`python -m ops market` against real processes."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.exchange import Exchange, eventually, running
from tests.lobster_day import Day

INSTRUMENTS = ("BTC-USD", "ETH-USD", "SOL-USD")


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@contextmanager
def market(exchange: Exchange, *options: str) -> Iterator[subprocess.Popen[str]]:
    url = f"http://127.0.0.1:{exchange.port}"
    with subprocess.Popen(
        [sys.executable, "-m", "ops", "market", "--url", url, "--rate", "150", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def get(exchange: Exchange, path: str) -> Any:
    with exchange.client() as client:
        answer = client.get(path)
        assert answer.status == 200, answer.raw
        return answer.json


def book(exchange: Exchange, instrument: str) -> dict[str, Any]:
    return get(exchange, f"/market/orderbook?instrument={instrument}&levels=100")


def quoted(exchange: Exchange, levels: int = 5) -> bool:
    """Tell whether both sides of every instrument have so many levels."""
    books = [book(exchange, instrument) for instrument in INSTRUMENTS]
    return all(len(each[side]) >= levels for each in books for side in ("bids", "asks"))


def trade_count(exchange: Exchange) -> int:
    return sum(
        get(exchange, f"/market/ticker?instrument={instrument}")["trade_count"]
        for instrument in INSTRUMENTS
    )


def resting(exchange: Exchange) -> list[dict[str, Any]]:
    return get(exchange, "/orders?status=open,partially_filled&limit=1000")["orders"]


def stop(process: subprocess.Popen[str], how: int = signal.SIGTERM) -> str:
    process.send_signal(how)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return said


def test_quotes_both_sides_trades_and_leaves_nothing_behind(exchange: Exchange) -> None:
    with exchange.client() as client:
        client.order("buy", 1, 10, client_id="somebody", order_id="not-theirs")
    with market(exchange) as process:
        eventually(lambda: quoted(exchange), "both sides quoted")
        eventually(lambda: trade_count(exchange) >= 30, "trades")
        said = stop(process)
    assert "what rested is cancelled" in said
    # Orders of others are none of its business.
    assert [order["order_id"] for order in resting(exchange)] == ["not-theirs"]
    with psycopg.connect(exchange.env["DATABASE_URL"]) as connection:
        assert broken_invariants(connection) == {}


def test_survives_a_restart_of_the_exchange(exchange: Exchange) -> None:
    with market(exchange) as process:
        eventually(lambda: quoted(exchange), "both sides quoted")
        exchange.stop(signal.SIGKILL)
        exchange.start()
        before = trade_count(exchange)
        eventually(lambda: trade_count(exchange) >= before + 30, "trades after the restart")
        eventually(lambda: quoted(exchange), "both sides quoted after the restart")
        said = stop(process, signal.SIGINT)
    assert "connected again" in said
    assert resting(exchange) == []


def test_a_killed_market_is_taken_over_by_the_next_run(exchange: Exchange) -> None:
    with market(exchange, "--seed", "1") as process:
        eventually(lambda: quoted(exchange), "both sides quoted")
        process.kill()
        process.wait()
    eventually(lambda: resting(exchange), "orders left behind")
    left = {order["order_id"] for order in resting(exchange)}
    with market(exchange, "--seed", "2", "--seconds", "2") as process:
        assert process.wait(30) == 0
    assert left
    assert resting(exchange) == []


def test_keeps_its_orders_when_told_to(exchange: Exchange) -> None:
    with market(exchange, "--keep", "--instruments", "SOL-USD=20") as process:
        eventually(lambda: len(book(exchange, "SOL-USD")["bids"]) > 4, "quotes")
        said = stop(process)
    assert "left in the book" in said
    orders = resting(exchange)
    assert {order["instrument"] for order in orders} == {"SOL-USD"}
    assert all(19 < order["price"] < 21 for order in orders)


class TestReplay:
    """`--replay`: the book that a LOBSTER file describes comes out, whatever happens meanwhile."""

    def play(self, exchange: Exchange, path: Path, *options: str) -> subprocess.Popen[str]:
        url = f"http://127.0.0.1:{exchange.port}"
        command = [sys.executable, "-m", "ops", "market", "--url", url, "--replay", str(path)]
        return subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def said(self, process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=90)
        assert process.returncode == 0, output
        return output

    def levels(self, exchange: Exchange, side: str) -> dict[int, int]:
        return {
            round(level["price"] * 10_000): int(level["quantity"])
            for level in book(exchange, "BTC-USD")[side]
        }

    def test_rebuilds_the_book_and_takes_it_back(self, exchange: Exchange, tmp_path: Path) -> None:
        day = Day(1, 1_500)
        path = tmp_path / "message.csv"
        path.write_bytes(day.file())
        said = self.said(self.play(exchange, path, "--speed", "0", "--keep"))
        assert self.levels(exchange, "bids") == day.levels(1)
        assert self.levels(exchange, "asks") == day.levels(-1)
        executions = sum(row.split(",")[1] == "4" for row in day.rows)
        assert len(get(exchange, "/market/trades?limit=1000")["trades"]) == executions
        assert f"not sent: LOBSTER 5, hidden execution │{unmapped(day):>9} │" in said
        # Played again its orders have other names, and this time nothing is left of them.
        kept = len(resting(exchange))
        self.said(self.play(exchange, path, "--speed", "0"))
        assert len(resting(exchange)) <= kept

    def test_loses_nothing_when_the_exchange_is_killed(
        self, exchange: Exchange, tmp_path: Path
    ) -> None:
        day = Day(2, 3_000)
        path = tmp_path / "message.csv"
        path.write_bytes(day.file())
        # 3,000 messages, 10 ms apart, in about 6 s.
        process = self.play(exchange, path, "--speed", "5", "--keep")
        for trades in (50, 250):
            eventually(
                lambda trades=trades: len(resting(exchange)) and trade_count(exchange) >= trades,
                "trades",
            )
            exchange.stop(signal.SIGKILL)
            exchange.start()
        said = self.said(process)
        assert "connected again" in said
        assert self.levels(exchange, "bids") == day.levels(1)
        assert self.levels(exchange, "asks") == day.levels(-1)

    def test_keeps_the_pace_of_the_file_and_stops_when_told(
        self, exchange: Exchange, tmp_path: Path
    ) -> None:
        path = tmp_path / "orders.csv"
        path.write_text(
            "time,order_id,side,price,quantity\n"
            "0,first,buy,100,1\n"
            "2,second,sell,101,1\n"
            "3600,third,buy,99,1\n"
        )
        process = self.play(exchange, path)
        orders = eventually(
            lambda: (found := resting(exchange)) if len(resting(exchange)) == 2 else None,
            "two orders",
        )
        first, second = (datetime.fromisoformat(order["created_at"]) for order in orders[::-1])
        assert second - first > timedelta(seconds=1)
        said = stop(process)
        assert "stopped at line 3" in said
        assert resting(exchange) == []

    def test_meets_orders_of_others(self, exchange: Exchange, tmp_path: Path) -> None:
        path = tmp_path / "orders.jsonl"
        path.write_text('{"side":"buy","price":100,"quantity":2,"client_id":"from-the-file"}\n')
        with exchange.client() as client:
            client.order("sell", 1, 99, client_id="somebody")
        said = self.said(self.play(exchange, path, "--instrument", "BTC-USD"))
        (trade,) = get(exchange, "/market/trades")["trades"]
        assert (trade["price"], trade["quantity"]) == (99, 1)
        assert "orders: partially_filled" in said
        assert resting(exchange) == []

    def test_a_bad_line_is_named_and_nothing_is_sent(
        self, exchange: Exchange, tmp_path: Path
    ) -> None:
        path = tmp_path / "orders.csv"
        path.write_text("side,price,quantity\nbuy,100,1\nbuy,100,none\n")
        process = self.play(exchange, path)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "orders.csv, line 3: quantity must be a decimal number" in output
        assert get(exchange, "/orders?limit=10")["orders"] == []


def unmapped(day: Day) -> int:
    return sum(row.split(",")[1] == "5" for row in day.rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--instruments", "NONE-USD"], "There is no instrument NONE-USD: use BTC-USD"),
        (["--instruments", "BTC-USD=x"], "the price of BTC-USD must be a decimal number"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--name", "a.b"], "--name: 1 to 24 letters"),
    ],
)
def test_says_what_is_wrong_with_its_options(
    exchange: Exchange, options: list[str], said: str
) -> None:
    with market(exchange, *options) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert output.startswith("Error: ")
    assert said in output
    assert "Traceback" not in output
