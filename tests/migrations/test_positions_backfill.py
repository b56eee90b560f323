"""Positions that were there before their cost was kept get it from their trades."""

from decimal import Decimal

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql as psycopg_sql

from ops.migrate import PROJECT, migrate
from tests.servers import other_database

NAME = "backfill"


@pytest.fixture
def old_database(postgres_url: str) -> str:
    """The URL of a database at the first migration."""
    name = psycopg_sql.Identifier(NAME)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(psycopg_sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        admin.execute(psycopg_sql.SQL("CREATE DATABASE {}").format(name))
        url = other_database(postgres_url, NAME)
        configuration = Config(toml_file=PROJECT, attributes={"database_url": url})
        command.upgrade(configuration, "0001")
        yield url
        admin.execute(psycopg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_costs_are_filled_in_by_sequence(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        # sequence, price, quantity, the taker's side, the maker and the taker. Stored in no order.
        connection.execute(
            "INSERT INTO exchange.trades"
            " SELECT 1, s, s, p, q, side::exchange.side, 1, 2, m, t, now()"
            " FROM (VALUES (9, 12, 3, 'sell', 1, 2), (2, 10, 2, 'buy', 2, 1),"
            " (5, 16, 1, 'buy', 1, 1)) AS u(s, p, q, side, m, t)"
        )
        connection.execute(
            "INSERT INTO exchange.positions VALUES (1, 1, 5, now()), (1, 2, -5, now()),"
            " (2, 1, 0, now())"
        )
    migrate(old_database)
    with psycopg.connect(old_database, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT instrument_id, client_no, net_quantity, total_cost, realized_pnl"
            " FROM exchange.positions ORDER BY instrument_id, client_no"
        ).fetchall()
        # 2@10; with itself 1@16, of three that cost 36 one sold at 16; 3@12.
        assert rows == [
            (1, 1, 5, 24 + 36, 4),
            (1, 2, -5, -56, 0),
            (2, 1, 0, 0, 0),
        ]
        assert all(isinstance(amount, Decimal) for amount in rows[0][2:])
        (gone,) = connection.execute(
            "SELECT count(*) FROM pg_proc WHERE proname = 'commit_batch_v1'"
        ).fetchone()  # type: ignore[misc]
        assert gone == 0
        with pytest.raises(psycopg.errors.NotNullViolation):
            connection.execute(
                "INSERT INTO exchange.positions AS p"
                " (instrument_id, client_no, net_quantity, updated_at) VALUES (1, 1, 1, now())"
                " ON CONFLICT (instrument_id, client_no) DO UPDATE SET net_quantity = 1"
            )
