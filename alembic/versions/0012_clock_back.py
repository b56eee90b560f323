"""Leases that a server's clock, which went back, cannot have given are over."""

from alembic import op

import sql

revision = "0012"
down_revision = "0011"

# v1 stays: matchers of the version before call it until they are replaced.
SCRIPTS = ("functions/report_matcher_v2.sql",)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0012_downgrade.sql"))
