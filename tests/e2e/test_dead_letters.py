"""Dead letters, listed and sent again: once, however often somebody asks for it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from ops.verify import broken_invariants
from tests.exchange import Exchange, eventually, running
from tests.job_processes import JobProcesses

BAN = "ALTER TABLE exchange.orders ADD CONSTRAINT banned CHECK (order_id <> 'banned')"
LIFT = "ALTER TABLE exchange.orders DROP CONSTRAINT banned"


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def jobs(exchange: Exchange, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of `python -m ops jobs`."""
    ended = subprocess.run(
        [sys.executable, "-m", "ops", "jobs", *arguments],
        env=exchange.env | {"COLUMNS": "250"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


def letters(look: psycopg.Connection) -> list[str]:
    return [
        f"BTC-USD/{stream_id}"
        for (stream_id,) in look.execute(
            "SELECT stream_id FROM exchange.dead_letters ORDER BY created_at, stream_id"
        )
    ]


def orders(look: psycopg.Connection) -> list[tuple[str, str]]:
    return look.execute("SELECT order_id, status::text FROM exchange.orders").fetchall()


def test_listed_and_sent_again(
    exchange: Exchange, look: psycopg.Connection, redis_url: str
) -> None:
    assert jobs(exchange, "dead-letters") == (0, "No stream entry was given up\n", "")
    look.execute(BAN)
    with exchange.client() as client:
        answer = client.order("buy", 1, 100, order_id="banned")
        assert (answer.status, answer.json["error"]) == (503, "unavailable")
    with redis.Redis.from_url(redis_url) as stream:
        stream.xadd("orders:{BTC-USD}", {"request": b"\xff nonsense"})
    eventually(lambda: len(letters(look)) == 2, "two dead letters")
    refused, nonsense = letters(look)
    code, said, _ = jobs(exchange, "dead-letters")
    assert code == 0
    assert refused in said
    assert '"order_id":"banned"' in said
    assert r"\xff nonsense" in said

    code, _, error = jobs(exchange, "redrive", nonsense)
    assert code == 1
    assert error.startswith("Error: It still cannot be read (")
    code, _, error = jobs(exchange, "redrive", "BTC-USD/1-1")
    assert (code, error.count("There is no dead letter BTC-USD/1-1")) == (1, 1)

    look.execute(LIFT)
    code, said, error = jobs(exchange, "redrive", refused, "--actor", "ada")
    assert (code, error) == (0, "")
    assert said == f"{refused} is sent again: order banned\n"
    eventually(lambda: orders(look) == [("banned", "open")], "the order is made")
    # Once more only if that is meant; and then it is the same order.
    code, _, error = jobs(exchange, "redrive", refused)
    assert code == 1
    assert "was sent again at" in error
    assert "by ada" in error
    code, _, error = jobs(exchange, "redrive", refused, "--again")
    assert code == 0
    with exchange.client() as client:
        assert client.order("sell", 1, 200, order_id="after").status == 201
    assert sorted(orders(look)) == [("after", "open"), ("banned", "open")]
    assert "Z by ada" not in jobs(exchange, "dead-letters")[1], "the last one counts"
    assert len(letters(look)) == 2
    assert broken_invariants(look) == {}


def test_messages_that_were_given_up(
    database_url: str, redis_url: str, tmp_path: Path, look: psycopg.Connection
) -> None:
    """One for a job that no worker knows: a newer clock, an older worker."""
    with JobProcesses(database_url, redis_url, tmp_path) as processes:
        processes.only()
        processes.worker()
        processes.send("tidying", "BTC-USD")
        eventually(lambda: "tidying" in jobs(processes.exchange, "dead-letters")[1], "it is listed")
        # The worker goes on.
        look.execute("SELECT exchange.make_due_v1('partitions', NULL, 0)")
        processes.send("partitions")
        processes.until_done(look, "partitions")
