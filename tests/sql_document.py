"""ops/docs/SQL.md, kept true: its questions are asked again, and the answers compared.

    python -m tests.sql_document      asks every question and writes the answers into the document

A block of ```sql holds one question; the block of ```text after it holds the answer, as psql prints
it. The data are those of `make_history(seed=SEED, commands=COMMANDS)`, the same each time.
"""

import re
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from tests.history import make_history

DOCUMENT = Path(__file__).parents[1] / "ops" / "docs" / "SQL.md"
SEED, COMMANDS = 2026, 1_000

BLOCK = re.compile(r"```sql\n(?P<question>.*?)```\n\n```text\n(?P<answer>.*?)```\n", re.DOTALL)


def fill(url: str) -> None:
    """Put the document's data into an empty, migrated database."""
    make_history(url, seed=SEED, commands=COMMANDS, closing=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT exchange.settle_v1('2026-01-05', 'ops')")


def answered(text: str, url: str) -> str:
    """Return the document with every answer as the database gives it now."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET default_transaction_read_only = on")

        def ask(block: re.Match[str]) -> str:
            answer = ask_as_psql(connection, block["question"])
            return f"```sql\n{block['question']}```\n\n```text\n{answer}```\n"

        return BLOCK.sub(ask, text)


def ask_as_psql(connection: psycopg.Connection[Any], question: str) -> str:
    """Return the answer to one question as psql prints it."""
    cursor = connection.execute(question)  # type: ignore[call-overload]
    assert cursor.description is not None
    rows = cursor.fetchall()
    names = [column.name for column in cursor.description]
    numeric = [
        bool(rows) and all(isinstance(row[n], Decimal | int | None) for row in rows)
        and any(row[n] is not None for row in rows)
        for n in range(len(names))
    ]  # fmt: skip
    texts = [list(map(cell, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
    lines = [
        " | ".join(f"{name:^{width}}" for name, width in zip(names, widths, strict=True)),
        "+".join("-" * (width + 2) for width in widths),
    ]
    for row in texts:
        lines.append(" | ".join(padded(row, widths, numeric)))
    counted = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    head, rule, *body = lines
    text = [f" {head}", rule, *(f" {line}" for line in body), f"({counted})"]
    return "".join(f"{line.rstrip()}\n" for line in text)


def padded(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> list[str]:
    return [
        f"{text:>{width}}" if right else f"{text:<{width}}"
        for text, width, right in zip(row, widths, numeric, strict=True)
    ]


def cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            return f"{value:f}"
        case datetime():
            return str(value).replace("+00:00", "+00")
        case _:
            return str(value)


def main() -> int:
    """Write the document anew."""
    from ops.migrate import migrate
    from tests import servers

    with servers.postgres_server() as url:
        migrate(url)
        fill(url)
        DOCUMENT.write_text(answered(DOCUMENT.read_text(), url))
    print(f"wrote {DOCUMENT.relative_to(DOCUMENT.parents[2])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
