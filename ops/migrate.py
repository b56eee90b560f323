"""Bring the database to the current version."""

import argparse
import os
from importlib.metadata import files
from pathlib import Path

from ops.errors import OpsError
from ops.instance import Instance, add_data_option

PACKAGE = "trade-engine"
PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)


def main(args: argparse.Namespace) -> int:
    """Migrate the database of DATABASE_URL, else that of the running exchange."""
    migrate(os.environ.get("DATABASE_URL") or Instance(args.data).address_of("postgres"))
    return 0


def migrate(database_url: str) -> None:
    """Bring the database to the current version, or raise OpsError."""
    import psycopg
    import sqlalchemy.exc
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if not database_url.startswith(("postgres://", "postgresql://")):
        raise OpsError("DATABASE_URL must start with postgres:// or postgresql://")
    configuration = Config(
        toml_file=PROJECT if PROJECT.exists() else None, attributes={"database_url": database_url}
    )
    if not PROJECT.exists():
        configuration.set_main_option("script_location", str(_installed_migrations()))
    try:
        command.upgrade(configuration, "head")
    except CommandError as error:
        raise OpsError(f"The database cannot be migrated: {error}") from error
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        said = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise OpsError(f"The database cannot be migrated: {said}") from error


def _installed_migrations() -> Path:
    """Return the folder that the installed package has in place of the checkout's `alembic/`."""
    for file in files(PACKAGE) or ():
        if file.parts[-3:] == (PACKAGE, "alembic", "env.py"):
            return Path(str(file.locate())).resolve().parent
    raise OpsError("The migrations are not installed: install trade-engine anew")
