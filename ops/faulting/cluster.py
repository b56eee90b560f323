"""An exchange to hurt: servers, processes, the network between them; what was done is counted."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import LiteralString, Self
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import redis
from psycopg import sql

from ops.address import Address
from ops.embedded import Postgres, Valkey
from ops.embedded.server import free_port
from ops.errors import OpsError
from ops.faulting import clocks
from ops.faulting.clocks import Clock
from ops.faulting.kafka import MockKafka
from ops.faulting.proxy import Proxy
from ops.migrate import migrate
from ops.processes import bound_to_us

INSTRUMENTS = ("BTC-USD", "ETH-USD", "SOL-USD")
WAIT_S = 60.0
# A short lease, so that many take-overs fit into a minute.
LEASE_MS = 500
STOP_S = 20.0
LOGS_KEPT = 40
NO_VARIABLES: Mapping[str, str] = {}
# In a second instead of a quarter of a minute.
QUICK_JOBS = {
    "EXCHANGE_CLOCK_MS": "50", "EXCHANGE_JOB_LEASE_MS": "1000", "EXCHANGE_JOB_HINT_MS": "500",
    "EXCHANGE_SNAPSHOT_MS": "1000",
}  # fmt: skip


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until the condition holds. Raises OpsError."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise OpsError(f"not in {timeout_s:.0f} s: {what}")
        time.sleep(0.01)


class Process:
    """One process of the exchange."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self._popen = popen
        self.name = name
        self.log = log

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout_s: float = STOP_S) -> int | None:
        """Wait for its end; return its exit code, None when it does not end."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.log.name}\n{text[-3000:]}"


class Cluster:
    """Embedded servers, `matchers` matchers, one web process, a proxy before each server."""

    def __init__(self, folder: Path, matchers: int = 2) -> None:
        self.folder = folder
        self.postgres = Postgres(folder / "data")
        self.valkey = Valkey(folder / "data")
        self._matchers_wanted = matchers
        self.matchers: list[Process] = []
        self.webs: list[Process] = []
        # Processes of jobs, which only some faults need.
        self.workers: list[Process] = []
        self.port = free_port()
        self.database = "exchange"
        self._template = f"template_{uuid.uuid4().hex[:8]}"
        self._stack = ExitStack()
        # What was done, by kind: "SIGKILL matcher" and the like.
        self.done: Counter[str] = Counter()
        self._started = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            (self.folder / "logs").mkdir(parents=True, exist_ok=True)
            self.postgres.start()
            stack.callback(self.postgres.stop)
            self.valkey.start()
            stack.callback(self.valkey.stop)
            self.postgres_proxy = stack.enter_context(Proxy(self.postgres.port))
            self.redis_proxy = stack.enter_context(Proxy(self.valkey.port))
            self._admin("CREATE DATABASE {}", self._template)
            migrate(self.url_of(self._template))
            stack.callback(clocks.clean_up)
            stack.callback(self.stop_processes)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # Where things are.

    def url_of(self, database: str) -> str:
        parts = urlsplit(self.postgres.url)
        return urlunsplit(parts._replace(path=f"/{database}"))

    @property
    def database_url(self) -> str:
        return self.url_of(self.database)

    @property
    def redis(self) -> "redis.Redis":
        return redis.Redis.from_url(self.valkey.url)

    @contextmanager
    def look(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            yield connection

    @property
    def processes(self) -> list[Process]:
        return [*self.webs, *self.matchers, *self.workers]

    def new_kafka(self) -> MockKafka:
        """Give the next mirror an empty Kafka, and nothing to copy of what was before."""
        kafka = MockKafka()
        with self.look() as look:
            look.execute(
                "SELECT exchange.resume_mirror_v1(instrument_id, epoch, sequence, trade_no)"
                " FROM exchange.shard"
            )
        return kafka

    def mirrored(self) -> dict[str, int]:
        """Return the sequence that each instrument is mirrored up to."""
        return self._sequences("exchange.mirror_offsets")

    def sequences(self) -> dict[str, int]:
        """Return the sequence that each instrument is at."""
        return self._sequences("exchange.shard")

    def clock(self, name: str) -> Clock:
        """Return a clock for some processes."""
        return Clock(self.folder, name)

    # The life of it.

    def begin(self) -> None:
        """Begin anew: an empty database, an empty Redis, every process."""
        self.stop_processes()
        for server in (self.postgres, self.valkey):
            server.variables = {}
            if not server.running:  # the last fault went wrong
                server.start(server.port)
        before, self.database = self.database, f"run_{uuid.uuid4().hex[:8]}"
        if before.startswith("run_"):
            self._admin("DROP DATABASE IF EXISTS {} WITH (FORCE)", before)
        self._admin("CREATE DATABASE {} TEMPLATE {}", self.database, self._template)
        with self.redis as connection:
            connection.flushall()
        self.complete()
        self.wait_ready()

    def complete(self) -> None:
        """Start what is missing of the processes; forget those that ended."""
        self.matchers = [process for process in self.matchers if process.alive]
        self.webs = [process for process in self.webs if process.alive]
        while len(self.matchers) < self._matchers_wanted:
            self.matcher()
        if not self.webs:
            self.web()

    def matcher(
        self,
        failpoints: str = "",
        proxied: bool = False,
        output: Path | None = None,
        env: Mapping[str, str] = NO_VARIABLES,
    ) -> Process:
        """Start one more matcher."""
        process = self._spawn("matcher", ["workers.matching"], failpoints, proxied, output, env)
        self.matchers.append(process)
        return process

    def web(
        self,
        failpoints: str = "",
        proxied: bool = False,
        output: Path | None = None,
        env: Mapping[str, str] = NO_VARIABLES,
    ) -> Process:
        """Start a web process, in the place of the one before."""
        process = self._spawn("web", ["api"], failpoints, proxied, output, env)
        self.webs.append(process)
        return process

    def jobs(self, failpoints: str = "", kafka: MockKafka | None = None) -> Process:
        """Start a process of jobs that is the clock, too, and mirrors where there is a Kafka."""
        env = QUICK_JOBS | ({"KAFKA_BROKERS": kafka.brokers} if kafka else {})
        process = self._spawn("jobs", ["workers.jobs", "--clock"], failpoints, False, None, env)
        self.workers.append(process)
        return process

    def wait_ready(self) -> None:
        address = Address("127.0.0.1", self.port)
        try:
            wait_for(lambda: address.missing() is None, "ready")
        except OpsError as error:
            raise OpsError(f"{error}: {address.missing()}\n{self.last_words()}") from error

    def last_words(self) -> str:
        return "\n".join(process.last_words() for process in self.processes)

    def stop_processes(self) -> None:
        """End every process in order."""
        for process in self.processes:
            if process.alive:
                process.send(signal.SIGCONT)
                process.send(signal.SIGTERM)
        for process in self.processes:
            if process.wait() is None:
                process.send(signal.SIGKILL)
                process.wait()
        self.matchers.clear()
        self.webs.clear()
        self.workers.clear()

    # Harm.

    def kill(self, process: Process) -> None:
        self._end(process, signal.SIGKILL)

    def terminate(self, process: Process) -> None:
        self._end(process, signal.SIGTERM)

    def _end(self, process: Process, number: signal.Signals) -> None:
        process.send(number)
        if process.wait() is None:
            raise OpsError(f"{process.name} does not end\n{process.last_words()}")
        self.count(number, process.name)

    def await_end(self, process: Process, timeout_s: float = STOP_S) -> bool:
        """Wait until a process has killed itself at its failpoint; tell whether it did."""
        if process.wait(timeout_s) is None:
            return False
        self.count(signal.SIGKILL, f"{process.name} at a failpoint")
        return True

    def await_frozen(self, process: Process, timeout_s: float = STOP_S) -> bool:
        """Wait until a process has stopped itself at its failpoint; tell whether it did."""
        watched = psutil.Process(process.pid)
        try:
            wait_for(lambda: watched.status() == psutil.STATUS_STOPPED, "frozen", timeout_s)
        except (OpsError, psutil.NoSuchProcess):
            return False
        self.count(signal.SIGSTOP, f"{process.name} at a failpoint")
        return True

    @contextmanager
    def frozen(self, process: Process) -> Iterator[None]:
        """Stop a process as long as this lasts."""
        process.send(signal.SIGSTOP)
        self.count(signal.SIGSTOP, process.name)
        try:
            yield
        finally:
            process.send(signal.SIGCONT)

    def stop_hard(self, server: Postgres | Valkey) -> None:
        """Kill a server with all its children."""
        server.kill()
        self.count(signal.SIGKILL, server.name)

    def restart(self, server: Postgres | Valkey, between: Callable[[], object] = bool) -> None:
        """Kill a server with all its children, do something, and start it on the same port."""
        port = server.port
        self.stop_hard(server)
        between()
        server.start(port)

    def count(self, number: signal.Signals, whom: str) -> None:
        self.done[f"{number.name} {whom}"] += 1

    def anyone(self, chance: random.Random) -> Process:
        """Return a matcher, rather one that matches something."""
        alive = [process for process in self.matchers if process.alive]
        with self.look() as look:
            owners = {
                int(owner.split(":")[1])
                for (owner,) in look.execute(
                    "SELECT owner FROM exchange.shard WHERE owner IS NOT NULL"
                )
            }
        return chance.choice([process for process in alive if process.pid in owners] or alive)

    def epochs(self) -> dict[int, int]:
        """Return the epoch of each instrument."""
        with self.look() as look:
            return dict(look.execute("SELECT instrument_id, epoch FROM exchange.shard").fetchall())

    def lag(self) -> int:
        """Return how many entries wait in all streams, beyond what is committed."""
        with self.redis as connection, self.look() as look:
            positions = dict(
                look.execute(
                    "SELECT instrument, last_stream_id FROM exchange.shard"
                    " JOIN exchange.instruments USING (instrument_id)"
                ).fetchall()
            )
            return sum(
                len(connection.xrange(f"orders:{{{name}}}", f"({position}", count=10_000) or ())
                for name, position in positions.items()
            )

    # Inside.

    def _sequences(self, table: LiteralString) -> dict[str, int]:
        with self.look() as look:
            return dict(
                look.execute(
                    sql.SQL(
                        "SELECT instrument, sequence FROM {} JOIN exchange.instruments"
                        " USING (instrument_id)"
                    ).format(sql.SQL(table))
                ).fetchall()
            )

    def _spawn(
        self,
        name: str,
        module: Sequence[str],
        failpoints: str,
        proxied: bool,
        output: Path | None,
        env: Mapping[str, str],
    ) -> Process:
        self._started += 1
        logs = self.folder / "logs"
        for old in sorted(logs.glob("[0-9]*.log"))[:-LOGS_KEPT]:
            old.unlink()
        log = logs / f"{self._started:06}-{name}.log"
        database_url, redis_url = self.database_url, self.valkey.url
        if proxied:
            database_url = with_port(database_url, self.postgres_proxy.port)
            redis_url = with_port(redis_url, self.redis_proxy.port)
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "METRICS_PORT": "",
            "LOG_FORMAT": "json",
            "EXCHANGE_LEASE_MS": str(LEASE_MS),
            "EXCHANGE_FAILPOINTS": failpoints,
            "RATE_LIMIT_MAX_REQUESTS": "100000000",
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / "metrics"),
            **env,
        }
        with (output or log).open("wb") as file:
            popen = subprocess.Popen(
                bound_to_us([sys.executable, "-m", *module], signal.SIGKILL),
                env=environment,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return Process(popen, name, log)

    def _admin(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def with_port(url: str, port: int) -> str:
    """Return a URL with another port."""
    parts = urlsplit(url)
    userinfo, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{userinfo}@127.0.0.1:{port}"))
