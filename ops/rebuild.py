"""Restore a database from the Kafka mirror's topics: disaster recovery.

Into a migrated database that has no events, or one from a backup, which gets what came after it:
orders, trades and the event log as they were, and what follows from them (ledger entries, postings,
balances, positions) by the rules of a commit. What moved balances without a trade (deposits,
withdrawals, adjustments, settlements), fees to come and clients' segments are not in the topics:
they come from a backup, or are made anew.

Of a command that was not mirrored to its end, what the topics hold is left out.
"""

import argparse
import json
import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import orjson
import psycopg

import sql
from ops.database import CONNECT_TIMEOUT_S, OWNER, database_url
from ops.errors import OpsError
from ops.instance import add_data_option
from ops.mirror import kafka_settings
from ops.tables import print_table
from ops.topics import Part, Record, records, survey
from ops.verify import broken_invariants
from workers.adapters.errors import AdapterError
from workers.adapters.mirror import SyncConnection
from workers.adapters.postgres import translated_sync
from workers.jobs.mirror_messages import EVENTS, ORDERS, TOPICS, TRADES, UPDATES
from workers.settings import KafkaSettings

# Events per transaction.
BATCH_LENGTH = 5_000
# Nobody matches what is being restored. Long, because it is renewed with each batch only.
LEASE_MS = 120_000
COMPARE_LENGTH = 5_000
ADVICE = (
    "Something was left out: the topics hold a command that was not mirrored to its end. Readers\n"
    "may have seen it; what comes under its numbers has a later timeline, which tells them."
)
REASON = "rebuilt from Kafka"
REPORT = (
    "instrument", "sequence", "orders", "trades", "resting", "repeats", "left out", "book",
)  # fmt: skip

Book = dict[int, tuple[str, Decimal, Decimal]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    parser.add_argument(
        "--from-kafka", action="store_true", required=True,
        help="from the topics at KAFKA_BROKERS, into DATABASE_URL",
    )  # fmt: skip
    parser.add_argument(
        "--compare", metavar="URL",
        help="a database that should then hold the same: report whether it does",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Restore every instrument; exit code 1 when what was restored does not hold."""
    settings = kafka_settings()
    found = {topic: survey(settings, topic) for topic in TOPICS}
    wrong = False
    try:
        with psycopg.connect(
            database_url(args), connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
        ) as connection:
            connection.execute(sql.query("assume_role"), {"role": OWNER})
            restored = 0
            rows = []
            for instrument in sorted(found[EVENTS]):
                parts = {
                    topic: found[topic][instrument]
                    for topic in TOPICS
                    if instrument in found[topic]
                }
                restoration = Restoration(connection, settings, instrument, parts)
                rows.append(restoration.run())
                restored += restoration.restored
            if restored:
                connection.execute(sql.query("begin_timeline"), {"reason": REASON})
            print_table(REPORT, rows, "The topics are empty.")
            wrong |= any(row[-1] != "ok" for row in rows)
            if any(row[-2] for row in rows):
                print(ADVICE)
            for name, details in broken_invariants(connection).items():
                print(f"violated {name}: {len(details)} rows, first {details[:3]}")
                wrong = True
            if args.compare:
                wrong |= not compare(connection, args.compare)
    except AdapterError as error:
        raise OpsError(str(error)) from error
    except psycopg.Error as error:
        raise OpsError(f"PostgreSQL: {error}") from error
    return int(wrong)


class Step(NamedTuple):
    """One event, and all that the topics hold of it: values as JSON."""

    sequence: int
    event: bytes
    trade: bytes | None
    orders: list[bytes]
    update: bytes


class Restoration:
    """One instrument on its way back into a database."""

    def __init__(
        self,
        connection: SyncConnection,
        settings: KafkaSettings,
        instrument: str,
        parts: dict[str, Part],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._instrument = instrument
        self._parts = parts
        self._instrument_id = self._epoch = self._sequence = 0
        # How many events were not here before.
        self.restored = 0
        self._book: Book = {}

    def run(self) -> tuple[Any, ...]:
        """Restore it; return its row of the report."""
        try:
            return self._run()
        finally:
            if self._epoch:
                self._rows("release_lease", instrument_id=self._instrument_id, epoch=self._epoch)

    def _run(self) -> tuple[Any, ...]:
        stream = self._steps()
        first = next(stream, None)
        if first is None:
            return (self._instrument, *(0,) * 6, "nothing is whole")
        self._take(exact(first.event))
        if first.sequence > self._sequence + 1:
            raise OpsError(
                f"{self._instrument} is mirrored from sequence {first.sequence} on, and the "
                f"database has it up to {self._sequence}: restore a backup that has the rest"
            )
        # Of a backup: what rested where the topics will go on.
        self._book = self._stored_book()
        batch: list[Step] = []
        length = 0
        for step in chain([first], stream):
            event = exact(step.event)
            if step.sequence <= self._sequence:
                if step.sequence == self._sequence:
                    self._check_same(event)
                continue
            batch.append(step)
            if event["last_of_command"]:
                length = len(batch)
                if length >= BATCH_LENGTH:
                    self._store(batch)
                    batch, length = [], 0
        self._store(batch[:length])
        return self._report()

    def _steps(self) -> Iterator[Step]:
        """Yield the events of which every topic has all."""

        def read(topic: str) -> Iterator[Record]:
            part = self._parts.get(topic)
            if part is not None:
                yield from records(self._settings, topic, self._instrument, part)

        trades, orders, updates = read(TRADES), read(ORDERS), read(UPDATES)
        for record in read(EVENTS):
            trade = None
            changed = 1
            if b'"kind":"trade"' in record.value:
                trade = next(trades, None)
                changed = 2
            found = [next(orders, None) for _ in range(changed)]
            update = next(updates, None)
            if update is None or None in found or (trade is None and changed == 2):
                return
            others = [one for one in (trade, update, *found) if one is not None]
            if any(one.timeline != record.timeline for one in others):
                return  # one that began, and not everywhere yet
            if any(one.sequence != record.sequence for one in others):
                raise OpsError(
                    f"the topics do not agree on sequence {record.sequence} of {self._instrument}"
                )
            yield Step(
                record.sequence,
                record.value,
                trade and trade.value,
                [one.value for one in found if one is not None],
                update.value,
            )

    def _take(self, event: dict[str, Any]) -> None:
        ((self._instrument_id, self._epoch, self._sequence),) = self._rows(
            "restore_instrument",
            instrument=self._instrument,
            base=event["base_asset"],
            quote=event["quote_asset"],
            tick_size=event["tick_size"],
            lot_size=event["lot_size"],
            owner=f"rebuild-{uuid.uuid4().hex}",
            lease_ms=LEASE_MS,
        )

    def _check_same(self, event: dict[str, Any]) -> None:
        """Raise OpsError when the database's last event is not the one that was mirrored."""
        sequence = event["sequence"]
        stored, *_ = self._rows(
            "read_mirror_events", instrument_id=self._instrument_id, after=sequence - 1, limit=1
        )
        _, kind, order_no, _, _, _, quantity_lots, time_us, *_ = stored
        mirrored = (
            event["kind"],
            event.get("order_no", event.get("taker_order_no")),
            event["quantity"] * 10**8,
            event["time_us"],
        )
        if (kind, order_no, quantity_lots, time_us) != mirrored:
            raise OpsError(
                f"{self._instrument} has another history here: sequence {sequence} is not the "
                "event that was mirrored"
            )

    def _store(self, steps: list[Step]) -> None:
        if not steps:
            return
        # Each order as it stands at the end.
        orders: dict[int, bytes] = {}
        for step in steps:
            for value in step.orders:
                orders[orjson.loads(value)["order_no"]] = value
            self._change_book(exact(step.update)["changes"])
        self._rows(
            "restore_batch",
            instrument_id=self._instrument_id,
            epoch=self._epoch,
            lease_ms=LEASE_MS,
            events=_array(step.event for step in steps if step.trade is None),
            trades=_array(step.trade for step in steps if step.trade is not None),
            orders=_array(orders.values()),
        )
        self._sequence = steps[-1].sequence
        self.restored += len(steps)

    def _change_book(self, changes: list[dict[str, Any]]) -> None:
        for change in changes:
            if change["remaining_quantity"]:
                self._book[change["order_no"]] = (
                    change["side"],
                    Decimal(change["price"]),
                    Decimal(change["remaining_quantity"]),
                )
            else:
                self._book.pop(change["order_no"], None)

    def _stored_book(self) -> Book:
        rows = self._rows("restored_book", instrument_id=self._instrument_id)
        return {order_no: (side, price, remaining) for order_no, side, price, remaining in rows}

    def _report(self) -> tuple[Any, ...]:
        stored = self._stored_book()
        ((order_no, trade_no),) = self._rows("restored_counts", instrument_id=self._instrument_id)
        restored = {
            EVENTS: self._sequence,
            UPDATES: self._sequence,
            TRADES: trade_no,
            ORDERS: self._sequence + trade_no,
        }
        left_out = sum(max(0, part.last - restored[topic]) for topic, part in self._parts.items())
        # What is not here the mirror writes again, on a later timeline.
        first = {topic: part.first - 1 for topic, part in self._parts.items()}
        self._rows(
            "resume_mirror",
            instrument_id=self._instrument_id,
            epoch=self._epoch,
            from_sequence=first[EVENTS],
            from_trade_no=first.get(TRADES, 0),
        )
        return (
            self._instrument,
            self._sequence,
            order_no,
            trade_no,
            len(stored),
            sum(part.repeats for part in self._parts.values()),
            left_out,
            "ok" if stored == self._book else "not that of the updates",
        )

    def _rows(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        with translated_sync():
            return self._connection.execute(sql.query(name), values).fetchall()


def compare(connection: SyncConnection, url: str) -> bool:
    """Print whether another database holds the same; return whether it does."""
    same = True
    with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = []
        for name, query in sql.queries("compare.sql").items():
            count = differences = 0
            first = ""
            for ours, theirs in zip_longest(_all(connection, query), _all(other, query)):
                count += 1
                if ours != theirs:
                    differences += 1
                    first = first or f"{ours} is not {theirs}"
            rows.append((name, count, differences, first))
            same &= not differences
    print_table(("compared", "rows", "different", "first difference"), rows)
    return same


def exact(value: bytes) -> dict[str, Any]:
    """Return a message's value, its numbers exact."""
    parsed: dict[str, Any] = json.loads(value, parse_float=Decimal)
    return parsed


def _all(connection: SyncConnection, query: bytes) -> Iterator[tuple[Any, ...]]:
    with connection.transaction(), connection.cursor("compared") as cursor:
        cursor.itersize = COMPARE_LENGTH
        yield from cursor.execute(query)


def _array(values: Iterable[bytes | None]) -> str:
    return "[" + ",".join(value.decode() for value in values if value is not None) + "]"
