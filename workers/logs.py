"""Log lines: one format for every process."""

import logging


def configure(level: str) -> None:
    """Write log lines to standard error, from `level` up."""
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s  %(message)s",
    )
    # The drivers' own chatter helps nobody who reads ours.
    for name in ("psycopg", "psycopg.pool", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
