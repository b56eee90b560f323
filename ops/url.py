"""Where a server of the running exchange is: psql "$(python -m ops url postgres)"."""

import argparse

from ops.instance import Instance, add_data_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "server", choices=("postgres", "redis", "http"), help="the first two with their password"
    )
    add_data_option(parser)


def main(args: argparse.Namespace) -> int:
    """Print the URL."""
    print(Instance(args.data).address_of(args.server))
    return 0
