"""Snapshots of one instrument: take one, and let old ones go."""

import sql
from workers.adapters.jobs import Connection
from workers.adapters.postgres import translated_sync
from workers.jobs.job import Context, Result
from workers.jobs.progress import Progress

# How many rows go at once: a depth snapshot may be megabytes, and each step must be short.
THIN_ROWS_MAX = 200


def snapshot(connection: Connection, instrument: str, progress: Progress, kept: int = 3) -> str:
    """Store depth and engine state as they are committed now, unless they are stored already.

    Then delete all but `kept` engine snapshots, and thin old depth snapshots out with age
    (thin_snapshots_v1). Each step is a statement of its own and may be repeated.
    Returns what it did, in words. Raises LookupError for an unknown instrument.
    """
    progress(0, None, "taking a snapshot")
    with translated_sync():
        taken = connection.execute(
            sql.query("take_snapshot_of"), {"instrument": instrument}
        ).fetchone()
    if taken is None:
        raise LookupError(f"there is no instrument {instrument}")
    _, sequence, orders = taken
    stored = "nothing new" if orders is None else f"{orders} orders"
    detail = f"sequence {sequence}, {stored}"
    deleted = 0
    while True:
        progress(deleted, None, f"{detail}; letting old ones go")
        parameters = {"instrument": instrument, "kept": kept, "limit": THIN_ROWS_MAX}
        with translated_sync():
            ((count,),) = connection.execute(sql.query("thin_snapshots_of"), parameters).fetchall()
        deleted += count
        if count < THIN_ROWS_MAX:
            return f"{detail}; {deleted} old ones deleted"


def run(context: Context) -> Result:
    """Take a snapshot of an instrument, and let old ones go."""
    assert context.instrument is not None
    name, kept = context.instrument.instrument, context.settings.snapshots_kept
    return Result(snapshot(context.connection, name, context.progress, kept))
