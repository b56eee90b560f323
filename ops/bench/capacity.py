"""How many machines a rate takes, from what was measured on one: the tables of CAPACITY.md.

    python -m ops.bench.capacity [--orders N] [--instruments N]

Whoever measures anew writes the figures into MEASURED, and this module's tables into that page
(`--write`). The formulas are few, and each is where it is used.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "CAPACITY.md"
MARKS = ("<!-- made by python -m ops.bench.capacity -->", "<!-- until here -->")


class Row(NamedTuple):
    """A measured scenario: orders per commit, and processor time per order in microseconds."""

    scenario: str
    batch: float
    web: float
    matcher: float
    postgres: float
    valkey: float


# From PERFORMANCE.md, "Targets": two shared cores, load included, medians of 3 runs.
MEASURED = (
    Row("http-1", 1, 430, 450, 590, 189),
    Row("instruments-3", 10, 89, 84, 134, 27),
    Row("http-64", 28, 73, 46, 79, 18),
    Row("batch", 241, 44, 26, 55, 9),
)
# What one web process spends to hear of an order that another one has sent (books and histories
# kept, nobody following), in microseconds; by `batch`, as above.
HEARING_US = ((1, 7.0), (3, 4.9), (26, 3.3), (200, 2.0))
# A commit waits for the disk at least so long, whatever is in it.
FSYNC_US = 500.0
# How busy a core may be on average: beyond this, queues grow faster than what they bring.
BUSY = 0.7
US_PER_S = 1_000_000
CORES_PER_MACHINE = 16


def at_batch(points: Sequence[tuple[float, float]], batch: float) -> float:
    """Return a cost per order at `batch` orders per commit.

    What a commit costs is a part per batch and a part per order, so the cost per order is a line
    over 1 / batch; between two measured batches it is the line between them.
    """
    if batch <= points[0][0]:
        return points[0][1]
    for (less, dear), (more, cheap) in pairwise(points):
        if batch <= more:
            share = (1 / less - 1 / batch) / (1 / less - 1 / more)
            return dear + share * (cheap - dear)
    return points[-1][1]


def costs(batch: float) -> Row:
    """Return what an order costs at `batch` orders per commit."""
    columns: list[list[tuple[float, float]]] = [
        [(row.batch, row.web) for row in MEASURED],
        [(row.batch, row.matcher) for row in MEASURED],
        [(row.batch, row.postgres) for row in MEASURED],
        [(row.batch, row.valkey) for row in MEASURED],
    ]
    return Row(f"{batch:.1f}", batch, *(at_batch(points, batch) for points in columns))


def batch_of(rate: float) -> float:
    """Return how many orders an instrument's commit holds at `rate` orders a second.

    A batch is what comes while the one before is committed: rate x (disk + PostgreSQL's time for
    it), longer by 1 / (1 - BUSY), because its server is busy with other instruments, too.
    """
    batch = 1.0
    for _ in range(200):
        takes_us = (FSYNC_US + batch * costs(batch).postgres) / (1 - BUSY)
        batch = 0.5 * batch + 0.5 * max(1.0, rate * takes_us / US_PER_S)
    return min(batch, 256.0)


class Cell(NamedTuple):
    """Instruments with a PostgreSQL, a Redis, matchers and web processes of their own; in cores."""

    instruments: int
    orders: float
    batch: float
    web: int
    matcher: int
    postgres: int
    valkey: int

    @property
    def cores(self) -> int:
        return self.web + self.matcher + self.postgres + self.valkey


def cell(instruments: int, rate: float) -> Cell | None:
    """Return what instruments of `rate` orders a second each take together; None: too many.

    A web process answers its share, and hears of everything. With w what an order costs the one
    that answers it, f what it costs each that hears of it, R orders a second in all and n web
    processes: (w - f) R / n + f R <= BUSY.
    """
    batch = batch_of(rate)
    cost = costs(batch)
    total = instruments * rate
    hearing = at_batch(HEARING_US, batch)
    left = BUSY * US_PER_S - hearing * total
    if left <= 0:
        return None

    def cores(each_us: float) -> int:
        return math.ceil(each_us * total / (BUSY * US_PER_S))

    return Cell(
        instruments,
        total,
        batch,
        math.ceil((cost.web - hearing) * total / left),
        cores(cost.matcher),
        cores(cost.postgres),
        cores(cost.valkey),
    )


def one_instrument() -> list[list[str]]:
    """Return what each part of one instrument allows, a core each, at the largest batches."""
    best = MEASURED[-1]
    parts = (
        ("commits: one at a time, in one session of PostgreSQL", best.postgres),
        ("matcher: one thread", best.matcher),
        ("Valkey: one thread, shared with other instruments", best.valkey),
        ("web: any number of processes, each", best.web),
    )
    return [[name, f"{us:.0f}", f"{US_PER_S / us:,.0f}"] for name, us in parts]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def report(orders: int, instruments: int) -> str:
    """Return all tables."""
    rate = orders / instruments
    measured = [
        [r.scenario, f"{r.batch:.0f}"]
        + [f"{us:.0f}: {US_PER_S / us:,.0f}" for us in (r.web, r.matcher, r.postgres, r.valkey)]
        for r in MEASURED
    ]
    sizes = [size for size in (10, 20, 40, 60, 80, 100, 140) if size <= instruments]
    cells = []
    for size in sizes:
        made = cell(size, rate)
        if made is None:
            cells.append([str(size), f"{size * rate:,.0f}"] + ["-"] * 7)
            continue
        count = math.ceil(instruments / size)
        cells.append(
            [
                str(size), f"{made.orders:,.0f}", f"{made.batch:.1f}", str(made.web),
                str(made.matcher), str(made.postgres), str(made.valkey), f"{count}",
                f"{math.ceil(count * made.cores / CORES_PER_MACHINE)}",
            ]
        )  # fmt: skip
    return "\n\n".join(
        [
            "**Orders a second of one core**, by process (microseconds per order: orders/s):",
            table(("scenario", "batch", "web", "matcher", "PostgreSQL", "Valkey"), measured),
            "**One instrument**, with a core for each part and batches of 240:",
            table(("part", "us per order", "orders/s"), one_instrument()),
            f"**{orders:,} orders/s over {instruments:,} instruments**, {rate:,.0f} each: cores of "
            f"a cell, cells, and machines of {CORES_PER_MACHINE} cores in all:",
            table(
                ("instruments per cell", "orders/s", "batch", "web", "matcher", "PostgreSQL",
                 "Valkey", "cells", "machines"),
                cells,
            ),
        ]
    )  # fmt: skip


def page(text: str, tables: str) -> str:
    """Return the page with these tables in place of those between the marks."""
    head, _, rest = text.partition(MARKS[0])
    _, _, tail = rest.partition(MARKS[1])
    return f"{head}{MARKS[0]}\n\n{tables}\n\n{MARKS[1]}{tail}"


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.capacity")
    parser.add_argument("--orders", type=int, default=1_000_000, help="a second (1,000,000)")
    parser.add_argument("--instruments", type=int, default=1_000)
    parser.add_argument("--write", action="store_true", help="into ops/docs/CAPACITY.md")
    args = parser.parse_args(arguments)
    tables = report(args.orders, args.instruments)
    if args.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    else:
        print(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
