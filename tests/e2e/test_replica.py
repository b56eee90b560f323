"""History from a read replica, which says how old it may be, and without it when it is gone."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ops.embedded import Postgres
from ops.migrate import migrate
from tests.exchange import Client, Exchange, eventually, running

CANDLES = "/market/candles?interval=1440"


@pytest.fixture
def pair(server_folder: Path) -> Iterator[tuple[Postgres, Postgres]]:
    """A migrated PostgreSQL and a hot standby of it."""
    with Postgres(server_folder / "primary") as primary:
        migrate(primary.url)
        replica = Postgres(server_folder / "replica")
        parts = urlsplit(primary.url)
        # A cold copy: the standby takes it from there.
        primary.stop()
        replica.data.mkdir(mode=0o711, parents=True)
        for name in (primary.name, "secrets.json"):
            source, target = primary.data / name, replica.data / name
            subprocess.run(["cp", "--archive", source, target], check=True)
        primary.start(parts.port)
        settings = replica.folder / "postgresql.auto.conf"
        with settings.open("a") as file:
            file.write(
                f"primary_conninfo = 'host=127.0.0.1 port={parts.port} user={parts.username}"
                f" password={parts.password}'\n"
            )
        (replica.folder / "standby.signal").touch()
        with replica:
            yield primary, replica


def volume(client: Client) -> tuple[int, str | None]:
    answer = client.get(CANDLES)
    assert answer.status == 200, answer.raw
    volumes = [candle["volume"] for candle in answer.json["candles"]]
    return sum(volumes), answer.headers.get("data-age-ms")


def trade(client: Client) -> None:
    assert client.order("sell", 1, 100).status == 201
    assert client.order("buy", 1, 100).status == 201


def test_history_comes_from_the_replica(
    pair: tuple[Postgres, Postgres], redis_url: str, tmp_path: Path
) -> None:
    primary, replica = pair
    with (
        running(primary.url, redis_url, tmp_path, DATABASE_READ_URL=replica.url) as exchange,
        exchange.client() as client,
    ):
        trade(client)
        eventually(lambda: volume(client)[0] == 1, "the trade has reached the replica")
        age = volume(client)[1]
        assert age is not None
        assert int(age) < 10_000
        _stands_still(replica, client)
        _is_gone(replica, client, exchange)


def _stands_still(replica: Postgres, client: Client) -> None:
    """A replica that replays no more shows what it has, and says that it grows old."""
    with psycopg.connect(replica.url, autocommit=True) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        paused = time.monotonic()
        eventually(
            lambda: (
                connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone()
                == ("paused",)
            ),
            "the replica stands still",
        )
        trade(client)
        eventually(lambda: int(volume(client)[1] or 0) > 1_000, "it says that it is old")
        assert volume(client)[0] == 1
        age_ms = int(volume(client)[1] or 0)
        assert age_ms >= (time.monotonic() - paused) * 1000 - 2_000
        connection.execute("SELECT pg_wal_replay_resume()")
    eventually(lambda: volume(client)[0] == 2, "it goes on")


def _is_gone(replica: Postgres, client: Client, exchange: Exchange) -> None:
    replica.stop()
    eventually(lambda: volume(client) == (2, None), f"read from the primary\n{exchange.logs()}")
    trade(client)
    assert volume(client) == (3, None)


def test_without_a_replica_nothing_is_said_of_age(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path) as exchange, exchange.client() as client:
        trade(client)
        assert volume(client) == (1, None)
