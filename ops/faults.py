"""Hurt an exchange of its own, again and again, and say what its clients noticed."""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.errors import OpsError
from ops.faulting.campaign import Campaign
from ops.faulting.cluster import Cluster
from ops.faulting.extent import BOUNDS
from ops.faulting.memory import MB
from ops.faulting.scenarios import BY_NAME, TABLE, Scenario
from ops.instance import ephemeral_folder

# Quick ones, of which a run can have many.
PLAIN = (
    "kill a matcher", "kill a matcher", "kill all matchers", "terminate a matcher",
    "matcher sleeps, wakes", "six matchers, four killed", "kill the web process", "kill Redis",
)  # fmt: skip
# Of the table, where no terminal says how wide it is.
WIDTH = 140
# After so many there is no use in going on.
PROBLEMS_MAX = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--minutes", type=float, default=5.0, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same faults")
    parser.add_argument(
        "--fault", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="list the faults and do nothing")
    parser.add_argument("--clients", type=int, default=8, help="clients at once")
    parser.add_argument("--batch", type=int, default=50, help="orders per request, at most 100")
    parser.add_argument("--matchers", type=int, default=2, help="matchers that share and stand by")
    parser.add_argument("--between", type=int, default=0, help="orders in peace after each fault")
    parser.add_argument(
        "--kills", type=int, default=0, metavar="N", help="plain kills and stops after each fault"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there, too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there and leave it")


def main(args: argparse.Namespace) -> int:
    """Run; exit code 1 when anything was lost, doubled, or did not come back."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if args.list:
        for scenario in TABLE:
            missing = scenario.missing()
            note = f" (not here: {missing})" if missing else ""
            console.print(f"{scenario.numbers:<8} {scenario.name}{note}", highlight=False)
        return 0
    unknown = [name for name in args.fault or () if name not in BY_NAME]
    if unknown:
        raise OpsError(f"No fault {unknown[0]!r}: see --list")
    if args.keep:
        args.keep.mkdir(mode=0o711, parents=True, exist_ok=True)
        return _run(args, args.keep, console)
    with ephemeral_folder() as folder:
        return _run(args, folder, console)


def _run(args: argparse.Namespace, folder: Path, console: Console) -> int:
    chosen = [BY_NAME[name] for name in args.fault] if args.fault else list(TABLE)
    for scenario in chosen:
        if missing := scenario.missing():
            console.print(f"[yellow]skipped[/yellow] {scenario.name}: {missing}", highlight=False)
    chosen = [scenario for scenario in chosen if not scenario.missing()]
    if not chosen:
        return 1
    end = time.monotonic() + 60 * args.minutes
    began = time.monotonic()

    with Cluster(folder, args.matchers) as cluster:

        def say(text: str) -> None:
            cycles = sum(cluster.done.values())
            minutes = (time.monotonic() - began) / 60
            console.print(
                f"{minutes:6.2f} min  {cycles:5} cycles  {text}", highlight=False, soft_wrap=True
            )

        campaign = Campaign(cluster, args.seed, say, args.clients, args.batch, between=args.between)
        queue = _shuffled(chosen, random.Random(args.seed), args.kills)
        while time.monotonic() < end and len(campaign.all_problems) < PROBLEMS_MAX:
            campaign.segment(queue, lambda: time.monotonic() >= end)
            figures = campaign.as_json()
            say(f"checked: {figures['orders']} orders, {figures['lost']} lost, "
                f"{figures['duplicated']} duplicated")  # fmt: skip
        figures = campaign.as_json()
        if args.json:
            args.json.write_text(json.dumps(figures, indent=2) + "\n")
        console.print(table(campaign))
        console.print(extents(campaign))
        console.print(summary(figures), highlight=False)
        for problem in campaign.all_problems:
            console.print(f"[red]problem[/red] {problem}", highlight=False, soft_wrap=True)
        return int(campaign.failed)


def _shuffled(chosen: list[Scenario], chance: random.Random, kills: int) -> Iterator[Scenario]:
    """Yield every scenario in a random order, again and again, with `kills` others after each."""
    while True:
        for scenario in chance.sample(chosen, len(chosen)):
            yield scenario
            for name in chance.choices(PLAIN, k=kills):
                yield BY_NAME[name]


def table(campaign: Campaign) -> Table:
    """Return the findings per fault."""
    table = Table(box=None, pad_edge=False)
    table.add_column("fault")
    for name in ("runs", "orders", "acked", "unknown", "resolved", "lost", "doubled",
                 "median s", "worst s", "normal s"):  # fmt: skip
        table.add_column(name, justify="right")
    for result in sorted(campaign.results.values(), key=lambda result: result.name):
        table.add_row(
            result.name,
            *map(str, (result.runs, result.orders, result.acknowledged, result.unknown,
                       result.resolved, result.lost, result.duplicated)),
            f"{result.median_s:.2f}", f"{result.worst_s:.2f}",
            f"{max(result.normals_s, default=0.0):.2f}",
        )  # fmt: skip
    return table


def extents(campaign: Campaign) -> Table:
    """Return the most that each kind of process ever had, and what it may have."""
    table = Table(box=None, pad_edge=False)
    for name in ("process", "most MB", "bound", "most descriptors", "bound"):
        table.add_column(name, justify="left" if name == "process" else "right")
    for name, most in sorted(campaign.extents.most.items()):
        bound = BOUNDS[name]
        table.add_row(
            name, f"{most.memory / MB:.0f}", f"{bound.memory / MB:.0f}",
            str(most.descriptors), str(bound.descriptors),
        )  # fmt: skip
    return table


def summary(figures: dict[str, object]) -> str:
    """Return the findings in a few lines."""
    return (
        f"{figures['cycles']} kill/stop cycles in {figures['runs']} faults; "
        f"{figures['orders']} orders ({figures['acknowledged']} acknowledged), "
        f"{figures['trades']} trades, {figures['cancels']} cancels, {figures['repeats']} repeats\n"
        f"unknown {figures['unknown']}, of these resolved {figures['resolved']}; "
        f"lost {figures['lost']}; duplicated {figures['duplicated']}\n"
        f"trading again after {figures['median_recovery_s']} s (median), "
        f"{figures['worst_recovery_s']} s (worst); normal latency after "
        f"{figures['median_normal_s']} s (median), {figures['worst_normal_s']} s (worst)\n"
        f"{figures['websocket_books_compared']} books of WebSocket clients compared with the "
        f"API's; they were told to start anew {figures['websocket_restarts']} times"
    )
