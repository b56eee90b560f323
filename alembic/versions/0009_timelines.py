"""A restored database says so: timelines. Take-overs go past every epoch that was seen. Figures."""

from alembic import op

import sql

revision = "0009"
down_revision = "0008"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    # v1 stays: matchers of the version before call it until they are replaced.
    "functions/acquire_shard_v2.sql",
    "tables/0009_timelines.sql",
    "functions/current_timeline_v1.sql",
    "functions/begin_timeline_v1.sql",
    "functions/list_timelines_v1.sql",
    "functions/recent_clients_v1.sql",
    "functions/recent_fees_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0009_downgrade.sql"))
