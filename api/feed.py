"""This process's one subscription: replies to its commands, and the depth of every instrument."""

import asyncio
import logging

from api.books import Book
from api.instruments import Instruments
from api.submit import Submitter
from workers.adapters.errors import AdapterError
from workers.adapters.pubsub import DepthReader, subscribe
from workers.core.channels import depth_channel, reply_channel
from workers.core.codec import decode_depth

logger = logging.getLogger(__name__)

# Between tries while Redis is down.
BACKOFF_S = (0.05, 0.2, 0.5, 1.0)


class Feed:
    """Keeps the books and delivers replies.

    Messages are handled one after another, so a book that was just reset from a snapshot goes on
    with the deltas behind it, and a reply finds the depth that was published before it.
    """

    def __init__(
        self,
        *,
        edge_id: str,
        redis_url: str,
        reader: DepthReader,
        instruments: Instruments,
        submitter: Submitter,
    ) -> None:
        self._reply_channel = reply_channel(edge_id)
        self._redis_url = redis_url
        self._reader = reader
        self._instruments = instruments
        self._submitter = submitter
        self.books: dict[str, Book] = {}

    async def run(self) -> None:
        """Listen for ever; after every loss, resync the books and look unanswered commands up."""
        failures = 0
        while True:
            try:
                await self._listen()
                failures = 0
            except AdapterError as error:
                logger.warning("feed interrupted: %s", error)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _listen(self) -> None:
        """Listen until the set of instruments changes. Raises AdapterError."""
        names = await self._instruments.wait_known()
        for name in names:
            self.books.setdefault(name, Book(name))
        by_channel = {depth_channel(name): self.books[name] for name in names}
        messages = subscribe(self._redis_url, [self._reply_channel, *by_channel])
        try:
            async for message in messages:
                if message is None:
                    for name in names:
                        await self._resync(name)
                    self._submitter.look_up(names)
                elif message[0] == self._reply_channel:
                    self._submitter.receive(message[1])
                else:
                    await self._update(by_channel[message[0]], message[1])
                if self._instruments.names != names:
                    return
        finally:
            await messages.aclose()

    async def _update(self, book: Book, payload: bytes) -> None:
        delta = decode_depth(payload)
        if delta is None:
            # Another epoch: what the one before did not answer can be found in PostgreSQL.
            await self._resync(book.instrument)
            self._submitter.look_up([book.instrument])
        elif not book.apply(delta):
            await self._resync(book.instrument)

    async def _resync(self, name: str) -> None:
        """Read complete depth. When it is being published anew right now, a reset will follow."""
        self.books[name].reset(await self._reader.snapshot(name))
