"""What the resources share, made once per process by the composition root."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from api.books import Book
from api.errors import ApiError
from api.feed import Feed
from api.instruments import Instruments
from api.limits import Limiter
from api.relay import Relay
from api.submit import Submitter
from api.tickers import Tickers
from api.turns import Turns
from workers.adapters.lookups import Lookups
from workers.adapters.past import Past
from workers.adapters.pubsub import DepthReader
from workers.core.records import BookSnapshot
from workers.metrics import Metrics
from workers.settings import KafkaSettings


@dataclass
class Exchange:
    """This edge's hands: it submits through one, reads through the others."""

    submitter: Submitter
    lookups: Lookups
    past: Past
    instruments: Instruments
    feed: Feed
    reader: DepthReader
    tickers: Tickers
    limiter: Limiter
    relay: Relay
    metrics: Metrics
    # Snapshots that are being taken, by instrument number.
    snapshots: Turns[BookSnapshot] = field(default_factory=Turns)
    # None: there is no mirror.
    kafka: KafkaSettings | None = None
    # What goes on for orders that nobody waits for in a task of their own.
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    # Set first of all when the process is told to stop: from then on it is not ready.
    stopping: bool = False
    _told: dict[str, int] = field(default_factory=dict)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Go on with `work`, which handles its errors; a stop waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def book(self, instrument: str) -> Book:
        """Return the replica of an instrument's book. Raises ApiError (404, 503)."""
        self.instruments.get(instrument)
        return self.replica(instrument)

    def replica(self, instrument: str) -> Book:
        """Return the same for an instrument that surely exists. Raises ApiError (503)."""
        book = self.feed.books.get(instrument)
        if book is None:
            raise ApiError("unavailable", f"the order book of {instrument} is not available yet")
        return book

    def heard(self, instrument: str) -> int:
        """Return the last sequence of an instrument that this process knows to be committed.

        -1 when it knows of none. An order that was accepted by then was there before whatever is
        sent from now on.
        """
        book = self.feed.books.get(instrument)
        return max(book.sequence if book else -1, self._told.get(instrument, -1))

    def told(self, instrument: str, sequence: int) -> None:
        """Take note that PostgreSQL was found to be at this sequence of an instrument, or later."""
        self._told[instrument] = max(sequence, self._told.get(instrument, -1))

    def top_at_once(self, instrument: str, sequence: int) -> bytes | None:
        """Return the same without waiting for it. It is normally there: depth comes first."""
        book = self.feed.books.get(instrument)
        return book.top() if book is not None and book.sequence >= max(sequence, 0) else None

    async def top_of_book(self, instrument: str, sequence: int) -> bytes | None:
        """Return the encoded top of a book at `sequence` or later; None when there is none now."""
        try:
            book = self.book(instrument)
            await book.reach(sequence)
            return book.top()
        except (TimeoutError, ApiError):
            return None
