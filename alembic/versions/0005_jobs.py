"""Jobs: what is due, what ran, and with which outcome."""

from alembic import op

import sql

revision = "0005"
down_revision = "0004"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS: tuple[str, ...] = ()


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    """Nothing to undo yet."""
