"""Check what is stored against itself: the books, the ledger, the event log."""

import argparse
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

import sql
from ops.errors import OpsError
from ops.instance import Instance, add_data_option
from workers.core.engine import MatchingEngine
from workers.core.engine_snapshot import Page, decode_page
from workers.core.messages import FINAL, RESTING, Order
from workers.core.rebuild import BrokenLog, LoggedEvent, rebuild

# Rows of a violated invariant that are worth printing.
ROWS_MAX = 5
# The verdict on a book whose oldest history was detached.
BEGINS_LATER = "begins after sequence"

Connection = psycopg.Connection[tuple[Any, ...]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    add_data_option(parser)
    parser.add_argument(
        "--acks",
        type=Path,
        metavar="FILE",
        help="what `replay --acks` saw acknowledged: check that all of it is stored",
    )


def main(arguments: argparse.Namespace) -> int:
    """Print what was checked; exit code 1 when something does not hold."""
    url = os.environ.get("DATABASE_URL") or Instance(arguments.data).address_of("postgres")
    console = Console()
    try:
        with psycopg.connect(url) as connection:
            # One picture of the database, though the exchange goes on trading meanwhile.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            with console.status("Checking the ledger and the event log"):
                violations = broken_invariants(connection)
                books = list(compare_books(connection))
                lost = list(lost_acks(connection, arguments.acks)) if arguments.acks else []
    except psycopg.Error as error:
        raise OpsError(f"PostgreSQL: {error}") from error
    table = Table("instrument", "sequence", "orders", "trades", "resting", "state hash", "book")
    for row in books:
        table.add_row(*row)
    console.print(table)
    for name, rows in violations.items():
        console.print(f"[red]violated[/red] {name}: {len(rows)} rows, first {rows[:ROWS_MAX]}")
    for problem in lost[:ROWS_MAX]:
        console.print(f"[red]lost[/red] {problem}")
    if arguments.acks:
        console.print(f"{len(lost)} acknowledgements in {arguments.acks} are not what is stored")
    wrong = bool(violations or lost) or any(
        row[-1] != "ok" and not row[-1].startswith(BEGINS_LATER) for row in books
    )
    checks = len(sql.queries("invariants.sql"))
    console.print(
        f"{len(violations)} of {checks} invariants violated"
        if violations
        else f"{checks} invariants hold: " + ", ".join(sql.queries("invariants.sql"))
    )
    return int(wrong)


def broken_invariants(connection: Connection) -> dict[str, list[str]]:
    """Return the offending rows of every violated invariant, as JSON, by its name."""
    broken: dict[str, list[str]] = {}
    for name, detail in connection.execute(sql.query("verify")):
        broken.setdefault(name, []).append(detail)
    return broken


def compare_books(connection: Connection) -> Iterator[tuple[str, ...]]:
    """Yield, per instrument, its figures and whether open orders and event log agree."""
    shards = connection.execute(
        "SELECT instrument_id, instrument, s.sequence, s.order_no, s.trade_no, k.sequence"
        " FROM exchange.shard s JOIN exchange.instruments USING (instrument_id)"
        " JOIN exchange.kept_after k USING (instrument_id) ORDER BY instrument_id"
    ).fetchall()
    for instrument_id, instrument, sequence, order_no, trade_no, retired in shards:
        stored = MatchingEngine(
            sequence, order_no, trade_no, open_orders(connection, instrument_id)
        )
        if retired:
            # Its beginning is not here to rebuild from; the invariants look at the rest.
            verdict = f"{BEGINS_LATER} {retired}"
        else:
            verdict = _compare_log(connection, instrument_id, stored)
        yield (
            instrument,
            str(sequence),
            str(order_no),
            str(trade_no),
            str(len(stored.book.orders)),
            stored.state_hash(),
            verdict,
        )


def _compare_log(connection: Connection, instrument_id: int, stored: MatchingEngine) -> str:
    try:
        logged = rebuild(read_events(connection, instrument_id))
    except BrokenLog as error:
        return str(error)
    same = stored.state_hash() == logged.state_hash()
    return "ok" if same else f"the event log says {logged.state_hash()}"


def lost_acks(connection: Connection, path: Path) -> Iterator[str]:
    """Yield what an exchange acknowledged and does not hold: orders, their fills, their trades."""
    with path.open("rb") as lines:
        while batch := [json.loads(line, parse_float=Decimal) for line in islice(lines, 5_000)]:
            orders = {
                order_id: terms
                for order_id, *terms in connection.execute(
                    "SELECT order_id, order_no, side::text, type::text, price, quantity, status,"
                    " filled_quantity FROM exchange.orders WHERE order_id = ANY (%s)",
                    ([ack["order"]["order_id"] for ack in batch],),
                )
            }
            for ack in batch:
                if problem := _lost_order(ack["order"], orders.get(ack["order"]["order_id"])):
                    yield problem
            traded = [trade for ack in batch for trade in ack.get("trades", ())]
            stored = set(
                connection.execute(
                    "SELECT instrument, sequence, trade_no, price, quantity FROM exchange.trades"
                    " JOIN exchange.instruments USING (instrument_id)"
                    " WHERE sequence = ANY (%s)",
                    ([trade["sequence"] for trade in traded],),
                )
            )
            for trade in traded:
                names = ("instrument", "sequence", "trade_no", "price", "quantity")
                if tuple(trade[name] for name in names) not in stored:
                    yield f"trade {trade['trade_id']}"


def _lost_order(order: dict[str, Any], stored: list[Any] | None) -> str | None:
    if stored is None:
        return f"order {order['order_id']} is not stored"
    *terms, status, filled = stored
    if terms != [order[name] for name in ("order_no", "side", "type", "price", "quantity")]:
        return f"order {order['order_id']} has other terms: {terms}"
    final = order["status"] in FINAL
    if filled < order["filled_quantity"] or (final and status != order["status"]):
        return f"order {order['order_id']} was {order['status']} and is {status}"
    return None


def open_orders(connection: Connection, instrument_id: int) -> Iterator[Order]:
    """Yield the resting orders of an instrument as PostgreSQL holds them."""
    for status in RESTING:
        last = 0
        while rows := connection.execute(
            sql.query("load_orders"),
            {"instrument_id": instrument_id, "status": status, "after": last, "order_nos": None},
            binary=True,
        ).fetchall():
            ((count, last, numbers, texts),) = rows
            yield from decode_page(Page(status, count, numbers, texts))[0]


def read_events(connection: Connection, instrument_id: int) -> Iterator[LoggedEvent]:
    """Yield the whole event log of an instrument, a slice at a time."""
    length, after = 50_000, 0
    while True:
        rows = connection.execute(
            sql.query("read_events"),
            {"instrument_id": instrument_id, "after": after, "limit": length},
        ).fetchall()
        for row in rows:
            sequence, kind, order_no, side, type, price, quantity, trade, maker = islice(row, 9)
            yield LoggedEvent(
                sequence, kind, order_no, side, type, int(price), int(quantity), trade, maker
            )
        if len(rows) < length:
            return
        after = rows[-1][0]
