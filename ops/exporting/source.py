"""Exports read: one picture of the database, streamed, however large it is."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

import psycopg

import sql
from ops.database import CONNECT_TIMEOUT_S, OWNER
from ops.errors import OpsError

What = Literal["trades", "orders", "ledger", "events", "book"]
WHATS: tuple[What, ...] = get_args(What)

HOUSE = 0
# Bytes of CSV that are handed on together.
BLOCK_LENGTH = 256 * 1024


class Book(NamedTuple):
    """The part of one book to export: rows numbered `after` < number <= `upto`."""

    instrument_id: int
    instrument: str
    after: int
    upto: int


class Source:
    """A transaction that reads. Every method raises psycopg.Error or OpsError."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def books(
        self, what: What, instrument: str | None, begins: datetime | None, ends: datetime | None
    ) -> list[Book]:
        """Return what to read, book by book."""
        values = {"instrument": instrument, "begins": begins, "ends": ends}
        rows = self._connection.execute(_query("books"), values).fetchall()
        if instrument and not rows:
            raise OpsError(f"There is no instrument {instrument}")
        orders = what == "orders"
        books = [Book(row[0], row[1], *(row[4:6] if orders else row[2:4])) for row in rows]
        if what == "ledger" and instrument is None:
            ((after, upto),) = self._connection.execute(_query("house"), values).fetchall()
            books.insert(0, Book(HOUSE, "house", after, upto))
        return books

    def csv(
        self, what: What, book: Book, *, header: bool, levels: int | None
    ) -> Generator[bytes, None, None]:
        """Yield the rows of one book as PostgreSQL writes CSV, in blocks of whole rows."""
        query = b"COPY (%b) TO STDOUT (FORMAT csv, HEADER %b)" % (
            _query(what),
            b"true" if header else b"false",
        )
        values = {**book._asdict(), "levels": levels}
        with (
            psycopg.ClientCursor(self._connection) as cursor,
            cursor.copy(query, values) as copy,
        ):
            # The driver gives a row at a time.
            rows, length = [], 0
            for row in copy:
                rows.append(row)
                length += len(row)
                if length >= BLOCK_LENGTH:
                    yield b"".join(rows)
                    rows, length = [], 0
            if rows:
                yield b"".join(rows)

    def rows(self, name: str, book: Book) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query about one book, a few thousand in memory at a time."""
        with self._connection.cursor(name="export") as cursor:
            cursor.itersize = 5_000
            cursor.execute(_query(name), book._asdict())
            yield from cursor


@contextmanager
def open_source(url: str) -> Iterator[Source]:
    """Connect and begin. Raises OpsError, also for what fails in between."""
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute(sql.query("assume_role"), {"role": OWNER})
            connection.execute(_query("stream_in_order"))
            yield Source(connection)
    except psycopg.errors.UndefinedTable as error:
        raise OpsError("The database is not migrated: run `python -m ops migrate` first") from error
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip().splitlines()[0]
        raise OpsError(f"PostgreSQL: {said}") from error


def _query(name: str) -> bytes:
    return sql.queries("export.sql")[name]
