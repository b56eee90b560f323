"""The view: what a watcher knows, as lines of a terminal of a given size. Pure.

Amounts are shown with all their decimals: what is on the screen is what is in the book.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from rich.text import Text

from ops.client.feed import mid_ticks
from ops.watching.watcher import Watcher
from workers.core.depth import DepthLevel, DepthReplica
from workers.core.units import DECIMALS, UNITS_PER_ONE, format_units, parse_units

BUY: Final = "green"
SELL: Final = "red"
QUIET: Final = "dim"
# Narrower than this there is no room for the tape beside the ladder.
_TAPE_FROM: Final = 64
# Heads and feet: two lines above, the columns' names, one line below.
_AROUND: Final = 4
# A level of each side and what is between them.
_ROWS_MIN: Final = 3
_BAR_MAX: Final = 60


class Signs(NamedTuple):
    """What bars and arrows are made of: `blocks` from an empty cell's eighth to a full cell."""

    blocks: str
    up: str
    down: str
    rule: str


UNICODE: Final = Signs("▏▎▍▌▋▊▉█", "▲", "▼", "─")
ASCII: Final = Signs("#", "^", "v", "-")


class Columns:
    """How wide columns are: as wide as they ever had to be, so that nothing jumps."""

    def __init__(self) -> None:
        self._decimals: dict[str, int] = {}
        self._widths: dict[str, int] = {}

    def cells(self, name: str, amounts: list[int], like: str | None = None) -> list[str]:
        """Return a column's title and amounts, to the right, with as many decimals as any needs.

        `like` names a column whose decimals it shares.
        """
        kind = like or name
        decimals = max(self._decimals.get(kind, 0), _decimals(amounts))
        self._decimals[kind] = decimals
        title = name.split()[-1]
        texts = [title, *(_fixed(amount, decimals) for amount in amounts)]
        width = max(self._widths.get(name, 0), *map(len, texts))
        self._widths[name] = width
        return [text.rjust(width) for text in texts]


class View:
    """Lines of a terminal that show what a watcher knows."""

    def __init__(self, watcher: Watcher, signs: Signs = UNICODE) -> None:
        self._watcher = watcher
        self._signs = signs
        self._columns = Columns()

    def render(self, width: int, height: int) -> Text:
        """Return at most `height` lines of at most `width` cells."""
        watcher = self._watcher
        lines = [_headline(watcher, self._signs), _figures(watcher)]
        rows = height - _AROUND
        book = watcher.feed.book
        if book is None:
            lines.append(Text(f"no book: {watcher.status}", style="yellow"))
            lines += [Text() for _ in range(rows)]
        elif rows >= _ROWS_MIN:
            lines += self._body(book, width, rows)
        lines.append(_footline(watcher))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Text("\n", no_wrap=True).join(lines[:height])

    def _body(self, book: DepthReplica, width: int, rows: int) -> list[Text]:
        """Return the ladder, and beside it the tape where there is room, under their heads."""
        tape = self._tape(rows) if width >= _TAPE_FROM else []
        if not tape:
            return self._ladder(book, width, rows)
        room = width - tape[0].cell_len - 2
        lines = self._ladder(book, room, rows)
        for place, line in enumerate(lines):
            line.truncate(room, pad=True)
            if place < len(tape):
                line.append("  ").append_text(tape[place])
        return lines

    def _ladder(self, book: DepthReplica, width: int, rows: int) -> list[Text]:
        """Return asks above bids, the spread between them; each with quantity, total and bar."""
        shown_asks = (rows - 1) // 2
        shown_bids = rows - 1 - shown_asks
        asks, bids = book.asks.top(shown_asks), book.bids.top(shown_bids)
        levels = [*asks[::-1], *bids]
        if not levels:
            return [Text("the book is empty", style=QUIET), *(Text() for _ in range(rows))]
        prices = self._columns.cells("price", [price for price, _ in levels])
        lots = self._columns.cells("quantity", [lots for _, lots in levels])
        totals = [*_totals(asks)[::-1], *_totals(bids)]
        sums = self._columns.cells("total", totals, like="quantity")
        used = len(prices[0]) + len(lots[0]) + len(sums[0]) + 6
        bar_width = max(0, min(_BAR_MAX, width - used))
        most = max(lots for _, lots in levels)
        rungs = []
        for place, (_, each) in enumerate(levels, 1):
            style = SELL if place <= len(asks) else BUY
            line = Text(prices[place], style=style)
            line.append(f"  {lots[place]}", style="default")
            line.append(f"  {sums[place]}  ", style=QUIET)
            line.append(_bar(each, most, bar_width, self._signs), style=style)
            rungs.append(line)
        return [
            Text(f"{prices[0]}  {lots[0]}  {sums[0]}", style=QUIET),
            *(Text() for _ in range(shown_asks - len(asks))),
            *rungs[: len(asks)],
            _between(book, self._signs),
            *rungs[len(asks) :],
            *(Text() for _ in range(shown_bids - len(bids))),
        ]

    def _tape(self, rows: int) -> list[Text]:
        """Return trades, newest first; arrows show who took."""
        trades = list(self._watcher.feed.tape)[-rows:][::-1]
        if not trades:
            return []
        prices = self._columns.cells("tape price", [trade.price_ticks for trade in trades])
        lots = self._columns.cells("tape quantity", [trade.quantity_lots for trade in trades])
        lines = [Text(f"{'time':<8}    {prices[0]}  {lots[0]}", style=QUIET)]
        for trade, price, each in zip(trades, prices[1:], lots[1:], strict=True):
            bought = trade.taker_side == "buy"
            arrow, style = (self._signs.up, BUY) if bought else (self._signs.down, SELL)
            line = Text(f"{trade.timestamp[11:19]}  ", style=QUIET)
            line.append(f"{arrow} {price}", style=style).append(f"  {each}", style="default")
            lines.append(line)
        return lines


def summary(watcher: Watcher) -> str:
    """Return the view in one line, for a log."""
    feed, book = watcher.feed, watcher.feed.book
    parts = [feed.instrument]
    if book is None:
        parts.append(watcher.status)
    else:
        for name, side in (("bid", book.bids), ("ask", book.asks)):
            best = side.top(1)
            parts.append(f"{name} {format_units(best[0][0]) if best else '-'}")
        parts.append(f"sequence {book.sequence}")
    if feed.tape:
        parts.append(f"last {format_units(feed.tape[-1].price_ticks)}")
    parts += [f"{watcher.rates.per_second(name):.0f} {name}/s" for name in _COUNTS]
    if watcher.delay_ms is not None:
        parts.append(f"delay {watcher.delay_ms:.0f} ms")
    return "  ".join(parts)


_COUNTS: Final = ("orders", "trades", "updates")


def _headline(watcher: Watcher, signs: Signs) -> Text:
    """Name, last price and its last move, and the day."""
    feed, ticker = watcher.feed, watcher.ticker
    line = Text()
    line.append(f"{feed.instrument}  ", style="bold")
    tape = feed.tape
    if tape:
        last = tape[-1].price_ticks
        before = next((t.price_ticks for t in reversed(tape) if t.price_ticks != last), last)
        style = BUY if last > before else SELL if last < before else ""
        arrow = signs.up if last > before else signs.down if last < before else " "
        line.append(f"{_grouped(format_units(last))} {arrow}", style=f"bold {style}")
    elif ticker.get("last_price"):
        line.append(_grouped(ticker["last_price"]), style="bold")
    if ticker.get("change_percent") is not None:
        percent = parse_units(ticker["change_percent"])
        style = BUY if percent > 0 else SELL if percent < 0 else ""
        # For the eye: two decimals of a percentage.
        line.append(f"  {percent / UNITS_PER_ONE:+.2f} %", style=style)
    for name, text in _day(watcher).items():
        line.append(f"  {name} ", style=QUIET)
        line.append(_grouped(text))
    if ticker:
        line.append("  24 h", style=QUIET)
    return line


def _day(watcher: Watcher) -> dict[str, str]:
    """Return what the day was like: as the ticker said, and as it became since."""
    ticker = watcher.ticker
    day = {name: ticker[name] for name in ("high", "low", "volume") if ticker.get(name)}
    if "high" in day and "low" in day:
        asked = ticker["timestamp"]
        since = [t.price_ticks for t in watcher.feed.tape if t.timestamp > asked]
        day["high"] = format_units(max([parse_units(day["high"]), *since]))
        day["low"] = format_units(min([parse_units(day["low"]), *since]))
    return day


def _figures(watcher: Watcher) -> Text:
    """Rates and delays."""
    line = Text()
    for name in _COUNTS:
        line.append(f"{watcher.rates.per_second(name):,.0f}")
        line.append(f" {name}/s  ", style=QUIET)
    for name, value in (("delay", watcher.delay_ms), ("ping", watcher.ping_ms)):
        line.append(f"{name} ", style=QUIET)
        line.append("-  " if value is None else f"{value:,.0f} ms  ")
    return line


def _footline(watcher: Watcher) -> Text:
    feed = watcher.feed
    live = watcher.status == "live"
    line = Text()
    line.append(watcher.status, style=BUY if live else "yellow")
    if feed.book is not None:
        line.append(f"  sequence {feed.book.sequence:,}", style=QUIET)
    if feed.gaps or feed.resyncs:
        line.append(f"  {feed.gaps} gaps, {feed.resyncs} resyncs", style="yellow")
    line.append("  q quits", style=QUIET)
    return line


def _between(book: DepthReplica, signs: Signs) -> Text:
    """Return what stands between asks and bids: how far apart they are."""
    mid = mid_ticks(book)
    if mid is None:
        return Text(signs.rule * 3, style=QUIET)
    spread = book.asks.top(1)[0][0] - book.bids.top(1)[0][0]
    # For the eye: hundredths of a basis point.
    share = f"{spread / mid * 10_000:.2f} bp"
    return Text(f"{signs.rule * 3} spread {_grouped(format_units(spread))}, {share}", style=QUIET)


def _totals(levels: list[DepthLevel]) -> list[int]:
    totals, total = [], 0
    for _, lots in levels:
        total += lots
        totals.append(total)
    return totals


def _bar(lots: int, most: int, width: int, signs: Signs) -> str:
    steps = len(signs.blocks)
    eighths = lots * width * steps // most
    full, rest = divmod(eighths, steps)
    return signs.blocks[-1] * full + (signs.blocks[rest - 1] if rest else "")


def _decimals(amounts: Iterable[int]) -> int:
    """Return how many decimals show all of the amounts exactly."""
    most = 0
    for amount in amounts:
        rest = amount % UNITS_PER_ONE
        if rest:
            text = f"{rest:0{DECIMALS}d}".rstrip("0")
            most = max(most, len(text))
    return most


def _fixed(units: int, decimals: int) -> str:
    """Return an amount with that many decimals, and commas between thousands."""
    whole, rest = divmod(units, UNITS_PER_ONE)
    return f"{whole:,}" + (f".{rest:0{DECIMALS}d}"[: decimals + 1] if decimals else "")


def _grouped(text: str) -> str:
    """Return a number's text with commas between thousands."""
    whole, point, fraction = text.partition(".")
    return f"{int(whole):,}{point}{fraction}"
