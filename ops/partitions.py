"""List, make or detach the partitions of history."""

import argparse
from collections import defaultdict
from datetime import UTC, date

from ops.arguments import day
from ops.database import database_url, query, run_as_owner
from ops.instance import add_data_option
from ops.tables import bytes_text, print_table

HOUSE = "house"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the ranges of sequences that have partitions")
    make = actions.add_parser("make", help="make partitions ahead of need")
    make.add_argument("--ahead", type=int, default=1, help="ranges beyond the one in use")
    detach = actions.add_parser(
        "detach",
        help="turn the partitions of old ranges into tables of their own, to dump and drop",
    )
    detach.add_argument(
        "--before", type=day, required=True, metavar="DAY",
        help="ranges wholly older than this day (UTC) that nothing needs any more",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Do it, and print the ranges after it."""
    url = database_url(args)
    if args.action == "make":
        made = query(url, "make_partitions", {"ahead": args.ahead})
        print(f"{len(made)} ranges made")
    elif args.action == "detach":
        _detach(url, args.before)
    print_table(
        ("book", "first", "last", "state", "size", "last entry"),
        [
            (instrument or HOUSE, first, last, state, bytes_text(size), at)
            for _, instrument, first, last, state, size, at in query(url, "list_partitions")
        ],
    )
    return 0


def _detach(url: str, before: date) -> None:
    """Retire each book's oldest ranges until one has to stay; then detach what is retired."""
    books = defaultdict(list)
    for instrument_id, instrument, first, last, state, _, at in query(url, "list_partitions"):
        if instrument and state == "full" and at is not None and at.astimezone(UTC).date() < before:
            books[instrument_id, instrument].append((first, last))
    for (instrument_id, instrument), ranges in books.items():
        for first, last in ranges:
            values = {
                "instrument_id": instrument_id, "first_sequence": first, "before": before,
            }  # fmt: skip
            ((reason,),) = query(url, "retire_range", values)
            print(f"{instrument} {first} to {last}: {reason or 'retired'}")
            if reason:
                break
    # Also what an earlier call did not bring to its end.
    for (statement,) in query(url, "detach_statements"):
        run_as_owner(url, statement)
        print(statement)
