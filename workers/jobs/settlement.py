"""Settle the days that are over, and write their statements."""

from pathlib import Path

import sql
from workers.adapters.jobs import Connection
from workers.adapters.postgres import translated_sync
from workers.jobs.job import Context, Result
from workers.jobs.progress import Progress
from workers.jobs.statements import write_statements

ACTOR = "settlement job"


def settle(connection: Connection, progress: Progress) -> int:
    """Settle every day that is over and not settled, oldest first; return how many were.

    Each day is one transaction, which a second call finds done.
    """
    with translated_sync():
        days = [day for (day,) in connection.execute(sql.query("unsettled_days")).fetchall()]
    for done, day in enumerate(days):
        progress(done, len(days), f"settling {day}")
        with translated_sync():
            connection.execute(sql.query("settle"), {"day": day, "actor": ACTOR})
    progress(len(days), len(days), "settled")
    return len(days)


def run(context: Context) -> Result:
    """Settle, then write what statements are missing."""
    days = settle(context.connection, context.progress)
    detail = f"days settled: {days}"
    if folder := context.settings.statements_dir:
        files = write_statements(context.connection, Path(folder), context.progress)
        detail += f", statements written: {files}"
    return Result(detail)
