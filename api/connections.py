"""WebSocket connections as the relay sees them: bytes out, bounded, and nobody waits."""

import asyncio
import time
from typing import Literal

from sanic.server.websockets.impl import OPEN, WebsocketImplProtocol

from api.frames import channel_name

Kind = Literal["trades", "orders", "orderbook"]
KINDS: tuple[Kind, ...] = ("trades", "orders", "orderbook")

# Commands of one client that may wait for their answer: more are left unread.
ASKED_MAX = 1_024
# Bytes that may be on their way to one client, beyond a snapshot: a few seconds of a busy market.
BUFFER_BYTES_MAX = 1 << 20
# A client that fell behind is caught up when this little is left for it to read.
BUFFER_BYTES_LOW = 64 * 1024
# How long a client may take to say good-bye.
CLOSE_S_MAX = 5.0

GOING_AWAY = 1001


class Channel:
    """One kind of news of one instrument, and the connections that get every frame of it."""

    def __init__(self, kind: Kind, instrument: str) -> None:
        self.kind: Kind = kind
        self.instrument = instrument
        self.name = channel_name(kind, instrument)
        self.live: set[Connection] = set()

    def publish(self, data: bytes) -> None:
        """Give frames to every connection that keeps up."""
        for connection in list(self.live):
            connection.offer(data)


class Connection:
    """The outgoing half of one WebSocket."""

    def __init__(self, ws: WebsocketImplProtocol) -> None:
        assert ws.io_proto is not None
        assert ws.io_proto.transport is not None
        self.ws = ws
        self._transport = ws.io_proto.transport
        # Channels subscribed to; a task while what comes before the live frames is prepared.
        self.channels: dict[Channel, asyncio.Task[None] | None] = {}
        self._limit = BUFFER_BYTES_MAX
        # Since when it has fallen behind; 0 while it keeps up.
        self.behind_since = 0.0
        # What its session does for the client now, and how much it has asked for in all.
        self.under_way: set[asyncio.Task[None]] = set()
        self.asked = 0
        self.paused = False

    @property
    def buffered(self) -> int:
        """Bytes that the client has still to read (beyond what the kernel holds)."""
        return int(self._transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Write frames, however much waits; nothing once the connection closes."""
        if self.ws.ws_proto.state is OPEN and not self._transport.is_closing():
            self._transport.write(data)

    def offer(self, data: bytes) -> None:
        """Write live frames; when too much waits already, drop these and fall behind."""
        if self.buffered + len(data) > self._limit:
            self.fall_behind()
        else:
            self.write(data)

    def fall_behind(self) -> None:
        """Leave every channel until what is on its way has been read."""
        self.behind_since = self.behind_since or time.monotonic()
        for channel in self.channels:
            self.hold(channel)

    def hold(self, channel: Channel) -> None:
        """Take no more live frames of a channel for now."""
        channel.live.discard(self)
        task = self.channels.get(channel)
        if task is not None:
            task.cancel()
            self.channels[channel] = None

    def start_over(self, data: bytes) -> None:
        """Write what a channel starts with; its size does not count against the client."""
        self.write(data)
        self._limit = self.buffered + BUFFER_BYTES_MAX

    async def close(self) -> None:
        """Say good-bye, and wait for the client to say so, too."""
        await self.ws.close(GOING_AWAY, "server is stopping")
        await self.ws.wait_for_connection_lost(CLOSE_S_MAX)

    def hold_reading(self) -> None:
        """Read no more while commands without an answer, or answers unread, are many."""
        if self.paused or self._transport.is_closing():
            return
        if self.asked > ASKED_MAX or self.buffered > BUFFER_BYTES_MAX:
            self.paused = True
            self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """Read on when little enough is left to do."""
        if (
            self.paused
            and self.asked <= ASKED_MAX // 2
            and self.buffered <= BUFFER_BYTES_MAX // 2
            and not self._transport.is_closing()
        ):
            self.paused = False
            self._transport.resume_reading()
