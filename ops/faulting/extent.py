"""How large the processes get, over all faults: memory of their own and descriptors. [I12]"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psutil

from ops.faulting.cluster import Cluster
from ops.faulting.memory import MB, measure


class Extent(NamedTuple):
    """Bytes of a process's own memory (a server with its children), and descriptors."""

    memory: int
    descriptors: int


# Nothing may ever exceed these. A run of an hour stays far below: what grows with it shows.
BOUNDS: Mapping[str, Extent] = {
    "web": Extent(300 * MB, 500),
    "matcher": Extent(200 * MB, 100),
    "jobs": Extent(300 * MB, 200),
    # Each backend keeps up to 1,000 files of tables open.
    "postgres": Extent(1_500 * MB, 20_000),
    "valkey": Extent(500 * MB, 200),
}


class Extents:
    """The most that was seen of each kind of process."""

    def __init__(self) -> None:
        self.most: dict[str, Extent] = {}

    def look(self, cluster: Cluster) -> list[str]:
        """Measure everything that runs; return what is beyond its bounds."""
        problems = []
        for name, pid in _running(cluster):
            try:
                now = Extent(*measure(pid))
            except psutil.NoSuchProcess:
                continue
            before = self.most.get(name, Extent(0, 0))
            self.most[name] = Extent(*map(max, now, before))
            bound = BOUNDS[name]
            if now.memory > bound.memory or now.descriptors > bound.descriptors:
                problems.append(
                    f"I12 {name} {pid}: {now.memory / MB:.0f} MB and {now.descriptors} descriptors,"
                    f" more than {bound.memory / MB:.0f} MB or {bound.descriptors}"
                )
        return problems


def _running(cluster: Cluster) -> Iterator[tuple[str, int]]:
    for process in cluster.processes:
        if process.alive:
            yield process.name, process.pid
    for server in (cluster.postgres, cluster.valkey):
        if server.running:
            yield server.name, server.pid
