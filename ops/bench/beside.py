"""What analysts cost the traders: orders at a fixed rate, without analysts and with them.

    python -m ops.bench.analysts load FOLDER --trades 400000
    python -m ops.bench.beside FOLDER

The exchange runs as ./ops/run starts it, on the history in FOLDER. Each round asks it the same in
three ways: `alone`; `equal`, with analysts who ask the questions of questions.sql without a pause;
`lowered`, the same with their sessions' priority lowered (ops/priority.py). Waiting is counted from
when an order was due, not from when it could be sent.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psycopg

from ops.address import Address
from ops.analyst import add_analyst, drop_analyst
from ops.bench.analysts import questions
from ops.embedded import Postgres, Valkey
from ops.priority import keep_analysts_low
from ops.processes import bound_to_us
from ops.start import PROGRAMS, READY_TIMEOUT_S
from ops.supervisor import Supervisor

LOGIN = "bench_analyst"
WAYS = ("alone", "equal", "lowered")
WARM_UP_S = 5
# Until every session is there, and lowered.
SETTLE_S = 2.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.beside", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=int, default=300, help="orders a second")
    parser.add_argument("--seconds", type=int, default=15, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--analysts", type=int, default=4)
    args = parser.parse_args(arguments)
    with Postgres(args.folder / "data") as database, Valkey(args.folder / "data") as redis:
        with psycopg.connect(database.url, autocommit=True) as connection:
            password = add_analyst(connection, LOGIN)
        try:
            asyncio.run(compare(args, database, redis, password))
        finally:
            with psycopg.connect(database.url, autocommit=True) as connection:
                drop_analyst(connection, LOGIN)
    return 0


async def compare(
    args: argparse.Namespace, database: Postgres, redis: Valkey, password: str
) -> None:
    address = Address.claim("127.0.0.1", 0)
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "REDIS_URL": redis.url,
        "PORT": str(address.port),
        "RATE_LIMIT_MAX_REQUESTS": "1000000",
    }
    supervisor = Supervisor(PROGRAMS, environment, lambda name, line: None)
    await supervisor.start()
    waits: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    try:
        await supervisor.until_ready(address.missing, READY_TIMEOUT_S)
        await send(address.url, args.rate, WARM_UP_S)
        for _ in range(args.rounds):
            for way in WAYS:
                async with analysts(way, args.analysts, database, password):
                    took = await send(address.url, args.rate, args.seconds)
                figures = [took[len(took) // 2], took[len(took) * 99 // 100], took[-1]]
                waits[way].append(figures)
                report(way, figures)
    finally:
        await supervisor.stop()
    print(f"medians of {args.rounds}:")
    for way in WAYS:
        report(way, [statistics.median(column) for column in zip(*waits[way], strict=True)])


def report(way: str, figures: list[float]) -> None:
    p50, p99, longest = (f"{figure * 1000:7.1f}" for figure in figures)
    load = os.getloadavg()[0]
    print(f"{way:8} p50 {p50} ms  p99 {p99} ms  max {longest} ms  (load {load:.1f})", flush=True)


async def send(url: str, rate: int, seconds: int) -> list[float]:
    """Submit orders, `rate` a second; return how long each waited for its answer, sorted."""
    choose = random.Random(1)
    waits: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def submit(order: dict[str, object], due: float) -> None:
            async with session.post(f"{url}/orders", json=order) as answer:
                await answer.read()
            if answer.status != 201:
                raise SystemExit(f"an order was answered {answer.status}")
            waits.append(time.monotonic() - due)

        begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(rate * seconds):
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.create_task(submit(order(choose), due))
    return sorted(waits)


def order(choose: random.Random) -> dict[str, object]:
    """Return an order near the prices of the history: seven limit orders to three at market."""
    body: dict[str, object] = {
        "client_id": f"client-{choose.randint(1, 500)}",
        "side": choose.choice(("buy", "sell")),
        "quantity": choose.randint(1, 9) / 10,
    }
    if choose.random() < 0.7:
        return body | {"type": "limit", "price": 60_000 + choose.randint(-200, 200) / 100}
    return body | {"type": "market"}


@contextlib.asynccontextmanager
async def analysts(way: str, count: int, database: Postgres, password: str) -> AsyncIterator[None]:
    """Have analysts ask questions meanwhile, from a process of their own."""
    if way == "alone":
        yield
        return
    asking = await asyncio.create_subprocess_exec(
        *bound_to_us([sys.executable, "-m", "ops.bench.beside", "ask"], signal.SIGKILL),
        *(str(count), database.url, password),
        start_new_session=True,
    )
    keeper = asyncio.create_task(
        keep_analysts_low(database.url, database.pid)
        if way == "lowered"
        else asyncio.sleep(float("inf"))
    )
    try:
        await asyncio.sleep(SETTLE_S)
        yield
    finally:
        keeper.cancel()
        asking.kill()
        await asking.wait()


def ask(count: str, url: str, password: str) -> int:
    """Ask random questions, in as many sessions, until killed."""

    def one(number: int) -> None:
        choose = random.Random(number)
        mine = list(questions())
        with psycopg.connect(url, user=LOGIN, password=password, autocommit=True) as connection:
            while True:
                question = choose.choice(mine)
                try:
                    connection.execute(question.encode()).fetchall()
                except psycopg.DataError:  # a short history has not all that is asked about
                    mine.remove(question)

    for number in range(int(count)):
        threading.Thread(target=one, args=(number,)).start()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        sys.exit(ask(*sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
