"""How PostgreSQL answered a question, in a few lines: indexes, partitions, rows and blocks.

The questions call functions, whose statements EXPLAIN does not show; the module auto_explain does.
The embedded server comes without it: give the path of one that was built for the same version.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.sql import SQL, Literal

SETTINGS = {
    "log_min_duration": "0",
    "log_analyze": "on",
    "log_buffers": "on",
    # A clock read per row would take longer than most of the questions.
    "log_timing": "off",
    "log_format": "json",
    "log_nested_statements": "on",
}
# What a partition, or its index, is a part of.
ROOTS = """
SELECT relname, pg_partition_root(oid)::regclass::oid::regclass::text
FROM pg_class WHERE relispartition
"""

# What read less than this part of all rows is only counted.
LEAST_SHARE = 100
# What is worth a word beside what was read.
STEPS = {"Aggregate", "Hash Join", "Merge Join", "Nested Loop", "Sort", "Unique", "WindowAgg"}

Node = dict[str, Any]


@dataclass
class Access:
    """One way into one table, over all the statements of a question."""

    parts: set[str] = field(default_factory=set)
    searches: int = 0
    rows: int = 0


@dataclass
class Summary:
    """What all statements of a question did together."""

    statements: int = 0
    blocks_hit: int = 0
    blocks_read: int = 0
    temporary_blocks: int = 0
    accesses: dict[str, Access] = field(default_factory=dict)
    # Nodes that gather, join or sort, with the rows that left them.
    steps: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """Give what was read, the most rows first, and then the steps."""
        temporary = f", {self.temporary_blocks:,} temporary" if self.temporary_blocks else ""
        yield (
            f"{self.statements:,} statements; blocks: {self.blocks_hit + self.blocks_read:,}, "
            f"of them {self.blocks_read:,} not in shared buffers{temporary}"
        )
        accesses = sorted(self.accesses.items(), key=lambda item: -item[1].rows)
        total = sum(access.rows for _, access in accesses)
        shown = [item for item in accesses if item[1].rows * LEAST_SHARE >= total]
        for name, access in shown:
            parts = f", {len(access.parts)} partitions" if access.parts else ""
            yield f"  {name}: {access.rows:,} rows, {access.searches:,} searches{parts}"
        if others := len(accesses) - len(shown):
            yield f"  {others} other ways, each to less than a {LEAST_SHARE}th of the rows"
        if self.steps:
            yield "  " + ", ".join(f"{name}: {rows:,}" for name, rows in self.steps.most_common())


def summarise(url: str, library: str, question: str) -> Summary:
    """Ask the question in a fresh session, as a superuser, and return what that took."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")
        roots: dict[str, str] = dict(connection.execute(ROOTS).fetchall())
        plans = explained(connection, library, question)
    # The question itself ends last, and its blocks are those of all statements within.
    whole = plans[-1]
    summary = Summary(
        statements=len(plans),
        blocks_hit=whole["Shared Hit Blocks"],
        blocks_read=whole["Shared Read Blocks"],
        temporary_blocks=whole["Temp Written Blocks"],
    )
    for plan in plans:
        for node in walk(plan):
            note(summary, node, roots)
    return summary


def explained(connection: psycopg.Connection[Any], library: str, question: str) -> list[Node]:
    """Return the plan of each statement that the question ran, in the order they ended."""
    connection.execute(SQL("LOAD {}").format(Literal(library)))
    for name, value in SETTINGS.items():
        connection.execute("SELECT set_config(%s, %s, false)", (f"auto_explain.{name}", value))
    plans: list[Node] = []

    def keep(said: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (said.message_primary or "").partition("plan:\n")
        if found:
            plans.append(json.loads(plan)["Plan"])

    connection.add_notice_handler(keep)
    connection.execute("SET client_min_messages = log")
    connection.execute(question.encode())
    return plans


def walk(node: Node) -> Iterator[Node]:
    """Give a node and all below it that were run."""
    if node["Actual Loops"]:
        yield node
        for below in node.get("Plans", ()):
            yield from walk(below)


def note(summary: Summary, node: Node, roots: dict[str, str]) -> None:
    """Add what one node did."""
    loops: int = node["Actual Loops"]
    rows = round(node["Actual Rows"] * loops)
    kind = node["Node Type"]
    if "Index Name" in node or "Relation Name" in node:
        part = node.get("Index Name") or node["Relation Name"]
        name = f"{roots.get(part, part)} ({kind})"
        access = summary.accesses.setdefault(name, Access())
        if part in roots:
            access.parts.add(part)
        access.searches += node.get("Index Searches", loops)
        removed: float = sum(
            node.get(f"Rows Removed by {why}") or 0 for why in ("Filter", "Index Recheck")
        )
        access.rows += rows + round(removed * loops)
    elif kind in STEPS:
        strategy = node.get("Strategy", "")
        on_disk = " on disk" if node.get("Sort Space Type") == "Disk" else ""
        summary.steps[f"{strategy} {kind}".strip() + on_disk] += rows
