"""What goes over a wire: a proxy that counts bytes, and what is asked of Redis and PostgreSQL."""

import asyncio
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from workers.adapters import redis as redis_adapter

CHUNK_BYTES = 65_536
# Requests of PostgreSQL's protocol that come before a session and have no type: for encryption.
BEFORE_A_SESSION = (80877103, 80877104)

SCRIPTS = {
    hashlib.sha1(path.read_bytes()).hexdigest(): path.name
    for path in Path(redis_adapter.__file__).parent.glob("*.lua")
}


class Asked(Protocol):
    """Takes what one connection sends, in any pieces; says what was asked."""

    def take(self, data: bytes) -> list[str]: ...


class RedisAsked:
    """Names of commands; of scripts their files, `append.lua`."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, data: bytes) -> list[str]:
        self._data += data
        return list(self._commands())

    def _commands(self) -> Iterator[str]:
        while (command := self._command()) is not None:
            words, self._data = command
            name = words[0].decode().upper()
            yield SCRIPTS.get(words[1].decode(), "a script") if name == "EVALSHA" else name

    def _command(self) -> tuple[list[bytes], bytes] | None:
        """Return the first command's words and what comes after it; None while it is not whole."""
        words = []
        head, found, rest = self._data.partition(b"\r\n")
        if not found:
            return None
        for _ in range(int(head[1:])):
            head, found, rest = rest.partition(b"\r\n")
            length = int(head[1:] or 0)
            if not found or len(rest) < length + 2:
                return None
            words.append(rest[:length])
            rest = rest[length + 2 :]
        return words, rest


class PostgresAsked:
    """Names of the functions that statements call; and `round trip` for each wait of the client."""

    def __init__(self) -> None:
        self._data = b""
        self._in_session = False
        self._statements: dict[bytes, str] = {}
        self._bound = ""

    def take(self, data: bytes) -> list[str]:
        self._data += data
        return list(self._asked())

    def _asked(self) -> Iterator[str]:
        while len(self._data) >= 8:
            at = 1 if self._in_session else 0
            end = at + int.from_bytes(self._data[at : at + 4])
            if len(self._data) < end:
                return
            kind, body, self._data = self._data[:at], self._data[at + 4 : end], self._data[end:]
            if not self._in_session:
                self._in_session = int.from_bytes(body[:4]) not in BEFORE_A_SESSION
            elif kind == b"P":
                name, text, *_ = body.split(b"\0")
                self._statements[name] = function_of(text)
            elif kind == b"B":
                _, name, *_ = body.split(b"\0")
                self._bound = self._statements.get(name, "?")
            elif kind == b"E":
                yield self._bound
            elif kind == b"Q":
                yield function_of(body)
            if kind in (b"Q", b"S"):
                yield "round trip"


def function_of(text: bytes) -> str:
    """Return the first function of ours that a statement names, else its first word."""
    named = re.search(rb"exchange\.(\w+?)(_v\d+)?\(", text)
    return (named.group(1) if named else text.split()[0]).decode()


class Wire:
    """Passes connections on to a server; counts bytes up and down, and what was asked."""

    def __init__(self, url: str, reader: Callable[[], Asked]) -> None:
        self._parts = urlsplit(url)
        self._reader = reader
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.up = self.down = 0
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        login, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{login}{at}127.0.0.1:{self._port}"))

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def count(self) -> tuple[int, int, Counter[str]]:
        """Return bytes up, bytes down, and what was asked, so far."""

        async def copy() -> tuple[int, int, Counter[str]]:
            return self.up, self.down, self.asked.copy()

        return asyncio.run_coroutine_threadsafe(copy(), self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            self._parts.hostname, self._parts.port
        )
        asked = self._reader()

        def sent(data: bytes) -> None:
            self.up += len(data)
            self.asked.update(asked.take(data))

        def came(data: bytes) -> None:
            self.down += len(data)

        try:
            ways = (pass_on(reader, far_writer, sent), pass_on(far_reader, writer, came))
            await asyncio.gather(*ways)
        finally:
            for side in (writer, far_writer):
                side.transport.abort()


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[bytes], None]
) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            seen(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@contextmanager
def wires(*made: Wire) -> Iterator[None]:
    """Let all of them pass."""
    for wire in made:
        wire.start()
    try:
        yield
    finally:
        for wire in made:
            wire.stop()
