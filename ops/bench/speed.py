"""Measure the exchange on this machine, next to what its parts allow by themselves."""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops.bench.limits import measured_limits
from ops.bench.load import Plan
from ops.bench.page import write_page
from ops.bench.target import ROOT, Target, changed, free_port, send
from ops.errors import OpsError

PACKAGES = ("sanic", "redis", "psycopg", "orjson", "uvloop", "pydantic")
# What a commit is worth.
POLICY = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "server_version")
WIDTH = 170
ECHO_READY_S = 10.0
# Between runs: what one left to do must not count for the next.
PAUSE_S = 1.0


@dataclass(frozen=True)
class Scenario:
    """A load, the exchange it is for, and what is to be reached.

    `goal` says it in words; `reached` tells from its summary, and those of all, whether it is.
    """

    name: str
    about: str
    plan: Plan
    goal: str
    reached: Callable[[dict[str, Any], dict[str, dict[str, Any]]], bool]
    matchers: int = 1


def _p(summary: dict[str, Any], percent: str) -> float:
    return float(summary["latency_ms"].get(percent, float("inf")))


def as_fast(summary: dict[str, Any], every: dict[str, dict[str, Any]], share: float) -> bool:
    """Tell whether a scenario is as fast as http-64, or a share of it; not without that one."""
    return "http-64" in every and summary["rate"] >= share * every["http-64"]["rate"]


SCENARIOS = (
    Scenario(
        "http-64", "one order a request, 64 connections", Plan(0),
        "6,000/s, p50 10 ms, p99 30 ms",
        lambda s, _: s["rate"] >= 6_000 and _p(s, "50") <= 10 and _p(s, "99") <= 30,
    ),
    Scenario(
        "http-1", "one order a request, 1 connection", Plan(0, connections=1),
        "p50 2 ms", lambda s, _: _p(s, "50") <= 2,
    ),
    Scenario(
        "http-1000", "one order a request, 1,000 connections", Plan(0, connections=1_000),
        "no error, p99 500 ms, 90 % of http-64",
        lambda s, all: as_fast(s, all, 0.9)
        and set(s["statuses"]) == {"201"}
        and _p(s, "99") <= 500,
    ),
    Scenario(
        "websocket", "8 connections, 64 orders in flight on each",
        Plan(0, kind="websocket", connections=8, in_flight=64),
        "12,000/s", lambda s, _: s["rate"] >= 12_000,
    ),
    Scenario(
        "batch", "100 orders a request, 8 connections",
        Plan(0, kind="batches", path="/orders/batch", connections=8),
        "15,000/s", lambda s, _: s["rate"] >= 15_000,
    ),
    Scenario(
        "open-2000", "2,000 orders/s at fixed times, 1,000 WebSockets follow",
        Plan(0, connections=256, rate=2_000, subscribers=1_000),
        "order p99 50 ms, feed p99 150 ms",
        lambda s, _: _p(s, "99") <= 50
        and s["feed_delay_ms"].get("99", float("inf")) <= 150
        and not s["subscribers_lost"],
    ),
    Scenario(
        "instruments-3", "like http-64, over 3 instruments and 2 matchers",
        Plan(0, instruments=("BTC-USD", "ETH-USD", "SOL-USD")),
        "as fast as http-64", lambda s, all: as_fast(s, all, 1), matchers=2,
    ),
)  # fmt: skip


@dataclass
class Report:
    """Everything that was measured, as it is written to the JSON file."""

    machine: dict[str, Any]
    policy: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, list[float]] = field(default_factory=dict)
    scenarios: dict[str, dict[str, Any]] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO",
        help=f"what to measure, of {', '.join(s.name for s in SCENARIOS)}; all when none is named",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the median counts")
    parser.add_argument("--no-limits", action="store_true", help="leave the parts out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page with plots")


def main(args: argparse.Namespace) -> int:
    """Measure, print a table, write files."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in args.scenario if name not in known]
    if unknown:
        print(f"No scenario {unknown[0]!r}: choose of {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in args.scenario] or list(SCENARIOS)
    # A file or a pipe has no width: the table shall stay whole there.
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    report = Report(machine())
    with Progress(
        TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), console=console, transient=True,
    ) as progress:  # fmt: skip
        bar = progress.add_task("", total=len(chosen) * args.repeats + 2 * (not args.no_limits))
        for matchers in sorted({scenario.matchers for scenario in chosen}):
            with Target(matchers) as target:
                report.policy |= commit_policy(target.postgres.url)
                if matchers == 1:
                    report.memory_mb = target.memory_mb()
                for scenario in chosen:
                    if scenario.matchers == matchers:
                        runs = []
                        for _ in range(args.repeats):
                            progress.update(bar, description=scenario.name)
                            runs.append(run(target, scenario, args.seconds))
                            progress.advance(bar)
                            time.sleep(PAUSE_S)
                        report.scenarios[scenario.name] = summary(scenario, runs)
        for name, made in report.scenarios.items():
            made["reached"] = known[name].reached(made, report.scenarios)
        if not args.no_limits:
            progress.update(bar, description="limits: the parts alone")
            with Target(matchers=0, webs=0) as target:
                report.limits = measured_limits(target, batch_length(report), args.seconds / 2)
            progress.advance(bar)
            progress.update(bar, description="limits: HTTP alone")
            report.limits["http"] = echo_rate(args.seconds)
            progress.advance(bar)
    show(report, console)
    if args.json:
        args.json.write_text(json.dumps(asdict(report), indent=2) + "\n")
    if args.page:
        write_page(args.page, asdict(report))
    return 0


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "processor": processor(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
        **{package: version(package) for package in PACKAGES},
    }


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit_policy(url: str) -> dict[str, str]:
    """Return the settings of PostgreSQL that decide what a commit is worth."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", (list(POLICY),)
        )
        return dict(rows.fetchall())


def run(target: Target, scenario: Scenario, seconds: float) -> dict[str, Any]:
    """Run a scenario once; return what was measured."""
    used, counts = target.seconds(), target.metrics()
    result, load_seconds = send(replace(scenario.plan, port=target.port, seconds=seconds))
    used = changed(target.seconds(), used)
    counts = changed(target.metrics(), counts)
    # All that came through, warm-up included: processor time is theirs, too.
    entries = counts.get("commit_batch_entries_sum", 0.0)
    batches = counts.get("commit_batch_entries_count", 0.0)
    used["load"] = load_seconds
    return {
        **result,
        "rate": result["statuses"].get("201", result["statuses"].get("200", 0)) / result["seconds"],
        "us_per_order": {name: value / entries * 1e6 for name, value in used.items()}
        if entries
        else {},
        "batch_length": entries / batches if batches else 0.0,
    }


def summary(scenario: Scenario, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the run with the median rate, and the spread of all."""
    ordered = sorted(runs, key=lambda made: made["rate"])
    median = ordered[len(ordered) // 2]
    return {
        **median,
        "about": scenario.about,
        "goal": scenario.goal,
        "rates": [round(made["rate"], 1) for made in runs],
        "p50s": [made["latency_ms"].get("50") for made in runs],
        "p99s": [made["latency_ms"].get("99") for made in runs],
    }


def batch_length(report: Report) -> int:
    """Return the batch size that was seen, for the parts to work with."""
    seen = [s["batch_length"] for s in report.scenarios.values() if s["batch_length"]]
    first = report.scenarios.get("http-64", {}).get("batch_length")
    return max(1, round(first or (statistics.median(seen) if seen else 32)))


@contextmanager
def echoing() -> Iterator[int]:
    """Run a server that answers every order at once."""
    port = free_port()
    code = f"from ops.bench.limits import echo, sample_answer; echo({port}, sample_answer())"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + ECHO_READY_S
        while time.monotonic() < end and not psutil.Process(process.pid).net_connections("tcp"):
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def echo_rate(seconds: float) -> float:
    """Return the requests a second that the HTTP library answers when there is nothing to do."""
    with echoing() as port:
        result, _ = send(Plan(port, seconds=seconds))
    if set(result["statuses"]) != {"201"}:
        raise OpsError(f"The echo server answered {result['statuses']}")
    return float(result["orders"] / result["seconds"])


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    facts = report.machine
    console.print(
        f"{facts['processors']} x {facts['processor']}, {facts['memory_gb']} GB, "
        f"Python {facts['python']}; the load runs on the same machine\n"
        + ", ".join(f"{name} {value}" for name, value in sorted(report.policy.items()))
    )
    table = Table(
        "scenario", "orders/s", "spread", "p50 ms", "p99 ms", "batch", "us/order: web",
        "matcher", "PostgreSQL", "Valkey", "load", "goal", "",
    )  # fmt: skip
    for name, made in report.scenarios.items():
        costs = made["us_per_order"]
        table.add_row(
            name,
            f"{made['rate']:,.0f}",
            f"{min(made['rates']):,.0f}-{max(made['rates']):,.0f}",
            f"{made['latency_ms'].get('50', 0):.1f}",
            f"{made['latency_ms'].get('99', 0):.1f}",
            f"{made['batch_length']:.0f}",
            *(
                f"{costs.get(part, 0):.0f}"
                for part in ("web", "matcher", "PostgreSQL", "Valkey", "load")
            ),
            made["goal"],
            "yes" if made["reached"] else "no",
        )
        if made["feed_delay_ms"]:
            delay = made["feed_delay_ms"]
            table.add_row("  feed", "", "", f"{delay['50']:.1f}", f"{delay['99']:.1f}")
    console.print(table)
    if report.memory_mb:
        console.print(
            "memory at rest, MB: "
            + "; ".join(f"{n} {', '.join(map(str, mb))}" for n, mb in report.memory_mb.items())
        )
    if report.limits:
        fastest = report.scenarios.get("http-64", {}).get("rate")
        limits = Table("limit: a part alone", "a second", "http-64 / limit")
        for part, rate in report.limits.items():
            share = f"{fastest / rate:.0%}" if fastest else ""
            limits.add_row(part, f"{rate:,.0f}", share)
        console.print(limits)
