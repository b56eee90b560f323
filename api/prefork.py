"""Several web processes behind one port: started together, replaced when they die, ended together.

Sanic's own manager never replaces a process that died, and a SIGTERM while it starts makes it hang.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from workers.metrics_folder import VARIABLE as METRICS_FOLDER_VARIABLE
from workers.settings import Settings

logger = logging.getLogger(__name__)

# Tells a process that it is one of several, and which descriptor listens.
LISTEN_VARIABLE = "EXCHANGE_LISTEN_FD"
# And who started it.
PARENT_VARIABLE = "EXCHANGE_PARENT_PID"

BACKLOG = 1_024
# Before a process that died is replaced; doubled each time it dies young, up to the maximum.
DELAY_S = 0.1
DELAY_S_MAX = 5.0
# A process that lived this long was well.
HEALTHY_AFTER_S = 10.0
PARENT_POLL_S = 0.5


def inherited(env: Mapping[str, str]) -> tuple[socket.socket, int] | None:
    """Return the socket of a process of several, and its parent; None for one by itself."""
    number = env.get(LISTEN_VARIABLE)
    return (socket.socket(fileno=int(number)), int(env[PARENT_VARIABLE])) if number else None


async def parent_gone(parent: int) -> None:
    """Return when the process that started this one is gone."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody can tell us
        await asyncio.sleep(PARENT_POLL_S)


class Prefork:
    """Runs `python -m api` as many times as the settings say, on one socket."""

    def __init__(self, settings: Settings, metrics_folder: Path) -> None:
        self._settings = settings
        self._metrics_folder = metrics_folder
        self._processes: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; then until every process has ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        with socket.create_server(
            (self._settings.host, self._settings.port),
            family=socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET,
            backlog=BACKLOG,
        ) as listener:
            await asyncio.gather(
                *(self._keep(listener) for _ in range(self._settings.web_concurrency))
            )

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._processes:
            process.terminate()

    async def _keep(self, listener: socket.socket) -> None:
        """Keep one process running."""
        loop = asyncio.get_running_loop()
        delay_s = DELAY_S
        while not self._stopping.is_set():
            began = loop.time()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "api",
                env={
                    **os.environ,
                    LISTEN_VARIABLE: str(listener.fileno()),
                    PARENT_VARIABLE: str(os.getpid()),
                    METRICS_FOLDER_VARIABLE: str(self._metrics_folder),
                },
                pass_fds=(listener.fileno(),),
            )  # fmt: skip
            self._processes.add(process)
            if self._stopping.is_set():  # the signal came while it was being started
                process.terminate()
            code = await process.wait()
            self._processes.discard(process)
            if self._stopping.is_set():
                return
            logger.error("a web process ended with code %d and is replaced", code)
            delay_s = DELAY_S if loop.time() - began > HEALTHY_AFTER_S else delay_s * 2
            try:
                await asyncio.wait_for(self._stopping.wait(), min(delay_s, DELAY_S_MAX))
            except TimeoutError:
                pass
