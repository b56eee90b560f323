"""Tables for people: numbers to the right, nothing cut off."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "") -> None:
    """Print rows under their columns' names; print `empty` when there is none."""
    from rich.console import Console
    from rich.table import Table

    rows = list(rows)
    if not rows and empty:
        print(empty)
        return
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        numbers = rows and all(isinstance(row[place], int | Decimal) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(text, row))
    # Names are printed as they are: rich makes pictures of some (":o:") and styles of others.
    Console(markup=False, emoji=False, highlight=False).print(table)


def text(cell: Any) -> str:
    """Return a cell as it is read best: no exponents, times in UTC."""
    match cell:
        case None:
            return ""
        case Decimal():
            return f"{cell:f}"
        case datetime():
            return f"{cell.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case _:
            return str(cell)


def bytes_text(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
