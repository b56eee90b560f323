"""Statements of settled days as files: <folder>/<day>/<client_id>.csv, a line per asset.

A day is complete once its SHA256SUMS is there, which is written last. Until then a run writes all
of the day's files again: from a settled day come the same bytes, so nothing is ever half old and
half new. A file appears under its name when it is whole and on disk.
"""

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import sql
from workers.adapters.jobs import Connection
from workers.adapters.postgres import translated_sync
from workers.jobs.progress import Progress

COLUMNS = (
    "client_id", "day", "asset", "opening", "traded", "fees", "deposits", "withdrawals",
    "adjustments", "settlement", "closing",
)  # fmt: skip
SUMS = "SHA256SUMS"
# Unfinished files are kept apart: a client may have any name.
PARTIAL = ".partial"
# Clients per query: some milliseconds each, and the run can be stopped in between.
PAGE_LENGTH = 50


def write_statements(connection: Connection, folder: Path, progress: Progress) -> int:
    """Write the files of every settled day that is not complete; return how many.

    Raises OSError when the folder cannot be written.
    """
    with translated_sync():
        days = connection.execute(sql.query("list_statement_days")).fetchall()
    written = 0
    for day, clients in days:
        if not (folder / f"{day}" / SUMS).exists():
            written += _write_day(connection, folder, day, clients, progress)
    return written


def _write_day(
    connection: Connection, folder: Path, day: date, clients: int, progress: Progress
) -> int:
    target, partial = folder / f"{day}", folder / PARTIAL
    target.mkdir(parents=True, exist_ok=True)
    partial.mkdir(exist_ok=True)
    sums: list[str] = []
    for client_id, rows in _statements(connection, day):
        progress(len(sums), clients, f"statements of {day}")
        name, body = f"{client_id}.csv", _csv(day, rows)
        _write(partial, target / name, body)
        sums.append(f"{sha256(body).hexdigest()}  {name}\n")
    _sync_folder(target)
    for left in partial.iterdir():  # by runs that were killed
        left.unlink(missing_ok=True)
    _write(partial, target / SUMS, "".join(sums).encode())
    _sync_folder(target)
    progress(len(sums), clients, f"statements of {day}")
    return len(sums)


def _statements(connection: Connection, day: date) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Yield each client of a day, by name, with the rows of its statement."""
    after = ""
    while True:
        with translated_sync():
            rows = connection.execute(
                sql.query("statements"), {"day": day, "after": after, "limit": PAGE_LENGTH}
            ).fetchall()
        if not rows:
            return
        for client_id, group in groupby(rows, key=itemgetter(0)):
            yield client_id, list(group)
            after = client_id


def _csv(day: date, rows: Sequence[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for client_id, asset, *amounts in rows:
        writer.writerow((client_id, day, asset, *map(_plain, amounts)))
    return text.getvalue().encode()


def _plain(amount: Decimal) -> str:
    """Return an exact amount without an exponent."""
    return f"{amount:f}"


def _write(partial: Path, target: Path, body: bytes) -> None:
    """Put a file in its place, whole and on disk."""
    with tempfile.NamedTemporaryFile(dir=partial, delete=False) as file:
        file.write(body)
        file.flush()
        # A statement is for its client to read: not only for who wrote it.
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    os.replace(file.name, target)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
