"""TEMPORARY STAND-IN for the ledger's migration 0003: its columns and tables, empty, whole.

Drop this file and sql/tables/0003_stand_in.sql when the real one is merged.
"""

from alembic import op

import sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.get_bind().connection.driver_connection.execute(sql.script("tables/0003_stand_in.sql"))


def downgrade() -> None:
    raise NotImplementedError("a stand-in")
