"""Private PostgreSQL and Valkey servers from wheels: nothing to install, durable all the same."""

from ops.embedded.postgres import Postgres
from ops.embedded.valkey import Valkey

__all__ = ["Postgres", "Valkey"]
