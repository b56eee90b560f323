"""List, add or change what is traded."""

import argparse
import os
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, LiteralString

from ops.errors import OpsError
from ops.instance import Instance, add_data_option

LIST: LiteralString = (
    "SELECT instrument, base_asset, quote_asset, tick_size, lot_size, status"
    " FROM exchange.list_instruments()"
)
ADD: LiteralString = "SELECT exchange.add_instrument_v2(%s, %s, %s, %s, %s)"
SET_SIZES: LiteralString = "SELECT exchange.set_instrument_sizes(%s, %s, %s)"

# Errors that our functions raise on purpose have this class; their text is written for people.
OWN_ERRORS = "EX"
# The finest there is.
SIZE_DEFAULT = Decimal("0.00000001")
CONNECT_TIMEOUT_S = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the instruments")
    add = actions.add_parser("add", help="add an instrument")
    change = actions.add_parser("set", help="change the sizes of an instrument")
    for action, default in ((add, SIZE_DEFAULT), (change, None)):
        action.add_argument("instrument", metavar="BASE-QUOTE", help="such as DOGE-USD")
        action.add_argument("--tick", type=_size, default=default, help="price step")
        action.add_argument("--lot", type=_size, default=default, help="quantity step")


def main(args: argparse.Namespace) -> int:
    """Do it in DATABASE_URL or the running exchange, and print the instruments after it."""
    url = os.environ.get("DATABASE_URL") or Instance(args.data).address_of("postgres")
    if args.action == "add":
        base, _, quote = args.instrument.partition("-")
        _query(url, ADD, (args.instrument, base, quote, args.tick, args.lot))
    elif args.action == "set":
        if args.tick is None and args.lot is None:
            raise OpsError("Say what to change: --tick, --lot, or both")
        _query(url, SET_SIZES, (args.instrument, args.tick, args.lot))
    _print_table(_query(url, LIST))
    return 0


def _size(text: str) -> Decimal:
    try:
        size = Decimal(text)
    except InvalidOperation:
        size = Decimal(0)
    if not size.is_finite() or size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return size


def _query(url: str, statement: LiteralString, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement in its own transaction; return its rows."""
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            return connection.execute(statement, values).fetchall()
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip().splitlines()[0]
        if (error.sqlstate or "").startswith(OWN_ERRORS):
            raise OpsError(said) from error
        if isinstance(error, psycopg.errors.UndefinedFunction | psycopg.errors.InvalidSchemaName):
            raise OpsError(
                "The database is not migrated: run `python -m ops migrate` first"
            ) from error
        raise OpsError(f"PostgreSQL: {said}") from error


def _print_table(rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("instrument", "base", "quote", "tick size", "lot size", "status", box=None)
    for row in rows:
        table.add_row(*(f"{cell:f}" if isinstance(cell, Decimal) else str(cell) for cell in row))
    Console().print(table)
