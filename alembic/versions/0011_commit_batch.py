"""A commit that costs less."""

from alembic import op

import sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    # v3 stays: matchers of the version before call it until they are replaced.
    op.get_bind().connection.driver_connection.execute(sql.script("functions/commit_batch_v4.sql"))


def downgrade() -> None:
    op.get_bind().connection.driver_connection.execute(sql.script("tables/0011_downgrade.sql"))
