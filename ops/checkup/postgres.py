"""PostgreSQL: is it there, does it keep what it says it keeps, is it ours."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg

import sql
from ops.checkup.finding import Finding, judge, judge_clock
from workers.settings import Settings

CONNECT_TIMEOUT_S = 5
VERSION_MIN = 150_000
# One to look for free instruments, and two per instrument; there are three at first.
MATCHER_CONNECTIONS = 7

Connection = psycopg.Connection[tuple[Any, ...]]

SETTINGS = (
    # Name, what must be there, what goes wrong else.
    ("fsync", "on", "a crash of its machine corrupts the database"),
    ("full_page_writes", "on", "a crash of its machine may corrupt pages"),
    ("synchronous_commit", "on", "commits that were acknowledged may be lost"),
)
# Stronger than `on` where there is a synchronous standby, and the same where there is none.
AS_GOOD = {"synchronous_commit": ("on", "remote_apply")}


def check_postgres(settings: Settings) -> Iterator[Finding]:
    """Check the database of DATABASE_URL and, if there is one, its replica."""
    try:
        with psycopg.connect(
            settings.database_url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
        ) as connection:
            yield from _check(connection, settings)
    except psycopg.Error as error:
        yield _unreachable("postgres", error, "DATABASE_URL")
    if not settings.database_read_url:
        return
    try:
        with psycopg.connect(
            settings.database_read_url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
        ) as connection:
            yield _head("postgres replica", connection)
    except psycopg.Error as error:
        yield _unreachable("postgres replica", error, "DATABASE_READ_URL")


def _check(connection: Connection, settings: Settings) -> Iterator[Finding]:
    queries = sql.queries("doctor.sql")
    row = connection.execute(queries["server"]).fetchone()
    assert row is not None
    version, number, replica, *durable, encoding, most, of_role, used = row
    yield judge(
        "postgres", number >= VERSION_MIN, f"version {version}", "use PostgreSQL 15 or newer"
    )
    yield judge(
        "postgres role",
        not replica,
        "a read replica" if replica else "takes writes",
        "set DATABASE_URL to the primary, and DATABASE_READ_URL to this one",
    )
    for (name, wanted, consequence), value in zip(SETTINGS, durable, strict=True):
        yield judge(
            f"postgres {name}",
            value in AS_GOOD.get(name, (wanted,)),
            value,
            f"{consequence}: ALTER SYSTEM SET {name} = {wanted}; SELECT pg_reload_conf();",
        )
    yield judge(
        "postgres encoding", encoding == "UTF8", encoding, "make the database with ENCODING 'UTF8'"
    )
    yield _connections(settings, most if of_role in (-1, None) else min(most, of_role), used)
    before_ms = time.time_ns() // 1_000_000
    (theirs_ms,) = connection.execute(queries["clock"]).fetchone() or (0,)
    yield judge_clock("postgres clock", before_ms, theirs_ms, time.time_ns() // 1_000_000 + 1)
    yield _head("postgres migrations", connection)


def _connections(settings: Settings, most: int, used: int) -> Finding:
    """Judge whether the web processes and one matcher of three instruments find room."""
    needed = settings.web_concurrency * settings.database_connections_max + MATCHER_CONNECTIONS
    return judge(
        "postgres connections",
        needed <= most and used < most,
        f"{used} of {most} in use, web and one matcher of this configuration take up to {needed}",
        "lower WEB_CONCURRENCY or EXCHANGE_DATABASE_CONNECTIONS_MAX, or raise max_connections",
        "warning",
    )


def _head(check: str, connection: Connection) -> Finding:
    remedy = "run `python -m ops migrate`"
    try:
        connection.execute(sql.query("assume_role"), {"role": "exchange_owner"})
        row = connection.execute(sql.query("migration_head")).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return Finding(check, "problem", "none was run", remedy)
    except psycopg.errors.InsufficientPrivilege as error:
        return Finding(
            check, "problem", str(error), "connect as the user who ran the migrations, or a member"
        )
    found = row[0] if row else ""
    said = f"at {found or 'none'}, the code wants {sql.HEAD}"
    if found > sql.HEAD:
        # In the middle of an upgrade this is as it should be; afterwards somebody was forgotten.
        return Finding(check, "warning", said, "replace this code by the version that migrated it")
    return judge(check, found == sql.HEAD, said, remedy)


def _unreachable(check: str, error: psycopg.Error, variable: str) -> Finding:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return Finding(check, "problem", said, f"start the server, or correct {variable}")
