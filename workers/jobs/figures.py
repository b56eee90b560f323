"""Figures of the business that no process counts: read from the ledger, kept as metrics."""

from datetime import UTC, datetime, timedelta

import sql
from workers.adapters.postgres import translated_sync
from workers.jobs.job import Context, Result

# How far back they look. Long enough that a quiet market shows something, short enough to be cheap.
WINDOW = timedelta(hours=1)


def run(context: Context) -> Result:
    """Count clients and fees of the last hour."""
    since = {"from": datetime.now(UTC) - WINDOW}
    with translated_sync():
        ((ordering, trading),) = context.connection.execute(
            sql.query("recent_clients"), since
        ).fetchall()
        fees = context.connection.execute(sql.query("recent_fees"), since).fetchall()
    context.metrics.active_clients("ordering").set(ordering)
    context.metrics.active_clients("trading").set(trading)
    for segment, role, asset, amount in fees:
        context.metrics.fee_revenue(segment, role, asset).set(float(amount))
    return Result(f"clients: {ordering} ordering, {trading} trading")
