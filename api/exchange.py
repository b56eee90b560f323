"""What the resources share, made once per process by the composition root."""

from dataclasses import dataclass

from api.books import Book
from api.errors import ApiError
from api.feed import Feed
from api.instruments import Instruments
from api.submit import Submitter
from api.tickers import Tickers
from workers.adapters.lookups import Lookups
from workers.adapters.pubsub import DepthReader


@dataclass(frozen=True)
class Exchange:
    """This edge's hands: it submits through one, reads through the others."""

    submitter: Submitter
    lookups: Lookups
    instruments: Instruments
    feed: Feed
    reader: DepthReader
    tickers: Tickers

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
