"""A whole exchange in one scheduler: real matchers and edges; simulated servers and clients."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

from api import trading
from api.books import Book
from api.errors import ApiError
from api.feed import Feed
from api.history import History
from api.instruments import Instruments
from api.schemas import OrderBody
from api.submit import Submitter
from tests.simulation.checker import Checker
from tests.simulation.network import Swarm, Trace
from tests.simulation.postgres_server import PostgresServer
from tests.simulation.redis_server import EPOCH_US, RedisServer, load_script
from tests.simulation.scheduler import PROCESS, Endless, Process, Scheduler
from workers.adapters import postgres, redis
from workers.adapters.failpoints import Failpoints
from workers.adapters.lookups import Lookups
from workers.adapters.pubsub import DepthReader, Publisher
from workers.adapters.streams import StreamWriter
from workers.core.channels import matcher_group, order_stream
from workers.core.depth import DepthDelta
from workers.core.records import Changes
from workers.matching.matcher import Matcher
from workers.metrics import Metrics
from workers.settings import Settings

CHAOS_S = 12.0
# After the faults have ended, everything must be answered and drained within this time: the longest
# silence (11 s), a lease, a deadline, and some tries.
LIVENESS_S = 60.0
LEASE_MS = 2_000
SUBMIT_TIMEOUT_MS = 3_000
EDGES = 2
MATCHERS = 2
CLIENTS = 4
PRICES = (95, 105)


@dataclass
class Operation:
    """What a client asked, and what it was told: `ok`, `refused`, `unknown`."""

    client: int
    body: OrderBody | None  # None: a cancel
    order_id: str | None
    instrument: str
    outcome: str = "unknown"
    status: int = 0
    code: str = ""
    answer: Any = None
    # The name to ask for again when the outcome is not known.
    told_id: str | None = None


class Listener:
    """Stands where the relay stands: what WebSocket clients would be told, and that it fits."""

    def __init__(self, name: str, checker: Checker) -> None:
        self._name = name
        self._checker = checker
        self._followed: dict[tuple[str, str], int] = {}

    def is_followed(self, instrument: str) -> bool:
        return True

    def delta(self, instrument: str, delta: DepthDelta) -> None:
        self._follow("depth", instrument, delta.prev_sequence, delta.sequence)

    def changes(self, instrument: str, changes: Changes) -> None:
        self._follow("changes", instrument, changes.prev_sequence, changes.sequence)
        self._checker.told(self._name, instrument, changes)

    def restart(self, instrument: str, *kinds: str) -> None:
        for kind in kinds:
            self._followed.pop((kind.replace("orderbook", "depth"), instrument), None)
            if kind != "orderbook":
                self._followed.pop(("changes", instrument), None)

    def _follow(self, kind: str, instrument: str, before: int, after: int) -> None:
        known = self._followed.get((kind, instrument), before)
        if known != before or after < before:
            self._checker.wrong(
                "I7", f"{self._name} tells {kind} {before}..{after} after {known} of {instrument}"
            )
        self._followed[kind, instrument] = after


@dataclass
class Edge:
    """One web process."""

    process: Process
    exchange: Any
    feed: Feed
    submitter: Submitter


@dataclass
class World:
    """Everything of one run."""

    seed: int
    allowed: frozenset[str] | None = None
    whole_trace: bool = False
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        seed = self.seed
        self.chance = Random(f"{seed} workload")
        self.evil = Random(f"{seed} events")
        self.loop = Scheduler(Random(f"{seed} schedule"))
        self.trace = Trace(self.loop, whole=self.whole_trace)
        self.swarm = Swarm.of(Random(f"{seed} faults"), self.allowed)
        self.instruments = ("BTC-USD",) if self.chance.random() < 0.7 else ("BTC-USD", "ETH-USD")
        context = (self.loop, self.swarm, self.trace)
        self.redis = RedisServer(*context)
        self.redis.keeps_states = "lose tail" in self.swarm.events
        self.postgres = PostgresServer(*context, instruments=self.instruments)
        self.checker = Checker(self.trace, self.redis, self.postgres)
        self.settings = Settings(
            database_url="postgres://simulated",
            redis_url="redis://simulated",
            lease_ms=LEASE_MS,
            submit_timeout_ms=SUBMIT_TIMEOUT_MS,
            batch_length_max=self.chance.choice((1, 2, 4, 16, 256)),
            stream_waiting_max=self.chance.choice((8, 100, 10_000)),
            in_flight_max=self.chance.choice((4, 100, 4_096)),
            key_ttl_ms=self.chance.choice((1_000, 60_000)),
        )
        self.metrics = Metrics()
        self.clients = Process("clients")
        self.processes: list[Process] = [self.loop.network, self.clients]
        self.matchers: dict[str, tuple[Process, asyncio.Event]] = {}
        self.edges: dict[str, Edge] = {}
        self.names = 0
        self.unfinished = 0
        self.stopping = False

    # Processes.

    def new_process(self, name: str) -> Process:
        self.names += 1
        process = Process(f"{name}-{self.names}")
        process.clock_offset_us = self.evil.randrange(-200_000, 200_000)
        self.processes.append(process)
        process.on_kill.append(lambda: self.loop.network_later(0.5, self._revive, name))
        return process

    def _revive(self, name: str) -> None:
        """A supervisor starts what has died."""
        if not self.loop.over:
            self.loop.start(self.clients, self._start(name))

    async def _start(self, name: str) -> None:
        await asyncio.sleep(self.evil.uniform(0, 0.5))
        if name.startswith("matcher"):
            self.start_matcher(name)
        else:
            self.start_edge(name)

    def start_matcher(self, name: str) -> None:
        process = self.new_process(name)
        stopping = asyncio.Event()
        self.matchers[name] = (process, stopping)
        self.trace.add(f"{process} starts")
        self.loop.start(process, self._guard(self._match(process, stopping)))

    async def _match(self, process: Process, stopping: asyncio.Event) -> None:
        """What workers.matching.__main__ does, without its signals."""
        await Matcher(self.settings, self.metrics, process.name, Failpoints()).run(stopping)
        self.trace.add(f"{process} ends")
        self.loop.kill(process)

    def start_edge(self, name: str) -> None:
        process = self.new_process(name)
        self.trace.add(f"{process} starts")
        process.context.run(self._compose, name, process)

    def _compose(self, name: str, process: Process) -> None:
        """What api.app does, without HTTP."""
        settings, metrics = self.settings, self.metrics
        lookups = Lookups(settings.database_url, 4)
        instruments = Instruments(lookups)
        submitter = Submitter(
            edge_id=process.name,
            writer=StreamWriter(
                settings.redis_url, settings.stream_waiting_max, settings.key_ttl_ms
            ),
            lookups=lookups,
            timeout_ms=settings.submit_timeout_ms,
            in_flight_max=settings.in_flight_max,
            metrics=metrics,
        )
        books: dict[str, Book] = {}
        histories: dict[str, History] = {}
        feed = Feed(
            edge_id=process.name,
            redis_url=settings.redis_url,
            reader=DepthReader(settings.redis_url),
            publisher=Publisher(settings.redis_url),
            lookups=lookups,
            instruments=instruments,
            submitter=submitter,
            relay=Listener(process.name, self.checker),  # type: ignore[arg-type]
            books=books,
            histories=histories,
            metrics=metrics,
        )
        exchange = SimpleNamespace(
            metrics=metrics, submitter=submitter, lookups=lookups, instruments=instruments,
            heard=lambda name: books[name].sequence if name in books else -1,
            told=lambda *_: None,
        )  # fmt: skip
        for work in (instruments.run(), feed.run(), feed.beat()):
            self.loop.start(process, self._guard(work))
        self.edges[name] = Edge(process, exchange, feed, submitter)

    async def _guard(self, work: Any) -> None:
        """An error that nobody foresaw ends a process, and is a bug."""
        process = PROCESS.get()
        try:
            await work
        except asyncio.CancelledError:
            if self.loop.over:
                raise
            self.checker.wrong("bug", f"{process}: background work was cancelled")
        except Exception as error:
            self.checker.wrong("bug", f"{process} ends by {error!r}")
            self.loop.kill(process)

    # Clients.

    async def ask(self, operation: Operation, *, leave: bool = False) -> None:
        """Send one command to some edge and note the answer."""
        loop = self.loop
        names = sorted(self.edges)
        edge = self.edges[names[self.chance.randrange(len(names))]]
        process = edge.process
        if not process.alive:
            operation.outcome, operation.code = "refused", "connection refused"
            await asyncio.sleep(0.05)
            return
        self.trace.add(
            f"client-{operation.client} asks {process}: {operation.order_id} {operation.body}"
        )
        answer: asyncio.Future[Any] = loop.create_future()
        died = [lambda: loop.network_later(0.001, _fail, answer, ConnectionError(process.name))]
        process.on_kill.append(died[0])

        async def serve() -> None:
            try:
                if operation.body is not None:
                    result = await trading.submit(edge.exchange, operation.body)
                else:
                    assert operation.order_id is not None
                    located = operation.instrument
                    result = await trading.cancel(edge.exchange, operation.order_id, located)
            except ApiError as error:
                result = error
            except asyncio.CancelledError:
                return
            except Exception as error:
                self.checker.wrong("bug", f"{process} answers 500: {error!r}")
                result = error
            if not isinstance(result, Exception):
                self.checker.acknowledged(operation, result)
            loop.network_later(0.0005, _settle, answer, result)

        handler: list[Any] = []

        def arrive() -> None:
            if process.alive:
                handler.append(loop.start(process, serve()))

        loop.network_later(0.0005, arrive)
        if leave:
            await asyncio.sleep(self.chance.uniform(0.0, 0.02))
            for task in handler:
                task.cancel()  # as Sanic does when a client has gone
            self.trace.add(f"client-{operation.client} has gone")
            return
        try:
            result = await answer
        except ConnectionError:
            self.trace.add(f"client-{operation.client}: connection lost")
            return
        finally:
            if died[0] in process.on_kill:
                process.on_kill.remove(died[0])
        if isinstance(result, ApiError):
            operation.status, operation.code = result.status, result.code
            operation.outcome = "unknown" if result.status == 504 else "refused"
            operation.told_id = result.extra.get("order_id")
        elif isinstance(result, Exception):
            operation.status = 500
        else:
            operation.outcome, operation.answer = "ok", result
        self.trace.add(
            f"client-{operation.client} is told {operation.outcome} {operation.code} "
            f"{operation.order_id} {operation.told_id or ''}"
        )

    def new_order(self, client: int) -> OrderBody:
        chance = self.chance
        self.names += 1
        limit = chance.random() < 0.75
        kind = chance.random()
        price = chance.randint(*PRICES) * 10**8
        quantity = chance.randint(1, 6) * 10**8
        return OrderBody.model_construct(
            client_id=f"client-{client}",
            side=chance.choice(("buy", "sell")),
            type="limit" if limit else "market",
            quantity=quantity,
            price=price if limit else None,
            instrument=chance.choice(self.instruments),
            order_id=f"order-{self.names}" if kind < 0.5 or kind > 0.9 else None,
            idempotency_key=f"key-{self.names}" if kind > 0.45 and kind < 0.95 else None,
        )

    async def trade(self, client: int) -> None:
        """One client: orders, repeats, borrowed names and cancels, until the chaos is over."""
        chance = self.chance
        mine: list[Operation] = []
        pace = chance.choice((0.03, 0.08, 0.25))
        while self.loop.time() < CHAOS_S:
            await asyncio.sleep(chance.expovariate(1 / pace))
            what = chance.random()
            named = [o for o in mine if o.body and (o.body.order_id or o.body.idempotency_key)]
            if what < 0.15 and named:
                earlier = chance.choice(named)
                body = earlier.body
                assert body is not None
                if chance.random() < 0.3:
                    body = body.model_copy(update={"quantity": body.quantity + 1})
                elif chance.random() < 0.1:
                    body = body.model_copy(update={"instrument": chance.choice(self.instruments)})
                operation = Operation(client, body, body.order_id, body.instrument)
            elif what < 0.35 and mine:
                earlier = chance.choice(mine[-8:])
                known = earlier.answer.order.order_id if earlier.outcome == "ok" else None
                order_id = known or earlier.order_id
                if earlier.body is None or order_id is None:
                    continue
                operation = Operation(client, None, order_id, earlier.instrument)
            else:
                body = self.new_order(client)
                operation = Operation(client, body, body.order_id, body.instrument)
            self.operations.append(operation)
            if operation.body is not None:
                mine.append(operation)
            if chance.random() < 0.4:
                # Does not wait for the answer before it goes on.
                self.unfinished += 1
                self.loop.start(self.clients, self._ask_aside(operation))
            else:
                await self.ask(operation, leave=chance.random() < 0.05)

    async def _ask_aside(self, operation: Operation) -> None:
        await self.ask(operation)
        self.unfinished -= 1

    async def resolve(self, operation: Operation) -> None:
        """Ask again, as the contract says, until the outcome is known."""
        body = operation.body
        if body is None:
            return
        if not (body.order_id or body.idempotency_key):
            if operation.told_id is None:
                return  # nobody can ask for it
            body = body.model_copy(update={"order_id": operation.told_id})
        while True:
            again = Operation(operation.client, body, body.order_id, body.instrument)
            self.operations.append(again)
            await self.ask(again)
            if again.outcome == "ok" or again.status == 409:
                return
            await asyncio.sleep(0.2)

    # Faults that come from outside.

    async def torment(self) -> None:
        """Let something happen now and then."""
        evil = self.evil
        if not self.swarm.events:
            return
        pace = evil.choice((0.5, 1.0, 3.0))
        while True:
            await asyncio.sleep(evil.expovariate(1 / pace))
            if not self.swarm.on:
                return
            event = evil.choice(self.swarm.events)
            self.swarm.counts[event] += 1
            self.trace.add(f"** {event}")
            getattr(self, "do_" + event.replace(" ", "_"))()

    def _some(self, processes: list[Process]) -> Process:
        return self.evil.choice(processes)

    def _matcher(self) -> Process:
        """Return a matcher, mostly one that owns something."""
        alive = [process for process, _ in self.matchers.values() if process.alive]
        owners = [shard.owner for shard in self.postgres.tables.shard.values()]
        owning = [process for process in alive if process.name in owners]
        return self._some(
            owning if owning and self.evil.random() < 0.8 else alive or [self.clients]
        )

    def _instrument(self) -> str:
        return self.evil.choice(self.instruments)

    def _pause(self, process: Process) -> None:
        if process is not self.clients:
            self.loop.pause(process)
            seconds = self.evil.choice((0.3, 1.5, 2.5, 6.0))
            self.loop.network_later(seconds, self.loop.resume, process)

    def do_kill_matcher(self) -> None:
        process = self._matcher()
        if process is not self.clients:
            self.loop.kill(process)

    def do_stop_matcher(self) -> None:
        process, stopping = self.evil.choice(list(self.matchers.values()))
        if process.alive and not process.paused:
            process.context.run(stopping.set)

    def do_pause_matcher(self) -> None:
        self._pause(self._matcher())

    def do_two_matchers_more(self) -> None:
        if len(self.matchers) < MATCHERS + 2:
            for _ in range(2):
                self.start_matcher(f"matcher{len(self.matchers)}")

    def do_kill_edge(self) -> None:
        edge = self.evil.choice(list(self.edges.values()))
        self.loop.kill(edge.process)

    def do_pause_edge(self) -> None:
        self._pause(self.evil.choice(list(self.edges.values())).process)

    def do_cut_off(self) -> None:
        process = self._some([p for p in self.processes[2:] if p.alive])
        servers: list[Any] = [self.redis, self.postgres]
        until = self.loop.time() + self.evil.choice((0.5, 3.0, 8.0))
        for server in self.evil.choice((servers, servers[:1], servers[1:])):
            server.cut_off[process] = until

    def _down(self, server: Any) -> None:
        server.restart()
        server.down = True
        seconds = self.evil.uniform(0.01, 2.0)
        self.loop.network_later(seconds, lambda: setattr(server, "down", False))

    def do_restart_redis(self) -> None:
        self._down(self.redis)

    def do_pause_redis(self) -> None:
        self.redis.silent_until = self.loop.time() + self.evil.choice((0.5, 3.0, 7.0))

    def do_flush_redis(self) -> None:
        if self.evil.random() < 0.5:
            self._down(self.redis)
        self.redis.lose_everything()

    def do_delete_stream(self) -> None:
        self.redis.on_loss()
        self.redis.keys.command("del", order_stream(self._instrument()))

    def do_lose_tail(self) -> None:
        self._down(self.redis)
        self.redis.lose_tail()

    def do_redis_clock(self) -> None:
        self.redis.clock_offset_us += self.evil.choice((-1, 1)) * 3_600_000_000

    def do_destroy_group(self) -> None:
        name = self._instrument()
        key = order_stream(name)
        shard = self.postgres.tables.shard[self.instruments.index(name) + 1]
        if key.encode() in self.redis.keys.data:
            self.redis.keys.command("xgroup_destroy", key, matcher_group(shard.epoch))

    def do_trim_stream(self) -> None:
        """Somebody's housekeeping removes entries, read or not."""
        stream = self.redis.keys.data.get(order_stream(self._instrument()).encode())
        if stream and stream.entries:
            self.redis.on_loss()
            gone = list(stream.entries)[: self.evil.randint(1, len(stream.entries))]
            for entry in gone:
                del stream.entries[entry]
            stream.max_deleted = max(stream.max_deleted, gone[-1])

    def do_repeat_entries(self) -> None:
        """Entries come again, in another order."""
        key = order_stream(self._instrument()).encode()
        stream = self.redis.keys.data.get(key)
        if stream and stream.entries:
            again = [fields for fields in stream.entries.values() if fields[0] == b"request"]
            self.evil.shuffle(again)
            self.redis.repeating = True
            for fields in again[:5]:
                self.redis.keys.command("xadd", key, "*", *fields)
            self.redis.repeating = False

    def do_poison(self) -> None:
        key = order_stream(self._instrument()).encode()
        if key in self.redis.keys.data:
            poison = self.evil.choice(
                (b"", b"{}", b"\xff\x00", b'{"command":"submit"}', b"[" * 999)
            )
            self.redis.keys.command("xadd", key, "*", "request", poison)

    def do_machine_clock(self) -> None:
        process = self._some([p for p in self.processes[2:] if p.alive])
        process.clock_offset_us += self.evil.choice((-1, 1)) * self.evil.choice(
            (1_000_000, 3_600_000_000)
        )

    def do_restart_postgres(self) -> None:
        self._down(self.postgres)

    def do_pause_postgres(self) -> None:
        self.postgres.silent_until = self.loop.time() + self.evil.choice((0.5, 3.0, 12.0))

    def do_terminate_sessions(self) -> None:
        self.postgres.restart()

    def do_postgres_clock(self) -> None:
        # Never back: who holds a lease then holds it for that much longer, and says so in the docs.
        self.postgres.clock_offset_us += 3_600_000_000

    # The run.

    async def live(self) -> None:
        """Chaos, then peace, in which everything must come to its end."""
        for number in range(MATCHERS):
            self.start_matcher(f"matcher{number}")
        for number in range(EDGES):
            self.start_edge(f"edge{number}")
        traders = [self.loop.start(self.clients, self.trade(number)) for number in range(CLIENTS)]
        self.loop.start(self.clients, self.torment())
        await asyncio.sleep(CHAOS_S)
        await self.peace(LIVENESS_S, *traders)

    async def peace(self, seconds: float, *traders: Any) -> None:
        """End the faults; then everything must be answered, drained and in order within a time."""
        self.swarm.on = False
        self.trace.add("** faults end")
        for server in (self.redis, self.postgres):
            server.down = False
            server.silent_until = 0.0
            server.cut_off.clear()
        for process in self.processes:
            self.loop.resume(process)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*traders)
                while self.unfinished:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await self._come_to_rest()
        except TimeoutError:
            self.checker.wrong("I12", f"not at rest {seconds:g} s after the faults: {self._why()}")
            return
        self.checker.final(self)

    async def _come_to_rest(self) -> None:
        unknown = [o for o in self.operations if o.outcome == "unknown"]
        await asyncio.gather(*(self.resolve(operation) for operation in unknown))
        for instrument in self.instruments:
            for number in range(2):
                body = self.new_order(99).model_copy(
                    update={"order_id": f"last-{instrument}-{number}", "instrument": instrument}
                )
                await self.resolve(Operation(99, body, body.order_id, instrument))
        while self.checker.unsettled(self):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def _why(self) -> str:
        return f"{self.unfinished} unanswered; {self.checker.unsettled(self)}"


def _fail(answer: "asyncio.Future[Any]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _settle(answer: "asyncio.Future[Any]", result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


class Clock:
    """Stands where the module `time` stands: each process has a clock of its own."""

    def __init__(self, loop: Scheduler) -> None:
        self._loop = loop

    def time_ns(self) -> int:
        return (EPOCH_US + int(self._loop.time() * 1e6) + PROCESS.get().clock_offset_us) * 1000

    def time(self) -> float:
        return self.time_ns() / 1e9

    def monotonic(self) -> float:
        return self._loop.time()

    perf_counter = monotonic


class Secrets:
    """Stands where the module `secrets` stands."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def token_hex(self, length: int) -> str:
        return self._chance.randbytes(length).hex()


@contextlib.contextmanager
def standing_in(world: World) -> Iterator[None]:
    """Let the product's modules use the simulated servers and clocks."""
    import secrets

    stands: list[tuple[Any, Any]] = [
        (time, Clock(world.loop)),
        (secrets, Secrets(Random(f"{world.seed} ids"))),
        (redis.connect, world.redis.client),
        (redis.load_script, load_script),
        (postgres.connect, world.postgres.connect),
        (postgres.make_pool, world.postgres.pool),
    ]
    changed: list[tuple[ModuleType, str, Any]] = []
    for name, module in list(sys.modules.items()):
        if not name.startswith(("workers.", "api.")) or module in (redis, postgres):
            continue
        for attribute, value in list(vars(module).items()):
            for real, simulated in stands:
                if value is real:
                    changed.append((module, attribute, value))
                    setattr(module, attribute, simulated)
    disabled = logging.root.manager.disable
    if not world.whole_trace:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        for module, attribute, value in changed:
            setattr(module, attribute, value)


class LogLines(logging.Handler):
    """What the product logs, between the lines of a trace but not in its digest."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        if process := PROCESS.get(None):
            self._trace.lines.append(f"           {process} says: {record.getMessage()}")


@dataclass
class Result:
    """How one run went."""

    seed: int
    problems: list[str]
    trace: Trace
    orders: int
    acknowledged: int
    faults: dict[str, int]
    steps: int
    seconds: float

    @property
    def failed(self) -> bool:
        return bool(self.problems)


def simulate(
    seed: int,
    *,
    allowed: frozenset[str] | None = None,
    whole_trace: bool = False,
    plant: Callable[[World], contextlib.AbstractContextManager[None]] | None = None,
) -> Result:
    """Run one seed from its beginning to its end."""
    world = World(seed, allowed, whole_trace)
    logger = logging.getLogger("workers"), logging.getLogger("api")
    handler = LogLines(world.trace)
    if whole_trace:
        for each in logger:
            each.addHandler(handler)
            each.setLevel(logging.DEBUG)
    try:
        with standing_in(world), plant(world) if plant else contextlib.nullcontext():
            try:
                world.loop.run(world.live(), world.clients)
            except Endless as error:
                world.checker.wrong("I12", str(error))
            finally:
                seconds = world.loop.time()
                world.loop.end(world.processes)
    finally:
        for each in logger:
            each.removeHandler(handler)
            each.setLevel(logging.NOTSET)
    world.checker.problems += world.postgres.misused
    return Result(
        seed,
        world.checker.problems,
        world.trace,
        sum(operation.body is not None for operation in world.operations),
        sum(operation.outcome == "ok" for operation in world.operations),
        dict(world.swarm.counts),
        world.loop.steps,
        seconds,
    )
