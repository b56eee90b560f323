"""Correct balances by an entry whose legs are all given."""

import argparse

from ops.arguments import amount
from ops.entries import Leg, add_entry_options, post


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "legs",
        type=_leg,
        nargs="+",
        metavar="CLIENT:ASSET:AMOUNT",
        help="a leg, + received and - given, such as alice:USD:-5 @world:USD:5; "
        "the legs sum to zero per asset",
    )
    add_entry_options(parser)


def main(args: argparse.Namespace) -> int:
    """Post it and print what its clients have now."""
    return post(args, "adjustment", args.legs)


def _leg(text: str) -> Leg:
    # A client id may hold colons itself.
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a leg: write CLIENT:ASSET:AMOUNT")
    client_id, asset, number = parts
    return client_id, asset, amount(number)
