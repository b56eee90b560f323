"""Look at one instrument as it changes: ladder with depth bars, tape, rates, the day.

Everything is read from the public API. A message of the feed that is missing is noticed, and the
book is taken anew; a lost connection comes back by itself. `delay` is from matching to this screen,
and right where the two machines' clocks agree. Without a terminal it prints a line per second.
NO_COLOR, set to anything, leaves the colours out.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.live import Live

from ops.client.connection import check_url, default_url, open_api
from ops.client.entry import wait
from ops.client.stopping import stop_on_signals
from ops.errors import OpsError
from ops.watching.view import ASCII, UNICODE, View, summary
from ops.watching.watcher import Watcher
from workers.core.instruments import DEFAULT_INSTRUMENT

# Faster than eyes read figures.
_REDRAW_S: Final = 0.1
_SAMPLE_S: Final = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("instrument", nargs="?", default=DEFAULT_INSTRUMENT)
    parser.add_argument("--url", default=default_url(), help="the exchange (EXCHANGE_URL)")
    parser.add_argument("--seconds", type=float, help="end after so long (default: never)")


def main(args: argparse.Namespace) -> int:
    """Show it until q, SIGINT, SIGTERM, or the end of `--seconds`."""
    args.url = check_url(args.url)
    if args.seconds is not None and args.seconds <= 0:
        raise OpsError("--seconds must be above 0")
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    console = Console()
    with stop_on_signals() as stop:
        if args.seconds is not None:
            asyncio.get_running_loop().call_later(args.seconds, stop.set)
        async with open_api(args.url) as api:
            watcher = Watcher(api, args.instrument)
            watching = asyncio.create_task(watcher.run(stop))
            watching.add_done_callback(lambda _: stop.set())
            screen = console.is_terminal and not console.is_dumb_terminal
            show = _show_screen if screen else _show_lines
            await show(watcher, console, stop)
            await watching


async def _show_screen(watcher: Watcher, console: Console, stop: asyncio.Event) -> None:
    signs = UNICODE if console.encoding.lower().startswith("utf") else ASCII
    view = View(watcher, signs)
    sampled_at = 0.0
    with _keys(stop), Live(console=console, screen=True, auto_refresh=False) as live:
        while not stop.is_set():
            now = time.monotonic()
            if now - sampled_at >= _SAMPLE_S:
                sampled_at = now
                watcher.sample(now)
            live.update(view.render(*console.size), refresh=True)
            await wait(stop, _REDRAW_S)


async def _show_lines(watcher: Watcher, console: Console, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await wait(stop, _SAMPLE_S)
        watcher.sample(time.monotonic())
        console.print(summary(watcher), highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _keys(stop: asyncio.Event) -> Iterator[None]:
    """Let q stop it, while the terminal shows no key that is pressed."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def on_key() -> None:
        keys = os.read(descriptor, 64)
        if not keys or b"q" in keys.lower():
            stop.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, on_key)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
