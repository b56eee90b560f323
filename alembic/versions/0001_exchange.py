"""The exchange: instruments, orders, trades, ledger, events, and the matcher's functions."""

from alembic import op

import sql

revision = "0001"
down_revision = None

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0001_exchange.sql",
    "functions/refuse_change_v1.sql",
    "functions/check_balanced_v1.sql",
    "tables/0001_triggers.sql",
    "functions/to_us_v1.sql",
    "functions/from_us_v1.sql",
    "functions/acquire_shard_v1.sql",
    "functions/renew_lease_v1.sql",
    "functions/release_lease_v1.sql",
    "functions/free_shards_v1.sql",
    "functions/load_open_orders_v1.sql",
    "functions/read_events_v1.sql",
    "functions/ensure_clients_v1.sql",
    "functions/find_first_orders_v1.sql",
    "functions/commit_batch_v1.sql",
    "functions/get_orders_v1.sql",
    "functions/get_order_trades_v1.sql",
    "functions/get_trades_v1.sql",
    "functions/list_instruments_v1.sql",
    "functions/add_instrument_v1.sql",
    "functions/set_instrument_sizes_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))
    for base in ("BTC", "ETH", "SOL"):
        execute(
            "SELECT exchange.add_instrument(%s, %s, 'USD', 0.00000001, 0.00000001)",
            (f"{base}-USD", base),
        )


def downgrade() -> None:
    raise NotImplementedError(
        "There is nothing before the first migration but an empty database, and going back would "
        "delete every order: restore a backup instead."
    )
