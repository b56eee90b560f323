"""From the previous revision to this one while orders are being committed."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql as psycopg_sql

import sql
from ops.migrate import PROJECT, migrate
from ops.verify import broken_invariants, compare_books
from tests.exchange import eventually
from tests.servers import other_database

NAME = "upgraded"
COMMIT_V2 = sql.query("commit_batch").replace(b"commit_batch_v4", b"commit_batch_v2")
COMMIT_V4 = sql.query("commit_batch")


def configuration(url: str) -> Config:
    return Config(toml_file=PROJECT, attributes={"database_url": url})


@pytest.fixture
def previous(postgres_url: str) -> Iterator[str]:
    """The URL of a database at revision 0002, with two clients and the lease of instrument 1."""
    name = psycopg_sql.Identifier(NAME)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(psycopg_sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        admin.execute(psycopg_sql.SQL("CREATE DATABASE {}").format(name))
        url = other_database(postgres_url, NAME)
        command.upgrade(configuration(url), "0002")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT exchange.ensure_clients_v1(ARRAY['a', 'b'])")
            connection.execute("SELECT exchange.acquire_shard_v1(1, 'me', 600000)")
        yield url
        admin.execute(psycopg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def parameters(number: int, clients: tuple[int, int]) -> list[Any]:
    """Return batch `number`: a sells 5 at 10 and b buys 5; both new, 3 sequences."""
    sequence, order_no = 3 * number, 2 * number
    a, b = clients
    ids = f"{{s{number},b{number}}}"
    return [
        1, 1, f"{number}-0", f"{number + 1}-0", sequence + 3, order_no + 2, number + 1,
        1_700_000_000_000_000 + number, 600_000,
        ids, f"{{{a},{b}}}", "{sell,buy}", "{limit,limit}", "{1000000000,1000000000}",
        "{500000000,500000000}", "{500000000,500000000}",
        "{500000000000000000,500000000000000000}", "{filled,filled}", '{"",""}', '{"",""}',
        f"{{{sequence + 1},{sequence + 2}}}",
        "{}", "{}", "{}", "{}", "{}",
        f"{{{sequence + 3}}}", "{1000000000}", "{500000000}", "{buy}", f"{{{order_no + 1}}}",
        f"{{{order_no + 2}}}", f"{{{a}}}", f"{{{b}}}",
        "{}", "{}", "{}", "{}", "{}", "{}", "{}",
        [], [], [],
    ]  # fmt: skip


class OldMatcher(threading.Thread):
    """Commits batches through commit_batch_v2 until that fails."""

    def __init__(self, url: str, clients: tuple[int, int]) -> None:
        super().__init__()
        self.url = url
        self.clients = clients
        self.acknowledged = 0
        self.error: psycopg.Error | None = None

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            while True:
                try:
                    values = parameters(self.acknowledged, self.clients)
                    connection.execute(COMMIT_V2, values, prepare=True)
                except psycopg.Error as error:
                    self.error = error
                    return
                self.acknowledged += 1


def test_with_live_traffic(previous: str) -> None:
    with psycopg.connect(previous, autocommit=True) as look:
        client_nos = look.execute("SELECT client_no FROM exchange.clients ORDER BY 1").fetchall()
        clients = (client_nos[0][0], client_nos[1][0])
        look.execute("UPDATE exchange.shard SET last_stream_id = '0-0'")
        matcher = OldMatcher(previous, clients)
        matcher.start()
        eventually(lambda: matcher.acknowledged > 200 or matcher.error, "traffic")
        migrate(previous)
        matcher.join(30)
        assert not matcher.is_alive()
        # It ended because its function is gone, not because something was half done.
        assert matcher.error is not None
        assert matcher.error.sqlstate == "42883", matcher.error

        def count(table: str) -> int:
            return int(look.execute(f"SELECT count(*) FROM exchange.{table}").fetchone()[0])  # type: ignore[index]

        committed = matcher.acknowledged
        assert committed > 200
        assert count("trades") == count("ledger_entries") == committed
        assert count("postings") == 4 * committed
        assert count("order_events") == 2 * committed
        assert broken_invariants(look) == {}
        for number in range(committed, committed + 20):
            look.execute(COMMIT_V4, parameters(number, clients))
        assert count("trades") == committed + 20
        assert broken_invariants(look) == {}
        assert {row[-1] for row in compare_books(look)} == {"ok"}
        assert look.execute("SELECT exchange.settle_v1('2023-11-14', 'me')").fetchone() is not None
        assert broken_invariants(look) == {}


def test_rows_fall_into_their_ranges(previous: str) -> None:
    """Also those beyond the first, and nothing is left behind."""
    with psycopg.connect(previous, autocommit=True) as look:
        far = 12_000_000
        look.execute("UPDATE exchange.shard SET sequence = %s WHERE instrument_id = 2", (far,))
        look.execute(
            "INSERT INTO exchange.trades SELECT 2, n, n, 1, 1, 'buy', 1, 2, 1, 2, now()"
            " FROM unnest(ARRAY[1, 4999999, 5000000, %s]) n",
            (far,),
        )
        migrate(previous)
        rows = look.execute(
            "SELECT relname, count(*) FROM exchange.trades t JOIN pg_class c ON c.oid = t.tableoid"
            " GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert rows == [
            ("trades_i2_s0", 2),
            ("trades_i2_s10000000", 1),
            ("trades_i2_s5000000", 1),
        ]
        left = look.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE '%0002%' UNION ALL"
            " SELECT typname FROM pg_type WHERE typname LIKE '%0002%'"
        ).fetchall()
        assert left == []


LOST = {
    "deposits, withdrawals or adjustments": "SELECT exchange.post_entry_v1('deposit', ARRAY['a'],"
    " ARRAY['USD'], ARRAY[5], 'me', 'key', '')",
    "fees": "SELECT exchange.set_fees_v1('BTC-USD', 'standard', 1, 1)",
    "segments of clients": "SELECT exchange.add_segment_v1('vip', '')",
    "settlements": "SELECT exchange.settle_v1('2023-11-14', 'me')",
}


def test_going_back(previous: str) -> None:
    """Back and forth while that loses nothing; refused, with reasons, once it would."""
    with psycopg.connect(previous, autocommit=True) as look:
        client_nos = look.execute("SELECT client_no FROM exchange.clients ORDER BY 1").fetchall()
        clients = (client_nos[0][0], client_nos[1][0])
        look.execute("UPDATE exchange.shard SET last_stream_id = '0-0'")
        before = schema(look)
        look.execute(COMMIT_V2, parameters(0, clients))
        migrate(previous)
        look.execute(COMMIT_V4, parameters(1, clients))
        command.downgrade(configuration(previous), "0002")
        assert schema(look) == before
        look.execute(COMMIT_V2, parameters(2, clients))
        migrate(previous)
        look.execute(COMMIT_V4, parameters(3, clients))
        assert look.execute("SELECT count(*) FROM exchange.trades").fetchone() == (4,)
        assert broken_invariants(look) == {}
        assert {row[-1] for row in compare_books(look)} == {"ok"}
        done = []
        for reason, statement in LOST.items():
            look.execute(statement)
            done.append(reason)
            with pytest.raises(psycopg.DatabaseError) as refused:
                command.downgrade(configuration(previous), "0002")
            assert refused.value.sqlstate == "EX009"
            assert refused.value.diag.message_primary == (
                f"going back would lose {', '.join(sorted(done))}: restore a backup instead"
            )
            assert look.execute(sql.query("migration_head")).fetchone() == (sql.HEAD,)
        assert broken_invariants(look) == {}


def schema(look: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return what the schema holds, by name, with the definitions of what has one."""
    return look.execute(
        "SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod)"
        " || a.attnotnull FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'exchange'::regnamespace AND a.attnum > 0 AND NOT attisdropped"
        " UNION ALL SELECT 'constraint', conrelid::regclass::text, conname,"
        " pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'exchange'::regnamespace AND contype <> 'n'"
        " UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'exchange'"
        " UNION ALL SELECT 'function', proname, oid::regprocedure::text, md5(prosrc) FROM pg_proc"
        " WHERE pronamespace = 'exchange'::regnamespace"
        " UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)"
        " FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2, 3, 4"
    ).fetchall()
