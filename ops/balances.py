"""Print what a client has."""

import argparse

from ops.database import database_url, query
from ops.instance import add_data_option
from ops.tables import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("client", help="client id, or @world, @fees, @settlement")
    add_data_option(parser)


def main(args: argparse.Namespace) -> int:
    """Print a row per asset and book."""
    rows = query(database_url(args), "get_balances", {"client_id": args.client})
    print_table(
        ("asset", "book", "posted", "balance"),
        [(asset, book or "house", posted, total) for asset, book, posted, total in rows],
        f"{args.client} has no postings yet",
    )
    return 0
