"""List, add or change what is traded."""

import argparse
from decimal import Decimal

from ops.arguments import amount_above_zero
from ops.database import database_url, query
from ops.errors import OpsError
from ops.instance import add_data_option
from ops.tables import print_table

# The finest there is.
SIZE_DEFAULT = Decimal("0.00000001")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the instruments")
    add = actions.add_parser("add", help="add an instrument")
    change = actions.add_parser("set", help="change the sizes of an instrument")
    for action, default in ((add, SIZE_DEFAULT), (change, None)):
        action.add_argument("instrument", metavar="BASE-QUOTE", help="such as DOGE-USD")
        action.add_argument("--tick", type=amount_above_zero, default=default, help="price step")
        action.add_argument("--lot", type=amount_above_zero, default=default, help="quantity step")


def main(args: argparse.Namespace) -> int:
    """Do it, and print the instruments after it."""
    url = database_url(args)
    sizes = {"tick_size": vars(args).get("tick"), "lot_size": vars(args).get("lot")}
    if args.action == "add":
        base, _, quote = args.instrument.partition("-")
        names = {"instrument": args.instrument, "base": base, "quote": quote}
        query(url, "add_instrument", names | sizes)
    elif args.action == "set":
        if not any(sizes.values()):
            raise OpsError("Say what to change: --tick, --lot, or both")
        query(url, "set_instrument_sizes", {"instrument": args.instrument, **sizes})
    print_table(
        ("instrument", "base", "quote", "tick size", "lot size", "status"),
        [row[1:7] for row in query(url, "list_instruments")],
    )
    return 0
