"""The analysts' schema `analytics`: documented functions over exact numbers, and nothing else.

`analytics.verify()` is not here: env.py makes it anew from sql/invariants.sql whenever the database
is brought to head, so that it never says anything else than that file.
"""

from alembic import op

import sql

revision = "0004"
down_revision = "0003"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0004_types.sql",
    "tables/0004_indexes.sql",
    "functions/divide_half_even_v1.sql",
    "functions/mark_price_v1.sql",
    "functions/best_level_v1.sql",
    "functions/find_instrument_v1.sql",
    "functions/find_client_v1.sql",
    "functions/check_range_v1.sql",
    "functions/check_history_v1.sql",
    "functions/last_sequence_at_v1.sql",
    "functions/book_changes_v1.sql",
    "functions/book_at_v1.sql",
    "functions/book_depth_v1.sql",
    "functions/nearest_closing_v1.sql",
    "functions/balance_windows_v1.sql",
    "functions/settlement_windows_v1.sql",
    "functions/client_movements_v1.sql",
    "functions/book_totals_v1.sql",
    "functions/balances_at_v1.sql",
    "analytics/functions_view_v1.sql",
    "analytics/instruments_v1.sql",
    "analytics/ticker_v1.sql",
    "analytics/vwap_v1.sql",
    "analytics/candles_v1.sql",
    "analytics/trades_v1.sql",
    "analytics/volume_v1.sql",
    "analytics/maker_taker_v1.sql",
    "analytics/active_clients_v1.sql",
    "analytics/positions_v1.sql",
    "analytics/pnl_v1.sql",
    "analytics/balances_v1.sql",
    "analytics/trial_balance_v1.sql",
    "analytics/fee_revenue_v1.sql",
    "analytics/settlement_v1.sql",
    "analytics/statement_v1.sql",
    "analytics/order_lifecycle_v1.sql",
    "analytics/book_at_sequence_v1.sql",
    "analytics/book_at_v1.sql",
    "analytics/depth_history_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    """Drop what this made: functions and indexes hold no data."""
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0004_downgrade.sql"))
