"""What a crowd does, in one line: rates, latency, and where each instrument stands."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ops.client.rates import Rates
from ops.crowd.crowd import mid_ticks
from ops.crowd.trader import Trader
from workers.core.units import format_units

# A terminal is redrawn twice a second; a log gets a line every ten.
_REDRAW_S: Final = 0.5
_LOG_S: Final = 10.0


async def show(traders: Sequence[Trader], console: Console) -> None:
    """Show it until cancelled."""
    rates = Rates()
    _sample(rates, traders)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(_REDRAW_S)
                _sample(rates, traders)
                text = Text(line(traders, rates), no_wrap=True, overflow="ellipsis")
                live.update(text, refresh=True)
    since = time.monotonic()
    while True:
        await asyncio.sleep(1.0)
        _sample(rates, traders)
        if time.monotonic() - since >= _LOG_S:
            since = time.monotonic()
            console.print(line(traders, rates), highlight=False, markup=False, soft_wrap=True)


def line(traders: Sequence[Trader], rates: Rates) -> str:
    """Return the line."""
    latencies = sorted(seconds for trader in traders for seconds in trader.latencies)
    p50 = f"{latencies[len(latencies) // 2] * 1000:.1f} ms" if latencies else "-"
    refused = sum(trader.refused for trader in traders)
    refusal = next((trader.last_refusal for trader in traders if trader.last_refusal), "")
    parts = [
        f"{rates.per_second('orders'):.0f} orders/s",
        f"{rates.per_second('trades'):.0f} trades/s",
        f"p50 {p50}",
        *([f"{refused} refused ({refusal})"] if refused else []),
        *map(_stands, traders),
    ]
    return "  ".join(parts)


def _sample(rates: Rates, traders: Sequence[Trader]) -> None:
    counts = {
        "orders": sum(trader.answered for trader in traders),
        "trades": sum(trader.feed.trades for trader in traders),
    }
    rates.sample(time.monotonic(), counts)


def _stands(trader: Trader) -> str:
    book = trader.feed.book
    if book is None:
        return f"{trader.instrument} not connected"
    mid = mid_ticks(book)
    if mid is None:
        return f"{trader.instrument} one-sided"
    spread = book.asks.top(1)[0][0] - book.bids.top(1)[0][0]
    return f"{trader.instrument} {format_units(round(mid))} spread {format_units(spread)}"
