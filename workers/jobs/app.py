"""A process of jobs, put together: workers of some queues, a clock, or both."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Sequence
from types import FrameType

import dramatiq

from workers.adapters.failpoints import Failpoints
from workers.adapters.jobs import JobStore
from workers.jobs.broker import Messages, declare_actors, make_broker, worker_middleware
from workers.jobs.clock import Clock
from workers.jobs.runs import Runner
from workers.jobs.table import QUEUES, jobs
from workers.logs import configure
from workers.metrics import Metrics
from workers.metrics_folder import join, metrics_folder
from workers.metrics_server import serving
from workers.settings import Settings, SettingsError

logger = logging.getLogger("workers.jobs")

# Jobs end at their next step, statements are cancelled: whoever has not ended then never will.
STOP_TIMEOUT_MS = 4_000
# Before platforms, and `ops run`, kill what does not stop.
STOP_LIMIT_S = 9.0
# How often idle workers look for messages, at the least.
POLL_MS = 500


def main(role: str, clock: bool, queues: Sequence[str] | None) -> int:
    """Work until SIGTERM or SIGINT; `queues` None: those of the settings."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            # Should a server have fallen silent: what we would wait for may never come.
            limit = threading.Timer(STOP_LIMIT_S, os._exit, (1,))
            limit.daemon = True
            limit.start()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, stop)
    try:
        settings = Settings.from_env(os.environ)
        wanted = _queues(settings.jobs_queues) if queues is None else queues
        failpoints = Failpoints.from_env(os.environ)
        configure(settings, role)
        with metrics_folder(os.environ) as folder:
            join(folder)
            with serving(settings, folder):
                work(settings, Metrics(), stopping, clock, wanted, failpoints)
    except SettingsError as error:
        print(f"{role}: {error}", file=sys.stderr)
        return 2
    return 0


def work(
    settings: Settings,
    metrics: Metrics,
    stopping: threading.Event,
    clock: bool,
    queues: Sequence[str],
    failpoints: Failpoints,
) -> None:
    """Run what is asked for until `stopping` is set."""
    table = jobs(settings, failpoints)
    queue_of = {job.name: job.queue for job in table}
    broker = make_broker(settings.redis_url, *worker_middleware(metrics))
    messages = failpoints.around("messages", Messages(broker))
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    def send(job: str, subject: str, delay_ms: int) -> None:
        messages.send(queue_of[job], job, subject, delay_ms)

    runner = Runner(settings, table, owner, metrics, send, failpoints=failpoints)
    worker = None
    if queues:
        declare_actors(broker, table, runner.run)
        for queue in queues:
            broker.declare_queue(queue)
        broker.emit_after("process_boot")
        runner.start()
        worker = dramatiq.Worker(
            broker,
            queues=set(queues),
            worker_threads=settings.jobs_threads,
            worker_timeout=POLL_MS,
        )
        worker.start()
    logger.info("working on %s", ", ".join([*queues, *(["the clock"] if clock else [])]))
    if clock:
        store = failpoints.around("jobs", JobStore(settings.database_url))
        ticker = Clock(table, store, messages, settings.job_hint_ms, metrics.clock_last_tick)
        ticker.run(stopping, settings.clock_ms / 1000)
    stopping.wait()
    logger.info("stopping")
    if worker is not None:
        runner.stop()
        worker.stop(timeout=STOP_TIMEOUT_MS)
        runner.close()
    broker.client.close()
    logger.info("stopped")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return `queues` (None: as the environment says) and `clock`."""
    parser = argparse.ArgumentParser(prog="python -m workers.jobs", description="Run jobs.")
    parser.add_argument(
        "--queues",
        help=f"those to work on, of {', '.join(QUEUES)} (JOBS_QUEUES; default: all)",
    )
    parser.add_argument("--clock", action="store_true", help="be the clock, too")
    return parser.parse_args(arguments)


def _queues(given: Sequence[str]) -> Sequence[str]:
    """Return the queues to work on. Raises SettingsError."""
    if unknown := set(given) - set(QUEUES):
        raise SettingsError(
            f"JOBS_QUEUES must be of {', '.join(QUEUES)}, not {', '.join(sorted(unknown))}"
        )
    return given or QUEUES
