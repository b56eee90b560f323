"""A database that went back, behind a Redis and clients that have seen more."""

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import redis

from ops.__main__ import main
from ops.embedded import Postgres
from ops.migrate import migrate
from ops.mirror import list_instruments
from tests.exchange import Exchange, running
from tests.kafka import Record, mock_cluster, publisher, read_topic
from tests.previous import ROOT
from tests.servers import other_database
from workers.core.channels import depth_key, matcher_group, order_stream
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import TRADES

INSTRUMENTS = ("BTC-USD", "ETH-USD", "SOL-USD")
FAR = 1_000_000


def test_an_old_redis_knows_later_epochs(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """As before a new or a restored database: one take-over jumps past them, not a million."""
    with redis.Redis.from_url(redis_url) as server:
        for name in INSTRUMENTS:
            server.hset(depth_key(name), mapping={"epoch": FAR, "sequence": 7})
            # This one died between its group and its first word.
            server.xadd(order_stream(name), {"floor": ""}, id="1-1")
            server.xgroup_create(order_stream(name), matcher_group(FAR + 5), "0")
    with running(database_url, redis_url, tmp_path) as exchange:
        with exchange.client() as client:
            assert client.order("buy", 1, 1).status == 201
        with psycopg.connect(database_url) as look, redis.Redis.from_url(redis_url) as server:
            epochs = look.execute("SELECT epoch FROM exchange.shard").fetchall()
            assert len(epochs) == len(INSTRUMENTS)
            for (epoch,) in epochs:
                assert FAR + 5 < epoch < FAR + 20
            for name in INSTRUMENTS:
                (group,) = server.xinfo_groups(order_stream(name))
                assert group["name"].decode() != matcher_group(FAR + 5)


class Stream:
    """A WebSocket client."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws

    async def subscribe(self, **fields: Any) -> int:
        """Follow the trades; return the timeline."""
        await self._ws.send_json({"type": "subscribe", "channel": "trades", **fields})
        return int((await self.hear("subscribed"))["timeline"])

    async def hear(self, type: str) -> dict[str, Any]:
        """Wait for a message of a type; others are passed over."""
        async with asyncio.timeout(20):
            while True:
                message: dict[str, Any] = await self._ws.receive_json()
                if message["type"] == type:
                    return message


@asynccontextmanager
async def connected(exchange: Exchange) -> AsyncIterator[Stream]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{exchange.port}/stream", max_msg_size=0) as ws,
    ):
        yield Stream(ws)


async def test_backup_and_restore(
    server_folder: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DEPLOY.md says, by its own commands; then everybody who saw what was lost is told."""
    backup, restore = documented()
    with Postgres(server_folder) as server, mock_cluster() as brokers:
        place = f"{server.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        monkeypatch.setenv("PATH", place)
        for name in ("sql", "alembic", "pyproject.toml"):
            (tmp_path / name).symlink_to(ROOT / name)

        def in_the_shell(block: str) -> None:
            done = subprocess.run(
                ["bash", "-euc", block], cwd=tmp_path, capture_output=True, text=True, check=False,
                env={**os.environ, "DATABASE_URL": server.url},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr

        await asyncio.to_thread(migrate, server.url)
        with running(server.url, redis_url, tmp_path, EXCHANGE_LEASE_MS="1000") as exchange:
            trade(exchange, "kept", 5)
            mirror(server.url, brokers)
            in_the_shell(backup)
            trade(exchange, "lost", 5)
            mirror(server.url, brokers)
            async with connected(exchange) as stream:
                first = await stream.subscribe(resume_from=0)
                told = [(await stream.hear("trades"))["data"]["sequence"] for _ in range(10)]

        with psycopg.connect(other_database(server.url, "postgres"), autocommit=True) as admin:
            admin.execute("ALTER DATABASE exchange RENAME TO lost")
            admin.execute("CREATE DATABASE exchange")
            admin.execute("CREATE DATABASE rebuilt")
        in_the_shell(restore)

        with running(server.url, redis_url, tmp_path, EXCHANGE_LEASE_MS="1000") as exchange:
            # Further than what was lost: no sequence tells the difference.
            trade(exchange, "other", 9)
            async with connected(exchange) as stream:
                now = await stream.subscribe(resume_from=told[-1], timeline=first)
                assert now > first
                resync = await stream.hear("resync")
                assert resync["timeline"] == now
                assert len(resync["data"]["trades"]) == 14
                # On this timeline one goes on where one was.
                assert await stream.subscribe(resume_from=told[-1], timeline=now) == now
                heard = [(await stream.hear("trades"))["data"]["sequence"] for _ in range(4)]
                assert min(heard) > told[-1]
            # A lost order's name is free: what was acknowledged is gone, and may be sent again.
            with exchange.client() as client:
                assert client.get("/orders/lost-sell-0").status == 404
                again = client.order("sell", 1, 100, order_id="lost-sell-0")
                assert again.status == 201
        mirror(server.url, brokers)
        assert one_by_one(read_topic(brokers, TRADES)) == trades_of(server.url)
        consume(brokers, tmp_path)
        assert consumed(tmp_path) == trades_of(server.url)

        # What the topics hold is this history, not the lost one.
        rebuilt = other_database(server.url, "rebuilt")
        await asyncio.to_thread(migrate, rebuilt)
        monkeypatch.setenv("DATABASE_URL", rebuilt)
        monkeypatch.setenv("KAFKA_BROKERS", brokers)
        assert main(["rebuild", "--from-kafka", "--compare", server.url]) == 0
        assert trades_of(rebuilt) == trades_of(server.url)


def documented() -> tuple[str, str]:
    """Return the commands that DEPLOY.md gives for a backup and to restore it."""
    text = (ROOT / "ops" / "docs" / "DEPLOY.md").read_text(encoding="utf-8")
    section = text.split("## Backup and restore\n")[1].split("\n## ")[0]
    backup, restore = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return backup, restore


def trade(exchange: Exchange, name: str, count: int) -> None:
    """Make trades, of two orders each."""
    with exchange.client() as client:
        for number in range(count):
            sell = client.order("sell", 1, 100 + number, order_id=f"{name}-sell-{number}")
            buy = client.order("buy", 1, client_id=f"of-{name}")
            assert (sell.status, buy.json["order"]["status"]) == (201, "filled")


def mirror(url: str, brokers: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection, publisher(brokers) as kafka:
        for instrument in list_instruments(connection):
            mirror_slice(connection, kafka, instrument)


def trades_of(url: str) -> list[str]:
    """Return who sold in each trade of BTC-USD."""
    with psycopg.connect(url) as look:
        rows = look.execute(
            "SELECT order_id FROM exchange.trades t JOIN exchange.orders o"
            " ON (o.instrument_id, o.order_no) = (t.instrument_id, t.maker_order_no)"
            " WHERE t.instrument_id = 1 ORDER BY trade_no"
        ).fetchall()
        return [order_id for (order_id,) in rows]


def one_by_one(records: Sequence[Record]) -> list[str]:
    """Read a topic by the rule of KAFKA.md."""
    kept: list[str] = []
    timeline = 0
    for record in records:
        if record.timeline > timeline:
            timeline = record.timeline
            del kept[record.number - 1 :]
        assert record.number <= len(kept) + 1
        if record.number == len(kept) + 1:
            kept.append(record.value["sell_order_id"])
    return kept


def consume(brokers: str, folder: Path) -> None:
    """Let the example read everything that there is."""
    env = {"KAFKA_BROKERS": brokers, "CONSUMED": str(folder / "consumed.sqlite3")}
    with subprocess.Popen(
        [sys.executable, ROOT / "ops" / "examples" / "consume.py", TRADES],
        env=os.environ | env, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert reader.stdout is not None
        while "other-sell-8" not in (line := reader.stdout.readline()):
            assert line
        reader.terminate()


def consumed(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "consumed.sqlite3")) as store:
        rows = store.execute("SELECT value FROM messages ORDER BY number").fetchall()
        return [json.loads(value)["sell_order_id"] for (value,) in rows]


def test_a_restore_is_refused_while_somebody_trades(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("DATABASE_URL", database_url)
    with running(database_url, redis_url, tmp_path):
        assert main(["restored"]) == 1
        assert "stop every process" in capsys.readouterr().err
    assert main(["restored", "--list"]) == 0
    assert "never restored" in capsys.readouterr().out
    # Twice from the same backup: these are two histories.
    assert main(["restored", "--reason", "a drill"]) == 0
    assert main(["restored"]) == 0
    capsys.readouterr()
    assert main(["restored", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "BTC-USD" in line]
    assert len(set(listed)) == 2
