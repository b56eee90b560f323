"""Engine snapshots, from which a matcher recovers.

`load_open_orders_v1` and `store_book_snapshot_v1` stay for processes of the release before.
"""

from alembic import op

import sql

revision = "0006"
down_revision = "0005"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0006_engine_snapshots.sql",
    "functions/load_orders_v1.sql",
    "functions/changed_orders_v1.sql",
    "functions/engine_parts_v1.sql",
    "functions/take_snapshot_v1.sql",
    "functions/list_engine_snapshots_v1.sql",
    "functions/load_snapshot_part_v1.sql",
    "functions/discard_snapshots_v1.sql",
    "functions/thin_snapshots_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    """Drop what this made: engine snapshots can be taken again."""
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0006_downgrade.sql"))
