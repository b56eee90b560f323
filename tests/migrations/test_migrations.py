"""Migrations from nothing, on every PostgreSQL that we promise to work on."""

from pathlib import Path

import psycopg
import pytest

import sql
from ops.embedded import Postgres, Valkey
from ops.migrate import migrate
from ops.schema import SCHEMA, dump
from ops.verify import broken_invariants, compare_books
from tests.exchange import Load, eventually, running

SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")

VERSIONS = {
    "18": {"version": 18},
    "16": {"version": 16},
    "15": {"version": 15, "bin_dir": SYSTEM_15},
}


def test_the_schema_file_is_what_the_migrations_make(server_folder: Path) -> None:
    with Postgres(server_folder) as server:
        migrate(server.url)
        assert dump(server) == SCHEMA.read_text(), "run `python -m ops schema`"


def test_head_is_the_newest_migration() -> None:
    versions = sorted(path.name[:4] for path in Path("alembic/versions").glob("[0-9]*.py"))
    assert versions[-1] == sql.HEAD


@pytest.mark.parametrize("version", VERSIONS)
def test_an_exchange_runs_on(version: str, server_folder: Path, tmp_path: Path) -> None:
    if version == "15" and not (SYSTEM_15 / "postgres").exists():
        pytest.skip("PostgreSQL 15 is not installed here (Debian: postgresql-15)")
    with Postgres(server_folder, **VERSIONS[version]) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        migrate(postgres.url)  # once more changes nothing
        with running(postgres.url, valkey.url, tmp_path) as exchange:
            with Load(exchange.port) as load:
                eventually(lambda: len(load.acknowledged) >= 200, "200 acknowledged orders")
            with exchange.client() as client:
                assert client.get("/market/trades").json["count"] > 0
                client.order("buy", 1, 1, order_id="it")
                assert client.post("/orders/it/cancel").status == 200
        with psycopg.connect(postgres.url) as connection:
            major = connection.info.server_version // 10_000
            assert major == int(version)
            assert broken_invariants(connection) == {}
            assert {row[-1] for row in compare_books(connection)} == {"ok"}


def test_without_the_right_to_make_roles(postgres_url: str, tmp_path: Path) -> None:
    """A platform's plain user owns its database and may not make roles: everything still works."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS plain_database")
        admin.execute("DROP ROLE IF EXISTS plain_user")
        admin.execute("CREATE ROLE plain_user LOGIN PASSWORD 'plain'")
        admin.execute("CREATE DATABASE plain_database OWNER plain_user")
        info = admin.info
        url = f"postgresql://plain_user:plain@{info.host}:{info.port}/plain_database"
        try:
            migrate(url)
            with psycopg.connect(url) as connection:
                rows = connection.execute("SELECT * FROM exchange.list_instruments()").fetchall()
                assert len(rows) == 3
                assert connection.execute(
                    "SELECT epoch FROM exchange.acquire_shard_v1(1, 'me', 1000)"
                ).fetchall() == [(1,)]
        finally:
            admin.execute("DROP DATABASE plain_database WITH (FORCE)")
            admin.execute("DROP ROLE plain_user")
