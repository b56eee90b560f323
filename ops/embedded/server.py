"""What the two embedded servers have in common: the life of one process on one folder."""

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psutil

from ops import processes
from ops.errors import OpsError

# What a start may fail of through no fault of ours, as the servers say it: a port is chosen before
# it is bound, so another process may be quicker; children of a killed PostgreSQL end a bit later.
PASSING_TROUBLES = ("Address already in use", "is still in use")
START_ATTEMPTS_MAX = 5
RETRY_AFTER_S = 0.2
# After a crash PostgreSQL replays up to max_wal_size of log before it answers.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
LOG_BYTES_MAX = 10_000_000


class Server(ABC):
    """A server on a folder of its own: `start()`, then `url`; `stop()` or `kill()`; start again.

    Start it from a thread that lives as long as the server should.
    """

    # Name of the program, of its folder below the data folder, and of its log.
    program: ClassVar[str]
    name: ClassVar[str]
    # The signal that asks for a tidy end.
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data: Path | str) -> None:
        self.data = Path(data).resolve()
        self.folder = self.data / self.name
        self.log = self.data / "logs" / f"{self.name}.log"
        self.port = 0
        # Of the program's environment alone, from the next start on: what starts it has none of it.
        self.variables: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL to connect with, password included."""

    @property
    def pid(self) -> int:
        """The process number of the running server."""
        if self._process is None:
            raise OpsError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def start(self, port: int | None = None) -> Self:
        """Start the server and wait until it answers; end one that was left on the same folder.

        It takes a free port unless it is given one.
        """
        if self.running:
            return self
        try:
            make_data_folder(self.data)
            self.log.parent.mkdir(exist_ok=True)
            self._rotate_log()
            self._end_leftovers()
            self._prepare()
        except OSError as error:
            raise OpsError(f"Cannot prepare {self.folder}: {error}") from error
        for _ in range(START_ATTEMPTS_MAX):
            self.port = port or free_port()
            if self._start_on_port():
                return self
            time.sleep(RETRY_AFTER_S)
        raise OpsError(f"{self.name} does not start, see {self.log}")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the server in order; kill it when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server and all its children at once, and wait until the last is gone."""
        if self._process is None:
            return
        family = self.kill_without_waiting()
        self._process.wait()
        processes.wait_until(lambda: not any(map(processes.running, family)), STOP_TIMEOUT_S)
        self._process = None

    def kill_without_waiting(self) -> list[psutil.Process]:
        """Send SIGKILL to the server and all its children; return them. Fit for signal handlers."""
        if self._process is None:
            return []
        try:
            server = psutil.Process(self._process.pid)
            server.suspend()  # a stopped server starts no further children
            family = [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        return family

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Make the folder and what the server needs in it."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Return the command line of the server on `self.port`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether the server serves requests."""

    def _owner(self) -> tuple[int, int] | None:
        """Return the user and group the server runs as, or None for our own."""
        return None

    def _environment(self) -> dict[str, str]:
        return {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}

    def _start_on_port(self) -> bool:
        """Start the server; return False when it is worth another try."""
        command = self._command()
        if self.variables:
            command = ["/usr/bin/env", *(f"{n}={v}" for n, v in self.variables.items()), *command]
        with self.log.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                processes.bound_to_us(command, self.stop_signal, self._owner()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                # The terminal's Ctrl-C must not reach the server: others still need it then.
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            while self.running:
                if self._answers():
                    return True
                if time.monotonic() > deadline:
                    raise OpsError(
                        f"{self.name} did not answer in {START_TIMEOUT_S:.0f} s, see {self.log}"
                    )
                time.sleep(0.02)
        except BaseException:
            self.kill()
            raise
        self._process = None
        with self.log.open("rb") as log:
            log.seek(log_start)
            said = log.read().decode(errors="replace").strip()
        if any(trouble in said for trouble in PASSING_TROUBLES):
            return False
        reason = said.splitlines()[-1] if said else "it said nothing"
        raise OpsError(f"{self.name} does not start: {reason} (see {self.log})")

    def _end_leftovers(self) -> None:
        """End servers on our folder whose parent was killed before it could stop them."""
        left = processes.working_on(self.folder, self.program)
        if not processes.end(processes.eldest(left), self.stop_signal, STOP_TIMEOUT_S):
            processes.end(left, signal.SIGKILL, STOP_TIMEOUT_S)

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.rename(self.log.with_suffix(".log.1"))


def make_data_folder(folder: Path) -> None:
    """Make the data folder, ours alone.

    Root's servers run as somebody else, who must be able to pass through it, though not to look.
    """
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
