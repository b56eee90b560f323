"""Start the whole exchange: the servers that are not given, migrations, processes."""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import FrameType

import psutil

from ops import processes, reload
from ops.address import Address, PortTakenError
from ops.arguments import amount_above_zero
from ops.embedded import Postgres, Valkey
from ops.embedded.server import Server
from ops.errors import OpsError
from ops.instance import Instance, add_data_option, ephemeral_folder
from ops.migrate import migrate
from ops.output import Output
from ops.priority import keep_analysts_low
from ops.supervisor import STOP_TIMEOUT_S, Program, Supervisor
from workers.settings import Settings, SettingsError

# In the order they stop: first no new orders, then those under way.
PROGRAMS = (
    Program("web", "api"),
    Program("matcher", "workers.matching"),
    Program("jobs", "workers.jobs", ("--clock",)),
)

# Orders per second of `--market`: a book that moves all the time, and a tenth of a processor.
MARKET_RATE = Decimal(100)

# The servers an exchange needs, by the variable that gives one, in the order they start.
SERVERS: dict[str, type[Server]] = {"DATABASE_URL": Postgres, "REDIS_URL": Valkey}

READY_TIMEOUT_S = 90.0

BANNER = """
  Trade engine is ready: {url}

    running   {processes}
    data      {data}
    logs      {logs}

  Try it:
    curl {url}/orders -H 'Content-Type: application/json' -d \\
      '{{"client_id": "alice", "side": "buy", "type": "limit", "price": 70000, "quantity": 0.5}}'

  Ctrl-C stops everything.
"""


SERVERS_BANNER = """
  The servers are ready, and the database is current. For `honcho start` and the like:

    export PORT={port} DATABASE_URL={DATABASE_URL} REDIS_URL={REDIS_URL}

  Ctrl-C stops them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    env = os.environ
    parser.add_argument(
        "--port", type=_port, default=env.get("PORT") or "3000", help="0 for any free one (PORT)"
    )
    parser.add_argument(
        "--host", default=env.get("HOST") or "127.0.0.1", help="address to listen on (HOST)"
    )
    add_data_option(parser)
    parser.add_argument(
        "--ephemeral", action="store_true", help="use a temporary data folder, deleted at the end"
    )
    parser.add_argument(
        "--dev", action="store_true", help="start the processes again when their code changes"
    )
    parser.add_argument(
        "--market",
        nargs="?",
        type=amount_above_zero,
        const=MARKET_RATE,
        metavar="RATE",
        help=f"make a market that is alive, of so many orders per second ({MARKET_RATE}); "
        "see `python -m ops market`",
    )
    parser.add_argument(
        "--servers",
        action="store_true",
        help="start the servers alone, for processes that something else starts (honcho)",
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def main(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM; a second one ends everything at once."""
    if args.servers and args.market:
        raise OpsError(
            "--market trades with the processes that --servers leaves to you: start it after them, "
            "with `python -m ops market`"
        )
    given = {name: url for name in SERVERS if (url := os.environ.get(name))}
    _check_environment(given, args.host)
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(ephemeral_folder()) if args.ephemeral else args.data
        instance = Instance(data)
        address = _claim(args.host, args.port, instance)
        stack.enter_context(instance.locked())
        programs = () if args.servers else (*_market(args.market, address), *PROGRAMS)
        Run(instance, address, given, args.ephemeral, programs, args.dev).run()
    return 0


def _market(rate: Decimal | None, address: Address) -> tuple[Program, ...]:
    """Return the program that makes a market, if it is wanted. It stops first: it has to cancel."""
    if rate is None:
        return ()
    arguments = ("market", "--url", address.url, "--rate", str(rate))
    return (Program("market", "ops", arguments, late=True),)


def _claim(host: str, port: int, instance: Instance) -> Address:
    """Return the address to listen on, or raise OpsError saying who listens there."""
    try:
        return Address.claim(host, port)
    except PortTakenError as error:
        if running := instance.running():
            raise OpsError(
                f"Port {port} is taken: Trade engine already runs at {running['http_url']}; "
                "stop it, or choose another with --port and --data"
            ) from error
        if not _end_left_behind(instance):
            raise
    return Address.claim(host, port)


def _end_left_behind(instance: Instance) -> bool:
    """End our processes whose run was killed just now; return whether there were any."""
    commands = {program.name: program.command for program in PROGRAMS}
    left = []
    for name, pid in instance.last_pids().items():
        try:
            process = psutil.Process(pid)
            command = commands.get(name)
            if command and process.cmdline()[-len(command) :] == command:
                left.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
    return bool(left) and processes.end(left, signal.SIGTERM, STOP_TIMEOUT_S)


def _check_environment(given: Mapping[str, str], host: str) -> None:
    """Raise OpsError for a setting that would stop a process right after its start."""
    missing = [name for name in SERVERS if name not in given]
    if missing and os.environ.get("EXCHANGE_ENV") == "production":
        raise OpsError(
            "The embedded servers are not for production (EXCHANGE_ENV): "
            f"set {' and '.join(missing)}"
        )
    stand_ins = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://", "PORT": "0"}
    try:
        Settings.from_env({**os.environ, **stand_ins, **given, "HOST": host}).check_listening()
    except SettingsError as error:
        raise OpsError(str(error)) from error


class Run:
    """One run of the exchange on a data folder that is ours alone."""

    def __init__(
        self,
        instance: Instance,
        address: Address,
        given: Mapping[str, str],
        ephemeral: bool,
        programs: Sequence[Program] = PROGRAMS,
        dev: bool = False,
    ) -> None:
        self._instance = instance
        self._address = address
        self._urls = dict(given)
        self._ephemeral = ephemeral
        self._programs = programs
        self._dev = dev
        self._output = Output([program.name for program in programs], os.environ)
        self._servers: list[Server] = []
        self._supervisor: Supervisor | None = None
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_event = asyncio.Event()

    def run(self) -> None:
        """Start everything, wait for a signal, stop everything in the opposite order."""
        with self._signals(), contextlib.ExitStack() as stack:
            for variable, kind in SERVERS.items():
                if variable not in self._urls and not self._stopping:
                    server = kind(self._instance.data)
                    self._servers.append(server)
                    stack.callback(server.stop)
                    self._urls[variable] = server.start().url
                    self._say(f"{server.name} answers on port {server.port}")
            if not self._stopping:
                migrate(self._urls["DATABASE_URL"])
                self._say("the database is current")
                asyncio.run(self._supervise())
        self._say("stopped")

    async def _supervise(self) -> None:
        """Run our processes until a signal comes."""
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            return
        environment = {
            **os.environ,
            **self._urls,
            "HOST": self._address.host,
            "PORT": str(self._address.port),
            "PYTHONUNBUFFERED": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(self._instance.metrics),
        }
        if sys.stdout.isatty() and os.environ.get("LOG_FORMAT") in (None, "", "auto"):
            # They write to us and not to the terminal, but it is a person who reads.
            environment["LOG_FORMAT"] = "text"
        # What earlier runs counted is over.
        shutil.rmtree(self._instance.metrics, ignore_errors=True)
        supervisor = Supervisor(self._programs, environment, self._output.line, self._describe)
        self._supervisor = supervisor
        stop = asyncio.create_task(self._stop_event.wait())
        ready = asyncio.create_task(self._become_ready(supervisor))
        tasks = [stop, ready]
        for server in self._servers:
            if isinstance(server, Postgres):
                tasks.append(asyncio.create_task(keep_analysts_low(server.url, server.pid)))
        try:
            await asyncio.wait((ready, stop), return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                if self._dev:
                    watch = asyncio.create_task(self._reload(supervisor))
                    await asyncio.wait((watch, stop), return_when=asyncio.FIRST_COMPLETED)
                    watch.cancel()
                await stop
            self._say("stopping")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await supervisor.stop()

    async def _become_ready(self, supervisor: Supervisor) -> None:
        if not self._programs:
            self._describe()
            self._output.text(SERVERS_BANNER.format(**self._urls, port=self._address.port))
            return
        await supervisor.start()
        await supervisor.until_ready(self._address.missing, READY_TIMEOUT_S)
        await supervisor.keep()
        self._output.text(
            BANNER.format(
                url=self._address.url,
                processes=", ".join(f"{name} (pid {pid})" for name, pid in self._pids().items()),
                data=self._instance.data,
                logs=self._instance.logs if self._servers else "in this terminal",
            )
        )

    async def _reload(self, supervisor: Supervisor) -> None:
        async for path in reload.changes():
            self._say(f"{path} has changed")
            supervisor.terminate()

    def _pids(self) -> dict[str, int]:
        pids = {server.name: server.pid for server in self._servers}
        return pids | (self._supervisor.pids if self._supervisor else {})

    def _describe(self) -> None:
        self._instance.describe(
            {
                "http_url": self._address.url,
                "postgres_url": self._urls["DATABASE_URL"],
                "redis_url": self._urls["REDIS_URL"],
                "port": self._address.port,
                "pids": {"run": os.getpid(), **self._pids()},
            }
        )

    def _say(self, text: str) -> None:
        self._output.line("run", text)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle the signals that ask us to end; a lost terminal asks, too, unless under nohup."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._end_at_once(number)
        self._stopping = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop_event.set)

    def _end_at_once(self, number: int) -> None:
        if self._supervisor is not None:
            self._supervisor.kill()
        for server in self._servers:
            server.kill_without_waiting()
        if self._ephemeral:
            shutil.rmtree(self._instance.data, ignore_errors=True)
        os._exit(128 + number)
