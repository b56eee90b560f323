"""The Kafka mirror's place in the event log."""

from alembic import op

import sql

revision = "0007"
down_revision = "0006"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0007_mirror.sql",
    "functions/begin_mirror_v1.sql",
    "functions/store_mirror_offset_v1.sql",
    "functions/end_mirror_v1.sql",
    "functions/forget_mirror_v1.sql",
    "functions/mirror_lags_v1.sql",
    "functions/mirrored_totals_v1.sql",
    "functions/read_mirror_events_v1.sql",
    "functions/read_mirror_orders_v1.sql",
    "functions/retire_range_v2.sql",
    "functions/restore_instrument_v1.sql",
    "functions/restore_batch_v1.sql",
    "functions/resume_mirror_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    """Forget the mirror's place: a later one begins at the beginning, with repeats."""
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0007_downgrade.sql"))
    execute(sql.script("functions/retire_range_v1.sql"))
