"""`python -m ops market --replay FILE`: open the file, play it, say what came of it."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.client.connection import Api, first_answer
from ops.client.rates import Rates
from ops.client.show import median_ms, show, stands
from ops.errors import OpsError
from ops.recording.files import open_recording
from ops.recording.player import Player
from ops.recording.steps import Recording


async def play(
    api: Api,
    path: Path,
    console: Console,
    stop: asyncio.Event,
    *,
    instrument: str,
    clients: int,
    speed: float,
    keep: bool,
) -> None:
    """Play a file, and print a table of what came of it. Raises OpsError."""
    try:
        with path.open("rb") as file:
            recording = open_recording(path, file, instrument=instrument, clients=clients)
            listed = await first_answer(lambda: _instruments(api), stop)
            if listed is None:
                return
            _check_instruments(recording, listed)
            run = f"r{time.time_ns() // 1_000_000:x}"
            player = Player(
                api,
                recording,
                run,
                speed,
                lambda text: console.print(text, highlight=False, markup=False),
            )
            showing = asyncio.create_task(show(ReplayLine(player), console))
            try:
                await player.play(stop, keep)
            finally:
                showing.cancel()
                await asyncio.wait({showing})
    except OSError as error:
        raise OpsError(f"{path}: {error.strerror}") from error
    if stop.is_set():
        console.print(f"stopped at line {player.line}", highlight=False)
    console.print(summary(player, recording.lines, recording.unmapped))
    for complaint in player.complaints:
        console.print(complaint, highlight=False, markup=False)


async def _instruments(api: Api) -> list[str]:
    return [row["instrument"] for row in (await api.get("/instruments"))["instruments"]]


def _check_instruments(recording: Recording, listed: list[str]) -> None:
    for name in recording.instruments:
        if name not in listed:
            raise OpsError(
                f"There is no instrument {name}: add it (python -m ops instruments add), or play "
                f"the file as another with --instrument ({', '.join(listed)})"
            )


class ReplayLine:
    """The line of a player; call it about once a second."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._rates = Rates()

    def __call__(self) -> str:
        """Return the line as of now."""
        player = self._player
        counts = {
            "orders": player.entry.answered,
            "trades": sum(feed.trades for feed in player.feeds.values()),
        }
        self._rates.sample(time.monotonic(), counts)
        late = [f"{player.late_s:.1f} s late"] if player.late_s > 1 else []
        parts = [
            f"line {player.line:,} at {player.played_us / 1e6:,.1f} s",
            *late,
            f"{self._rates.per_second('orders'):.0f} orders/s",
            f"{self._rates.per_second('trades'):.0f} trades/s",
            f"p50 {median_ms(list(player.entry.latencies))}",
            *map(stands, player.feeds.values()),
        ]
        return "  ".join(parts)


def summary(player: Player, lines: int, unmapped: Counter[str]) -> Table:
    """Return what came of each line, as a table."""
    table = Table("what", "how many", title="replay")
    table.columns[1].justify = "right"
    table.add_row("lines in the file", f"{lines:,}")
    for name, count in sorted(player.counts.items()):
        table.add_row(name, f"{count:,}")
    for reason, count in sorted(unmapped.items()):
        table.add_row(f"not sent: {reason}", f"{count:,}")
    table.add_row("left in the book", f"{len(player.remaining):,}")
    return table
