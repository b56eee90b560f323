"""ops/examples/consume.py: each message once wherever it is killed, and a gap is told."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.exchange import eventually
from tests.history import INSTRUMENTS, make_history
from tests.kafka import mock_cluster, publisher
from workers.adapters.kafka import Message
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import TRADES

LIMIT_S = 30
STORE = "consumed.sqlite3"


@pytest.fixture
def brokers() -> Iterator[str]:
    with mock_cluster() as brokers:
        yield brokers


class Reader:
    """The example as a process; its lines of output."""

    def __init__(self, brokers: str, folder: Path, group: str) -> None:
        env = {"KAFKA_BROKERS": brokers, "CONSUMED": str(folder / STORE), "GROUP": group}
        self.process = subprocess.Popen(
            [sys.executable, "ops/examples/consume.py", TRADES],
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def skip(self, lines: int) -> None:
        """Wait until it has printed so many lines."""
        assert self.process.stdout is not None
        for _ in range(lines):
            assert self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def stored(folder: Path) -> list[tuple[str, int]]:
    """Return (instrument, number) of what it has kept, in order."""
    with closing(sqlite3.connect(folder / STORE)) as store:
        return store.execute("SELECT instrument, number FROM messages ORDER BY rowid").fetchall()


def test_each_trade_once_over_deaths_and_repeats_then_a_gap(
    database_url: str, brokers: str, tmp_path: Path
) -> None:
    make_history(database_url, seed=41, commands=400)
    with psycopg.connect(database_url, autocommit=True) as jobs, publisher(brokers) as kafka:
        expected = {}
        for _ in range(2):  # the second time everything comes again
            for instrument in INSTRUMENTS:
                mirror_slice(jobs, kafka, instrument)
            for instrument, trade_no in jobs.execute(
                "SELECT instrument, trade_no FROM exchange.shard"
                " JOIN exchange.instruments USING (instrument_id) WHERE trade_no > 0"
            ).fetchall():
                expected[instrument] = trade_no
                jobs.execute("SELECT exchange.forget_mirror_v1(%s)", (instrument,))
        total = sum(expected.values())
        assert total > 100
        # Killed in the middle, and known to Kafka under another name afterwards: the place that it
        # keeps itself is what counts. It may do a little more than it is asked for.
        for group in ("a", "b"):
            reader = Reader(brokers, tmp_path, group)
            reader.skip(total // 3)
            reader.kill()
        reader = Reader(brokers, tmp_path, "c")
        eventually(lambda: len(stored(tmp_path)) == total, "all of it is there")
        reader.kill()
        for instrument, last in expected.items():
            numbers = [number for name, number in stored(tmp_path) if name == instrument]
            assert numbers == list(range(1, last + 1))
        number = expected["BTC-USD"] + 2
        headers = [("number", b"%d" % number)]
        kafka.publish([Message(TRADES, b"BTC-USD", b"{}", headers)], 10)
        reader = Reader(brokers, tmp_path, "d")
        _, errors = reader.process.communicate(timeout=LIMIT_S)
        assert reader.process.returncode == 1
        assert f"{number} follows {expected['BTC-USD']}" in errors
