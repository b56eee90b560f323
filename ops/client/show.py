"""One line that lives: redrawn on a terminal, printed now and then in a log."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ops.client.feed import Feed, mid_ticks
from workers.core.units import format_units

# A terminal is redrawn twice a second; a log gets a line every ten.
_REDRAW_S: Final = 0.5
_SAMPLE_S: Final = 1.0
_LOG_S: Final = 10.0


async def show(line: Callable[[], str], console: Console) -> None:
    """Show what `line` returns until cancelled; it is called about once a second."""
    line()
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(_REDRAW_S)
                live.update(Text(line(), no_wrap=True, overflow="ellipsis"), refresh=True)
    since = time.monotonic()
    while True:
        await asyncio.sleep(_SAMPLE_S)
        text = line()
        if time.monotonic() - since >= _LOG_S:
            since = time.monotonic()
            console.print(text, highlight=False, markup=False, soft_wrap=True)


def stands(feed: Feed) -> str:
    """Say where an instrument stands: mid and spread."""
    if feed.book is None:
        return f"{feed.instrument} not connected"
    mid = mid_ticks(feed.book)
    if mid is None:
        return f"{feed.instrument} one-sided"
    spread = feed.book.asks.top(1)[0][0] - feed.book.bids.top(1)[0][0]
    return f"{feed.instrument} {format_units(round(mid))} spread {format_units(spread)}"


def median_ms(seconds: list[float]) -> str:
    """Write the median of latencies in milliseconds."""
    return f"{sorted(seconds)[len(seconds) // 2] * 1000:.1f} ms" if seconds else "-"
