"""The view of `ops watch`: what is on the screen, at any size."""

from io import StringIO
from random import Random
from typing import Any

import pytest
from rich.console import Console

from ops.watching.view import ASCII, UNICODE, Signs, View, summary
from ops.watching.watcher import Watcher
from workers.core.units import format_units

ONE = 10**8


def watcher(levels: int = 30, trades: int = 40) -> Watcher:
    """Return one that has seen a book and some trades."""
    made = Watcher(None, "BTC-USD")  # type: ignore[arg-type]
    random = Random(1)
    rows = [
        [
            {
                "price": format_units(70_000 * ONE + sign * (n + 1) * ONE // 2),
                "quantity": format_units(random.randrange(1, 5_000) * 10**4),
            }
            for n in range(levels)
        ]
        for sign in (-1, 1)
    ]
    data = {"snapshot": True, "sequence": "1234567", "bids": rows[0], "asks": rows[1]}
    made.feed.take({"type": "orderbook", "data": data})
    for number in range(trades):
        made.feed.take({"type": "trades", "data": trade(number, random)})
    made.status = "live"
    made.ticker = {
        "last_price": "70000", "change_percent": "-0.51234567", "high": "70500.5", "low": "69000",
        "volume": "1234.5678", "timestamp": "2026-01-01T10:00:00.000Z",
    }  # fmt: skip
    made.delays_ms.extend([5.0, 7.0, 9.0])
    made.sample(0.0)
    made.feed.updates += 30
    made.sample(1.0)
    return made


def trade(number: int, random: Random) -> dict[str, Any]:
    return {
        "sequence": str(number + 1),
        "price": format_units(70_000 * ONE + random.randrange(-9, 9) * ONE // 2),
        "quantity": format_units(random.randrange(1, 900) * 10**4),
        "taker_side": random.choice(("buy", "sell")),
        "buy_order_id": "b",
        "sell_order_id": "s",
        "timestamp": f"2026-01-01T09:30:{number % 60:02d}.000Z",
    }


def rendered(seen: Watcher, width: int, height: int, signs: Signs = UNICODE) -> list[str]:
    return View(seen, signs).render(width, height).plain.split("\n")


def numbers(line: str) -> list[str]:
    return line.replace(",", "").split()


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (200, 60), (120, 40), (60, 20), (40, 12), (20, 5), (10, 2)]
)
@pytest.mark.parametrize("levels", [0, 1, 3, 30])
@pytest.mark.parametrize("trades", [0, 1, 40])
def test_it_fits(width: int, height: int, levels: int, trades: int) -> None:
    for seen in (watcher(levels, trades), Watcher(None, "BTC-USD")):  # type: ignore[arg-type]
        lines = rendered(seen, width, height)
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
        assert lines[0].startswith("BTC-USD"[:width] if width > 7 else "BTC")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50)])
def test_the_ladder_is_the_book(width: int, height: int) -> None:
    seen = watcher()
    lines = rendered(seen, width, height)
    shown_asks = (height - 5) // 2
    shown_bids = height - 5 - shown_asks
    between = lines.pop(3 + shown_asks)
    assert between.startswith("─── spread 1, 0.14 bp")
    rows = [numbers(line)[:3] for line in lines[3:-1]]
    book = seen.feed.book
    expected = []
    for levels in (book.asks.top(shown_asks), book.bids.top(shown_bids)):
        total, side = 0, []
        for price, lots in levels:
            total += lots
            side.append((price, lots, total))
        expected += side[::-1] if not expected else side
    assert [[float(cell) for cell in row] for row in rows] == [
        [amount / ONE for amount in row] for row in expected
    ]
    assert "sequence 1,234,567" in lines[-1]


def test_the_tape_is_newest_first_and_shows_who_took() -> None:
    seen = watcher()
    lines = rendered(seen, 80, 24)
    newest = seen.feed.tape[-1]
    assert lines[3].endswith(format_units(newest.quantity_lots).ljust(6, "0"))
    assert ("▲" if newest.taker_side == "buy" else "▼") in lines[3]
    assert newest.timestamp[11:19] in lines[3]


def test_columns_do_not_jump_when_amounts_get_shorter() -> None:
    seen = watcher()
    shown = View(seen)
    before = shown.render(80, 24).plain.split("\n")[2]
    seen.feed.take(
        {
            "type": "orderbook",
            "data": {
                "snapshot": True,
                "sequence": "1234568",
                "bids": [{"price": "7", "quantity": "1"}],
                "asks": [{"price": "8", "quantity": "1"}],
            },
        }
    )
    after = shown.render(80, 24).plain.split("\n")
    assert after[2] == before
    assert after[11].split()[:3] == ["8.0", "1.0000", "1.0000"]


def test_the_figures() -> None:
    head, figures, *_ = rendered(watcher(), 100, 24)
    assert "-0.51 %" in head
    assert "high 70,500.5  low 69,000  volume 1,234.5678  24 h" in head
    assert "30 updates/s" in figures
    assert "delay 7 ms  ping -" in figures


def test_the_day_goes_on_between_two_looks_at_the_ticker() -> None:
    seen = watcher()
    row = trade(99, Random(2)) | {"price": "70501", "timestamp": "2026-01-01T10:00:01.000Z"}
    seen.feed.take({"type": "trades", "data": row})
    assert "high 70,501  low 69,000" in rendered(seen, 100, 24)[0]


def test_bars_are_as_long_as_their_level_is_thick() -> None:
    seen = watcher()
    lines = [line for line in rendered(seen, 160, 50)[3:-1] if "spread" not in line]
    bars = [line[: line.find("09:30")].count("█") for line in lines]
    lots = [float(numbers(line)[1]) for line in lines]
    longest = max(bars)
    assert longest > 20
    for bar, each in zip(bars, lots, strict=True):
        assert bar == pytest.approx(longest * each / max(lots), abs=1.01)


def test_without_unicode_there_is_none() -> None:
    text = "\n".join(rendered(watcher(), 120, 40, ASCII))
    assert text.isascii()
    assert "####" in text


@pytest.mark.parametrize(("colours", "escaped"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_left_out_when_nobody_wants_them(
    colours: dict[str, str], escaped: bool
) -> None:
    console = Console(
        file=StringIO(), force_terminal=True, width=80, height=24, color_system="standard",
        _environ=colours,
    )  # fmt: skip
    console.print(View(watcher()).render(80, 24))
    # SGR codes 30 to 37 are colours; bold and dim are not.
    assert ("\x1b[32m" in console.file.getvalue()) is escaped  # type: ignore[attr-defined]
    assert ("\x1b[31m" in console.file.getvalue()) is escaped  # type: ignore[attr-defined]


def test_one_line_for_a_log() -> None:
    line = summary(watcher())
    assert line.startswith("BTC-USD  bid 69999.5  ask 70000.5  sequence 1234567  last ")
    assert line.endswith("0 orders/s  0 trades/s  30 updates/s  delay 7 ms")


def test_without_a_book_it_says_why() -> None:
    seen = Watcher(None, "BTC-USD")  # type: ignore[arg-type]
    seen.status = "cannot connect to http://127.0.0.1:9"
    assert "no book: cannot connect to http://127.0.0.1:9" in "\n".join(rendered(seen, 80, 24))
    assert summary(seen).startswith("BTC-USD  cannot connect")
