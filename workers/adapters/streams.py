"""Redis Streams: where edges append requests and one matcher per instrument reads them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from redis.exceptions import ResponseError

from workers.adapters.clients import Clients
from workers.adapters.cluster import is_cluster
from workers.adapters.errors import EpochPassed, Fenced, StreamLost, Unavailable
from workers.adapters.redis import close, connect, load_script, translated
from workers.core.channels import (
    asks_key,
    bids_key,
    changes_channel,
    depth_channel,
    depth_key,
    first_order_key,
    matcher_group,
    order_stream,
    reply_channel_at,
    state_key,
)
from workers.core.codec import encode_delta, encode_reset
from workers.core.depth import DepthDelta, DepthSnapshot

# One stream entry: its id, and its request, or None for a floor marker.
Entry = tuple[str, bytes | None]

# Levels written per command while complete depth is published.
LEVELS_PER_WRITE = 1_000
# Entries counted one by one when the server itself cannot tell the lag; more is shown as so many.
LAG_COUNT_MAX = 1_000


def parse_position(stream_id: str) -> tuple[int, int]:
    """Return a stream entry id as numbers, which compare as the server compares ids."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)


def next_position(stream_id: str) -> str:
    """Return the least id after `stream_id`."""
    milliseconds, number = parse_position(stream_id)
    return f"{milliseconds}-{number + 1}"


class OrderStream:
    """The matcher's side of one instrument's stream, for one epoch.

    Reads have a connection of their own, because they block. Nothing here decides what was
    applied: PostgreSQL's position does.
    """

    def __init__(self, url: str, instrument: str, epoch: int) -> None:
        self._epoch = epoch
        self._instrument = instrument
        self._key = order_stream(instrument)
        self._group = matcher_group(epoch)
        # A cluster tells every node of what is published, unless it is published in a slot.
        self._is_sharded = is_cluster(url)
        self._publish_command = "SPUBLISH" if self._is_sharded else "PUBLISH"
        self._reads = connect(url, key=self._key)
        self._reads.set_response_callback("XREADGROUP", lambda response, **_: response)
        self._writes = connect(url, key=self._key)
        self._publish = load_script(self._writes, "publish.lua")
        self._reset_depth = load_script(self._writes, "reset_depth.lua")
        # What to add to this machine's clock to get Redis's.
        self._clock_offset_us = 0

    async def open(self, position: str) -> bool:
        """Make this epoch's group at `position`, behind which no entry will ever be appended.

        Returns whether the entries after `position` are all still there; False says that some
        were trimmed or deleted unread. Raises EpochPassed when Redis has seen this epoch or a later
        one, Unavailable, OutcomeUnknown.
        """
        async with translated():
            await self._raise_floor(position)
            if (known := await self._known_epoch()) >= self._epoch:
                raise EpochPassed(
                    f"Redis knows of epoch {known}, and ours is {self._epoch}: another matcher took"
                    " over, or the database is new or was restored",
                    known,
                )
            try:
                await self._writes.xgroup_create(self._key, self._group, id=position)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
                await self._writes.xgroup_setid(self._key, self._group, id=position)
            for epoch in await self._group_epochs():
                if epoch < self._epoch:
                    await self._writes.xgroup_destroy(self._key, matcher_group(epoch))
            # The epoch before may have died between its commit and its trim: what is applied must
            # not count as waiting, or edges would refuse the order that leads to the next trim.
            await self._writes.xtrim(self._key, minid=next_position(position))
            await self._measure_clock()
            info = await self._writes.xinfo_stream(self._key)
        deleted = info.get("max-deleted-entry-id", b"0-0").decode()
        return parse_position(deleted) <= parse_position(position)

    async def close(self) -> None:
        """Close both connections; never fails."""
        await close(self._reads)
        await close(self._writes)

    async def read(self, count: int, block_ms: int) -> list[Entry]:
        """Return up to `count` entries after the last ones read; none when nothing came.

        After any error the position within the group is unknown: recover.
        """
        async with translated():
            response: list[Any] | None = await self._reads.execute_command(  # type: ignore[no-untyped-call]
                "XREADGROUP", "GROUP", self._group, "matcher", "COUNT", count,
                "BLOCK", block_ms, "STREAMS", self._key, ">",
            )  # fmt: skip
        if not response:
            return []
        return [
            (stream_id.decode(), fields[1] if fields and fields[0] == b"request" else None)
            for stream_id, fields in response[0][1]
        ]

    def age_us(self, stream_id: str, now_us: int) -> int:
        """Return how long ago an entry was appended, by Redis's own clock at both ends.

        An id that a floor marker pushed ahead of the clock counts as new.
        """
        appended_us = parse_position(stream_id)[0] * 1000
        return max(0, now_us + self._clock_offset_us - appended_us)

    async def check(self, position: str) -> None:
        """Raise StreamLost when entries could be appended that this epoch would never read."""
        async with translated():
            if await self._last_id() is None:
                raise StreamLost("the stream is gone")
            if parse_position(await self._last_id() or "0-0") < parse_position(position):
                raise StreamLost("the stream stands before the stored position")
            groups = await self._writes.xinfo_groups(self._key)
            if not any(group["name"].decode() == self._group for group in groups):
                raise StreamLost("the group of this epoch is gone")
            await self._measure_clock()

    async def publish(
        self,
        position: str,
        delta: DepthDelta,
        changes: bytes,
        replies: Sequence[tuple[str, bytes]],
        entry_ids: Sequence[str],
    ) -> bool:
        """Publish depth, encoded changes and replies of a committed batch, then trim its entries.

        Returns False when complete depth must be published anew. Raises Fenced, having done
        nothing, when a later epoch has published already.
        """
        arguments: list[str | int | bytes] = [
            self._epoch,
            delta.prev_sequence,
            delta.sequence,
            depth_channel(self._instrument),
            encode_delta(delta, self._epoch),
            changes_channel(self._instrument),
            changes,
            self._group,
            next_position(position),
            len(delta.bids),
            len(delta.asks),
            len(replies),
            len(entry_ids),
            self._publish_command,
        ]
        for price_ticks, quantity_lots in (*delta.bids, *delta.asks):
            arguments += (price_ticks, quantity_lots)
        for channel, payload in replies:
            if self._is_sharded:
                channel = reply_channel_at(channel, self._instrument)
            arguments += (channel, payload)
        arguments += entry_ids
        keys = [
            self._key,
            depth_key(self._instrument),
            bids_key(self._instrument),
            asks_key(self._instrument),
        ]
        async with translated():
            result = await self._publish(keys, arguments)
        if result == -1:
            raise Fenced("a later epoch has published already")
        return bool(result)

    async def publish_state(self, sequence: int, state_hash: str) -> None:
        """Say with which state the engine stands at a committed sequence, for who compares it.

        A zombie may say so, too: it names a sequence that others have left behind.
        """
        async with translated():
            await self._writes.hset(
                state_key(self._instrument),
                mapping={"sequence": sequence, "state_hash": state_hash},
            )

    async def publish_depth(self, snapshot: DepthSnapshot) -> None:
        """Publish complete depth: every replica resyncs. Raises Fenced."""
        keys = [depth_key(self._instrument), bids_key(self._instrument), asks_key(self._instrument)]
        steps: list[list[str | int | bytes]] = [["begin"]]
        for side, levels in (("bids", snapshot.bids), ("asks", snapshot.asks)):
            for start in range(0, len(levels), LEVELS_PER_WRITE):
                step: list[str | int | bytes] = [side]
                for price_ticks, quantity_lots in levels[start : start + LEVELS_PER_WRITE]:
                    step += (price_ticks, quantity_lots)
                steps.append(step)
        notice = encode_reset(snapshot.sequence, self._epoch)
        channel = depth_channel(self._instrument)
        steps.append(["finish", snapshot.sequence, channel, notice, self._publish_command])
        async with translated():
            for step in steps:
                if await self._reset_depth(keys, [self._epoch, *step]) == -1:
                    raise Fenced("a later epoch has published already")

    async def _raise_floor(self, position: str) -> None:
        """See to it that every id appended from now on lies after `position`."""
        last_id = await self._last_id()
        if last_id is None or parse_position(last_id) < parse_position(position):
            try:
                await self._writes.xadd(self._key, {"floor": ""}, id=next_position(position))
            except ResponseError:
                # An edge was quicker; if its id is high enough, there is nothing left to do.
                last_id = await self._last_id()
                if last_id is None or parse_position(last_id) < parse_position(position):
                    raise

    async def _known_epoch(self) -> int:
        """Return the latest epoch that has come as far as Redis; 0 when none has."""
        published = await self._writes.hget(depth_key(self._instrument), "epoch")
        return max(int(published or 0), *await self._group_epochs(), 0)

    async def _group_epochs(self) -> list[int]:
        """Return the epochs that have a group."""
        names = [group["name"] for group in await self._writes.xinfo_groups(self._key)]
        kinds = [name.decode().rpartition("-") for name in names]
        return [int(epoch) for kind, _, epoch in kinds if kind == "matcher" and epoch.isdigit()]

    async def _last_id(self) -> str | None:
        """Return the last id that the stream has given, or None when there is no stream."""
        try:
            info = await self._writes.xinfo_stream(self._key)
        except ResponseError as error:
            if "no such key" in str(error):
                return None
            raise
        last_id: bytes = info["last-generated-id"]
        return last_id.decode()

    async def _measure_clock(self) -> None:
        seconds, microseconds = await self._writes.time()
        self._clock_offset_us = seconds * 1_000_000 + microseconds - time.time_ns() // 1000


class StreamState(NamedTuple):
    """Who reads an instrument's stream, and how far that is: the latest epoch that has a group, and
    the entries that it has not committed yet.
    """

    epoch: int
    lag: int


class StreamLags:
    """How far each instrument's matcher is behind its stream."""

    def __init__(self, url: str) -> None:
        self._clients = Clients(url)

    async def close(self) -> None:
        """Close every connection; never fails."""
        await self._clients.close()

    async def read(self, instruments: Sequence[str]) -> dict[str, StreamState]:
        """Return how each instrument that has a stream stands.

        What is not committed is what the latest epoch's group has not read, and what it has not
        acknowledged. Raises Unavailable, OutcomeUnknown.
        """
        states = {}
        async with translated():
            for client in self._clients.all():
                await client.ping()  # tells whether it answers, also when there is no instrument
            for instrument in instruments:
                client = self._clients.of(instrument)
                try:
                    groups = await client.xinfo_groups(order_stream(instrument))
                except ResponseError:  # no such stream
                    continue
                matchers = [group for group in groups if group["name"].startswith(b"matcher-")]
                if matchers:
                    latest = max(matchers, key=_epoch_of)
                    unread = latest["lag"]
                    if unread is None:  # the server cannot tell once entries were deleted
                        unread = await self._count_after(instrument, latest["last-delivered-id"])
                    lag = unread + latest["pending"]
                    states[instrument] = StreamState(_epoch_of(latest), lag)
        return states

    async def _count_after(self, instrument: str, stream_id: bytes) -> int:
        start = f"({stream_id.decode()}"
        client = self._clients.of(instrument)
        entries = await client.xrange(order_stream(instrument), start, count=LAG_COUNT_MAX)
        return len(entries or ())


def _epoch_of(group: Mapping[str, Any]) -> int:
    """Return the epoch of a matcher's consumer group, as `matcher_group` names it."""
    return int(group["name"].rpartition(b"-")[2])


class Append(NamedTuple):
    """A request on its way into a stream, and what the script must know about it.

    `again` says that the order may go in although its key was sent before: whoever sends it has
    looked into PostgreSQL.
    """

    kind: Literal["order", "again", "cancel"]
    order_id: str
    client_id: str
    idempotency_key: str
    request: bytes


class Appended(NamedTuple):
    """What became of one request: appended; or refused, because too many wait; or not needed,
    because `first_order_id` was sent under the same key before.
    """

    refused: bool = False
    first_order_id: str | None = None


class StreamWriter:
    """The edge's side: append requests, many at a time.

    `waiting_max` is how many entries may wait in a stream before orders are refused; cancels may go
    a quarter further. `key_ttl_ms` is how long Redis remembers an idempotency key.
    """

    def __init__(self, url: str, waiting_max: int, key_ttl_ms: int) -> None:
        self._clients = Clients(url, script="append.lua")
        self._head = (waiting_max, waiting_max + waiting_max // 4, key_ttl_ms)

    async def close(self) -> None:
        """Close every connection; never fails."""
        await self._clients.close()

    async def append(self, instrument: str, requests: Sequence[Append]) -> list[Appended]:
        """Append requests in this order; return what became of each.

        Raises Unavailable when certainly none was appended, OutcomeUnknown when the answer was
        lost: then they may be, and must not be sent again.
        """
        keys = [order_stream(instrument)]
        arguments: list[str | int | bytes] = [*self._head]
        for kind, order_id, client_id, idempotency_key, request in requests:
            if idempotency_key:
                keys.append(first_order_key(instrument, client_id, idempotency_key))
            arguments += (kind, len(keys) if idempotency_key else 0, order_id, request)
        await self._connect(instrument)
        async with translated():
            results = await self._clients.script(instrument)(keys, arguments)
        if results == -1:
            raise Unavailable(f"nobody matches {instrument} at the moment")
        return [_APPENDED.get(result) or _repeat(result) for result in results]

    async def _connect(self, instrument: str) -> None:
        """Connect first, so that a server that is down is a certain refusal."""
        client = self._clients.of(instrument)
        try:
            await client.initialize()
            connection = client.connection
            if connection is not None:
                await connection.connect()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise Unavailable(f"Redis: {error}") from error


_APPENDED = {b"+": Appended(), b"-": Appended(refused=True)}


def _repeat(result: bytes) -> Appended:
    return Appended(first_order_id=result[1:].decode())
