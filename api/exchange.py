"""What the resources share, made once per process by the composition root."""

from dataclasses import dataclass, field

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
    # Set first of all when the process is told to stop: from then on it is not ready.
    stopping: bool = False
    _told: dict[str, int] = field(default_factory=dict)

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

    async def top_of_book(self, instrument: str, sequence: int) -> bytes | None:
        """Return the encoded top of a book at `sequence` or later; None when there is none now."""
        try:
            book = self.book(instrument)
            await book.reach(sequence)
            return book.top()
        except (TimeoutError, ApiError):
            return None
