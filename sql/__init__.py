"""The database's text: tables, functions and the queries that name them."""

import re
import textwrap
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_NAME = re.compile(r"^-- :name (\w+)$", re.MULTILINE)
_EACH = re.compile(r"^ *-- :(?:each|end)\n", re.MULTILINE)

# The newest migration: a process serves only a database that has it.
HEAD = "0013"


def script(path: str) -> str:
    """Return the text of `sql/<path>`."""
    return (_FOLDER / path).read_text(encoding="utf-8")


@cache
def queries(path: str = "queries.sql") -> dict[str, bytes]:
    """Return the statements of a file of named queries, by name."""
    parts = _NAME.split(script(path))[1:]
    return {
        name: text.strip().removesuffix(";").encode()
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def query(name: str) -> bytes:
    """Return the statement called `name` in queries.sql."""
    return queries()[name]


def verify_script() -> str:
    """Return what makes `analytics.verify()` out of invariants.sql."""
    return _of_invariants("analytics/verify.sql")


def check_invariant_script() -> str:
    """Return what makes `exchange.check_invariant()` out of invariants.sql."""
    return _of_invariants("check_invariant.sql")


def _of_invariants(path: str) -> str:
    """Return a script with the lines between its marks once for each invariant."""
    head, each, tail = _EACH.split(script(path))
    invariants = queries("invariants.sql")
    checks = "".join(
        each.replace(":name", name).replace(":query", f"\n{query.decode()}\n")
        for name, query in invariants.items()
    )
    return head + checks + tail.replace(":names", textwrap.fill(", ".join(invariants), 86))
