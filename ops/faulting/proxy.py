"""A TCP proxy whose network can fail: cut, reset, stalled, deaf in one direction, slow."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

# `up` is from who connects to the server, `down` is what comes back.
Direction = Literal["up", "down"]

CHUNK_BYTES = 65_536
LINGER_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes connections on to 127.0.0.1:`target`, from its own port, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._links: set[_Link] = set()
        self._refusing = False
        self._open = asyncio.Event()
        self._open.set()
        # Bytes of this direction vanish; half-open, as when a firewall forgot the connection.
        self._deaf: set[Direction] = set()
        self._delay_s = 0.0
        # Answers to lose before a connection is closed: what was asked is done, nobody hears of it.
        self._answers_to_lose = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def restore(self) -> None:
        """Let everything through again. Connections that lost bytes are closed: they are no use."""
        self._call(self._restore)

    def cut(self) -> None:
        """Close every connection and take no more, until `restore`."""

        def cut() -> None:
            self._refusing = True
            self._close_all(reset=False)

        self._call(cut)

    def reset(self) -> None:
        """Reset every connection; new ones are taken."""
        self._call(lambda: self._close_all(reset=True))

    def stall(self) -> None:
        """Pass nothing on in either direction until `restore`; nothing is lost."""
        self._call(self._open.clear)

    def deafen(self, direction: Direction) -> None:
        """Lose what is sent in one direction until `restore`."""
        self._call(lambda: self._deaf.add(direction))

    def delay(self, seconds: float) -> None:
        """Pass everything on later, until `restore`."""
        self._call(lambda: setattr(self, "_delay_s", seconds))

    def lose_answers(self, count: int) -> None:
        """Lose the next `count` answers, and close the connections that wait for them."""
        self._call(lambda: setattr(self, "_answers_to_lose", count))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    # In the loop's thread.

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._restore()
        self._close_all(reset=True)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass("up", reader, far_writer, link))
                group.create_task(self._pass("down", far_reader, writer, link))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._links.discard(link)
            link.close(reset=False)

    async def _pass(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: "_Link",
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._open.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if direction in self._deaf:
                link.lost = True
                continue
            if direction == "down" and self._answers_to_lose:
                self._answers_to_lose -= 1
                break
            writer.write(data)
            await writer.drain()
        link.close(reset=False)

    def _restore(self) -> None:
        self._refusing = False
        self._deaf.clear()
        self._delay_s = 0.0
        self._answers_to_lose = 0
        self._open.set()
        for link in list(self._links):
            if link.lost:
                link.close(reset=True)

    def _close_all(self, *, reset: bool) -> None:
        for link in list(self._links):
            link.close(reset=reset)

    def _call(self, work: Callable[[], object]) -> None:
        """Do it in the loop's thread, and wait until it is done."""
        done = threading.Event()

        def call() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(call)
        done.wait()


class _Link:
    """Two connections that are one."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.lost = False

    def close(self, *, reset: bool) -> None:
        for writer in self._writers:
            if reset:
                made = writer.get_extra_info("socket")
                with suppress(OSError, AttributeError):
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                writer.transport.abort()
            else:
                writer.close()
