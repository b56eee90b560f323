"""Two more things that the edge may know: who is a client, and what fees have earned."""

from alembic import op

import sql

revision = "0010"
down_revision = "0009"

SCRIPTS = ("functions/knows_client_v1.sql", "functions/fees_earned_v1.sql")


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0010_downgrade.sql"))
