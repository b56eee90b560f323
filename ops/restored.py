"""Say that the database was restored from a backup, so that whoever read its history notices."""

import argparse

from ops.database import database_url, query
from ops.instance import add_data_option
from ops.tables import print_table

BEGUN = ("timeline", "instrument", "the same up to sequence", "trade_no")
LISTED = ("timeline", "began", "reason", "instrument", "sequence", "trade_no")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    parser.add_argument(
        "--reason", default="restored from a backup", help="for whoever reads the list"
    )
    parser.add_argument("--list", action="store_true", help="list the restores; change nothing")


def main(args: argparse.Namespace) -> int:
    """Begin a timeline: after a restore, before any process is started."""
    url = database_url(args)
    if args.list:
        rows = query(url, "list_timelines")
        print_table(LISTED, rows, "This database was never restored: it is on timeline 1.")
    else:
        rows = query(url, "begin_timeline", {"reason": args.reason})
        print_table(BEGUN, rows, "There is no instrument, so nobody has read anything.")
    return 0
