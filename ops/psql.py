"""Ask the database in SQL, reading only: with the machine's psql, or the wheel's own."""

import argparse
import os
import shutil

from ops.database import database_url
from ops.embedded.installation import programs
from ops.errors import OpsError
from ops.instance import add_data_option

# What an analyst's login has (ops/analyst.py), except that this one may look at every table.
SETTINGS = {
    "default_transaction_read_only": "on",
    "search_path": "analytics,exchange",
    "timezone": "UTC",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("question", nargs="?", help="asked and answered; without it, psql opens")
    add_data_option(parser)


def main(args: argparse.Namespace) -> int:
    """Become psql, on DATABASE_URL or the running exchange."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    place = conninfo_to_dict(database_url(args))
    # Everybody on this machine may read command lines.
    password = place.pop("password", None)
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    environment["PGOPTIONS"] = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    program = _program()
    words = [program, make_conninfo("", **place), "--set=ON_ERROR_STOP=1"]
    if args.question is not None:
        words += ["--no-psqlrc", f"--command={args.question}"]
    os.execve(program, words, environment)


def _program() -> str:
    if found := shutil.which("psql"):
        return found
    try:
        # The wheel's own: we are nobody else here, so a copy for other users is not needed.
        return str(programs(18, None) / "psql")
    except OpsError as error:
        raise OpsError(
            "There is no psql here: install it (Debian, Ubuntu: apt install postgresql-client)"
        ) from error
