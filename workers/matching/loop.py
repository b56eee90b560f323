"""The one place that fixes the order of things: read, apply, commit, publish, ack.

Two coroutines share an open batch. `_match` reads entries and applies them to it; `_commit` takes
it, makes it durable, and only then publishes. While one batch is being committed the next one
fills, so matching runs at most one batch ahead, and a batch is as large as the traffic makes it.
A third, `_watch`, renews the lease and looks after the stream.

Nothing is repaired in place. Whatever goes wrong, the loop ends with an exception, the engine is
thrown away with it, and the next epoch starts from what PostgreSQL holds.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.adapters.errors import DataRejected, Fenced, StreamLost, UnknownClients
from workers.core.batch import Batch, DeadLetter, Names
from workers.core.codec import (
    CodecError,
    Outcome,
    Request,
    decode_request,
    encode_changes,
    encode_replies,
)
from workers.core.depth import take_delta
from workers.core.duplicates import FirstOrder, first_order, judge
from workers.core.engine import MatchingEngine
from workers.core.messages import SubmitOrder
from workers.matching.observe import BatchObserver
from workers.matching.ports import Clock, Ledger, Stream
from workers.matching.together import end, run_together

logger = logging.getLogger(__name__)

# A blocking read returns at least this often, so that a stop is noticed.
READ_BLOCK_MS = 500
# After the database refused data, every name is looked up for this many entries, not only those
# that clients chose: a stream that repeats whole entries is found out this way.
SUSPICION_ENTRIES = 10_000

# Orders hashed at a time, 1 or 2 ms: entries that arrive meanwhile wait no longer than that.
HASH_SLICE_ORDERS = 2_000

Name = tuple[str, str]
# sequence and order_no of an engine.
Standing = tuple[int, int]


def order_name(order_id: str) -> Name:
    """Return what an order is remembered by: its order_id."""
    return ("", order_id)


def key_name(client_id: str, idempotency_key: str) -> Name:
    """Return what an order is remembered by: its client's key."""
    return (client_id, idempotency_key)


@dataclass
class Caution:
    """What one epoch learns for the next about entries that the database refuses.

    The batch that was refused is tried again in halves; an entry that is refused alone becomes a
    dead letter, and the others go through.
    """

    batch_length_max: int
    limit: int = 0
    suspicious_left: int = 0
    condemned: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limit = self.batch_length_max

    def refused(self, entry_ids: Sequence[str], error: DataRejected) -> None:
        """Learn that the database refused these entries."""
        if len(entry_ids) == 1 and self.suspicious_left:
            self.condemned[entry_ids[0]] = str(error)
        self.limit = max(1, len(entry_ids) // 2)
        self.suspicious_left = SUSPICION_ENTRIES

    def committed(self, batch: Batch) -> None:
        """Learn that a batch went through."""
        self.limit = min(self.batch_length_max, self.limit * 2)
        self.suspicious_left = max(0, self.suspicious_left - len(batch))
        for stream_id in batch.entry_ids if self.condemned else ():
            self.condemned.pop(stream_id, None)


class Loop:
    """Matches one instrument for one epoch. `run` returns only after `stop`, or raises."""

    def __init__(
        self,
        *,
        instrument: str,
        engine: MatchingEngine,
        epoch: int,
        position: str,
        last_time_us: int,
        lease_ms: int,
        ledger: Ledger,
        stream: Stream,
        clock: Clock,
        caution: Caution,
        observer: BatchObserver,
    ) -> None:
        self._instrument = instrument
        self._engine = engine
        self._epoch = epoch
        self._lease_ms = lease_ms
        self._ledger = ledger
        self._stream = stream
        self._clock = clock
        self._caution = caution
        self._observer = observer
        self._time_us = last_time_us
        self._names = Names()
        # Committed, but perhaps after a look-up that is still under way: names not forgotten yet.
        self._committed: list[Batch] = []
        self._position = position
        self._batch = self._open_batch(position)
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._stopping = asyncio.Event()
        # Nothing more will be matched.
        self._matched = False
        self._reading: asyncio.Task[list[tuple[str, bytes | None]]] | None = None

    def stop(self) -> None:
        """Read no more; `run` returns when what was read is committed and published."""
        self._stopping.set()
        self._taken.set()
        if self._reading is not None:
            self._reading.cancel()

    async def run(self) -> None:
        """Match until stopped. Raises Fenced or another AdapterError when the epoch is over."""
        await run_together(self._match(), self._commit(), self._watch())

    async def _match(self) -> None:
        """Read entries and apply them to the open batch."""
        while not self._stopping.is_set():
            room = self._caution.limit - len(self._batch)
            if room <= 0:
                self._taken.clear()
                await self._taken.wait()
                continue
            if entries := await self._read(room):
                await self._apply(entries)
                self._filled.set()
        self._matched = True
        self._filled.set()

    async def _read(self, room: int) -> list[tuple[str, bytes | None]]:
        """Return what comes next; nothing when told to stop meanwhile, so that a stop is at once.

        What a read that is broken off has taken from the stream is not lost: the position decides.
        """
        self._reading = asyncio.create_task(self._stream.read(room, READ_BLOCK_MS))
        try:
            return await self._reading
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            assert ours is not None
            if ours.cancelling():
                raise
            return []

    async def _apply(self, entries: Sequence[tuple[str, bytes | None]]) -> None:
        """Decode and look up first, then apply all entries without a pause."""
        # Never back, whatever the machine's clock does; and one time for the whole batch.
        time_us = self._batch.time_us or max(self._time_us, self._clock())
        requests = [self._decode(stream_id, payload, time_us) for stream_id, payload in entries]
        found = await self._look_up(requests)
        batch = self._batch
        batch.time_us = self._time_us = max(self._time_us, batch.time_us or time_us)
        for (stream_id, payload), request in zip(entries, requests, strict=True):
            batch.add_entry(stream_id)
            if isinstance(request, DeadLetter):
                self._bury(batch, request)
            elif request is not None and stream_id in self._caution.condemned:
                error = self._caution.condemned[stream_id]
                self._bury(batch, DeadLetter(stream_id, payload or b"", error))
                batch.add_refusal(request, "unusable", request.command.order_id)
            elif request is not None:
                self._apply_request(batch, request, found)

    def _decode(
        self, stream_id: str, payload: bytes | None, time_us: int
    ) -> Request | DeadLetter | None:
        if payload is None:
            return None  # a floor marker
        try:
            age_us = self._stream.age_us(stream_id, self._clock())
            return decode_request(payload, time_us=time_us, age_us=age_us)
        except CodecError as error:
            return DeadLetter(stream_id, payload, str(error))

    async def _look_up(
        self, requests: Sequence[Request | DeadLetter | None]
    ) -> dict[Name, FirstOrder]:
        """Return the orders in the database that hold a name used in these requests."""
        # What was committed before this look-up starts will be seen by it.
        for batch in self._committed:
            self._names.forget(batch)
        self._committed.clear()
        submits = [
            request.command
            for request in requests
            if isinstance(request, Request) and isinstance(request.command, SubmitOrder)
        ]
        found: dict[Name, FirstOrder] = {}
        if not submits:
            return found
        await self._ledger.ensure_clients(command.client_id for command in submits)
        every = self._caution.suspicious_left > 0
        order_ids = [c.order_id for c in submits if c.order_id_given or every]
        keys = [(c.client_id, c.idempotency_key) for c in submits if c.idempotency_key]
        if order_ids or keys:
            for first in await self._ledger.find_first_orders(order_ids, keys):
                found[order_name(first.order_id)] = first
                if first.instrument == self._instrument and first.idempotency_key:
                    found[key_name(first.client_id, first.idempotency_key)] = first
        return found

    def _apply_request(self, batch: Batch, request: Request, found: dict[Name, FirstOrder]) -> None:
        command = request.command
        if command.time_us != batch.time_us:
            command = command._replace(time_us=batch.time_us)
        if isinstance(command, SubmitOrder):
            names = [order_name(command.order_id)]
            if command.idempotency_key:
                names.append(key_name(command.client_id, command.idempotency_key))
            firsts = {
                first.order_id: first
                for name in names
                if (first := self._names.find(name) or found.get(name))
            }
            if firsts:
                first, *others = firsts.values()
                outcome: Outcome = "conflict" if others else judge(self._instrument, command, first)
                batch.add_refusal(request, outcome, first.order_id)
                return
            for name in names:
                self._names.remember(name, first_order(self._instrument, command))
                batch.names.append(name)
        batch.add_events(request, self._engine.apply(command))

    def _bury(self, batch: Batch, letter: DeadLetter) -> None:
        extra = {"instrument": self._instrument, "epoch": self._epoch}
        logger.error("dead letter %s: %s", letter.stream_id, letter.error, extra=extra)
        batch.dead_letters.append(letter)

    async def _commit(self) -> None:
        """Take the open batch, make it durable, publish it; again and again."""
        while len(self._batch) or not self._matched:
            if not len(self._batch):
                self._filled.clear()
                await self._filled.wait()
                continue
            # From here to the first await nothing else runs: the batch is taken as it stands.
            batch = self._batch
            try:
                parameters = self._ledger.parameters(batch, self._epoch)
            except UnknownClients as error:
                await self._ledger.ensure_clients(error.client_ids)
                continue  # meanwhile the batch may have grown
            effects = self._observer.take(batch)
            delta = take_delta(self._engine.book, batch.from_sequence, batch.sequence)
            changes = batch.changes()
            self._batch = self._open_batch(batch.position)
            self._taken.set()
            commit = asyncio.create_task(self._ledger.commit(parameters))
            try:
                await asyncio.sleep(0)  # let it be sent; the database works while we encode
                replies = [(to, encode_replies(replies)) for to, replies in batch.replies.items()]
                news = encode_changes(changes, self._epoch)
                await commit
            except DataRejected as error:
                self._caution.refused(batch.entry_ids, error)
                raise
            finally:
                if not commit.done():
                    # Never leave it behind. Its connection will be closed, and the next one may get
                    # the same file descriptor, on which the event loop still waits for this one.
                    await end(commit)
            self._caution.committed(batch)
            self._committed.append(batch)
            self._position = batch.position
            self._observer.committed(effects)
            # All of this may be lost or doubled without harm: the batch is durable.
            current = await self._stream.publish(
                batch.position, delta, news, replies, batch.entry_ids
            )
            self._observer.published(effects)
            if not current:
                raise StreamLost("the published depth is not the one before this batch")

    async def _watch(self) -> None:
        """Keep the lease while there is nothing to commit, and the stream where it must be.

        When nothing happens for a while, tell with which state the engine stands.
        """
        seen = told = None
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._lease_ms / 4000)
            except TimeoutError:
                if not await self._ledger.renew(self._epoch):
                    raise Fenced("the lease has passed to another owner") from None
                await self._stream.check(self._position)
                standing = self._standing()
                if standing is not None and standing == seen and standing != told:
                    told = standing
                    await self._publish_state(standing)
                seen = standing

    def _standing(self) -> Standing | None:
        """Return where the engine stands, if all of that is committed."""
        if len(self._batch) or self._batch.position != self._position:
            return None
        return self._engine.sequence, self._engine.order_no

    async def _publish_state(self, standing: Standing) -> None:
        """Publish the state hash of an engine that stands still, unless it moves meanwhile."""
        for state_hash in self._engine.hash_in_slices(HASH_SLICE_ORDERS):
            await asyncio.sleep(0)
            if self._standing() != standing:
                return
            if state_hash:
                await self._stream.publish_state(self._engine.sequence, state_hash)

    def _open_batch(self, position: str) -> Batch:
        engine = self._engine
        return Batch(self._instrument, position, engine.sequence, engine.order_no, engine.trade_no)
