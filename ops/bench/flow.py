"""What a snapshot costs those who trade: the latency of orders that come in at a fixed rate."""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from ops.embedded import Postgres, Valkey
from ops.processes import bound_to_us

PORT = 39_411
ROUNDS = 3
READY_S = 60


def flow(folder: Path, rate: int, seconds: int, take: Callable[[str], float]) -> None:
    """Run an exchange on the folder's database and print latencies, in turn without and with.

    `take` gets the database's URL, takes a snapshot and returns the seconds that it took.
    """
    with Postgres(folder / "data") as postgres, Valkey(folder / "data") as valkey:
        env = os.environ | {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "PORT": str(PORT),
            "LOG_LEVEL": "warning",
        }
        processes = [
            subprocess.Popen(bound_to_us([sys.executable, "-m", module], signal.SIGTERM), env=env)
            for module in ("workers.matching", "api")
        ]
        try:
            asyncio.run(_measure(rate, seconds, lambda: take(postgres.url)))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


async def _measure(rate: int, seconds: int, take: Callable[[], float]) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{PORT}") as session:
        await _ready(session)
        await _send(session, rate, seconds)
        for _ in range(ROUNDS):
            _report("no snapshots", await _send(session, rate, seconds), [])
            stop = asyncio.Event()
            taking = asyncio.create_task(_keep_taking(take, stop))
            latencies = await _send(session, rate, seconds)
            stop.set()
            _report("snapshots", latencies, await taking)


async def _ready(session: aiohttp.ClientSession) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            async with session.get("/readyz") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError("the exchange does not become ready")


async def _keep_taking(take: Callable[[], float], stop: asyncio.Event) -> list[float]:
    taken = []
    while not stop.is_set():
        taken.append(await asyncio.to_thread(take))
    return taken


async def _send(session: aiohttp.ClientSession, rate: int, seconds: int) -> list[float]:
    """Send orders at a fixed rate; return seconds from when each was due to its answer."""
    began = time.perf_counter()
    tasks = []
    for number in range(rate * seconds):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(_order(session, number, due)))
    return sorted(await asyncio.gather(*tasks))


async def _order(session: aiohttp.ClientSession, number: int, due: float) -> float:
    side = "buy" if number % 2 else "sell"
    price = 70_000 + (number % 5 - 2) * 0.5
    body = {
        "client_id": f"client-{1 + number % 50}",
        "side": side,
        "type": "limit",
        "price": price,
        "quantity": 0.01,
    }
    async with session.post("/orders", json=body) as answer:
        answer.raise_for_status()
        await answer.read()
    return time.perf_counter() - due


def _report(name: str, latencies: list[float], taken: list[float]) -> None:
    p50, p90, p99, most = (
        latencies[int((len(latencies) - 1) * share)] * 1000 for share in (0.5, 0.9, 0.99, 1)
    )
    took = f", {len(taken)} taken, {statistics.median(taken):.2f} s each" if taken else ""
    print(
        f"{name:12s} p50 {p50:6.1f}  p90 {p90:6.1f}  p99 {p99:6.1f}  max {most:6.1f}"
        f" ms of {len(latencies)} orders{took}",
        flush=True,
    )
