"""List or add segments of clients, or put clients into one."""

import argparse

from ops.database import database_url, query
from ops.instance import add_data_option
from ops.tables import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the segments")
    add = actions.add_parser("add", help="add a segment")
    add.add_argument("segment", help="its name: small letters, digits, - and _")
    add.add_argument("--description", default="", help="what it is for")
    assign = actions.add_parser("assign", help="put clients into a segment")
    assign.add_argument("segment", help="its name")
    assign.add_argument("clients", nargs="+", metavar="CLIENT", help="client id")


def main(args: argparse.Namespace) -> int:
    """Do it, and print the segments after it."""
    url = database_url(args)
    if args.action == "add":
        query(url, "add_segment", {"segment": args.segment, "description": args.description})
    elif args.action == "assign":
        values = {"segment": args.segment, "client_ids": args.clients}
        ((moved,),) = query(url, "assign_segment", values)
        print(f"{moved} of {len(set(args.clients))} clients moved into {args.segment}")
    print_table(("segment", "clients", "description"), query(url, "list_segments"))
    return 0
