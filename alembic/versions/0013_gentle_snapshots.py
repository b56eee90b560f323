"""A snapshot is taken in small pieces, and rests in between."""

from alembic import op

import sql

revision = "0013"
down_revision = "0012"

# In the order in which they can be made. take_snapshot_v1 and load_orders_v1 stay: programs of the
# version before call them until they are replaced.
SCRIPTS = (
    "tables/0013_gentle_snapshots.sql",
    "functions/load_orders_v2.sql",
    "functions/load_levels_v1.sql",
    "functions/open_book_v1.sql",
    "functions/give_way_v1.sql",
    "functions/take_snapshot_v2.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0013_downgrade.sql"))
