"""Reconciliation beside a real exchange: silent while all agrees, loud when anything does not."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

import sql
from tests.exchange import Client, Exchange, Load, eventually, free_port, running
from tests.job_processes import JobProcesses, runs
from tests.kafka import mock_cluster
from workers.adapters.jobs import connect_jobs
from workers.jobs.job import Context
from workers.jobs.progress import no_progress
from workers.jobs.reconcile import run
from workers.metrics import Metrics
from workers.settings import Settings

STATE = "state:{BTC-USD}"


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def stream(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


def reconcile(processes: JobProcesses, look: psycopg.Connection) -> str:
    """Return what a reconciliation that begins now has found."""
    before = len(runs(look, "reconciliation"))
    look.execute("SELECT exchange.make_due_v1('reconciliation', NULL, 0)")
    processes.until_done(look, "reconciliation", before + 1)
    outcome, done, total, detail = runs(look, "reconciliation")[-1]
    assert (outcome, done) == ("done", total)
    return detail


def sequence(look: psycopg.Connection) -> int:
    row = look.execute("SELECT sequence FROM exchange.shard WHERE instrument_id = 1").fetchone()
    assert row is not None
    return int(row[0])


def samples(port: int) -> dict[str, float]:
    with Client(port) as client:
        text = client.get("/metrics").raw.decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_it_holds_while_trading_and_when_quiet_and_sees_what_does_not(
    exchange: Exchange, database_url: str, redis_url: str, tmp_path: Path,
    look: psycopg.Connection, stream: "redis.Redis",
) -> None:  # fmt: skip
    checks = len(sql.queries("invariants.sql")) + 2
    port = free_port()
    with JobProcesses(database_url, redis_url, tmp_path) as processes:
        processes.only()
        processes.clock()
        processes.worker(METRICS_PORT=str(port))
        with Load(exchange.port) as load:
            for _ in range(3):
                target = len(load.acknowledged) + 50
                eventually(lambda: len(load.acknowledged) >= target, "orders")  # noqa: B023
                assert reconcile(processes, look) == f"{checks} of {checks} hold"
        with exchange.client() as client:
            assert client.order("buy", 1, 1).status == 201  # a bid that rests for sure
        eventually(
            lambda: stream.hget(STATE, "sequence") == str(sequence(look)),
            "the matcher says with which state it stands still",
        )
        assert reconcile(processes, look) == f"{checks} of {checks} hold"
        eventually(lambda: "reconciliation_last_timestamp_seconds" in samples(port), "metrics")
        found = {k: v for k, v in samples(port).items() if k.startswith("reconciliation_viol")}
        assert len(found) == checks
        assert set(found.values()) == {0}

        # What the matcher holds is not what is stored.
        stream.hset(STATE, "state_hash", "0" * 32)
        price, quantity = next(iter(stream.hgetall("depth:{BTC-USD}:bids").items()))
        stream.hset("depth:{BTC-USD}:bids", price, str(int(quantity) + 10**8))
        # And what is stored does not agree with itself.
        look.execute(
            "UPDATE exchange.balances SET posted = posted + 1"
            " WHERE (client_no, asset_id, instrument_id) = (SELECT client_no, asset_id,"
            " instrument_id FROM exchange.balances WHERE client_no > 0 LIMIT 1)"
        )
        detail = reconcile(processes, look)
        assert detail.startswith(f"{checks - 4} of {checks} hold; ")
        for name in ("assets_sum_to_zero", "balances_are_their_postings"):
            assert f"VIOLATED {name}: 1 rows, first {{" in detail
            assert samples(port)[f'reconciliation_violations{{invariant="{name}"}}'] == 1
        level = f"{int(price) / 10**8:g}"
        assert f"VIOLATED published_depth: 1 rows, first BTC-USD buy {level} at" in detail
        assert "VIOLATED matcher_state: 1 rows, first BTC-USD at sequence" in detail
        errors = [json.loads(line) for line in said(tmp_path) if '"error"' in line]
        assert {line.get("invariant") for line in errors} >= {"published_depth", "matcher_state"}


def said(folder: Path) -> Iterator[Any]:
    for path in folder.glob("workers.jobs-*.log"):
        yield from path.read_text().splitlines()


def test_without_redis_the_rest_is_checked(
    database_url: str, redis_url: str, tmp_path: Path, look: psycopg.Connection
) -> None:
    """What was not compared is said, and is no violation."""
    settings = Settings(database_url, f"redis://127.0.0.1:{free_port()}/0")
    with closing(connect_jobs(database_url)) as connection:
        result = run(Context(connection, settings, Metrics(), no_progress, None))
    checks = len(sql.queries("invariants.sql"))
    assert result.detail.startswith(f"{checks} of {checks + 2} hold; not checked: published_d")
    assert result.detail.count("not checked") == 2


def test_what_kafka_has_lost_is_seen(
    exchange: Exchange, database_url: str, redis_url: str, tmp_path: Path, look: psycopg.Connection
) -> None:
    checks = len(sql.queries("invariants.sql")) + 3
    with mock_cluster() as brokers:
        env = {"KAFKA_BROKERS": brokers}
        with JobProcesses(database_url, redis_url, tmp_path, **env) as processes:
            processes.only("mirror", subject="BTC-USD")
            processes.clock()
            processes.worker()
            with exchange.client() as client:
                for price in range(1, 20):
                    assert client.order("buy", 1, price).status == 201
            eventually(
                lambda: look.execute(
                    "SELECT FROM exchange.mirror_offsets o JOIN exchange.shard s"
                    " USING (instrument_id) WHERE o.sequence = s.sequence AND s.sequence > 0"
                ).fetchall(),
                "all of it is mirrored",
            )
            assert reconcile(processes, look) == f"{checks} of {checks} hold"
            # As it looks when a topic was made anew.
            look.execute("UPDATE exchange.job_due SET due_at = '9999-01-01' WHERE job = 'mirror'")
            look.execute("UPDATE exchange.mirror_offsets SET sequence = sequence + 1000")
            detail = reconcile(processes, look)
            assert detail.startswith(
                f"{checks - 1} of {checks} hold; VIOLATED mirrored_messages: 3 rows"
            )
