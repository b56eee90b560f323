"""Run migrations in one transaction, one process at a time."""

import os

from alembic import context
from sqlalchemy import create_engine, pool

import sql

# Any number will do, as long as it is ours: two releases at once wait for each other here.
MIGRATION_LOCK = 7_310_451_201


def database_url() -> str:
    """Return the URL given by the caller or by DATABASE_URL, in SQLAlchemy's spelling."""
    url = context.config.attributes.get("database_url") or os.environ.get("DATABASE_URL", "")
    if not url:
        raise SystemExit("DATABASE_URL is not set: set it, or use `python -m ops migrate`")
    return "postgresql+psycopg://" + url.split("://", 1)[1]


def run() -> None:
    """Migrate to head as `exchange_owner`, where that role exists."""
    engine = create_engine(database_url(), poolclass=pool.NullPool)
    with engine.begin() as connection:
        # Straight to the driver: scripts hold several statements, and per cents that are theirs.
        execute = connection.connection.driver_connection.execute
        execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        execute(sql.script("roles.sql"))
        execute(sql.query("assume_role"), {"role": "exchange_owner"})
        context.configure(connection=connection, version_table_schema="exchange")
        context.run_migrations()
        if sql.HEAD in context.get_context().get_current_heads():
            execute(sql.verify_script())
            execute(sql.check_invariant_script())
        execute(sql.script("grants.sql"))


run()
