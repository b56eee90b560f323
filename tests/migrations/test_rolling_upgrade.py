"""The version before this one is replaced by this one, process by process, while clients trade.

And back again: what was deployed can be taken back while its migrations stay.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

import sql
from ops.embedded import Postgres
from ops.faulting.checker import check
from ops.faulting.cluster import wait_for
from ops.faulting.history import History
from ops.faulting.load import Load
from ops.faulting.proxy import Proxy
from ops.processes import bound_to_us
from ops.schema import SCHEMA, dump
from tests.exchange import Client, free_port, running
from tests.follower import Follower
from tests.previous import ROOT, previous_version
from tests.servers import other_database

# Acknowledged between two replacements, by each of both sides.
ORDERS = 150


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous_version(tmp_path_factory.mktemp("version"))


@pytest.fixture
def old_database(postgres_url: str, old_code: Path) -> Iterator[str]:
    """The URL of a database that the old version has made."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS rolling WITH (FORCE)")
        admin.execute("CREATE DATABASE rolling")
        url = other_database(postgres_url, "rolling")
        migrate(old_code, url)
        yield url
        admin.execute("DROP DATABASE rolling WITH (FORCE)")


def migrate(code: Path, url: str) -> None:
    """Migrate as the release step of a version does."""
    subprocess.run(
        [sys.executable, "-m", "ops", "migrate"],
        cwd=code, env={**os.environ, "DATABASE_URL": url}, check=True, capture_output=True,
    )  # fmt: skip


def head_of(url: str) -> str:
    with psycopg.connect(url) as look:
        ((head,),) = look.execute(sql.query("migration_head")).fetchall()
        return str(head)


MODULES = {
    "web-1": "api",
    "web-2": "api",
    "matcher-1": "workers.matching",
    "matcher-2": "workers.matching",
    "jobs": "workers.jobs",
    "clock": "workers.jobs.clock",
}


class Deployment:
    """Processes of two versions, a router before each web process, and clients who trade."""

    def __init__(self, database_url: str, redis_url: str, logs: Path) -> None:
        self.database_url = database_url
        self.loads: list[Load] = []
        self._redis_url = redis_url
        self._logs = logs
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._ports: dict[str, int] = {}
        self._routers: dict[str, Proxy] = {}
        self._clients = ExitStack()
        self._started = 0

    def begin(self, code: Path) -> None:
        """Start everything of one version, and the clients."""
        for name in MODULES:
            self._start(name, code)
        for name in ("web-1", "web-2"):
            self._wait_up(name)
            router = self._clients.enter_context(Proxy(self._ports[name]))
            self._routers[name] = router
            load = Load(router.port, len(self.loads), clients=3, batch=5, pause_s=0.02)
            self.loads.append(self._clients.enter_context(load))
        self.trade()

    def trade(self) -> None:
        """Let the clients of either web process trade for a while."""
        for load in self.loads:
            load.await_orders(ORDERS)
            assert load.history.problems == []

    def replace(self, code: Path, *names: str) -> None:
        """Replace processes by those of another version, one by one, and go on trading each time.

        The one before is told to end once the new one is there.
        """
        for name in names:
            before, _ = self._running.pop(name)
            self._start(name, code)
            if name in self._routers:
                self._wait_up(name)
                self._routers[name].target = self._ports[name]
            before.send_signal(signal.SIGTERM)
            assert before.wait(30) == 0, self.logs()
            self.trade()

    def await_matchers(self, *codes: Path) -> None:
        """Wait until the instruments are matched by these versions, each of them."""
        wait_for(lambda: self._matching() == set(codes), f"{codes} match\n{self.logs()}")

    def port_of(self, name: str) -> int:
        """The port at which clients find a web process, whatever its version."""
        return self._routers[name].port

    def stop(self) -> None:
        """End the clients, then the processes, in order."""
        try:
            self._clients.close()
        finally:
            for process, _ in self._running.values():
                process.send_signal(signal.SIGTERM)
            for process, _ in self._running.values():
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        codes = {name: process.returncode for name, (process, _) in self._running.items()}
        assert set(codes.values()) == {0}, f"{codes}\n{self.logs()}"

    def history(self) -> History:
        """What all clients have asked and heard."""
        history = History()
        for load in self.loads:
            history.orders += load.history.orders
            history.cancels += load.history.cancels
            history.problems += load.history.problems
        return history

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self._logs.glob("*.log"))
        )

    def _start(self, name: str, code: Path) -> None:
        self._started += 1
        self._ports[name] = free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self._redis_url,
            "HOST": "127.0.0.1",
            "PORT": str(self._ports[name]),
            "METRICS_PORT": "",
            "EXCHANGE_LEASE_MS": "1000",
            "RATE_LIMIT_MAX_REQUESTS": "100000000",
        }
        with (self._logs / f"{self._started:02}-{name}-{code.name}.log").open("wb") as log:
            process = subprocess.Popen(
                bound_to_us([sys.executable, "-m", MODULES[name]], signal.SIGKILL),
                cwd=code, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running[name] = process, code

    def _wait_up(self, name: str) -> None:
        wait_for(lambda: self._shows_the_book(name), f"{name} is up\n{self.logs()}")

    def _shows_the_book(self, name: str) -> bool:
        # Not /readyz: of a newer database, versions up to 0008 say that it is not migrated.
        try:
            with Client(self._ports[name], 5.0) as client:
                return client.get("/market/orderbook").status == 200
        except OSError:
            return False

    def _matching(self) -> set[Path | None]:
        """Return the versions that hold an instrument; None for nobody."""
        codes = {process.pid: code for process, code in self._running.values()}
        with psycopg.connect(self.database_url) as look:
            owners = look.execute("SELECT owner FROM exchange.shard").fetchall()
        return {codes.get(int(owner.split(":")[1])) if owner else None for (owner,) in owners}


async def test_old_and_new_side_by_side(
    old_code: Path, old_database: str, redis_url: str, tmp_path: Path
) -> None:
    assert head_of(old_database) < sql.HEAD
    deployment = Deployment(old_database, redis_url, tmp_path)

    def upgrade_half() -> None:
        deployment.begin(old_code)
        migrate(ROOT, old_database)
        assert head_of(old_database) == sql.HEAD
        deployment.trade()
        deployment.replace(ROOT, "web-1", "matcher-1")
        deployment.await_matchers(old_code, ROOT)

    def upgrade_the_rest_of_the_workers() -> None:
        deployment.trade()
        deployment.replace(ROOT, "jobs", "matcher-2", "clock")
        deployment.await_matchers(ROOT)

    def take_it_back() -> None:
        deployment.replace(ROOT, "web-2")
        deployment.replace(old_code, "matcher-2", "web-1", "jobs", "clock", "matcher-1")
        deployment.await_matchers(old_code)

    try:
        await asyncio.to_thread(upgrade_half)
        # One follows a new web process, one an old one, and each hears of both matchers.
        urls = [f"ws://127.0.0.1:{deployment.port_of(n)}/stream" for n in ("web-1", "web-2")]
        async with (
            Follower(urls[0], ("orderbook", "trades")) as of_new,
            Follower(urls[1], ("orderbook", "trades")) as of_old,
        ):
            await asyncio.to_thread(upgrade_the_rest_of_the_workers)
            assert (of_new.problems, of_old.problems) == ([], [])
        await asyncio.to_thread(take_it_back)
    finally:
        await asyncio.to_thread(deployment.stop)

    verdict = check(old_database, deployment.history())
    assert verdict.problems == [], deployment.logs()
    assert (verdict.lost, verdict.duplicated) == ([], [])
    assert verdict.trades > ORDERS
    for follower in (of_new, of_old):
        assert len(follower.trades) > ORDERS / 10
        assert sorted(follower.trades) == trades_between(
            old_database, min(follower.trades), max(follower.trades)
        )
    # Old workers do not know the jobs that are new: that is all that anybody may complain about.
    complaints = [line for line in deployment.logs().splitlines() if "Traceback" in line]
    assert [line for line in complaints if "dramatiq.errors.ActorNotFound" not in line] == []


def trades_between(url: str, first: int, last: int) -> list[int]:
    """Return the sequences of BTC-USD's trades, both ends included."""
    with psycopg.connect(url) as look:
        rows = look.execute(
            "SELECT sequence FROM exchange.trades WHERE instrument_id = 1"
            " AND sequence BETWEEN %s AND %s ORDER BY sequence", (first, last),
        )  # fmt: skip
        return [sequence for (sequence,) in rows]


def test_upgraded_is_the_same_as_new(old_code: Path, server_folder: Path) -> None:
    """Released functions never change: an edited one would be old here and new in the file."""
    with Postgres(server_folder) as server:
        migrate(old_code, server.url)
        migrate(ROOT, server.url)
        assert dump(server) == SCHEMA.read_text()


def test_a_newer_database_is_served(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """A web process stays ready when the next version has migrated, and only then."""
    with (
        running(database_url, redis_url, tmp_path) as exchange,
        exchange.client() as client,
        psycopg.connect(database_url, autocommit=True) as look,
    ):
        look.execute("UPDATE exchange.alembic_version SET version_num = '9999'")
        assert client.get("/readyz").status == 200
        assert client.get("/healthz").json["checks"]["postgres"] == "healthy"
        look.execute("UPDATE exchange.alembic_version SET version_num = '0001'")
        assert "python -m ops migrate" in client.get("/readyz").json["missing"][0]
