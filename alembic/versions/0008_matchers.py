"""Matchers know of each other, and share the instruments evenly."""

from alembic import op

import sql

revision = "0008"
down_revision = "0007"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0008_matchers.sql",
    "functions/report_matcher_v1.sql",
    "functions/retire_matcher_v1.sql",
    # v1 stays: matchers of the version before call it until they are replaced.
    "functions/release_lease_v2.sql",
    "functions/list_shards_v1.sql",
    "functions/list_matchers_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0008_downgrade.sql"))
