"""Lowering a process's priority: what is done, and what is not an error."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import priority
from ops.priority import NICENESS, lower


@pytest.fixture
def pid() -> Iterator[int]:
    """A process in a session of its own, as PostgreSQL's backends are."""
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process.pid
        process.kill()


def group_of(pid: int) -> str:
    autogroup = Path(f"/proc/{pid}/autogroup")
    return autogroup.read_text().strip() if autogroup.exists() else ""


def test_lowers_the_process_and_its_group(pid: int) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    for _ in range(2):
        # The kernel may put us off, then it is to be tried again.
        while not lower(pid):
            pass
        assert os.getpriority(os.PRIO_PROCESS, pid) == NICENESS
        assert group_of(pid).endswith(f"nice {NICENESS}") or group_of(pid) == ""
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


def test_process_that_is_gone_is_no_error(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert lower(pid)


@pytest.mark.parametrize(("error", "done"), [(PermissionError(), True), (BlockingIOError(), False)])
def test_refusal_is_no_error_and_a_delay_is_tried_again(
    pid: int, error: OSError, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(priority.os, "setpriority", refuse)
    assert lower(pid) is done
