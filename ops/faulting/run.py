"""What faults are made of: what a scenario works with, and the steps that many begin with."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ops.faulting.cluster import NO_VARIABLES, Cluster, Process, wait_for
from ops.faulting.load import Load

# Longer than a lease: whoever sleeps this long has lost it.
ASLEEP_S = 1.2
ORDERS_BETWEEN = 30


class Run(NamedTuple):
    """What a scenario works with."""

    cluster: Cluster
    load: Load
    chance: random.Random

    def mark(self) -> None:
        """Measure recovery from now on."""
        self.load.mark()

    def some_orders(self) -> None:
        self.load.await_orders(ORDERS_BETWEEN)


# It may say itself how many seconds trading took to recover, else the mark tells.
Hurt = Callable[[Run], float | None]


def living(cluster: Cluster) -> int:
    """Return how many matchers know of each other."""
    with cluster.look() as look:
        rows = look.execute("SELECT owner FROM exchange.list_matchers_v1()").fetchall()
    pids = {process.pid for process in cluster.matchers if process.alive}
    return len(pids & {int(owner.split(":")[1]) for (owner,) in rows})


def put_in_charge(
    run: Run,
    failpoints: str = "",
    proxied: bool = False,
    output: Path | None = None,
    env: Mapping[str, str] = NO_VARIABLES,
) -> Process:
    """Replace the matchers, in order, by one that is prepared and one that stands by."""
    cluster = run.cluster
    old = [process for process in cluster.matchers if process.alive]
    prepared = cluster.matcher(failpoints, proxied, output, env)
    cluster.matcher()
    wait_for(lambda: living(cluster) >= len(old) + 2 or not prepared.alive, "the new matchers")
    for process in old:
        cluster.terminate(process)
    return prepared


def replace_web(
    run: Run,
    failpoints: str = "",
    proxied: bool = False,
    output: Path | None = None,
    env: Mapping[str, str] = NO_VARIABLES,
) -> Process:
    """Replace the web process, in order, by one that is prepared."""
    for process in list(run.cluster.webs):
        if process.alive:
            run.cluster.terminate(process)
    run.cluster.webs.clear()
    return run.cluster.web(failpoints, proxied, output, env)
