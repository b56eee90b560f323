"""One folder per machine, in which the metrics of all its processes add up.

A scrape reaches one process: one of several web processes behind a port, or a matcher. Each must
answer for all of them, or every scrape would tell another story. So processes write their values
to memory-mapped files in a common folder (prometheus_client's multiprocess mode), and whichever is
asked adds the files up. An exporter per process would need a port per process, which platforms do
not give; pushing needs a server more. What happens on several machines is for Prometheus to add.

A process holds a numbered slot of the folder: the lock of `slot_N`, which the kernel frees when the
process ends, however it ends. Its files carry N. Counters and histograms of a dead process stay and
are counted; the next process that takes the slot goes on from them, so nothing is lost or doubled
and there are never more files than there were processes at one time. Process numbers would not do:
the same number may come again, also right after a crash. Gauges that only the living have (`live*`)
count while their slot is locked, and a new holder starts without them.

prometheus_client decides at import, from an environment variable, whether it is in this mode, and
names files by process number; `join` sets both openly instead, whatever was imported before.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector

from workers.machine import machine_metrics

# The variable that prometheus_client itself reads, and that names a folder to share.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextlib.contextmanager
def metrics_folder(env: Mapping[str, str]) -> Iterator[Path]:
    """Give the folder that `env` names, or a private one that is removed at the end."""
    if given := env.get(VARIABLE):
        folder = Path(given)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(
            prefix="trade-engine-metrics-", ignore_cleanup_errors=True
        ) as name:
            yield Path(name)


def join(folder: Path) -> None:
    """Keep this process's metrics in `folder`: those made from now on, until it ends."""
    slot = _take_slot(folder)
    for path in folder.glob(f"gauge_live*_{slot}.db"):
        path.unlink()
    os.environ[VARIABLE] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def _take_slot(folder: Path) -> int:
    """Return the first free slot, which is ours while this process lives."""
    slot = 0
    while True:
        # Left open on purpose: the lock lasts as long as the file is.
        file = os.open(folder / f"slot_{slot}", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot
        except BlockingIOError:
            os.close(file)
            slot += 1


class MetricsFolder:
    """What all processes of the machine have counted; a collector for prometheus_client."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield every metric, added up over the processes, and those of the machine."""
        files = [str(path) for path in self._folder.glob("*.db") if self._counts(path)]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        yield from machine_metrics()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is, is known when it is asked for."""
        return []

    def _counts(self, path: Path) -> bool:
        kind, _, slot = path.stem.rpartition("_")
        if kind.startswith("gauge_live") and not self._is_held(slot):
            return False
        try:
            return path.stat().st_size > 0  # empty for a moment when it is new
        except FileNotFoundError:  # its slot was dead, and has been taken just now
            return False

    def _is_held(self, slot: str) -> bool:
        with (self._folder / f"slot_{slot}").open("rb") as file:
            try:
                # Shared, so that two scrapes at once do not take each other for the holder.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
