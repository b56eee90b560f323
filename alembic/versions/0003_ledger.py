"""The whole ledger: house accounts, fees, deposits, settlement; history in partitions.

Rows of four tables move into partitions, so trading pauses for about as long as copying them takes.
`commit_batch_v2` goes with this migration instead of after the next deploy: it would neither take
fees nor find room at the end of a partition. An old matcher's commits fail, with no effect, until
it is replaced; what was not committed stays in the stream.
"""

from alembic import op

import sql

revision = "0003"
down_revision = "0002"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0003_segments.sql",
    "tables/0003_partitions.sql",
    "tables/0003_house.sql",
    "functions/check_postings_v1.sql",
    "functions/check_entries_v1.sql",
    "functions/guard_table_v1.sql",
    "functions/make_ranges_v1.sql",
    "functions/make_partitions_v1.sql",
    "functions/add_instrument_v2.sql",
    "functions/commit_batch_v3.sql",
    "functions/post_entry_v1.sql",
    "functions/settle_v1.sql",
    "functions/get_balances_v1.sql",
    "functions/list_fees_v1.sql",
    "functions/set_fees_v1.sql",
    "functions/list_segments_v1.sql",
    "functions/add_segment_v1.sql",
    "functions/assign_segment_v1.sql",
    "functions/trade_bounds_v1.sql",
    "functions/get_order_trades_v2.sql",
    "functions/get_trades_v2.sql",
    "functions/ticker_v2.sql",
    "functions/candles_v2.sql",
    "functions/range_end_v1.sql",
    "functions/list_partitions_v1.sql",
    "functions/retire_range_v1.sql",
    "functions/detach_statements_v1.sql",
    "tables/0003_rows.sql",
    "tables/0003_triggers.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


# What the way back makes again, after tables/0003_back.sql.
OLD_SCRIPTS = (
    "functions/check_balanced_v1.sql",
    "tables/0001_triggers.sql",
    "functions/add_instrument_v1.sql",
    "functions/commit_batch_v2.sql",
)


def downgrade() -> None:
    """Go back where nothing is lost by it; else the database says what would be."""
    execute = op.get_bind().connection.driver_connection.execute
    for script in ("tables/0003_back.sql", *OLD_SCRIPTS):
        execute(sql.script(script))
