"""The metrics of several processes, with real processes: they live, die, and come again."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from workers.metrics_folder import VARIABLE, MetricsFolder, metrics_folder

ROOT = Path(__file__).parents[2]

# Counts what its arguments say, says so, and waits to be ended.
WRITER = """
import sys
from pathlib import Path
from workers.metrics import Metrics
from workers.metrics_folder import join

join(Path(sys.argv[1]))
metrics = Metrics()
for _ in range(int(sys.argv[2])):
    metrics.orders_received("limit", "buy").inc()
    metrics.order_latency.observe(0.004)
metrics.websocket_connections.inc(int(sys.argv[3]))
metrics.matcher_epoch("BTC-USD").set(int(sys.argv[4]))
print("counted", flush=True)
sys.stdin.read()
"""


class Writer:
    def __init__(self, folder: Path, orders: int, connections: int, epoch: int) -> None:
        arguments = map(str, (folder, orders, connections, epoch))
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"counted\n"

    def end(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.communicate()


@contextmanager
def writer(folder: Path, orders: int, connections: int, epoch: int = 1) -> Iterator[Writer]:
    running = Writer(folder, orders, connections, epoch)
    try:
        yield running
    finally:
        running.end()


def samples(folder: Path) -> dict[str, float]:
    """Return every sample by its name and label values."""
    text = generate_latest(MetricsFolder(folder).registry).decode()
    return {
        " ".join([sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))]): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counts(folder: Path) -> tuple[float, ...]:
    """Return orders received, latencies observed, those up to 5 ms, connections, epoch."""
    found = samples(folder)
    names = (
        "orders_received_total side=buy type=limit",
        "order_latency_seconds_count",
        "order_latency_seconds_bucket le=0.005",
        "websocket_connections",
        "matcher_epoch instrument=BTC-USD",
    )
    return tuple(found.get(name, -1) for name in names)


def test_the_living_add_up_and_the_dead_keep_their_counts(tmp_path: Path) -> None:
    with writer(tmp_path, 3, 10) as first, writer(tmp_path, 5, 100, epoch=2) as second:
        assert counts(tmp_path) == (8, 8, 8, 110, 2)
        first.end()
        assert counts(tmp_path) == (8, 8, 8, 100, 2)
        with writer(tmp_path, 7, 1_000, epoch=3):
            assert counts(tmp_path) == (15, 15, 15, 1_100, 3)
            second.end()
            assert counts(tmp_path) == (15, 15, 15, 1_000, 3)
    # Nobody lives: what was counted was counted, and nobody is connected.
    assert counts(tmp_path) == (15, 15, 15, -1, 3)


def test_one_that_comes_again_and_again_needs_no_more_files(tmp_path: Path) -> None:
    """Processes that come after each other share a slot, whatever number the system gave them."""
    for times in range(1, 4):
        with writer(tmp_path, 2, 1, epoch=times):
            assert counts(tmp_path) == (2 * times, 2 * times, 2 * times, 1, times)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "counter_0.db",
        "gauge_livemax_0.db",
        "gauge_livesum_0.db",
        "gauge_mostrecent_0.db",
        "histogram_0.db",
        "slot_0",
    ]


def test_a_file_that_is_still_empty_does_not_stop_a_scrape(tmp_path: Path) -> None:
    with writer(tmp_path, 3, 1):
        (tmp_path / "counter_7.db").touch()
        assert counts(tmp_path)[0] == 3


def test_scrapes_at_the_same_time_do_not_take_each_other_for_the_living(tmp_path: Path) -> None:
    with writer(tmp_path, 1, 5):
        assert counts(tmp_path)[3] == 5
    with (tmp_path / "slot_0").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert counts(tmp_path)[3] == -1


def test_a_given_folder_is_made_and_kept(tmp_path: Path) -> None:
    given = tmp_path / "deep" / "metrics"
    with metrics_folder({VARIABLE: str(given)}) as folder:
        assert folder == given
        assert folder.is_dir()
    assert given.is_dir()


@pytest.mark.parametrize("env", [{}, {VARIABLE: ""}])
def test_a_private_folder_is_removed(env: dict[str, str]) -> None:
    with metrics_folder(env) as folder:
        (folder / "counter_0.db").write_bytes(b"x")
    assert not folder.exists()


def test_this_process_has_joined_nothing() -> None:
    """Joining changes a whole process, so tests do it in others."""
    assert VARIABLE not in os.environ
