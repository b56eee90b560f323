"""Connections to PostgreSQL, and its errors by what they mean for us."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

import sql
from workers.adapters.errors import (
    AdapterError,
    Contended,
    DataRejected,
    Fenced,
    OutcomeUnknown,
    Stale,
    TimedOut,
    Unavailable,
)

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

# A server that does not answer for this long is as good as gone: whoever waits goes to recovery.
STATEMENT_TIMEOUT_MS = 15_000
# What the public may ask for at once: nobody's question may hold a connection longer than this.
PUBLIC_STATEMENT_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5
# Who waits longer than this for a connection is better served by a clear refusal.
POOL_TIMEOUT_S = 2.0

# Our own conditions (sql/functions/), then the server's by class.
_BY_SQLSTATE: dict[str, type[AdapterError]] = {
    "EX001": Fenced,
    "EX002": Stale,
    "EX003": DataRejected,
    "EX005": DataRejected,  # an argument is unusable
    "EX006": DataRejected,  # a key was used with other terms
    "EX007": DataRejected,  # a withdrawal is not covered
    "EX008": DataRejected,  # a day cannot be settled
    "EX012": DataRejected,  # a mirror is at work
    "EX013": DataRejected,  # an instrument cannot be restored
    "40001": Contended,
    "40P01": Contended,
    # Cancelled by statement_timeout, which never strikes once a commit has begun.
    "57014": TimedOut,
}
_BY_CLASS: dict[str, type[AdapterError]] = {
    "22": DataRejected,  # data exception
    "23": DataRejected,  # constraint violation
    "54": DataRejected,  # program limit exceeded
}


async def connect(url: str, role: str) -> Connection:
    """Return a connection in autocommit that works as `role`, where that role exists.

    Raises Unavailable.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=role,
            # A cut connection must be noticed in seconds, also while we wait for an answer.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )
        await prepare(connection, role)
    except psycopg.Error as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
    return connection


async def prepare(
    connection: Connection, role: str, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
) -> None:
    """Set a fresh connection up: its role, its timeout, and commits that are on disk."""
    await connection.execute(
        "SELECT set_config('statement_timeout', %s, false),"
        " set_config('synchronous_commit', 'on', false)",
        (f"{statement_timeout_ms}ms",),
    )
    await connection.execute(sql.query("assume_role"), {"role": role})


def make_pool(url: str, role: str, length_max: int, statement_timeout_ms: int) -> Pool:
    """Return a pool of such connections, not opened yet."""

    async def configure(connection: Connection) -> None:
        await prepare(connection, role, statement_timeout_ms)

    return AsyncConnectionPool(
        url,
        kwargs={
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": role,
        },
        configure=configure,
        min_size=1,
        max_size=length_max,
        timeout=POOL_TIMEOUT_S,
        open=False,
    )


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's errors into ours, by SQLSTATE."""
    try:
        yield
    except (PoolTimeout, PoolClosed) as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
    except psycopg.Error as error:
        raise _translate(error) from error


@contextmanager
def translated_sync() -> Iterator[None]:
    """Do the same for a connection without asyncio."""
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error) from error


def _translate(error: psycopg.Error) -> AdapterError:
    state = error.sqlstate or ""
    kind = _BY_SQLSTATE.get(state) or _BY_CLASS.get(state[:2]) or OutcomeUnknown
    return kind(f"PostgreSQL: {error}")
