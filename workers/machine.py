"""How much of its memory this machine, or the container that we are in, has in use."""

from collections.abc import Iterator
from pathlib import Path

import psutil
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily

CGROUP = Path("/sys/fs/cgroup")


def machine_metrics() -> Iterator[Metric]:
    """Yield what is known of the machine itself."""
    yield GaugeMetricFamily(
        "memory_used_ratio",
        "Memory in use, of what the container may have, or else of the machine's",
        value=memory_used_ratio(),
    )


def memory_used_ratio(cgroup: Path = CGROUP) -> float:
    """Return a number from 0 to 1. Pages of files that could be dropped at once are not in use."""
    try:
        # Control groups, version 2; without a limit it says "max", and a machine has no such file.
        most = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        droppable = int(dict(line.split() for line in lines).get("inactive_file", 0))
        return max(0, used - droppable) / most
    except (OSError, ValueError, ZeroDivisionError):
        return float(psutil.virtual_memory().percent) / 100
