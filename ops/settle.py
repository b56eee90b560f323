"""Settle a day."""

import argparse

from ops.arguments import day
from ops.database import add_actor_option, database_url, query
from ops.instance import add_data_option
from ops.tables import text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("day", type=day, metavar="DAY", help="YYYY-MM-DD, over in UTC")
    add_data_option(parser)
    add_actor_option(parser)


def main(args: argparse.Namespace) -> int:
    """Settle it, once, and print the run."""
    values = {"day": args.day, "actor": args.actor}
    ((day, run_no, settled_at, actor, clients, repeated),) = query(
        database_url(args), "settle", values
    )
    print(
        f"{day} {'was settled before' if repeated else 'is settled'}: run {run_no},"
        f" {clients} clients' obligations discharged, {text(settled_at)}, by {actor}"
    )
    return 0
