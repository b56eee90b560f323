"""The commands' side of PostgreSQL: one named query in its own transaction, and its rows."""

import argparse
import getpass
import os
from collections.abc import Mapping
from typing import Any

import sql
from ops.errors import OpsError
from ops.instance import Instance

# Errors that our functions raise on purpose have this class; their text is written for people.
OWN_ERRORS = "EX"
CONNECT_TIMEOUT_S = 10
# Works in the name of whoever owns the tables, where that is a role of its own.
OWNER = "exchange_owner"

Row = tuple[Any, ...]


def database_url(args: argparse.Namespace) -> str:
    """Return DATABASE_URL, else where the running exchange has its database."""
    return os.environ.get("DATABASE_URL") or Instance(args.data).address_of("postgres")


def add_actor_option(parser: argparse.ArgumentParser) -> None:
    """Add `--actor`, the name that is kept with what is done."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user number without a name
        user = f"uid-{os.getuid()}"
    parser.add_argument("--actor", default=user, help="who does it")


def query(url: str, name: str, values: Mapping[str, Any] | None = None) -> list[Row]:
    """Run one named query in its own transaction; return its rows. Raises OpsError."""
    return _execute(url, sql.query(name), values or {}, autocommit=False)


def run_as_owner(url: str, statement: str) -> None:
    """Run a statement that the database has spelled, outside of a transaction. Raises OpsError."""
    _execute(url, statement.encode(), None, autocommit=True)


def _execute(
    url: str, statement: bytes, values: Mapping[str, Any] | None, autocommit: bool
) -> list[Row]:
    import psycopg

    try:
        with psycopg.connect(
            url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=autocommit
        ) as connection:
            connection.execute(sql.query("assume_role"), {"role": OWNER})
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip().splitlines()[0]
        if (error.sqlstate or "").startswith(OWN_ERRORS):
            raise OpsError(said) from error
        if isinstance(error, psycopg.errors.UndefinedFunction | psycopg.errors.InvalidSchemaName):
            raise OpsError(
                "The database is not migrated: run `python -m ops migrate` first"
            ) from error
        raise OpsError(f"PostgreSQL: {said}") from error
