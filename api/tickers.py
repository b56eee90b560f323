"""This process's tickers: however many ask, the database is asked once a second per instrument."""

import asyncio
import time

from workers.adapters.lookups import Lookups
from workers.core.records import Ticker

# A day of trades is summed up for each: that is worth sharing, and nobody trades on its last digit.
FRESH_S = 1.0


class Tickers:
    """Tickers by instrument."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        # The newest question about each instrument, and when it was asked.
        self._asked: dict[str, tuple[float, asyncio.Task[Ticker]]] = {}

    async def get(self, instrument: str) -> Ticker:
        """Return the ticker of a known instrument, at most a second old. Raises AdapterError."""
        asked_at, task = self._asked.get(instrument, (0.0, None))
        now = time.monotonic()
        if task is None or (task.done() and (now - asked_at > FRESH_S or _failed(task))):
            task = asyncio.create_task(self._lookups.ticker(instrument))
            # Whoever asked may be gone when it fails: then nobody minds.
            task.add_done_callback(_failed)
            self._asked[instrument] = (now, task)
        # One caller who goes away must not take the answer from the others.
        return await asyncio.shield(task)


def _failed(task: "asyncio.Task[Ticker]") -> bool:
    return task.cancelled() or task.exception() is not None
