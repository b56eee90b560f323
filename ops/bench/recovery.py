"""How long a matcher takes to recover a deep book, and what a snapshot costs those who trade.

    python -m ops.bench.recovery load FOLDER [--resting N] [--past N]   200,000 of a million orders
    python -m ops.bench.recovery time FOLDER [--cold]    recover without and with a snapshot
    python -m ops.bench.recovery flow FOLDER [--rate N]  orders at a fixed rate, with and without

FOLDER gets servers of its own; delete it afterwards. `time` does everything three times and prints
the middle, and the least processor time, ours and PostgreSQL's, which overlap; --cold restarts
PostgreSQL before each, with no file of the folder in memory. `flow` sends orders at a fixed rate,
whatever the answers, and prints their latency in periods without snapshots and in periods in which
they are taken one after another.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from ops.bench.analysts import forget, named_statements
from ops.bench.flow import flow
from ops.embedded import Postgres
from ops.migrate import migrate
from workers.adapters.ledger import Ledger
from workers.core.engine import MatchingEngine
from workers.core.engine_snapshot import Counters, bring_up_to_date
from workers.core.instruments import Instrument
from workers.jobs.progress import no_progress
from workers.jobs.snapshots import snapshot

INSTRUMENT = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")
CHUNK = 100_000
REPEATS = 3
# Events after the snapshot, one more than the other.
CHANGES = (0, 10_000, 40_000, 50_000, 100_000)


class Seconds(NamedTuple):
    wall: float
    ours: float
    server: float


Recovery = Callable[[Ledger, Counters], Coroutine[Any, Any, MatchingEngine]]
Connection = psycopg.Connection[Any]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.recovery", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    loading = actions.add_parser("load")
    loading.add_argument("--resting", type=int, default=200_000)
    loading.add_argument("--past", type=int, default=800_000)
    timing = actions.add_parser("time")
    timing.add_argument("--cold", action="store_true")
    flowing = actions.add_parser("flow")
    flowing.add_argument("--rate", type=int, default=200)
    flowing.add_argument("--seconds", type=int, default=15, help="of each period")
    for action in (loading, timing, flowing):
        action.add_argument("folder", type=Path)
    args = parser.parse_args(arguments)
    if args.action == "load":
        args.folder.mkdir(parents=True, exist_ok=True)
        args.folder.chmod(0o711)
        with Postgres(args.folder / "data") as server:
            migrate(server.url)
            load(server.url, args.resting, args.past)
    elif args.action == "flow":
        flow(args.folder, args.rate, args.seconds, take)
    else:
        measure(args.folder, args.cold)
    return 0


def load(url: str, resting: int, past: int) -> None:
    """Fill a migrated database."""
    orders = resting + past
    values = {"orders": orders, "every": orders // resting}
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SET synchronous_commit = off")
        for name in ("clients", "ranges"):
            run(connection, name, **values)
        for first in range(1, orders + 1, CHUNK):
            last = min(orders, first + CHUNK - 1)
            run(connection, "orders", first=first, last=last, **values)
            print(f"{last:,} orders", flush=True)
        run(connection, "shard", **values)
        connection.execute("VACUUM ANALYZE")


def measure(folder: Path, cold: bool) -> None:
    """Print how long recovery takes, without a snapshot and with one of different age."""
    server = Postgres(folder / "data").start()
    try:
        run_on(server.url, "forget")
        repeat(server, cold, "from the resting orders", without_snapshot)
        taken = [timed_take(server.url) for _ in range(REPEATS)]
        (size,) = run_on(server.url, "size")
        report(taken, f"take a snapshot, {size / 1e6:.1f} MB")
        age = 0
        for events in CHANGES:
            age += events
            if events:
                run_on(server.url, "change", events=events)
                run_on(server.url, "changed", events=events)
                run_on(server.url, "vacuum")
            repeat(server, cold, f"from the snapshot and {age:,} events", with_snapshot)
        repeat(server, cold, "from the resting orders", without_snapshot)
    finally:
        server.stop()


def repeat(server: Postgres, cold: bool, name: str, recovery: Recovery) -> None:
    times, hashes = [], set()
    for _ in range(REPEATS):
        if cold:
            server.stop()
            forget(server.data.parent)
            server.start()
        taken, engine = asyncio.run(timed(server.url, recovery))
        times.append(taken)
        hashes.add(engine.state_hash())
    (state,) = hashes
    report(times, f"{len(engine.book.orders):,} orders {name}, state {state}")


def report(times: list[Seconds], name: str) -> None:
    middle = statistics.median(taken.wall for taken in times)
    ours = min(taken.ours for taken in times)
    server = min(taken.server for taken in times)
    print(f"{middle:8.3f} s  (processor {ours:.3f} + {server:.3f} s)  {name}", flush=True)


async def timed(url: str, recovery: Recovery) -> tuple[Seconds, MatchingEngine]:
    """Return how long it takes from a connected ledger to an engine, as in recovery.py."""
    ledger = await Ledger.open(url, INSTRUMENT, 2_000)
    try:
        with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
            now = Counters(*run(connection, "standing"))
        clock = Clock(ledger._commits.info.backend_pid)
        gc.disable()
        engine = await recovery(ledger, now)
        gc.enable()
        return clock.read(), engine
    finally:
        await ledger.close()


class Clock:
    """Measures from now on, also the processor time of a backend on this machine."""

    def __init__(self, backend_pid: int) -> None:
        self._backend = psutil.Process(backend_pid)
        self._began = self._now()

    def read(self) -> Seconds:
        return Seconds(*(now - then for now, then in zip(self._now(), self._began, strict=True)))

    def _now(self) -> tuple[float, float, float]:
        used = self._backend.cpu_times()
        return time.perf_counter(), time.process_time(), used.user + used.system


async def without_snapshot(ledger: Ledger, now: Counters) -> MatchingEngine:
    return MatchingEngine(*now, await ledger.load_open_orders())


async def with_snapshot(ledger: Ledger, now: Counters) -> MatchingEngine:
    newest, *_ = await ledger.engine_snapshots()
    orders = await ledger.load_snapshot(newest)
    changes = await ledger.changes_since(newest.counters)
    return MatchingEngine(*now, bring_up_to_date(newest, orders, changes, now))


def take(url: str) -> float:
    """Do what the job does, however young the last snapshot is; return the seconds that it took."""
    return timed_take(url, "age").wall


def timed_take(url: str, first: str = "forget") -> Seconds:
    run_on(url, first)
    with psycopg.connect(url, autocommit=True) as connection:
        clock = Clock(connection.info.backend_pid)
        snapshot(connection, INSTRUMENT.instrument, no_progress)
        return clock.read()


def run_on(url: str, name: str, **values: object) -> tuple[Any, ...]:
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        return run(connection, name, **values)


def run(connection: Connection, name: str, **values: object) -> tuple[Any, ...]:
    """Run a statement of recovery.sql; return its first row, if there is one."""
    cursor = connection.execute(named_statements("recovery.sql")[name].encode(), values)
    return (cursor.fetchone() or ()) if cursor.description else ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
