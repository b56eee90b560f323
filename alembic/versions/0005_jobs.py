"""Jobs: what is due, what ran, and with which outcome."""

from alembic import op

import sql

revision = "0005"
down_revision = "0004"

# In the order in which they can be made: a function comes after those that its body names.
SCRIPTS = (
    "tables/0005_jobs.sql",
    "functions/next_due_v1.sql",
    "functions/register_jobs_v1.sql",
    "functions/hint_due_v1.sql",
    "functions/claim_run_v1.sql",
    "functions/renew_run_v1.sql",
    "functions/finish_run_v1.sql",
    "functions/make_due_v1.sql",
    "functions/list_jobs_v1.sql",
    "functions/list_overdue_v1.sql",
    "functions/unsettled_days_v1.sql",
    "functions/list_statement_days_v1.sql",
    "functions/statements_v1.sql",
    "functions/compare_depth_v1.sql",
    "functions/read_state_v1.sql",
    "functions/list_dead_letters_v1.sql",
    "functions/redrive_dead_letter_v1.sql",
)


def upgrade() -> None:
    execute = op.get_bind().connection.driver_connection.execute
    for script in SCRIPTS:
        execute(sql.script(script))


def downgrade() -> None:
    """Drop what this made; which dead letters were sent again is forgotten."""
    execute = op.get_bind().connection.driver_connection.execute
    execute(sql.script("tables/0005_downgrade.sql"))
