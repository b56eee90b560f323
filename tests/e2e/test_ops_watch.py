"""`python -m ops watch` against real processes: on a terminal, in a log, and over a restart."""

import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ops.client.connection import open_api
from ops.watching.view import View
from ops.watching.watcher import Watcher
from tests.exchange import Exchange, Load, eventually, running


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


def url(exchange: Exchange) -> str:
    return f"http://127.0.0.1:{exchange.port}"


class Screen:
    """`ops watch` on a terminal of its own; `text` is all that it has written to it."""

    def __init__(self, exchange: Exchange, **environment: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        inherited = {
            name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops", "watch", "--url", url(exchange)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=inherited | {"TERM": "xterm", "PYTHONUTF8": "1"} | environment,
            start_new_session=True,
        )
        self.text = ""

    def until(self, condition: Callable[[str], bool], what: str) -> None:
        end = time.monotonic() + 30
        while not condition(self.text):
            assert time.monotonic() < end, f"{what}: {self.text[-2_000:]}"
            readable, _, _ = select.select([self.ours], [], [], 0.1)
            if readable:
                self.text += os.read(self.ours, 65_536).decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


def test_a_terminal_shows_the_book_and_q_ends_it(exchange: Exchange) -> None:
    with exchange.client() as client:
        client.order("buy", "0.25", "70150.5", order_id="maker")
        client.order("sell", "0.1", order_id="taker")
    screen = Screen(exchange)
    try:
        screen.until(lambda text: "live" in text and "70,150.5" in text, "the book")
        screen.until(lambda text: "0.15" in text and "▼ 70,150.5" in text, "level and trade")
        assert "\x1b[32m" in screen.text
        with exchange.client() as client:
            client.order("sell", "3.75", "70151")
        screen.until(lambda text: "3.75" in text and "spread 0.5" in text, "the change")
        os.write(screen.ours, b"q")
        screen.until(lambda _: screen.process.poll() is not None, "the end")
        assert screen.process.returncode == 0
        # The terminal is as it was: echo, lines, and the screen of before.
        assert termios.tcgetattr(screen.theirs) == screen.before
        screen.until(lambda text: "\x1b[?1049l" in text, "the screen of before")
    finally:
        screen.close()


def test_without_colours_and_by_a_signal(exchange: Exchange) -> None:
    screen = Screen(exchange, NO_COLOR="1")
    try:
        screen.until(lambda text: "live" in text, "the book")
        screen.process.send_signal(signal.SIGINT)
        screen.until(lambda _: screen.process.poll() is not None, "the end")
        assert screen.process.returncode == 0
        assert not any(f"\x1b[3{colour}m" in screen.text for colour in range(8))
    finally:
        screen.close()


def test_without_a_terminal_it_prints_a_line_per_second(exchange: Exchange) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "watch", "--url", url(exchange), "--seconds", "3.5"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[-1].startswith("BTC-USD  bid -  ask -  sequence 0  0 orders/s")


def test_an_unknown_instrument_is_said(exchange: Exchange) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "watch", "NONE-USD", "--url", url(exchange)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: there is no instrument NONE-USD: use one of BTC-USD")


async def test_the_view_is_the_books_under_load_and_over_a_restart(exchange: Exchange) -> None:
    stop = asyncio.Event()
    async with open_api(url(exchange)) as api:
        watcher = Watcher(api, "BTC-USD")
        watching = asyncio.create_task(watcher.run(stop))
        with Load(exchange.port):
            await _until(lambda: watcher.feed.updates > 100 and watcher.feed.trades > 50)
            assert watcher.feed.orders > 100
            await asyncio.to_thread(exchange.stop, signal.SIGKILL)
            await _until(lambda: watcher.feed.book is None)
            await asyncio.to_thread(exchange.start)
            before = watcher.feed.updates
            await _until(lambda: watcher.feed.updates > before + 100)
        await _shows_the_book(exchange, watcher)
        assert watcher.feed.gaps == 0
        assert watcher.delay_ms is not None
        # The tape has every trade, also those of which we were not told at the time.
        trades = _get(exchange, "/market/trades?limit=100")["trades"]
        await _until(lambda: watcher.feed.last_trade == trades[0]["sequence"])
        tape = [trade.sequence for trade in watcher.feed.tape]
        assert tape[-100:] == [trade["sequence"] for trade in reversed(trades)]
        stop.set()
        await watching


async def _shows_the_book(exchange: Exchange, watcher: Watcher) -> None:
    """Compare the text of a view with the answer of the API at the same sequence."""
    answer: dict[str, Any] = {}

    def same() -> bool:
        nonlocal answer
        answer = _get(exchange, "/market/orderbook?levels=8")
        book = watcher.feed.book
        return book is not None and book.sequence == answer["sequence"] > 0

    await _until(same)
    lines = View(watcher).render(200, 40).plain.split("\n")
    middle = next(place for place, line in enumerate(lines) if line.startswith("───"))
    asks = [line for line in lines[3:middle] if line[:20].strip()][::-1]
    bids = [line for line in lines[middle + 1 : -1] if line[:20].strip()]
    for side, shown in (("bids", bids), ("asks", asks)):
        assert len(shown) >= min(4, len(answer[side]))
        for level, line in zip(answer[side], shown, strict=False):
            cells = [Decimal(cell) for cell in line.replace(",", "").split()[:3]]
            assert cells == [level["price"], level["quantity"], level["cumulative"]]


def _get(exchange: Exchange, path: str) -> Any:
    with exchange.client() as client:
        return json.loads(client.get(path).raw, parse_float=Decimal)


async def _until(condition: Callable[[], Any]) -> None:
    await asyncio.to_thread(eventually, condition, "seen by the watcher")
