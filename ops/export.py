"""Write trades, orders, ledger, events or book to a file, streaming, in constant memory."""

import argparse
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from ops.arguments import amount_above_zero
from ops.database import database_url
from ops.errors import OpsError
from ops.exporting.files import STDOUT, whole_file
from ops.exporting.lobster import LEVELS_DEFAULT, write_lobster
from ops.exporting.parquet import write_parquet
from ops.exporting.source import WHATS, Book, Source, What, open_source
from ops.instance import add_data_option

FORMATS = ("csv", "parquet", "lobster")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    parser.add_argument("what", choices=WHATS, help="what to export")
    parser.add_argument("instrument", nargs="?", metavar="INSTRUMENT", help="only this one")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument(
        "--from", dest="begins", type=_time, metavar="TIME", help="from this time on (UTC)"
    )
    parser.add_argument(
        "--to", dest="ends", type=_time, metavar="TIME",
        help="up to but not including this time (UTC); of `book`, its moment",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=STDOUT, metavar="FILE", help="- is standard output"
    )
    parser.add_argument(
        "--levels", type=_count, metavar="N",
        help=f"levels of each side: of book all unless given, of lobster {LEVELS_DEFAULT}",
    )  # fmt: skip
    parser.add_argument(
        "--size-unit", type=amount_above_zero, default=Decimal(1), metavar="AMOUNT",
        help="what a size of 1 stands for in a LOBSTER file",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Export from DATABASE_URL or the running exchange."""
    what: What = args.what
    _check(args)
    try:
        with open_source(database_url(args)) as source:
            books = source.books(what, args.instrument, args.begins, args.ends)
            with _progress(what, books) as tick:
                if args.format == "lobster":
                    _lobster(source, books[0], args, tick)
                else:
                    blocks = _blocks(source, what, books, args.levels, tick)
                    # Closed whatever happens: an open COPY would hold the connection for ever.
                    with whole_file(args.output) as file, closing(blocks):
                        if args.format == "parquet":
                            write_parquet(what, blocks, file)
                        else:
                            file.writelines(blocks)
    except BrokenPipeError:
        # The reader has seen enough. Python would complain again when it flushes at its end.
        sys.stdout = None
        return 1
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.begins and args.ends and args.begins > args.ends:
        raise OpsError("--from is after --to")
    if args.what == "book" and args.begins:
        raise OpsError("A book is that of one moment: give --to, not --from")
    if args.format == "lobster" and (args.what != "events" or not args.instrument):
        raise OpsError("LOBSTER holds the events of one instrument: export events INSTRUMENT")
    if args.format == "parquet" and args.output == STDOUT and sys.stdout.isatty():
        raise OpsError("Parquet is not for a terminal: name a file with --output")


def _blocks(
    source: Source, what: What, books: list[Book], levels: int | None, tick: Callable[[int], None]
) -> Generator[bytes, None, None]:
    for number, book in enumerate(books):
        with closing(source.csv(what, book, header=number == 0, levels=levels)) as rows:
            for block in rows:
                yield block
                tick(block.count(b"\n"))


def _lobster(
    source: Source, book: Book, args: argparse.Namespace, tick: Callable[[int], None]
) -> None:
    with ExitStack() as files:
        books = None
        if args.output != STDOUT:
            path: Path = args.output
            books = files.enter_context(
                whole_file(path.with_name(f"{path.stem}-orderbook{path.suffix}"))
            )
        write_lobster(
            source,
            book,
            files.enter_context(whole_file(args.output)),
            books,
            levels=args.levels or LEVELS_DEFAULT,
            size_unit=args.size_unit,
            tick=tick,
        )


@contextmanager
def _progress(what: What, books: list[Book]) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far it is; what it gives is told of rows as they are written."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    numbered = sum(book.upto - book.after for book in books)
    # Of trades and postings only the end tells how many they are.
    total = numbered if what in ("events", "orders") else None
    console = Console(stderr=True)
    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda rows: progress.advance(task, rows)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100000")
    return int(text)
