"""Between processes and servers: every call has a fate, and a seed turns on some of the faults."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

from tests.simulation.scheduler import PROCESS, Process, Scheduler

# How often each fault strikes when a seed has turned it on: per call, from ... to.
CALL_FAULTS = {
    "slow": (0.01, 0.1),  # tens of milliseconds
    "stall": (0.001, 0.01),  # seconds: longer than a lease
    "lost request": (0.002, 0.02),
    "lost reply": (0.002, 0.02),
    "silence": (0.001, 0.005),  # a lost reply, and a connection that looks alive
    "doubled": (0.005, 0.05),
    "crash before": (0.0005, 0.004),
    "crash after": (0.0005, 0.004),
    "refused": (0.002, 0.02),  # a definite error of the server
    "lost message": (0.005, 0.05),  # of pub/sub
    "doubled message": (0.005, 0.05),
    "late message": (0.005, 0.05),
    "cut subscription": (0.001, 0.01),
}
# What happens now and then while faults are on.
EVENTS = (
    "kill matcher", "stop matcher", "pause matcher", "kill edge", "pause edge", "cut off",
    "restart redis", "pause redis", "flush redis", "delete stream", "lose tail", "redis clock",
    "destroy group", "trim stream", "repeat entries", "poison", "machine clock",
    "restart postgres", "pause postgres", "terminate sessions", "postgres clock",
    "two matchers more",
)  # fmt: skip


class Fate(NamedTuple):
    """What will become of one call."""

    faults: frozenset[str] = frozenset()
    to_s: float = 0.0
    back_s: float = 0.0


class Trace:
    """Everything that happened, as lines and as a digest of them."""

    def __init__(self, loop: Scheduler, *, whole: bool) -> None:
        self._loop = loop
        self._digest = blake2b(digest_size=16)
        self.lines: deque[str] = deque(maxlen=None if whole else 400)

    def add(self, text: str) -> None:
        line = f"{self._loop.time():10.6f} {text}"
        self._digest.update(line.encode())
        self.lines.append(line)

    def hash(self) -> str:
        return self._digest.hexdigest()


@dataclass
class Swarm:
    """The faults that one seed has turned on, and how often they strike."""

    chance: Random
    rates: dict[str, float] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    on: bool = True
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, chance: Random, allowed: frozenset[str] | None = None) -> "Swarm":
        """Turn on a random part of all faults, and one seed in ten none; or most of `allowed`."""
        if allowed is None and chance.random() < 0.1:
            return cls(chance)
        share = chance.choice((0.2, 0.5, 0.8)) if allowed is None else 0.9
        rates = {}
        for name, (low, high) in CALL_FAULTS.items():
            turned_on, rate = chance.random() < share, chance.uniform(low, high)
            if turned_on and (allowed is None or name in allowed):
                rates[name] = rate
        events = [
            name
            for name in EVENTS
            if (chance.random() < share) & (allowed is None or name in allowed)
        ]
        return cls(chance, rates, tuple(events))

    def strikes(self, name: str) -> bool:
        """Decide whether a fault strikes now."""
        rate = self.rates.get(name) if self.on else None
        if rate is None or self.chance.random() >= rate:
            return False
        self.counts[name] += 1
        return True

    def fate(self, *, doubling: bool, refusing: bool) -> Fate:
        """Decide on one call."""
        chance = self.chance
        to_s, back_s = chance.uniform(0.0001, 0.002), chance.uniform(0.0001, 0.002)
        if not self.on or not self.rates:
            return Fate(frozenset(), to_s, back_s)
        faults = frozenset(
            name
            for name in self.rates
            if not name.endswith(("message", "subscription"))
            and (doubling or name != "doubled")
            and (refusing or name != "refused")
            and self.strikes(name)
        )
        if "slow" in faults:
            to_s += chance.uniform(0.01, 0.3)
        if "stall" in faults:
            if chance.random() < 0.5:
                to_s += chance.uniform(0.5, 7.0)
            else:
                back_s += chance.uniform(0.5, 7.0)
        return Fate(faults, to_s, back_s)


class Server:
    """One server, as the network sees it. Subclasses say which errors their clients see."""

    name = "server"
    # How long a client waits for an answer from a server that is silent.
    patience_s = 5.0

    def __init__(self, loop: Scheduler, swarm: Swarm, trace: Trace) -> None:
        self.loop = loop
        self.swarm = swarm
        self.trace = trace
        # Connections of earlier generations are broken.
        self.generation = 0
        self.down = False
        self.silent_until = 0.0
        # What this machine's clock is ahead of the true time.
        self.clock_offset_us = 0
        self.cut_off: dict[Process, float] = {}
        # What is being done was done before, and nobody is to blame for it.
        self.repeating = False

    def connection_error(self, text: str) -> Exception:
        raise NotImplementedError

    def timeout_error(self) -> Exception:
        raise NotImplementedError

    def restart(self) -> None:
        """Break every connection."""
        self.generation += 1

    def reachable(self, process: Process) -> bool:
        return self.cut_off.get(process, 0.0) <= self.loop.time()

    async def call(
        self,
        what: str,
        operation: Callable[["asyncio.Future[Any]"], Any],
        *,
        connection: "Connection",
        doubling: bool = False,
        refusal: Exception | None = None,
    ) -> Any:
        """Let the server do `operation`, and return or raise what it does.

        The operation gets the future of its answer; what it returns is sent, unless it is `LATER`.
        """
        if self.loop.over:
            raise asyncio.CancelledError
        loop, process = self.loop, PROCESS.get()
        fate = self.swarm.fate(doubling=doubling, refusing=refusal is not None)
        faults = fate.faults
        generation = self.generation
        answer: asyncio.Future[Any] = loop.create_future()
        served: asyncio.Future[Any] = loop.create_future()

        def fail(error: Exception) -> None:
            connection.broken = True
            if not answer.done():
                answer.set_exception(error)

        def arrive() -> None:
            if loop.over:
                return
            now = loop.time()
            if now < self.silent_until:
                loop.network_later(self.silent_until - now + 0.0001, arrive)
                return
            if self.down or generation != self.generation:
                self.trace.add(f"{process} {what} !! no connection")
                fail(self.connection_error("connection reset"))
                return
            if "lost request" in faults or not self.reachable(process):
                self.trace.add(f"{process} {what} !! request lost")
                if "lost request" in faults and self.swarm.chance.random() < 0.5:
                    fail(self.connection_error("connection reset"))
                return
            if "refused" in faults:
                assert refusal is not None
                self.trace.add(f"{process} {what} !! refused")
                served.set_exception(refusal)
                return
            try:
                result = operation(served)
                if "doubled" in faults:
                    self.trace.add(f"{process} {what} doubled")
                    self.repeating = True
                    operation(served)
                    self.repeating = False
            except Exception as error:
                self.repeating = False
                result = error
            if result is not LATER and not served.done():
                if isinstance(result, Exception):
                    served.set_exception(result)
                else:
                    served.set_result(result)

        def answered(_: Any) -> None:
            if served.cancelled():
                return
            error = served.exception()
            self.trace.add(f"{process} {what} -> {error if error else describe(served.result())}")
            if "crash after" in faults:
                self.trace.add(f"{process} dies after {what}")
                loop.kill(process)
            if "silence" in faults:
                self.trace.add(f"{process} {what} !! silence")
            elif "lost reply" in faults:
                self.trace.add(f"{process} {what} !! reply lost")
                loop.network_later(
                    fate.back_s, fail, self.connection_error("connection reset by peer")
                )
            else:
                loop.network_later(fate.back_s, deliver)

        def deliver() -> None:
            if answer.done():
                return
            if generation != self.generation or not self.reachable(process):
                fail(self.connection_error("connection reset"))
            elif error := served.exception():
                answer.set_exception(error)
            else:
                answer.set_result(served.result())

        # A client that gives up leaves the connection behind; the server may still do its work.
        def give_up() -> None:
            self.trace.add(f"{process} {what} !! no answer in time")
            fail(self.timeout_error())

        if "crash before" in faults:
            self.trace.add(f"{process} dies before {what}")
            loop.kill(process)
            await answer
        patience = loop.call_later(self.patience_s, give_up)
        served.add_done_callback(answered, context=loop.network.context)
        loop.network_later(fate.to_s, arrive)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.broken = True
            raise
        finally:
            patience.cancel()


class Connection:
    """What a client knows of its connection."""

    def __init__(self) -> None:
        self.broken = False


# An operation that will answer later.
LATER = object()


def describe(value: Any) -> str:
    """Return a short text that is the same in every run."""
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:140]}...{len(text)}"
