"""Trade for a while on an exchange of its own, and see that no process grows."""

import argparse
import time
from pathlib import Path

from rich.console import Console

from ops.faulting.cluster import Cluster
from ops.faulting.load import Load
from ops.faulting.memory import MB, Series, measure, svg
from ops.instance import ephemeral_folder
from ops.tables import print_table

SAMPLE_S = 1.0
SAY_EVERY_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--clients", type=int, default=4, help="clients at once")
    parser.add_argument("--batch", type=int, default=20, help="orders per request, at most 100")
    parser.add_argument("--tolerance", type=float, default=6.0, help="MB of growth that are noise")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw it there")


def main(args: argparse.Namespace) -> int:
    """Run; exit code 1 when a process grew after the warm-up."""
    console = Console()
    with ephemeral_folder() as folder, Cluster(folder, matchers=1) as cluster:
        cluster.begin()
        series, orders = _watch(cluster, args, console)
    rows = []
    grew = False
    for name, one in series.items():
        memory, descriptors = one.growth
        grows = one.grows(int(args.tolerance * MB))
        grew |= grows
        _, now, open_now = one.points[-1]
        rows.append(
            (name, f"{now / MB:.1f} MB", f"{memory / MB:+.1f} MB", open_now, f"{descriptors:+d}",
             "grows" if grows else "steady")
        )  # fmt: skip
    print_table(
        ("process", "memory", "after warm-up", "descriptors", "after warm-up", "verdict"), rows
    )
    print(f"{orders} orders in {args.minutes:g} minutes")
    if args.svg:
        args.svg.write_text(svg(series, f"Own memory while trading, {orders} orders"))
    return int(grew)


def _watch(
    cluster: Cluster, args: argparse.Namespace, console: Console
) -> tuple[dict[str, Series], int]:
    """Trade and measure; return what was measured, and the number of orders."""
    pids = {
        "web": cluster.webs[0].pid,
        "matcher": cluster.matchers[0].pid,
        "postgres": cluster.postgres.pid,
        "valkey": cluster.valkey.pid,
    }
    series = {name: Series() for name in pids}
    began = said_at = time.monotonic()
    with Load(cluster.port, 1, args.clients, args.batch) as load:
        while (now := time.monotonic()) - began < 60 * args.minutes:
            for name, pid in pids.items():
                series[name].points.append((now - began, *measure(pid)))
            # The clients' own notes would be what grows.
            load.history.orders.clear()
            load.history.cancels.clear()
            if now - said_at > SAY_EVERY_S:
                said_at = now
                sizes = ", ".join(
                    f"{name} {s.points[-1][1] / MB:.0f}" for name, s in series.items()
                )
                console.print(f"{(now - began) / 60:5.1f} min  MB: {sizes}", highlight=False)
            time.sleep(SAMPLE_S)
    return series, load.acknowledged
