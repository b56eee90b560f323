"""The supervisor, with programs of a few lines in place of the exchange's."""

import asyncio
import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ops import supervisor as supervisor_module
from ops.errors import OpsError
from ops.processes import running
from ops.supervisor import Program, Supervisor, restart_delay_s

Make = Callable[..., Supervisor]


@pytest.fixture
def said() -> list[tuple[str, str]]:
    """What the programs and the supervisor printed."""
    return []


@pytest.fixture
def supervise(tmp_path: Path, said: list[tuple[str, str]]) -> Make:
    """Make a supervisor of programs given as name=source."""

    def make(**sources: str) -> Supervisor:
        for name, source in sources.items():
            (tmp_path / f"program_{name}.py").write_text(textwrap.dedent(source))
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        programs = [Program(name, f"program_{name}") for name in sources]
        return Supervisor(programs, environment, lambda name, line: said.append((name, line)))

    return make


SLEEPS = "import time; print('up'); time.sleep(60)"


@pytest.mark.parametrize(
    ("deaths", "delay_s"), [(1, 0.2), (2, 0.4), (3, 0.8), (5, 3.2), (6, 5.0), (1_000, 5.0)]
)
def test_delay_before_a_restart_doubles_up_to_its_limit(deaths: int, delay_s: float) -> None:
    assert restart_delay_s(deaths) == pytest.approx(delay_s)


async def test_passes_on_what_programs_print(supervise: Make, said: list[tuple[str, str]]) -> None:
    supervisor = supervise(first="print('one'); import time; time.sleep(60)", second=SLEEPS)
    await supervisor.start()
    await _until(lambda: len(said) == 2)
    await supervisor.stop()
    assert sorted(said) == [("first", "one"), ("second", "up")]


async def test_a_line_beyond_the_limit_is_dropped_and_the_next_one_is_not(
    supervise: Make, said: list[tuple[str, str]]
) -> None:
    supervisor = supervise(loud=f"print('x' * 3_000_000); {SLEEPS}")
    await supervisor.start()
    await _until(lambda: ("loud", "up") in said)
    await supervisor.stop()


async def test_program_that_ends_before_it_is_ready_is_reported_with_its_last_line(
    supervise: Make,
) -> None:
    supervisor = supervise(broken="import sys; print('first'); sys.exit('no such table')")
    await supervisor.start()
    try:
        with pytest.raises(OpsError, match=r"broken ended with code 1 before .*: no such table"):
            await supervisor.until_ready(lambda: "everything", 30)
    finally:
        await supervisor.stop()


async def test_waiting_for_readiness_ends(supervise: Make) -> None:
    supervisor = supervise(slow=SLEEPS)
    await supervisor.start()
    try:
        with pytest.raises(OpsError, match=r"Not ready after 0 s: the book"):
            await supervisor.until_ready(lambda: "the book", 0.2)
    finally:
        await supervisor.stop()


async def test_program_that_dies_is_started_again(
    supervise: Make, said: list[tuple[str, str]]
) -> None:
    supervisor = supervise(mortal=SLEEPS)
    await supervisor.start()
    await supervisor.keep()
    await _until(lambda: ("mortal", "up") in said)
    first = supervisor.pids["mortal"]
    os.kill(first, 9)
    await _until(lambda: supervisor.pids["mortal"] != first and said.count(("mortal", "up")) == 2)
    await supervisor.stop()
    assert ("run", "mortal was ended by SIGKILL; it starts again in 0.2 s") in said


async def test_stop_ends_programs_in_the_order_given(
    supervise: Make, said: list[tuple[str, str]]
) -> None:
    says_goodbye = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye")))
        print("up")
        time.sleep(60)
    """
    supervisor = supervise(web=says_goodbye, matcher=says_goodbye)
    await supervisor.start()
    await _until(lambda: len(said) == 2)
    await supervisor.stop()
    assert said[2:] == [("web", "bye"), ("matcher", "bye")]


async def test_a_late_program_starts_when_the_others_are_kept_and_stops_in_its_place(
    tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye')))\n"
        "print('up')\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    programs = [Program("client", "sleeper", late=True), Program("server", "sleeper")]
    supervisor = Supervisor(programs, environment, lambda name, line: said.append((name, line)))
    await supervisor.start()
    await _until(lambda: len(said) == 1)
    assert set(supervisor.pids) == {"server"}
    await supervisor.keep()
    await _until(lambda: len(said) == 2)
    await supervisor.stop()
    assert said == [("server", "up"), ("client", "up"), ("client", "bye"), ("server", "bye")]


async def test_stop_kills_what_does_not_stop_and_what_it_started(
    supervise: Make, said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_TIMEOUT_S", 0.2)
    supervisor = supervise(
        stubborn="""
            import signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
            time.sleep(60)
        """
    )
    await supervisor.start()
    await _until(lambda: bool(said))
    family = [psutil.Process(int(said[0][1])), psutil.Process(supervisor.pids["stubborn"])]
    await supervisor.stop()
    await _until(lambda: not any(map(running, family)))
    assert ("run", "stubborn does not stop and is killed") in said


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)
