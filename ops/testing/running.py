"""A whole exchange on this machine, for as long as a test needs it; without Docker."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.address import Address
from ops.instance import Instance, ephemeral_folder

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.02
# Of the project whose tests run: its database is not for us to migrate.
NOT_INHERITED = ("DATABASE_", "REDIS_", "KAFKA_", "EXCHANGE_", "RATE_LIMIT_", "PROMETHEUS_")
NOT_INHERITED_NAMES = ("HOST", "PORT", "METRICS_PORT", "WEB_CONCURRENCY")


@dataclass(frozen=True)
class RunningExchange:
    """Where a running exchange is."""

    url: str
    database_url: str
    redis_url: str

    @property
    def stream_url(self) -> str:
        """The URL of its WebSocket."""
        return f"ws{self.url.removeprefix('http')}/stream"


@contextlib.contextmanager
def run_exchange(**env: str) -> Iterator[RunningExchange]:
    """Run an exchange with servers of its own on free ports; everything is gone at the end.

    `env` are settings, as in .env.example. Raises RuntimeError when it does not become ready.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(NOT_INHERITED) and name not in NOT_INHERITED_NAMES
    }
    with ephemeral_folder() as folder, (folder / "run.log").open("wb") as log:
        data = folder / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", "run", "--port", "0", "--data", str(data)],
            env={**inherited, "LOG_FORMAT": "text", **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _until_ready(process, Instance(data), folder / "run.log")
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()  # and with it, by the kernel, all that it started
                process.wait()


def _until_ready(
    process: "subprocess.Popen[bytes]", instance: Instance, log: Path
) -> RunningExchange:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        said = instance.running() or {}
        if said.get("http_url") and Address("127.0.0.1", said["port"]).missing() is None:
            return RunningExchange(said["http_url"], said["postgres_url"], said["redis_url"])
        time.sleep(POLL_S)
    raise RuntimeError(f"the exchange does not become ready:\n{log.read_text(errors='replace')}")
