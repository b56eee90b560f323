"""Attempts of each role to do what it may not: only what is granted here passes."""

import psycopg
import pytest
from psycopg import sql as psycopg_sql

ROLES = ["exchange_matcher", "exchange_edge", "exchange_jobs", "exchange_analyst"]

# The functions that a role may call, all of them; and no table but one, to be read.
MAY_CALL = {
    "exchange_matcher": {
        "acquire_shard_v1", "acquire_shard_v2", "renew_lease_v1", "release_lease_v1",
        "free_shards_v1", "release_lease_v2", "report_matcher_v1",
        "report_matcher_v2", "retire_matcher_v1",
        "load_open_orders_v1", "read_events_v1", "ensure_clients_v1", "find_first_orders_v1",
        "commit_batch_v3", "commit_batch_v4", "list_instruments", "load_orders_v1",
        "load_orders_v2", "changed_orders_v1", "list_engine_snapshots_v1", "load_snapshot_part_v1",
        "discard_snapshots_v1",
    },
    "exchange_edge": {
        "get_orders_v1", "get_order_trades_v2", "get_trades_v2", "find_first_orders_v1",
        "list_instruments", "list_orders_v1", "candles_v2", "ticker_v2", "get_positions_v1",
        "read_changes_v1", "read_changed_orders_v1", "store_book_snapshot_v1",
        "list_book_snapshots_v1", "get_book_snapshot_v1",
        "list_overdue_v1", "take_snapshot_v1", "take_snapshot_v2", "mirror_lags_v1",
        "current_timeline_v1", "knows_client_v1", "fees_earned_v1",
    },
    "exchange_jobs": {
        "settle_v1", "make_partitions_v1", "list_instruments",
        "register_jobs_v1", "hint_due_v1", "claim_run_v1", "renew_run_v1", "finish_run_v1",
        "unsettled_days_v1", "list_statement_days_v1", "statements_v1",
        "check_invariant", "compare_depth_v1", "read_state_v1",
        "recent_clients_v1", "recent_fees_v1",
        "take_snapshot_v1", "take_snapshot_v2", "thin_snapshots_v1",
        "begin_mirror_v1", "store_mirror_offset_v1", "end_mirror_v1", "mirror_lags_v1",
        "mirrored_totals_v1", "current_timeline_v1",
        "read_mirror_events_v1", "read_mirror_orders_v1",
    },
    "exchange_analyst": set(),
}  # fmt: skip
MAY_READ = {("exchange_edge", "alembic_version")}

WRITES = {
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": "UPDATE {} SET {} = DEFAULT",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {}",
    "SELECT": "SELECT FROM {}",
    "LOCK": "LOCK TABLE {}",
}


@pytest.fixture
def attacker(look: psycopg.Connection, request: pytest.FixtureRequest) -> psycopg.Connection:
    # Not SET ROLE, from which a superuser comes back.
    look.execute(f"SET SESSION AUTHORIZATION {request.param}")
    return look


def tables(look: psycopg.Connection) -> list[tuple[str, str, bool]]:
    """Return every table and partition, with one of its columns, and the views."""
    return look.execute(
        "SELECT c.relname, a.attname, c.relkind = 'v' FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1"
        " WHERE c.relnamespace = 'exchange'::regnamespace AND c.relkind IN ('r', 'p', 'v')"
    ).fetchall()


@pytest.mark.parametrize("attacker", ROLES, indirect=True, ids=ROLES)
@pytest.mark.parametrize("write", WRITES)
def test_no_role_touches_a_table(
    attacker: psycopg.Connection, write: str, request: pytest.FixtureRequest
) -> None:
    role = request.node.callspec.params["attacker"]
    names = tables(attacker)
    assert len(names) > 50
    for name, column, view in names:
        if view and write != "SELECT":
            continue  # it takes no writes from anybody
        statement = psycopg_sql.SQL(WRITES[write].replace("{}", "exchange.{}", 1)).format(
            *map(psycopg_sql.Identifier, (name, column)[: WRITES[write].count("{}")])
        )
        if write == "SELECT" and (role, name) in MAY_READ:
            attacker.execute(statement)
            continue
        with pytest.raises(psycopg.errors.InsufficientPrivilege), attacker.transaction():
            attacker.execute(statement)


@pytest.mark.parametrize("attacker", ROLES, indirect=True, ids=ROLES)
def test_each_role_calls_its_functions_and_no_other(
    attacker: psycopg.Connection, request: pytest.FixtureRequest
) -> None:
    role = request.node.callspec.params["attacker"]
    functions = attacker.execute(
        "SELECT p.proname, p.oid, p.prokind = 'a', p.prorettype = 'trigger'::regtype,"
        " ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) AS t)"
        " FROM pg_proc p WHERE p.pronamespace = 'exchange'::regnamespace"
    ).fetchall()
    assert {name for functions_ in MAY_CALL.values() for name in functions_} <= {
        name for name, *_ in functions
    }
    for name, oid, aggregate, trigger, types in functions:
        may = name in MAY_CALL[role]
        (granted,) = attacker.execute(
            "SELECT has_function_privilege(%s::oid, 'EXECUTE')", (oid,)
        ).fetchone()  # type: ignore[misc]
        assert granted == may, name
        if may or aggregate or trigger:
            continue
        nulls = ", ".join(f"NULL::{type}" for type in types)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attacker.execute(f"SELECT exchange.{name}({nulls})")


OTHERS = {
    "make a table": "CREATE TABLE exchange.mine ()",
    "make a function": "CREATE FUNCTION exchange.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "make a schema": "CREATE SCHEMA mine",
    "drop a trigger": "DROP TRIGGER balanced ON exchange.postings",
    "drop a partition's trigger": "DROP TRIGGER balanced ON exchange.postings_i1_s0",
    "switch triggers off": "ALTER TABLE exchange.postings DISABLE TRIGGER ALL",
    "switch all triggers off": "SET session_replication_role = replica",
    "detach a partition": "ALTER TABLE exchange.trades_i1 DETACH PARTITION exchange.trades_i1_s0",
    "drop a partition": "DROP TABLE exchange.trades_i1_s0",
    "become the owner": "SET ROLE exchange_owner",
    "use a sequence": "SELECT nextval('exchange.clients_client_no_seq')",
}


@pytest.mark.parametrize("attacker", ROLES, indirect=True, ids=ROLES)
def test_no_role_changes_the_schema(attacker: psycopg.Connection) -> None:
    for name, statement in OTHERS.items():
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attacker.execute(statement)
        except BaseException as error:
            error.add_note(name)
            raise


def test_jobs_do_their_work(look: psycopg.Connection) -> None:
    look.execute("SET ROLE exchange_jobs")
    settle = "SELECT clients FROM exchange.settle_v1('2024-05-01', 'job')"
    assert look.execute(settle).fetchone() == (0,)
    # One ahead was made by the migration, but for the house's book.
    make = "SELECT * FROM exchange.make_partitions_v1(2)"
    assert len(look.execute(make).fetchall()) == 5
    assert look.execute(make).fetchall() == []
