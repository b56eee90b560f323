"""This process's one subscription: replies to its commands, and what happens to each instrument.

Pub/sub is at most once, and it can die without a word. So every message says what it follows, and a
gap is filled before anybody is told of what comes behind it: the books from the depth that the
matcher keeps in Redis, the histories from PostgreSQL. And this process sends itself a heartbeat:
when it does not come back, the subscription is made anew.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from api.books import Book
from api.history import PIECE_RECORDS, RECORDS_MAX, History, split
from api.instruments import Instruments
from api.relay import Relay
from api.submit import Submitter
from workers.adapters.errors import AdapterError, OutcomeUnknown
from workers.adapters.lookups import Lookups
from workers.adapters.pubsub import DepthReader, Publisher, subscribe
from workers.core.channels import changes_channel, depth_channel, reply_channel, reply_channel_at
from workers.core.codec import EncodedChanges, decode_depth
from workers.core.depth import DepthDelta
from workers.core.records import Changes
from workers.metrics import Metrics

logger = logging.getLogger(__name__)

# Between tries while Redis is down.
BACKOFF_S = (0.05, 0.2, 0.5, 1.0)
HEARTBEAT = b"heartbeat"
HEARTBEAT_S = 0.5
# The same as silence, on a subscription where other messages still come.
HEARTBEAT_LOST_S = 3.0
# Between tries to fill a gap.
REPAIR_RETRY_S = 0.5
# How far back a process looks when it starts, so that its clients can resume over a restart.
START_EVENTS = 2_000
# Changes that wait while a gap is being filled. Beyond this they are a gap themselves.
BACKLOG_MAX = 4_096


class Feed:
    """Keeps the books and the histories, delivers replies, and tells the relay.

    Messages are handled one after another, so a book that was just reset from a snapshot goes on
    with the deltas behind it, and a reply finds the depth that was published before it.
    """

    def __init__(
        self,
        *,
        edge_id: str,
        redis_url: str,
        reader: DepthReader,
        publisher: Publisher,
        lookups: Lookups,
        instruments: Instruments,
        submitter: Submitter,
        relay: Relay,
        books: dict[str, Book],
        histories: dict[str, History],
        metrics: Metrics,
    ) -> None:
        self._reply_channel = reply_channel(edge_id)
        self._redis_url = redis_url
        self._reader = reader
        self._publisher = publisher
        self._lookups = lookups
        self._instruments = instruments
        self._submitter = submitter
        self._relay = relay
        self.books = books
        self._histories = histories
        self._metrics = metrics
        # Instruments whose history has a gap: what came behind it, and the task that fills it.
        self._backlogs: dict[str, list[EncodedChanges]] = {}
        self._repairs: dict[str, asyncio.Task[None]] = {}
        self._heard_at = 0.0

    async def run(self) -> None:
        """Listen for ever; after every loss, fill the gaps and look unanswered commands up."""
        failures = 0
        while True:
            try:
                await self._listen()
                failures = 0
            except AdapterError as error:
                logger.warning("feed interrupted: %s", error)
                self._metrics.feed_reconnects.inc()
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def beat(self) -> None:
        """Send this process its heartbeat, for ever."""
        while True:
            try:
                self._submitter.observe()
                await self._publisher.publish(self._reply_channel, HEARTBEAT)
            except AdapterError as error:
                logger.debug("no heartbeat: %s", error)
            await asyncio.sleep(HEARTBEAT_S)

    async def close(self) -> None:
        """Give up filling gaps."""
        for task in self._repairs.values():
            task.cancel()
        await asyncio.gather(*self._repairs.values(), return_exceptions=True)

    async def _listen(self) -> None:
        """Listen until there are other instruments or another history. Raises AdapterError."""
        names = await self._instruments.wait_known()
        self._relay.timeline = timeline = self._instruments.timeline
        handlers: dict[str, Callable[[bytes], Awaitable[None]]] = {
            self._reply_channel: self._take_replies
        }
        for name in names:
            handlers[reply_channel_at(self._reply_channel, name)] = self._take_replies
            self.books.setdefault(name, Book(name))
            self._histories.setdefault(name, History(name))
            handlers[depth_channel(name)] = partial(self._take_depth, name)
            handlers[changes_channel(name)] = partial(self._take_changes, name)
        messages = subscribe(self._redis_url, list(handlers))
        try:
            async for message in messages:
                if message is None:
                    self._heard_at = time.monotonic()
                    logger.info("feed listens to %s", ", ".join(names))
                    for name in names:
                        await self._resync(name)
                        self._repair(name)
                    self._submitter.look_up(names)
                    continue
                channel, payload = message
                await handlers[channel](payload)
                if time.monotonic() - self._heard_at > HEARTBEAT_LOST_S:
                    raise OutcomeUnknown("Redis: our own heartbeat does not come back")
                if self._instruments.timeline != timeline:
                    self._forget(names)
                    return
                if self._instruments.names != names:
                    return
        finally:
            await messages.aclose()

    def _forget(self, names: Sequence[str]) -> None:
        """Begin anew: the database was restored, and tells another history under old sequences."""
        logger.warning("the database was restored: books and histories begin anew")
        for name in names:
            if name in self._repairs:
                self._repairs.pop(name).cancel()
            self._backlogs.pop(name, None)
            self.books[name].reset(None)
            self._histories[name].start(-1)
            self._relay.restart(name, "orderbook", "trades", "orders")

    async def _take_replies(self, payload: bytes) -> None:
        if payload == HEARTBEAT:
            self._heard_at = time.monotonic()
        else:
            self._submitter.receive(payload)

    async def _take_depth(self, name: str, payload: bytes) -> None:
        book = self.books[name]
        delta = decode_depth(payload)
        if isinstance(delta, DepthDelta):
            before = book.sequence
            if not book.apply(delta):
                await self._resync(name)
            elif book.sequence != before:
                self._relay.delta(name, delta)
        else:
            # Another epoch: what the one before did not tell can be found in PostgreSQL.
            await self._resync(name)
            self._submitter.look_up([name])
            history = self._histories[name]
            if history.sequence > delta:
                # The database itself went back: an older copy of it was restored.
                history.start(delta)
                self._relay.restart(name, "trades", "orders")
            elif history.sequence < delta:
                self._repair(name)

    async def _resync(self, name: str) -> None:
        """Read complete depth. When it is being published anew right now, a reset will follow."""
        book = self.books[name]
        snapshot = await self._reader.snapshot(name)
        if snapshot is not None and snapshot.sequence == book.sequence:
            return  # nothing was missed
        missed = book.sequence >= 0
        book.reset(snapshot)
        if missed:
            self._metrics.feed_gaps_repaired(name).inc()
            self._relay.restart(name, "orderbook")

    async def _take_changes(self, name: str, payload: bytes) -> None:
        changes = EncodedChanges(payload)
        if name not in self._backlogs:
            if await self._pass_on(name, changes):
                return
            self._repair(name)
        if len(self._backlogs[name]) < BACKLOG_MAX:
            self._backlogs[name].append(changes)

    async def _pass_on(self, name: str, changes: Changes | EncodedChanges) -> bool:
        """Take changes into the history and tell the relay; False when there is a gap before them.

        In pieces, with pauses in which clients read; each piece follows on for whoever joins then.
        """
        history = self._histories[name]
        if changes.sequence <= history.sequence:
            return True
        if changes.prev_sequence != history.sequence:
            return False
        if not self._relay.is_followed(name):
            return history.add(changes)
        if changes.length <= PIECE_RECORDS:
            history.add(changes)  # as it is: it may be encoded, which is smaller
            self._relay.changes(name, changes.decode())
            return True
        for number, piece in enumerate(split(changes.decode())):
            if number:
                await asyncio.sleep(0)
            history.add(piece)
            self._relay.changes(name, piece)
        return True

    def _repair(self, name: str) -> None:
        """Fill the gap behind what a history knows; what comes meanwhile waits its turn."""
        if name not in self._backlogs:
            self._backlogs[name] = []
            self._repairs[name] = asyncio.create_task(self._fill(name))

    async def _fill(self, name: str) -> None:
        history = self._histories[name]
        instrument = self._instruments.get(name)
        while True:
            fresh = history.sequence < 0
            try:
                changes = await self._missed(instrument.instrument_id, history)
            except Exception as error:
                if not isinstance(error, AdapterError):
                    logger.exception("a gap could not be filled")
                logger.warning("cannot fill a gap of %s: %s", name, error)
                await asyncio.sleep(REPAIR_RETRY_S)
                continue
            if changes is None:
                self._relay.restart(name, "trades", "orders")
            elif fresh:
                history.add(changes)  # what was before this process is nobody's news
            else:
                await self._pass_on(name, changes)
            if not fresh and (changes is None or changes.sequence > changes.prev_sequence):
                self._metrics.feed_gaps_repaired(name).inc()
            backlog = self._backlogs[name]
            while backlog and await self._pass_on(name, backlog[0]):
                backlog.pop(0)
            if not backlog:
                del self._backlogs[name]
                return
            # What waits has a gap of its own. That is rare: the database is ahead of what it hears.
            await asyncio.sleep(REPAIR_RETRY_S)

    async def _missed(self, instrument_id: int, history: History) -> Changes | None:
        """Read what follows a history; None after starting it anew, when that is too much."""
        if history.sequence < 0:
            sequence, _ = await self._lookups.changes(instrument_id, 0, 0)
            history.start(max(0, sequence - START_EVENTS))
        sequence, changes = await self._lookups.changes(
            instrument_id, history.sequence, RECORDS_MAX
        )
        if changes is None:
            history.start(sequence)
        return changes
