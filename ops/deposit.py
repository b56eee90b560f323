"""Credit a client with what came from outside."""

import argparse

from ops.arguments import amount_above_zero
from ops.entries import add_entry_options, post


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("client", help="client id; a new one is added")
    parser.add_argument("asset", help="such as USD")
    parser.add_argument("amount", type=amount_above_zero, help="at most 16 decimals")
    add_entry_options(parser)


def main(args: argparse.Namespace) -> int:
    """Post it and print what the client has now."""
    return post(args, "deposit", [(args.client, args.asset, args.amount)])
