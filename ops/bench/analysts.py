"""How long the analysts' functions take on a long history.

    python -m ops.bench.analysts load FOLDER [--trades N]   make it: 10 million trades, 15 minutes
    python -m ops.bench.analysts time FOLDER [--cold]       ask every question of questions.sql
    python -m ops.bench.analysts plan FOLDER --library AUTO_EXPLAIN     how each is answered

FOLDER gets an embedded PostgreSQL of its own, 21 GB for 10 million trades; delete it afterwards.
Each question is asked once to warm up and then three times, of which the middle counts; with --cold
once, after a restart, with no file of the folder in memory. It prints the time until the answer and
the time on a processor (Linux), which is the same on a machine that has other things to do.
"""

import argparse
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from ops.bench.plans import summarise
from ops.embedded import Postgres
from ops.migrate import migrate

FOLDER = Path(__file__).parent
# Instrument number, share of the trades, price.
INSTRUMENTS = ((1, 0.5, 60_000), (2, 0.3, 3_000), (3, 0.2, 150))
LENGTH = "30 days"
CHUNK = 500_000
REPEATS = 3

Connection = psycopg.Connection[Any]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.analysts", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    loading = actions.add_parser("load")
    loading.add_argument("--trades", type=int, default=10_000_000)
    timing = actions.add_parser("time")
    timing.add_argument("--cold", action="store_true")
    planning = actions.add_parser("plan")
    planning.add_argument("--library", default="auto_explain", help="its name, or its file's path")
    for action in (loading, timing, planning):
        action.add_argument("folder", type=Path)
    args = parser.parse_args(arguments)
    if args.action == "load":
        args.folder.mkdir(parents=True, exist_ok=True)
        args.folder.chmod(0o711)
        with Postgres(args.folder / "data") as server:
            migrate(server.url)
            load(server.url, args.trades)
        return 0
    if args.action == "plan":
        with Postgres(args.folder / "data") as server:
            for question in questions():
                print(question)
                for line in summarise(server.url, args.library, question).lines():
                    print(f"    {line}", flush=True)
        return 0
    for question in questions():
        if args.cold:
            forget(args.folder)
            with Postgres(args.folder / "data") as server:
                report(*ask(server.url, question), question)
    if not args.cold:
        with Postgres(args.folder / "data") as server:
            for question in questions():
                ask(server.url, question)
                answers = [ask(server.url, question) for _ in range(REPEATS)]
                taken, busy, rows = zip(*answers, strict=True)
                report(statistics.median(taken), statistics.median(busy), rows[0], question)
    return 0


def load(url: str, trades: int) -> None:
    """Fill a migrated database."""
    statements = named_statements("history.sql")
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:

        def run(name: str, **values: object) -> None:
            connection.execute(statements[name], {**common, **values})

        ((begin,),) = connection.execute(
            "SELECT date_trunc('minute', now()) - %s::interval", (LENGTH,)
        ).fetchall()
        common: dict[str, object] = {"begin": begin, "length": LENGTH}
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        run("prepare")
        run("clients")
        for instrument_id, share, price in INSTRUMENTS:
            count = int(trades * share) // 20 * 20
            common |= {"instrument_id": instrument_id, "trades": count, "price": price}
            run("ranges")
            for first in range(0, count, CHUNK):
                started = time.monotonic()
                run("plan", first=first, last=min(count, first + CHUNK) - 1)
                for name in ("orders", "events", "trades", "entries", "postings", "drop_plan"):
                    run(name)
                print(f"{instrument_id}: {first:,} {time.monotonic() - started:.0f} s", flush=True)
            for name in ("shard", "balances", "positions"):
                run(name)
        run("closings")
        run("settle")
        connection.execute("VACUUM ANALYZE")


def named_statements(name: str) -> dict[str, str]:
    text = (FOLDER / name).read_text()
    parts = re.split(r"^-- :name (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def questions() -> Iterator[str]:
    for line in (FOLDER / "questions.sql").read_text().splitlines():
        if line.strip() and not line.startswith("--"):
            yield line.strip()


def ask(url: str, question: str) -> tuple[float, float, int]:
    """Ask in a fresh session; return the seconds it takes, those on a processor, and the rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")
        connection.execute("SELECT * FROM analytics.instruments()")
        pid = connection.info.backend_pid
        busy, started = processor_s(pid), time.perf_counter()
        rows = connection.execute(question.encode()).fetchall()
        return time.perf_counter() - started, processor_s(pid) - busy, len(rows)


def processor_s(pid: int) -> float:
    """Return the seconds a process has been on a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def report(taken: float, busy: float, rows: int, question: str) -> None:
    print(f"{taken * 1000:9.1f} {busy * 1000:9.1f} ms {rows:6d} rows  {question}", flush=True)


def forget(folder: Path) -> None:
    """Have the system forget what it keeps in memory of the folder's files."""
    for path in (folder / "data").rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
