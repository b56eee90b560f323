"""What is measured: an exchange of its own on servers of its own, and what its processes cost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import psutil

from ops.bench.load import Plan
from ops.embedded import Postgres, Valkey
from ops.errors import OpsError
from ops.migrate import migrate

ROOT = Path(__file__).parents[2]
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
# All of the load comes from one address.
UNLIMITED = {
    "RATE_LIMIT_MAX_REQUESTS": "100000000",
    "EXCHANGE_ADDRESS_CONNECTIONS_MAX": "100000",
    "EXCHANGE_ADDRESS_WEBSOCKETS_MAX": "100000",
}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a temporary folder that an embedded PostgreSQL may enter."""
    with TemporaryDirectory(prefix="trade-engine-bench-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


class Target:
    """A running exchange: `with Target(matchers=2) as target: ...`; or, of 0 and 0, its servers."""

    def __init__(self, matchers: int = 1, webs: int = 1, **environment: str) -> None:
        self._matchers = matchers
        self._webs = webs
        self._environment = UNLIMITED | {"WEB_CONCURRENCY": str(webs)} | environment
        self._processes: dict[str, list[psutil.Process]] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self.port = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(folder())
            self.postgres = stack.enter_context(Postgres(self._folder / "data"))
            self.valkey = stack.enter_context(Valkey(self._folder / "data"))
            migrate(self.postgres.url)
            self.port = free_port()
            stack.callback(self._stop)
            for _ in range(self._matchers):
                self._start("matcher", "workers.matching")
            if self._webs:
                self._start("web", "api")
                self._wait_ready()
            self._processes["PostgreSQL"] = family("postgres", self._folder)
            self._processes["Valkey"] = family("valkey-server", self._folder)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _start(self, name: str, module: str) -> None:
        log = self._folder / f"{name}-{len(self._started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env=os.environ
                | {
                    "DATABASE_URL": self.postgres.url,
                    "REDIS_URL": self.valkey.url,
                    "PORT": str(self.port),
                    "HOST": "127.0.0.1",
                    "PROMETHEUS_MULTIPROC_DIR": str(self._folder / "metrics"),
                }
                | self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        self._processes.setdefault(name, []).append(psutil.Process(process.pid))

    def _wait_ready(self) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz").close()
                return
            except OSError:  # also an HTTP error: not ready
                time.sleep(0.05)
        raise OpsError(f"The exchange was not ready in {READY_TIMEOUT_S:g} s")

    def _stop(self) -> None:
        for process in self._started:
            process.send_signal(signal.SIGTERM)
        for process in self._started:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def seconds(self) -> dict[str, float]:
        """Return the processor time that each kind of process has used so far."""
        return {
            name: sum(sum(times(process)) for process in self._all(name))
            for name in self._processes
        }

    def memory_mb(self) -> dict[str, list[float]]:
        """Return the memory of each of our own processes: resident, in MB of 10^6 bytes."""
        return {
            name: [round(process.memory_info().rss / 1e6, 1) for process in self._all(name)]
            for name in ("web", "matcher")
        }

    def _all(self, name: str) -> list[psutil.Process]:
        found = []
        for process in self._processes[name]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [process, *process.children(recursive=True)]
        return found

    def metrics(self) -> dict[str, float]:
        """Return the samples of `/metrics`, by name and labels as they stand there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (
                line.rpartition(" ") for line in lines if not line.startswith("#")
            )
        }


def times(process: psutil.Process) -> tuple[float, float]:
    """Return a process's user and system time; nothing when it is gone."""
    try:
        used = process.cpu_times()
        return used.user, used.system
    except psutil.NoSuchProcess:
        return 0.0, 0.0


def family(name: str, folder: Path) -> list[psutil.Process]:
    """Return the server of that name that works in `folder`; it has the others as children."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name() == name and any(str(folder) in word for word in process.cmdline()):
                return [process]
    raise OpsError(f"{name} was not found among the processes")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def send(plan: Plan) -> tuple[dict[str, Any], float]:
    """Run a load in a process of its own; return its result and the processor time it used."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.load"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    after = os.times()
    if done.returncode:
        raise OpsError(f"The load failed: {done.stderr.strip()[-2000:]}")
    used = after.children_user + after.children_system - before.children_user
    result: dict[str, Any] = json.loads(done.stdout)
    return result, used - before.children_system


def changed(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return what was added to each count."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
