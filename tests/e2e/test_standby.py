"""Several matchers: they share the instruments, and take over from each other in time."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from ops.__main__ import main
from tests.exchange import Exchange, Load, eventually

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def look(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    """A web process only: each test starts its matchers."""
    exchange = Exchange(database_url, redis_url, tmp_path)
    try:
        exchange.web()
        yield exchange
    finally:
        exchange.stop()


def held(look: Connection) -> dict[int, int]:
    """Return how many instruments each live matcher holds, by its process number."""
    rows = look.execute("SELECT owner, instruments FROM exchange.list_matchers_v1()")
    return {int(str(owner).split(":")[1]): int(str(count)) for owner, count in rows}


def evenly(look: Connection, *counts: int) -> None:
    eventually(lambda: sorted(held(look).values()) == sorted(counts), f"holding {counts}")


def first_answer_s(exchange: Exchange) -> float:
    """Return how long the next order of every instrument takes to be acknowledged."""
    began = time.monotonic()
    with exchange.client() as client:
        for instrument in ("BTC-USD", "ETH-USD", "SOL-USD"):
            answer = client.order("buy", 1, 10, instrument=instrument)
            while answer.status == 503:
                time.sleep(0.01)
                answer = client.order("buy", 1, 10, instrument=instrument)
            assert answer.status == 201, answer.json
    return time.monotonic() - began


def owner_of(look: Connection, matchers: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Return the matcher that holds most."""
    by_pid = {matcher.pid: matcher for matcher in matchers}
    counts = held(look)
    return by_pid[max(counts, key=lambda pid: counts[pid])]


def test_instruments_are_spread_and_spread_again(exchange: Exchange, look: Connection) -> None:
    matchers = [exchange.matcher()]
    exchange.wait_ready()
    evenly(look, 3)
    with Load(exchange.port, instruments=("BTC-USD", "ETH-USD", "SOL-USD")) as load:
        matchers.append(exchange.matcher())
        evenly(look, 1, 2)
        matchers.append(exchange.matcher())
        evenly(look, 1, 1, 1)
        matchers.append(exchange.matcher())
        evenly(look, 0, 1, 1, 1)
        target = len(load.acknowledged) + 50
        eventually(lambda: len(load.acknowledged) > target, "trading goes on")
    assert load.unknown == set(), "a graceful hand-over leaves nobody without an answer"


def test_after_a_kill_trading_goes_on_within_three_seconds(
    exchange: Exchange, look: Connection
) -> None:
    matchers = [exchange.matcher(), exchange.matcher()]
    exchange.wait_ready()
    evenly(look, 1, 2)
    first_answer_s(exchange)
    owner_of(look, matchers).kill()
    assert first_answer_s(exchange) < 3
    evenly(look, 3)


def test_after_sigterm_trading_goes_on_at_once(exchange: Exchange, look: Connection) -> None:
    # They look around every one and a half seconds: whoever takes over sooner was told.
    matchers = [exchange.matcher(EXCHANGE_LEASE_MS="6000") for _ in range(2)]
    exchange.wait_ready()
    evenly(look, 1, 2)
    first_answer_s(exchange)
    ending = owner_of(look, matchers)
    ending.send_signal(signal.SIGTERM)
    assert first_answer_s(exchange) < 1.2
    assert ending.wait(10) == 0


def test_six_matchers_of_which_five_are_killed(exchange: Exchange, look: Connection) -> None:
    matchers = [exchange.matcher(EXCHANGE_LEASE_MS="500") for _ in range(6)]
    exchange.wait_ready()
    evenly(look, 0, 0, 0, 1, 1, 1)
    with Load(exchange.port, instruments=("BTC-USD", "ETH-USD", "SOL-USD")) as load:
        for _ in range(5):
            target = len(load.acknowledged) + 50
            eventually(lambda target=target: len(load.acknowledged) > target, "trading goes on")
            owner = owner_of(look, matchers)
            owner.kill()
            owner.wait()
            matchers.remove(owner)
            eventually(lambda owner=owner: owner.pid not in held(look), "the dead are forgotten")
        evenly(look, 3)
        assert load.problems == []


@contextmanager
def overheard(redis_url: str) -> Iterator[list[tuple[str, int]]]:
    """Collect (channel, epoch) of all that is published about instruments."""
    heard: list[tuple[str, int]] = []
    with redis.from_url(redis_url) as connection, connection.pubsub() as pubsub:
        pubsub.psubscribe("depth.*", "changes.*")
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                message = pubsub.get_message(timeout=0.1)
                if message and message["type"] == "pmessage":
                    fields = json.loads(message["data"])
                    heard.append((message["channel"].decode(), fields["epoch"]))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            stop.set()
            thread.join()


def test_a_zombie_says_nothing(exchange: Exchange, look: Connection, redis_url: str) -> None:
    """One that sleeps beyond its lease, again and again: nothing of an old epoch after a newer."""
    matchers = [exchange.matcher(EXCHANGE_LEASE_MS="400") for _ in range(2)]
    exchange.wait_ready()
    with overheard(redis_url) as heard, Load(exchange.port) as load:
        for round in range(6):
            zombie = matchers[round % 2]
            epochs = dict(look.execute("SELECT instrument_id, epoch FROM exchange.shard"))
            evenly(look, 1, 2)
            zombie.send_signal(signal.SIGSTOP)
            eventually(
                lambda epochs=epochs: (
                    dict(look.execute("SELECT instrument_id, epoch FROM exchange.shard")) != epochs
                ),
                "a take-over",
            )
            target = len(load.acknowledged) + 20
            eventually(lambda target=target: len(load.acknowledged) > target, "trading goes on")
            zombie.send_signal(signal.SIGCONT)
        assert load.problems == []
    latest: dict[str, int] = {}
    for channel, epoch in heard:
        assert epoch >= latest.get(channel, 0), "a zombie published"
        latest[channel] = epoch
    assert len({epoch for _, epoch in heard}) > 1


def test_ops_shards(
    exchange: Exchange,
    look: Connection,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["shards"]) == 1
    said = capsys.readouterr().out
    assert "nobody" in said
    assert "No matcher runs" in said
    matcher = exchange.matcher()
    exchange.wait_ready()
    evenly(look, 3)
    first_answer_s(exchange)
    assert main(["shards"]) == 0
    said = capsys.readouterr().out
    for instrument in ("BTC-USD", "ETH-USD", "SOL-USD"):
        (line,) = (line for line in said.splitlines() if line.startswith(instrument))
        _, owner, epoch, left, unit, lag, sequence, _ = line.split()
        assert owner.split(":")[1] == str(matcher.pid)
        assert (epoch, unit, lag, sequence) == ("1", "s", "0", "1")
        assert 0 < float(left) <= 2
