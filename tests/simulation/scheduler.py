"""One scheduler for a whole exchange: virtual time, no threads, no I/O, every choice by one seed.

Each simulated process is a single-threaded event loop of its own: its callbacks run in the order in
which they became ready, as asyncio promises. Which process runs next is chosen at random. A process
that is killed never runs again, not even its `finally` blocks; one that is paused runs later.
"""

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

# Callbacks in one simulation: beyond this something runs in circles without time passing.
STEPS_MAX = 3_000_000


class Endless(Exception):
    """Raised when a simulation does not come to its end."""


class Process:
    """What dies together: its tasks, its connections; and what has a clock of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        # What this machine's wall clock is ahead of the true time.
        self.clock_offset_us = 0
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: dict[SimulatedTask, None] = {}
        self.on_kill: list[Callable[[], None]] = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name


# The process whose code is running.
PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class SimulatedTask(asyncio.Task[Any]):
    """A task that has the same place in every set, whatever its address."""

    _serials = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.serial = kwargs["loop"].next_serial()
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return int(self.serial)


class SimulatedFuture(asyncio.Future[Any]):
    """A future of which the same is true."""

    def __init__(self, *, loop: "Scheduler") -> None:
        self.serial = loop.next_serial()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


class Scheduler(asyncio.AbstractEventLoop):
    """An event loop for many processes, in virtual seconds."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._now = 0.0
        # A busy process hears of what has happened meanwhile all at once: the grain of its time.
        self._grain_s = chance.choice((0.0, 0.0005, 0.002, 0.01))
        self._serials = itertools.count(1)
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._runnable: list[Process] = []
        self.network = Process("network")
        self.steps = 0
        self.errors: list[str] = []
        # Once the simulation is over, even the dead may run, to end without a sound.
        self.over = False

    def next_serial(self) -> int:
        return next(self._serials)

    # What asyncio asks of an event loop.

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> Any:
        return SimulatedFuture(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> Any:
        context = kwargs.get("context")
        process = context.get(PROCESS) if context else PROCESS.get()
        task = SimulatedTask(coro, loop=self, **kwargs)
        process.tasks[task] = None
        task.add_done_callback(process.tasks.pop)
        return task

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        if context is None:
            context = contextvars.copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(context.get(PROCESS, self.network), handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        if context is None:
            context = contextvars.copy_context()
        if self._grain_s:
            when = -(-when // self._grain_s) * self._grain_s
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        process = context.get(PROCESS, self.network)
        heapq.heappush(self._timers, (when, self.next_serial(), handle, process))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What the simulation asks of it.

    def network_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Let something happen outside of every process."""
        self.call_at(self._now + delay, callback, *args, context=self.network.context)

    def start(self, process: Process, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run `coro` as a task of `process`."""
        return self.create_task(coro, context=process.context.copy())

    def kill(self, process: Process) -> None:
        """End a process as SIGKILL does: between two of its callbacks, and for good."""
        if process.alive:
            process.alive = False
            self._withdraw(process)
            for callback in process.on_kill:
                callback()

    def pause(self, process: Process) -> None:
        """Stop a process as SIGSTOP does."""
        process.paused = True
        self._withdraw(process)

    def resume(self, process: Process) -> None:
        """Let it go on."""
        process.paused = False
        if process.ready and process.alive and process not in self._runnable:
            self._runnable.append(process)

    def run(self, work: Coroutine[Any, Any, Any], process: Process) -> Any:
        """Run until `work`, a task of `process`, is done; return its result."""
        asyncio._set_running_loop(self)
        try:
            task = self.start(process, work)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def end(self, processes: list[Process]) -> None:
        """Let every task end, so that nothing is left to be found by the garbage collector."""
        self.over = True
        asyncio._set_running_loop(self)
        try:
            for process in processes:
                self.resume(process)
            for _ in range(20):
                tasks = [task for process in processes for task in process.tasks]
                if not tasks:
                    return
                for task in tasks:
                    task.cancel()
                for process in processes:
                    if process.ready and process not in self._runnable:
                        self._runnable.append(process)
                while self._runnable:
                    self._run_one(0)
        finally:
            asyncio._set_running_loop(None)

    def _enqueue(self, process: Process, handle: asyncio.Handle) -> None:
        if not process.ready and process.alive and not process.paused:
            self._runnable.append(process)
        process.ready.append(handle)

    def _withdraw(self, process: Process) -> None:
        if process in self._runnable:
            self._runnable.remove(process)

    def _step(self) -> None:
        runnable = self._runnable
        if not runnable:
            self._pass_time()
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Endless(f"{STEPS_MAX} steps, and at {self._now:.3f} s no end")
        self._run_one(int(self._chance.random() * len(runnable)) if len(runnable) > 1 else 0)

    def _run_one(self, index: int) -> None:
        process = self._runnable[index]
        handle = process.ready.popleft()
        if not process.ready:
            self._runnable[index] = self._runnable[-1]
            self._runnable.pop()
        if not handle.cancelled():
            handle._run()

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Endless(f"at {self._now:.3f} s nothing is left to happen")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            _, _, handle, process = heapq.heappop(timers)
            if not handle.cancelled():
                self._enqueue(process, handle)
