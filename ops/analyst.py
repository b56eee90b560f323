"""Make, list and remove the logins of analysts."""

import argparse
import re
import secrets
from typing import Any, Final

import sql
from ops.database import CONNECT_TIMEOUT_S, database_url
from ops.errors import OpsError
from ops.instance import add_data_option
from ops.tables import print_table

GROUP: Final = "exchange_analyst"
# Settings of a group do not apply to its members, so each login gets them. A session may change
# them for itself; what it may read and write is decided by rights alone.
SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "search_path": "analytics",
    "timezone": "UTC",
    # One question takes one core, however large it is: the others are for trading.
    "max_parallel_workers_per_gather": "0",
}
CONNECTIONS_MAX: Final = 20

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a login and print its password")
    drop = actions.add_parser("drop", help="remove a login")
    actions.add_parser("list", help="list the logins")
    for action in (add, drop):
        action.add_argument("name", metavar="NAME", help="a-z, 0-9 and _, such as ada")


def main(args: argparse.Namespace) -> int:
    """Do it in DATABASE_URL or the running exchange."""
    import psycopg

    try:
        with psycopg.connect(
            database_url(args), connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
        ) as connection:
            if args.action == "add":
                password = add_analyst(connection, args.name)
                info = connection.info
                place = f"{info.host}:{info.port}/{info.dbname}"
                print(f"postgresql://{args.name}:{password}@{place}")
            elif args.action == "drop":
                drop_analyst(connection, args.name)
                print(f"{args.name} is gone")
            else:
                columns = ("analyst", "connections at most", "connected now")
                print_table(columns, list_analysts(connection), "There is no analyst yet.")
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip().splitlines()[0]
        raise OpsError(f"PostgreSQL: {said}") from error
    return 0


def add_analyst(connection: Any, name: str) -> str:
    """Make the login `name` and return its password. Raises OpsError."""
    import psycopg
    from psycopg.sql import SQL, Identifier, Literal

    if not _NAME.fullmatch(name) or name.startswith(("exchange", "pg_")):
        raise OpsError(
            f"{name!r} cannot be an analyst's name: use 1 to 63 of a-z, 0-9 and _, beginning "
            "with a letter, and neither exchange... nor pg_..."
        )
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (GROUP,)).fetchone() is None:
        raise OpsError(
            f"There is no role {GROUP} here: this server does not let us make roles, or the "
            "database is not migrated (`python -m ops migrate`). Analysts then need a login that "
            "you make with the platform's own means, with USAGE on schema analytics"
        )
    password = secrets.token_urlsafe(24)
    role = Identifier(name)
    try:
        with connection.transaction():
            connection.execute(
                SQL("CREATE ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {} IN ROLE {}").format(
                    role, Literal(password), Literal(CONNECTIONS_MAX), Identifier(GROUP)
                )
            )
            for setting, value in SETTINGS.items():
                connection.execute(
                    SQL("ALTER ROLE {} SET {} = {}").format(
                        role, Identifier(setting), Literal(value)
                    )
                )
    except psycopg.errors.DuplicateObject as error:
        raise OpsError(f"A role {name} exists already; drop it first, or take another") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise OpsError(
            f"The user {connection.info.user} may not make roles here: use one that may "
            "(CREATEROLE), or make the login with the platform's own means and "
            f"GRANT {GROUP} to it"
        ) from error
    return password


def drop_analyst(connection: Any, name: str) -> None:
    """Remove the login `name` and end its sessions. Raises OpsError."""
    from psycopg.sql import SQL, Identifier

    if name not in {row[0] for row in list_analysts(connection)}:
        raise OpsError(f"{name} is not an analyst; `python -m ops analyst list` names them")
    # Nobody comes in any more before those who are in are sent away.
    connection.execute(SQL("ALTER ROLE {} NOLOGIN").format(Identifier(name)))
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,)
    )
    connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


def list_analysts(connection: Any) -> list[tuple[Any, ...]]:
    """Return name, connection limit and present sessions of each login."""
    rows: list[tuple[Any, ...]] = connection.execute(sql.query("list_analysts")).fetchall()
    return rows
