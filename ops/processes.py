"""Other processes: starting ones that die with us, finding and ending ones left behind."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

LAUNCHER = Path(__file__).with_name("launch.py")


def bound_to_us(
    program: list[str | Path], signal_number: signal.Signals, owner: tuple[int, int] | None = None
) -> list[str]:
    """Return the command line that starts `program` so that our death sends it the signal.

    The kernel watches the thread that starts it, so start it from one that lives as long as we do.
    """
    return [
        *(sys.executable, "-I", "-S", str(LAUNCHER), str(int(signal_number))),
        "-" if owner is None else f"{owner[0]}:{owner[1]}",
        *(str(os.getpid()), *map(str, program)),
    ]


def running(process: psutil.Process) -> bool:
    """Tell whether the process still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def working_on(folder: Path, name: str) -> list[psutil.Process]:
    """Find the processes called `name` that have `folder` as an argument or as working directory.

    Numbers in pid files may have been given to another process since; this cannot be fooled so.
    """
    return [process for process in psutil.process_iter() if _works_on(process, folder, name)]


def _works_on(process: psutil.Process, folder: Path, name: str) -> bool:
    try:
        if process.name() != name or not running(process):
            return False
        if any(Path(argument).is_relative_to(folder) for argument in process.cmdline()[1:]):
            return True
        return Path(process.cwd()) == folder
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def eldest(family: list[psutil.Process]) -> list[psutil.Process]:
    """Return those whose parent is not among them: the ones to ask for an orderly end."""
    numbers = {process.pid for process in family}
    found = []
    for process in family:
        try:
            if process.ppid() not in numbers:
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def end(
    processes: Iterable[psutil.Process], signal_number: signal.Signals, timeout_s: float
) -> bool:
    """Send the signal and wait; return whether all of them ended in time."""
    processes = list(processes)
    for process in processes:
        try:
            process.send_signal(signal_number)
        except psutil.NoSuchProcess:
            pass
    return wait_until(lambda: not any(map(running, processes)), timeout_s)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll the condition until it holds; return whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
