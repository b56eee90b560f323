"""WebSocket connections as the relay sees them: bytes out, bounded, and nobody waits.

A subscription is in one of three states. *Live*: every frame of the channel is written as it comes.
*Preparing*: a task writes what comes before the live frames, a snapshot or what was missed. *Held*:
nothing is written, because the client has fallen behind; it is prepared anew when it has read what
is on its way to it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from sanic.server.websockets.impl import OPEN, WebsocketImplProtocol

from api.frames import channel_name

Kind = Literal["trades", "orders", "orderbook"]
KINDS: tuple[Kind, ...] = ("trades", "orders", "orderbook")

# Commands of one client that may wait for their answer: more are left unread.
ASKED_MAX = 1_024
# Bytes that may be on their way to one client, beyond a snapshot: a few seconds of a busy market.
BUFFER_BYTES_MAX = 1 << 20
# A client has caught up when this little is left for it to read.
BUFFER_BYTES_LOW = 64 * 1024
# Between looks at what is left to read: transports do not tell when it is little.
POLL_S = 0.05
# Connections written to without a pause.
ROUND_PIECE = 64
# Between two rounds of a channel's frames, at most.
ROUND_PAUSE_S_MAX = 0.04
# How long a client may take to say good-bye.
CLOSE_S_MAX = 5.0

GOING_AWAY = 1001


class Channel:
    """One kind of news of one instrument, and the connections that get every frame of it.

    Frames are written in rounds: what is published during one goes together in the next, in one
    write per connection. A round lets go of the loop after every few connections, and the next one
    begins when as much time has passed as it took: so however many follow, half of the process's
    time is left to orders.
    """

    def __init__(self, kind: Kind, instrument: str) -> None:
        self.kind: Kind = kind
        self.instrument = instrument
        self.name = channel_name(kind, instrument)
        # By connection, the number of the first frames that it does not have.
        self.live: dict[Connection, int] = {}
        # Frames that the next round writes, and the number of the first of them.
        self._waiting: list[bytes] = []
        self._number = 0
        self._rounds: asyncio.Task[None] | None = None

    def join(self, connection: "Connection") -> None:
        """Give a connection the frames that are published from now on."""
        self.live[connection] = self._number + len(self._waiting)

    def publish(self, data: bytes) -> None:
        """Give frames to every connection that keeps up."""
        self._waiting.append(data)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.get_running_loop().create_task(self._write())

    async def written(self) -> None:
        """Wait until what was published is written."""
        if self._rounds is not None:
            await asyncio.wait([self._rounds])

    async def _write(self) -> None:
        while self._waiting:
            began = time.monotonic()
            frames, self._waiting = self._waiting, []
            first = self._number
            self._number += len(frames)
            whole = b"".join(frames)
            for place, connection in enumerate(list(self.live), 1):
                has = self.live.get(connection)
                if has is not None and has < self._number:
                    self.live[connection] = self._number
                    connection.offer(whole if has <= first else b"".join(frames[has - first :]))
                if place % ROUND_PIECE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(min(time.monotonic() - began, ROUND_PAUSE_S_MAX))


class Connection:
    """The outgoing half of one WebSocket."""

    def __init__(self, ws: WebsocketImplProtocol, address: str) -> None:
        assert ws.io_proto is not None
        assert ws.io_proto.transport is not None
        self.ws = ws
        self.address = address
        self._transport = ws.io_proto.transport
        # Channels subscribed to, and the task of those that are preparing.
        self.channels: dict[Channel, asyncio.Task[None] | None] = {}
        self._limit = BUFFER_BYTES_MAX
        # Frames of this turn of the loop.
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        # Since when it has fallen behind; 0 while it keeps up.
        self.behind_since = 0.0
        # What its session does for the client now, and how much it has asked for in all.
        self.under_way: set[asyncio.Task[None]] = set()
        self.asked = 0
        self.paused = False
        # Called when reading goes on: the session may hold bytes that it has not looked at.
        self.on_resume: Callable[[], None] = lambda: None

    # Bytes out.

    @property
    def buffered(self) -> int:
        """Bytes that the client has still to read (beyond what the kernel holds)."""
        return int(self._transport.get_write_buffer_size()) + self._gathered_bytes

    def write(self, data: bytes) -> None:
        """Write frames, however much waits; nothing once the connection closes.

        What one turn of the loop writes goes out together: a system call costs more than an answer.
        """
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_bytes += len(data)

    def _flush(self) -> None:
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        if data and self.ws.ws_proto.state is OPEN and not self._transport.is_closing():
            self._transport.write(data)

    def offer(self, data: bytes) -> None:
        """Write live frames; when too much waits already, drop these and fall behind.

        What waits is what counts, not what comes: one large block is not the client's fault.
        """
        if self.buffered > self._limit:
            self.fall_behind()
        else:
            self.write(data)

    def write_snapshot(self, data: bytes) -> None:
        """Write what a book starts with; its size does not count against the client."""
        self.write(data)
        self._limit = self.buffered + BUFFER_BYTES_MAX

    async def drained(self, seconds: float) -> bool:
        """Wait until the client has read most of what is on its way; False when the time is up."""
        end = time.monotonic() + seconds
        while self.buffered > BUFFER_BYTES_LOW:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def close(self) -> None:
        """Say good-bye, and wait for the client to say so, too."""
        self._flush()
        await self.ws.close(GOING_AWAY, "server is stopping")
        await self.ws.wait_for_connection_lost(CLOSE_S_MAX)

    # Subscriptions.

    def prepare(self, channel: Channel, task: "asyncio.Task[None]") -> None:
        """Let `task` write what comes before the live frames; it ends with `go_live`."""
        self.hold(channel)
        self.channels[channel] = task

    def go_live(self, channel: Channel) -> None:
        """Take every frame from now on."""
        self.channels[channel] = None
        if not self.behind_since:
            channel.join(self)

    def hold(self, channel: Channel) -> None:
        """Take no more frames of a channel for now."""
        channel.live.pop(self, None)
        task = self.channels.get(channel)
        if task is not None:
            task.cancel()
            self.channels[channel] = None

    def leave(self, channel: Channel) -> None:
        """End a subscription."""
        self.hold(channel)
        self.channels.pop(channel, None)

    def fall_behind(self) -> None:
        """Hold every channel until what is on its way has been read."""
        self.behind_since = self.behind_since or time.monotonic()
        for channel in self.channels:
            self.hold(channel)

    def catch_up(self) -> bool:
        """Return whether a connection that fell behind has read everything."""
        if self.buffered > BUFFER_BYTES_LOW:
            return False
        self._limit = BUFFER_BYTES_MAX
        self.behind_since = 0.0
        return True

    # Bytes in.

    def balance(self) -> None:
        """Read no more while commands without an answer, or answers unread, are many; else go on.

        Called whenever one of the two has changed.
        """
        if self._transport.is_closing():
            return
        if not self.paused:
            if self.asked > ASKED_MAX or self.buffered > self._limit:
                self.paused = True
                self._transport.pause_reading()
        elif self.asked <= ASKED_MAX // 2 and self.buffered <= BUFFER_BYTES_LOW:
            self.paused = False
            self._transport.resume_reading()
            self.on_resume()
