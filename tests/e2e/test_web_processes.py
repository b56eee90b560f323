"""Several web processes behind one port: replaced, stopped gracefully, and never left behind."""

import asyncio
import signal
import time
from pathlib import Path

import aiohttp
import psutil
import pytest
import redis

from tests.exchange import Exchange, eventually, running

SEVERAL = {"WEB_CONCURRENCY": "2"}


def web_processes(parent: int) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(parent).children(recursive=True)
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_one_that_dies_is_replaced(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with running(database_url, redis_url, tmp_path, **SEVERAL) as exchange:
        _, web = exchange.processes
        before = {process.pid for process in web_processes(web.pid)}
        assert len(before) == 2
        for pid in before:
            psutil.Process(pid).kill()
        eventually(
            lambda: len({p.pid for p in web_processes(web.pid)} - before) == 2, "two new processes"
        )
        exchange.wait_ready()
        with exchange.client() as client:
            assert client.order("buy", 1, 10).status == 201


def test_none_outlives_the_one_that_started_them(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path, **SEVERAL) as exchange:
        _, web = exchange.processes
        processes = web_processes(web.pid)
        web.kill()
        eventually(
            lambda: not any(p.is_running() for p in processes), "the end of both web processes"
        )


async def test_sigterm_leaves_nobody_without_an_answer(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path, **SEVERAL) as exchange:
        matcher, web = exchange.processes
        matcher.send_signal(signal.SIGSTOP)

        async def submit(session: aiohttp.ClientSession, number: int) -> int:
            body = {"client_id": "a", "side": "buy", "type": "limit", "price": 1, "quantity": 1}
            url = f"http://127.0.0.1:{exchange.port}/orders"
            async with session.post(url, json=body) as answer:
                return answer.status

        async with aiohttp.ClientSession() as session:
            waiting = [asyncio.create_task(submit(session, n)) for n in range(60)]
            with redis.from_url(redis_url) as server:
                await asyncio.to_thread(
                    eventually, lambda: server.xlen("orders:{BTC-USD}") >= 60, "all are sent"
                )
            web.send_signal(signal.SIGTERM)
            await asyncio.to_thread(eventually, lambda: not exchange.ready(), "not ready")
            matcher.send_signal(signal.SIGCONT)
            assert [await task for task in waiting] == [201] * 60
        assert await asyncio.to_thread(web.wait, 15) == 0


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_sigterm_at_any_moment_of_the_start(
    database_url: str, redis_url: str, tmp_path: Path, concurrency: str
) -> None:
    exchange = Exchange(database_url, redis_url, tmp_path, WEB_CONCURRENCY=concurrency)
    try:
        for tenths in range(0, 14, 2):
            web = exchange.web()
            time.sleep(tenths / 10)  # the moment is what is tried; nothing is waited for
            web.send_signal(signal.SIGTERM)
            assert web.wait(10) in (0, -signal.SIGTERM), exchange.logs()
    finally:
        exchange.stop()
