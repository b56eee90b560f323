"""List or set what trading costs."""

import argparse

from ops.arguments import amount
from ops.database import database_url, query
from ops.instance import add_data_option
from ops.tables import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the fees that are set; all others are zero")
    change = actions.add_parser("set", help="set the fees of an instrument and a segment")
    change.add_argument("instrument", metavar="BASE-QUOTE")
    change.add_argument("--segment", default="standard", help="segment of clients")
    change.add_argument(
        "--maker", type=amount, required=True, metavar="BPS",
        help="basis points (0.01 %%) of a trade's value; negative is a rebate",
    )  # fmt: skip
    change.add_argument(
        "--taker", type=amount, required=True, metavar="BPS", help="the same for takers"
    )


def main(args: argparse.Namespace) -> int:
    """Do it, and print the fees after it."""
    url = database_url(args)
    if args.action == "set":
        query(
            url,
            "set_fees",
            {
                "instrument": args.instrument,
                "segment": args.segment,
                "maker_bps": args.maker,
                "taker_bps": args.taker,
            },
        )
    print_table(
        ("instrument", "segment", "maker bps", "taker bps"),
        query(url, "list_fees"),
        "No fees are set: trading costs nothing",
    )
    return 0
