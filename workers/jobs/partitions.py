"""Make the partitions of history before they are needed."""

import sql
from workers.adapters.jobs import Connection
from workers.adapters.postgres import translated_sync
from workers.jobs.job import Context, Result

# Ranges beyond the one in use: one is 5,000,000 events, hours of the heaviest trading.
AHEAD = 1


def make_partitions(connection: Connection, ahead: int = AHEAD) -> int:
    """Make what is missing, in one transaction; return how many ranges were made."""
    with translated_sync():
        return len(connection.execute(sql.query("make_partitions"), {"ahead": ahead}).fetchall())


def run(context: Context) -> Result:
    """Make what is missing."""
    return Result(f"ranges made: {make_partitions(context.connection)}")
