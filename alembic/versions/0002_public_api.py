"""What the public API reads: listings, candles, ticker, positions with their cost, snapshots.

`commit_batch_v1` goes with this migration instead of after the next deploy: positions now carry
their cost, and an old matcher that went on would commit positions without it. Its commits fail,
with no effect, until it is replaced; what was not committed stays in the stream. `orders_resting`
goes because `orders_of_status` answers the same questions.
"""

from alembic import op

import sql

revision = "0002"
down_revision = "0001"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0002_position_state.sql",
    "functions/add_fill_v1.sql",
    "functions/position_fold_v1.sql",
    "tables/0002_position_costs.sql",
    "functions/commit_batch_v2.sql",
    "tables/0002_indexes.sql",
    "functions/last_order_at_v1.sql",
    "functions/list_orders_v1.sql",
    "functions/candles_v1.sql",
    "functions/ticker_v1.sql",
    "functions/get_positions_v1.sql",
    "functions/read_changes_v1.sql",
    "functions/read_changed_orders_v1.sql",
    "tables/0002_book_snapshots.sql",
    "functions/get_book_snapshot_v1.sql",
    "functions/list_book_snapshots_v1.sql",
    "functions/store_book_snapshot_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    raise NotImplementedError(
        "Going back would delete every stored snapshot and leave no function that commits: "
        "restore a backup instead."
    )
