"""The exchange's own processes: started together, started again when they die, stopped in order."""

import asyncio
import collections
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import OpsError
from ops.processes import bound_to_us

ROOT = Path(__file__).parents[1]

STOP_TIMEOUT_S = 10.0
RESTART_DELAY_MIN_S = 0.2
RESTART_DELAY_MAX_S = 5.0
# A process that lived this long was well: its next death starts again at the shortest delay.
HEALTHY_AFTER_S = 10.0
READY_POLL_S = 0.05
# How often a wait that does not end says what it waits for.
PROGRESS_EVERY_S = 5.0
# Longer lines of a process are dropped, so that one cannot fill our memory.
LINE_BYTES_MAX = 1 << 20
LAST_LINES_MAX = 10


@dataclass(frozen=True)
class Program:
    """A process of the exchange: the name it goes by and the module it runs.

    One that is `late` is a client of the others: it starts when they are ready.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    late: bool = False

    @property
    def command(self) -> list[str]:
        """What its command line ends with."""
        return ["-m", self.module, *self.arguments]


@dataclass
class Child:
    """A program's process, what it printed last, and the task that passes it on."""

    process: asyncio.subprocess.Process
    last_lines: collections.deque[str] = field(
        default_factory=lambda: collections.deque(maxlen=LAST_LINES_MAX)
    )
    relay: asyncio.Task[None] | None = None

    async def finish(self) -> None:
        """Kill what is left of the process and of those it started; pass on its last words."""
        self.kill()
        await self.process.wait()
        if self.relay is not None:
            await asyncio.wait([self.relay], timeout=1)

    def kill(self) -> None:
        """Send SIGKILL to the process and those it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody left in the group
            pass


class Supervisor:
    """Runs the programs. `say(name, line)` gets all they print; `on_change` follows each start."""

    def __init__(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        say: Callable[[str, str], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._programs = programs
        self._environment = dict(environment)
        self._say = say
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int]:
        """The process number of each program."""
        return {name: child.process.pid for name, child in self._children.items()}

    async def start(self) -> None:
        """Start every program that need not wait for the others."""
        for program in self._programs:
            if not program.late:
                await self._start(program)

    async def until_ready(self, missing: Callable[[], str | None], timeout_s: float) -> None:
        """Wait until `missing()`, which says what is missing, returns None.

        Raises OpsError when a program ends before that, or when it takes too long.
        """
        started = said_at = time.monotonic()
        while (reason := await asyncio.to_thread(missing)) is not None:
            for name, child in self._children.items():
                if child.process.returncode is not None:
                    await child.finish()
                    last = child.last_lines[-1] if child.last_lines else "it said nothing"
                    raise OpsError(f"{name} {ending(child.process)} before it was ready: {last}")
            now = time.monotonic()
            if now - started > timeout_s:
                raise OpsError(f"Not ready after {timeout_s:.0f} s: {reason}")
            if now - said_at > PROGRESS_EVERY_S:
                self._say("run", f"waiting: {reason}")
                said_at = now
            await asyncio.sleep(READY_POLL_S)

    async def keep(self) -> None:
        """Start those that are late; from now on, start again each program that dies."""
        for program in self._programs:
            if program.late:
                await self._start(program)
        self._keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]

    async def stop(self) -> None:
        """End the programs one after the other, in the order they were given."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        in_order = [program.name for program in self._programs if program.name in self._children]
        for name in in_order:
            child = self._children[name]
            if child.process.returncode is None:
                child.process.terminate()
                try:
                    await asyncio.wait_for(child.process.wait(), STOP_TIMEOUT_S)
                except TimeoutError:
                    self._say("run", f"{name} does not stop and is killed")
            await child.finish()
        self._children.clear()

    def terminate(self) -> None:
        """Ask every program to end; those that are kept start again."""
        for child in self._children.values():
            if child.process.returncode is None:
                child.process.terminate()

    def kill(self) -> None:
        """End everything at once, without waiting."""
        for child in self._children.values():
            child.kill()

    async def _start(self, program: Program) -> None:
        process = await asyncio.create_subprocess_exec(
            *bound_to_us([sys.executable, *program.command], signal.SIGTERM),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=self._environment,
            # Its own group: Ctrl-C in a terminal reaches us alone, and we end the rest in order.
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
        child = self._children[program.name] = Child(process)
        child.relay = asyncio.create_task(self._relay(program.name, child))
        self._on_change()

    async def _keep(self, program: Program) -> None:
        deaths = 0
        while True:
            started = time.monotonic()
            child = self._children[program.name]
            await child.process.wait()
            await child.finish()
            deaths = 1 if time.monotonic() - started > HEALTHY_AFTER_S else deaths + 1
            delay_s = restart_delay_s(deaths)
            how = ending(child.process)
            self._say("run", f"{program.name} {how}; it starts again in {delay_s:.1f} s")
            await asyncio.sleep(delay_s)
            await self._start(program)

    async def _relay(self, name: str, child: Child) -> None:
        assert child.process.stdout is not None
        while True:
            try:
                line = await child.process.stdout.readline()
            except ValueError:  # longer than the limit
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            child.last_lines.append(text)
            self._say(name, text)


def restart_delay_s(deaths: int) -> float:
    """Return how long to wait before a program that died this often in a row starts again."""
    return float(min(RESTART_DELAY_MIN_S * 2 ** min(deaths - 1, 10), RESTART_DELAY_MAX_S))


def ending(process: asyncio.subprocess.Process) -> str:
    """Say how a process ended."""
    code = process.returncode
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
