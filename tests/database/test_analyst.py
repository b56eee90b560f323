"""What an analyst's login may do, and that the schema explains itself."""

import json
import re
from collections.abc import Iterator

import psycopg
import pytest

import sql
from ops.analyst import add_analyst, drop_analyst, list_analysts
from ops.errors import OpsError
from ops.verify import broken_invariants

NAME = "test_analyst"


@pytest.fixture
def analyst(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection of a fresh analyst."""
    with psycopg.connect(database_url, autocommit=True) as admin:
        password = add_analyst(admin, NAME)
    try:
        with psycopg.connect(
            database_url, user=NAME, password=password, autocommit=True
        ) as connection:
            yield connection
    finally:
        with psycopg.connect(database_url, autocommit=True) as admin:
            drop_analyst(admin, NAME)


def value(connection: psycopg.Connection, question: str) -> object:
    row = connection.execute(question).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def test_settings_come_with_the_login(analyst: psycopg.Connection) -> None:
    for name, wanted in {
        "default_transaction_read_only": "on",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "1min",
        "search_path": "analytics",
        "timezone": "UTC",
        "max_parallel_workers_per_gather": "0",
    }.items():
        assert value(analyst, f"SHOW {name}") == wanted
    limit = f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{NAME}'"
    assert value(analyst, limit) == 20
    # Without the schema's name, as it is typed.
    assert value(analyst, "SELECT instrument FROM instruments()") == "BTC-USD"


def test_analysts_may_ask_everything(analyst: psycopg.Connection) -> None:
    questions = analyst.execute(
        "SELECT p.proname, pg_get_function_identity_arguments(p.oid) FROM pg_proc p"
        " WHERE pronamespace = 'analytics'::regnamespace"
    ).fetchall()
    assert len(questions) >= 20
    for name, _ in questions:
        assert value(
            analyst,
            f"SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc"
            f" WHERE proname = '{name}' AND pronamespace = 'analytics'::regnamespace",
        )
    assert value(analyst, "SELECT count(*) FROM functions") == len(questions)
    assert value(analyst, "SELECT count(*) FROM verify()") == 0


ATTEMPTS = [
    "SELECT * FROM exchange.orders",
    "SELECT * FROM exchange.alembic_version",
    "SELECT exchange.mark_price_v1(1)",
    "SELECT exchange.ensure_clients_v1(ARRAY['x'])",
    "INSERT INTO exchange.assets (asset) VALUES ('X')",
    "UPDATE exchange.balances SET posted = 0",
    "DELETE FROM exchange.orders",
    "TRUNCATE exchange.orders",
    "CREATE TABLE analytics.x (n integer)",
    "CREATE FUNCTION analytics.x() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE VIEW analytics.functions AS SELECT 1",
    "DROP FUNCTION analytics.vwap",
    "CREATE SCHEMA x",
    "SET ROLE exchange_owner",
    "SET ROLE exchange_matcher",
    "SET session_replication_role = replica",
    "COPY (SELECT 1) TO PROGRAM 'true'",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_and_nothing_else(analyst: psycopg.Connection, attempt: str) -> None:
    # Not even after giving up being read-only, which everybody may.
    analyst.execute("SET default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        analyst.execute(attempt)  # type: ignore[arg-type]


def test_a_question_that_takes_too_long_ends(analyst: psycopg.Connection) -> None:
    analyst.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        analyst.execute("SELECT pg_sleep(10)")


def test_add_list_and_drop(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        before = {row[0] for row in list_analysts(admin)}
        add_analyst(admin, "test_somebody")
        try:
            assert {row[0] for row in list_analysts(admin)} == before | {"test_somebody"}
            with pytest.raises(OpsError, match="exists already"):
                add_analyst(admin, "test_somebody")
        finally:
            drop_analyst(admin, "test_somebody")
        assert {row[0] for row in list_analysts(admin)} == before
        for name in ("test_somebody", "exchange", "exchange_matcher"):
            with pytest.raises(OpsError, match="is not an analyst"):
                drop_analyst(admin, name)
        for name in ("", "A b", "exchange_analyst", "pg_x", 'x"; DROP', "x" * 64):
            with pytest.raises(OpsError):
                add_analyst(admin, name)


def test_where_roles_cannot_be_made(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS test_plain")
        admin.execute("CREATE ROLE test_plain LOGIN PASSWORD 'plain'")
        try:
            with (
                psycopg.connect(
                    database_url, user="test_plain", password="plain", autocommit=True
                ) as plain,
                pytest.raises(OpsError, match="may not make roles"),
            ):
                add_analyst(plain, "test_somebody")
        finally:
            admin.execute("DROP ROLE test_plain")


def test_every_function_and_every_column_is_documented(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        functions = connection.execute(
            "SELECT proname, proargnames, proargmodes::text[], pronargdefaults, prosecdef,"
            " provolatile, proconfig, obj_description(oid, 'pg_proc') FROM pg_proc"
            " WHERE pronamespace = 'analytics'::regnamespace"
        ).fetchall()
        views = connection.execute(
            "SELECT c.oid, relname, obj_description(c.oid, 'pg_class') FROM pg_class c"
            " WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('v', 'm', 'r')"
        ).fetchall()
        for name, arguments, modes, defaults, definer, volatile, config, text in functions:
            assert text, f"analytics.{name} has no comment"
            assert definer, name
            assert volatile == "s", name
            assert "search_path=exchange, pg_temp" in config, name
            assert "\nExample\n  SELECT " in text, name
            assert f"analytics.{name}(" in text.split("\nExample\n")[1], name
            columns = section(text, "Columns")
            wanted = [a for a, m in zip(arguments, modes, strict=True) if m == "t"]
            assert columns == wanted, name
            given = [a for a, m in zip(arguments, modes, strict=True) if m == "i"]
            assert section(text, "Arguments") == given, name
            assert text.count("default") >= defaults, f"{name} does not tell its defaults"
            assert all(len(line) <= 100 for line in text.splitlines()), name
        for oid, name, text in views:
            columns = [
                row[0]
                for row in connection.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0"
                    " ORDER BY attnum",
                    (oid,),
                )
            ]
            assert section(text, "Columns") == columns, name
            (documented,) = connection.execute(
                "SELECT count(col_description(%s, attnum)) FROM pg_attribute"
                " WHERE attrelid = %s AND attnum > 0",
                (oid, oid),
            ).fetchone()  # type: ignore[misc]
            assert documented == len(columns), name


def section(text: str, title: str) -> list[str]:
    """Return the names that a section of a comment explains, in order."""
    found = re.search(rf"^{title}.*\n((?:  .*\n)+)", text, re.MULTILINE)
    return re.findall(r"^  (\w+)  +\S", found[1], re.MULTILINE) if found else []


def test_verify_is_the_file(database_url: str) -> None:
    """The function holds the file's queries, each whole and under its name, and no other."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        body = str(value(connection, "SELECT prosrc FROM pg_proc WHERE proname = 'verify'"))
        invariants = sql.queries("invariants.sql")
        for name, query in invariants.items():
            assert f"SELECT '{name}', to_jsonb" in body
            assert query.decode() in body
        assert body.count("RETURN QUERY") == len(invariants)
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE exchange.shard SET sequence = 1 WHERE instrument_id = 2")
        ((invariant, detail),) = connection.execute("SELECT * FROM analytics.verify()").fetchall()
        assert invariant == "sequences_are_gapless"
        assert json.loads(detail).items() >= {"instrument_id": 2, "stored": 1}.items()
        assert broken_invariants(connection).keys() == {"sequences_are_gapless"}
