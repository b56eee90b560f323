"""Check what is stored against itself, and what is outside against what is stored.

The invariants are asked one by one, each of one picture of the database: a whole reconciliation of
ten million trades takes minutes, in which it tells how far it is and can be stopped.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import NamedTuple

import sql
from workers.adapters.errors import AdapterError, DataRejected
from workers.adapters.jobs import Connection, list_instruments
from workers.adapters.ledger import integer_array
from workers.adapters.postgres import translated_sync
from workers.adapters.pubsub import DepthReader
from workers.core.depth import DepthLevel, DepthSnapshot
from workers.core.engine import MatchingEngine
from workers.core.instruments import Instrument
from workers.core.messages import Order, Side
from workers.jobs.job import Context, Result
from workers.jobs.mirror_check import missing_messages
from workers.jobs.progress import Progress
from workers.settings import Settings

logger = logging.getLogger(__name__)

# Offending rows that are worth a log line.
ROWS_MAX = 5


class Violation(NamedTuple):
    """What does not hold: its name, in how many rows, and the first of them."""

    name: str
    rows: int
    first: Sequence[str]


def check_invariants(
    connection: Connection, names: Sequence[str], total: int, progress: Progress
) -> list[Violation]:
    """Return the invariants among `names` that do not hold; they are the first of `total` steps."""
    violations = []
    for done, name in enumerate(names):
        progress(done, total, name)
        with translated_sync():
            rows = connection.execute(
                sql.query("check_invariant"), {"invariant": name, "limit": ROWS_MAX}
            ).fetchall()
        if rows:
            violations.append(Violation(name, rows[0][0], [detail for _, detail in rows]))
    return violations


def compare_depth(context: Context, instrument: Instrument) -> list[str]:
    """Return where the depth that the matcher keeps in Redis is not what the event log says."""
    depth = asyncio.run(_read_depth(context.settings.redis_url, instrument.instrument))
    if depth is None:
        return []  # being published anew at this moment
    values = {
        "instrument_id": instrument.instrument_id,
        "sequence": depth.sequence,
        **_columns("bid", depth.bids),
        **_columns("ask", depth.asks),
    }
    with translated_sync():
        rows = context.connection.execute(sql.query("compare_depth"), values).fetchall()
    return [
        f"{side} {price} at sequence {depth.sequence}: stored {stored}, published {published}"
        for side, price, stored, published in rows
    ]


def compare_state(context: Context, instrument: Instrument) -> list[str]:
    """Return how the state in which the matcher last stood still is not the one that is stored.

    While it trades there is nothing to compare: what is stored has gone on since.
    """
    state = asyncio.run(_read_state(context.settings.redis_url, instrument.instrument))
    if state is None:
        return []
    sequence, state_hash = state
    with translated_sync():
        ((stored, order_no, trade_no, *columns),) = context.connection.execute(
            sql.query("read_state"), {"instrument_id": instrument.instrument_id}
        ).fetchall()
    if stored != sequence:
        return []
    engine = MatchingEngine(stored, order_no, trade_no, _orders(*columns))
    if engine.state_hash() == state_hash:
        return []
    return [f"at sequence {stored}: stored {engine.state_hash()}, matched {state_hash}"]


def _orders(
    order_nos: list[int], buys: list[bool], prices: list[Decimal], remaining: list[Decimal]
) -> Iterator[Order]:
    """Yield resting orders with what a state hash looks at."""
    for order_no, buys_it, price, lots in zip(order_nos, buys, prices, remaining, strict=True):
        side: Side = "buy" if buys_it else "sell"
        yield Order(order_no, str(order_no), "", side, "limit", int(price), int(lots), "", 0)


def compare_mirror(context: Context, instruments: Sequence[Instrument]) -> list[str]:
    """Return which topics have had fewer messages than were mirrored."""
    assert context.settings.kafka is not None
    missing = missing_messages(context.connection, context.settings.kafka)
    return [f"{topic}: {count} messages are missing" for topic, count in missing.items()]


async def _read_depth(redis_url: str, instrument: str) -> DepthSnapshot | None:
    async with _reader(redis_url) as reader:
        return await reader.snapshot(instrument)


async def _read_state(redis_url: str, instrument: str) -> tuple[int, str] | None:
    async with _reader(redis_url) as reader:
        return await reader.state(instrument)


@asynccontextmanager
async def _reader(redis_url: str) -> AsyncIterator[DepthReader]:
    """Give a reader for one question."""
    reader = DepthReader(redis_url)
    try:
        yield reader
    finally:
        await reader.close()


def _columns(side: str, levels: Sequence[DepthLevel]) -> dict[str, str]:
    return {
        f"{side}_prices": integer_array([price_ticks for price_ticks, _ in levels]),
        f"{side}_quantities": integer_array([quantity_lots for _, quantity_lots in levels]),
    }


# What is compared with something outside of PostgreSQL: each returns what differs.
Check = Callable[[Context, Sequence[Instrument]], list[str]]


def each(compare: Callable[[Context, Instrument], list[str]]) -> Check:
    """Return a check of one instrument after another."""

    def check(context: Context, instruments: Sequence[Instrument]) -> list[str]:
        differing = []
        for instrument in instruments:
            try:
                problems = compare(context, instrument)
            except DataRejected as error:  # such as a sequence that was never committed
                problems = [str(error)]
            differing += [f"{instrument.instrument} {problem}" for problem in problems]
        return differing

    return check


def checks(settings: Settings) -> dict[str, Check]:
    """Return the checks that these settings ask for, by name. Adding one takes a row here."""
    found = {"published_depth": each(compare_depth), "matcher_state": each(compare_state)}
    if settings.kafka is not None:
        found["mirrored_messages"] = compare_mirror
    return found


def reconcile(
    context: Context, instruments: Sequence[Instrument], checks: dict[str, Check]
) -> tuple[list[Violation], dict[str, str]]:
    """Return what does not hold; and what could not be checked, because a server is down: why."""
    names = list(sql.queries("invariants.sql"))
    total = len(names) + len(checks)
    violations = check_invariants(context.connection, names, total, context.progress)
    unchecked: dict[str, str] = {}
    for done, (name, check) in enumerate(checks.items(), len(names)):
        context.progress(done, total, name)
        try:
            differing = check(context, instruments)
        except AdapterError as error:
            unchecked[name] = str(error)
        else:
            if differing:
                violations.append(Violation(name, len(differing), differing[:ROWS_MAX]))
    context.progress(total, total)
    return violations, unchecked


def run(context: Context) -> Result:
    """Reconcile, and tell: a metric per invariant, an error in the log per violation."""
    instruments = list_instruments(context.connection)
    asked = checks(context.settings)
    violations, unchecked = reconcile(context, instruments, asked)
    broken = {violation.name: violation for violation in violations}
    names = [*sql.queries("invariants.sql"), *asked]
    for name in names:
        if name in broken or name not in unchecked:
            rows = broken[name].rows if name in broken else 0
            context.metrics.reconciliation_violations(name).set(rows)
    context.metrics.reconciliation_last.set(time.time())
    for name, rows, first in violations:
        logger.error(
            "violated: %s, %d rows, first %s", name, rows, list(first),
            extra={"invariant": name, "rows": rows},
        )  # fmt: skip
    held = len(names) - len(broken.keys() | unchecked.keys())
    parts = [f"{held} of {len(names)} hold"]
    parts += [f"VIOLATED {name}: {rows} rows, first {first[0]}" for name, rows, first in violations]
    parts += [f"not checked: {name} ({why})" for name, why in unchecked.items()]
    return Result("; ".join(parts))
