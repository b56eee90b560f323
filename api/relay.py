"""Fan-out: what one process hears of an instrument, written to every client that subscribed.

A frame is encoded once and given to each connection's transport as it is. The transport's buffer is
the client's queue, and it is bounded: a client that does not keep up is taken off its channels, and
when it has read what is on its way to it, it gets a fresh start: a snapshot, or a resync. Nobody
waits for it.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator

from api import frames
from api.books import Book
from api.connections import POLL_S, Channel, Connection, Kind
from api.errors import ApiError
from api.history import History, split
from api.limits import limited_address
from api.schemas import trade_json
from workers.adapters.errors import AdapterError
from workers.adapters.lookups import Lookups
from workers.core.depth import DepthDelta
from workers.core.messages import RESTING
from workers.core.records import Changes, TradeRecord
from workers.metrics import Metrics

logger = logging.getLogger(__name__)

SWEEP_S = 0.05
# Between tries while the book or the database is not there.
RETRY_S = 0.2
# Looks that a client may be ahead of this process by, when it comes from another one.
AHEAD_TRIES = 20
# What a resync shows.
TRADES_SHOWN = 100
ORDERS_SHOWN = 1_000

# What is under way for clients when the process stops may take this long.
FINISH_S_MAX = 5.0

TRY_AGAIN_LATER = 1013


class Relay:
    """Every connection of this process, and the channels they are on."""

    def __init__(
        self,
        books: dict[str, Book],
        histories: dict[str, History],
        lookups: Lookups,
        metrics: Metrics,
        slow_client_ms: int,
        address_websockets_max: int,
    ) -> None:
        self._books = books
        self._histories = histories
        self._lookups = lookups
        self._metrics = metrics
        self._behind_s_max = slow_client_ms / 1000
        self._channels: dict[tuple[Kind, str], Channel] = {}
        # Which history the sequences belong to.
        self.timeline = 0
        self.connections: set[Connection] = set()
        self._address_websockets_max = address_websockets_max
        self._addresses: Counter[str] = Counter()

    def has_room(self, address: str) -> bool:
        """Tell whether one more connection from an address may come."""
        return self._addresses[limited_address(address)] < self._address_websockets_max

    def channel(self, kind: Kind, instrument: str) -> Channel:
        """Return a channel."""
        channel = self._channels.get((kind, instrument))
        if channel is None:
            channel = self._channels[kind, instrument] = Channel(kind, instrument)
        return channel

    def add(self, connection: Connection) -> None:
        """Take a connection in."""
        self.connections.add(connection)
        self._addresses[limited_address(connection.address)] += 1
        self._metrics.websocket_connections.inc()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        address = limited_address(connection.address)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        self._metrics.websocket_connections.dec()
        for channel in list(connection.channels):
            connection.leave(channel)

    def subscribe(
        self, connection: Connection, channel: Channel, resume_from: int | None = None
    ) -> None:
        """Let a connection have a channel's frames from now on, or from a sequence on."""
        if channel.kind != "orderbook" and resume_from is None:
            connection.hold(channel)
            connection.go_live(channel)
        else:
            self._start(connection, channel, resume_from)

    # What the feed tells.

    def delta(self, instrument: str, delta: DepthDelta) -> None:
        """Pass a depth delta on, which its book has just applied."""
        channel = self._channels.get(("orderbook", instrument))
        if channel is not None and channel.live:
            channel.publish(frames.delta_frame(instrument, delta))

    def is_followed(self, instrument: str) -> bool:
        """Return whether anybody gets an instrument's trades or orders live."""
        followed: tuple[Kind, ...] = ("trades", "orders")
        channels = (self._channels.get((kind, instrument)) for kind in followed)
        return any(channel is not None and channel.live for channel in channels)

    def changes(self, instrument: str, changes: Changes) -> None:
        """Pass trades and changed orders on, which their history has just taken in."""
        trades = self._channels.get(("trades", instrument))
        if trades is not None and trades.live and changes.trades:
            trades.publish(frames.trade_frames(instrument, changes.trades))
        orders = self._channels.get(("orders", instrument))
        if orders is not None and orders.live and changes.orders:
            orders.publish(frames.order_frames(instrument, changes.orders))

    def restart(self, instrument: str, *kinds: Kind) -> None:
        """Give every client of these channels a fresh start: its frames have a gap."""
        for kind in kinds:
            channel = self._channels.get((kind, instrument))
            if channel is not None:
                for connection in list(channel.live):
                    self._start(connection, channel)

    async def run(self) -> None:
        """Look after those who fell behind, or are not read for now, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in list(self.connections):
                connection.balance()
                if connection.behind_since:
                    self._catch_up(connection)

    async def close(self) -> None:
        """Answer what was asked, then close every connection."""
        connections = list(self.connections)
        under_way = [task for connection in connections for task in connection.under_way]
        if under_way:
            await asyncio.wait(under_way, timeout=FINISH_S_MAX)
        if self._channels:
            written = [asyncio.create_task(c.written()) for c in self._channels.values()]
            await asyncio.wait(written, timeout=FINISH_S_MAX)
        if connections:
            await asyncio.wait(
                [asyncio.create_task(connection.close()) for connection in connections]
            )

    # How a client gets on a channel.

    def _catch_up(self, connection: Connection) -> None:
        if connection.catch_up():
            self._metrics.websocket_clients_resynced.inc()
            for channel in list(connection.channels):
                self._start(connection, channel)
        elif time.monotonic() - connection.behind_since > self._behind_s_max:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Close a connection whose client does not read."""
        logger.info("closing a WebSocket that does not keep up")
        self._metrics.websocket_clients_dropped.inc()
        connection.ws.fail_connection(TRY_AGAIN_LATER, "too slow: reconnect")
        self.remove(connection)

    def _start(
        self, connection: Connection, channel: Channel, resume_from: int | None = None
    ) -> None:
        """Prepare a start in a task of its own; one that is under way is given up for it."""
        work = self._prepare(connection, channel, resume_from)
        connection.prepare(channel, asyncio.create_task(work))

    async def _prepare(
        self, connection: Connection, channel: Channel, resume_from: int | None
    ) -> None:
        """Write what comes before the live frames, then go live.

        Each way ends without a pause after its last frame, so the next live frame follows on.
        """
        while True:
            if not await connection.drained(self._behind_s_max):  # it reads what was before first
                self._drop(connection)
                return
            try:
                if channel.kind == "orderbook":
                    connection.write_snapshot(await self._books[channel.instrument].frames())
                    break
                history = self._histories[channel.instrument]
                if resume_from is not None and await self._resume(
                    connection, channel, history, resume_from
                ):
                    break
                resume_from = None
                if await self._resync(connection, channel, history):
                    break
            except (ApiError, AdapterError, KeyError):
                pass  # no book, no database: not for long
            await asyncio.sleep(RETRY_S)
        connection.go_live(channel)

    async def _resume(
        self, connection: Connection, channel: Channel, history: History, sequence: int
    ) -> bool:
        """Write what came after `sequence`, in pieces; False when it is not known any more."""
        for _ in range(AHEAD_TRIES):
            if sequence <= history.sequence:
                break
            await asyncio.sleep(POLL_S)
        while True:
            missed = history.since(sequence)
            if missed is None:
                return False
            if missed.sequence == sequence:
                return True
            for piece in split(missed):
                if not await connection.drained(self._behind_s_max):
                    return False
                connection.write(_changes_frames(channel, piece))
                await asyncio.sleep(0)
            sequence = missed.sequence

    async def _resync(self, connection: Connection, channel: Channel, history: History) -> bool:
        """Write how things are now, and what came while we looked; False to try again."""
        sequence = history.sequence
        if sequence < 0:
            return False
        if channel.kind == "trades":
            rows = [trade_json(trade) for trade in _newest_trades(history)]
            data = {"sequence": sequence, "trades": rows}
        else:
            page = await self._lookups.list_orders(
                None, channel.instrument, RESTING, None, ORDERS_SHOWN
            )
            rows = [frames.changed_order_json((sequence, order)) for order in page.orders]
            data = {"sequence": sequence, "orders": rows, "complete": page.next is None}
        connection.write(frames.resync_frame(channel.kind, channel.instrument, self.timeline, data))
        # The orders may be newer than `sequence`. What follows repeats some of it, and ends where
        # the live frames begin.
        return await self._resume(connection, channel, history, sequence)


def _changes_frames(channel: Channel, changes: Changes) -> bytes:
    if channel.kind == "trades":
        return frames.trade_frames(channel.instrument, changes.trades)
    return frames.order_frames(channel.instrument, changes.orders)


def _newest_trades(history: History) -> Iterator[TradeRecord]:
    shown = 0
    for batch in reversed(history):
        for trade in reversed(batch.trades):
            yield trade
            shown += 1
            if shown == TRADES_SHOWN:
                return
