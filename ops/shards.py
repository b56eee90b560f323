"""Print who matches each instrument, and how far it has come."""

import argparse
import asyncio
import os
from collections.abc import Sequence

from ops.database import database_url, query
from ops.errors import OpsError
from ops.instance import Instance, add_data_option
from ops.tables import print_table
from workers.adapters.errors import AdapterError
from workers.adapters.streams import StreamLags

NOBODY = "nobody"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)


def main(args: argparse.Namespace) -> int:
    """Print the instruments and the live matchers; exit code 1 when nobody matches one of them."""
    url = database_url(args)
    redis_url = os.environ.get("REDIS_URL") or Instance(args.data).address_of("redis")
    shards = query(url, "list_shards")
    lags = asyncio.run(_lags(redis_url, [shard[0] for shard in shards]))
    print_table(
        ("instrument", "matcher", "epoch", "lease left", "stream lag", "sequence", "position"),
        [
            (
                instrument,
                owner if left is not None and left > 0 else NOBODY,
                epoch,
                f"{left / 1000:.1f} s" if left is not None and left > 0 else "",
                lags.get(instrument, 0),
                sequence,
                position,
            )
            for instrument, owner, epoch, left, position, sequence in shards
        ],
    )
    print()
    print_table(
        ("matcher", "instruments", "alive for"),
        [
            (owner, held, f"{left / 1000:.1f} s")
            for owner, held, left in query(url, "list_matchers")
        ],
        "No matcher runs: start one with `python -m workers.matching` (see the Procfile).",
    )
    return int(any(left is None or left <= 0 for _, _, _, left, _, _ in shards))


async def _lags(url: str, instruments: Sequence[str]) -> dict[str, int]:
    lags = StreamLags(url)
    try:
        states = await lags.read(instruments)
        return {name: state.lag for name, state in states.items()}
    except AdapterError as error:
        raise OpsError(str(error)) from error
    finally:
        await lags.close()
