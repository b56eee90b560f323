"""A Redis in memory: the commands that the exchange uses, its real Lua scripts, and its losses.

tests/contract/test_simulated_redis.py holds it against a real server.
"""

import asyncio
import copy
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import lupa.lua51 as lua
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from tests.simulation.network import LATER, Connection, Server
from tests.simulation.scheduler import PROCESS, Process
from workers.adapters import redis as adapter

Id = tuple[int, int]
Fields = list[bytes]

# Writes after which an earlier state of the data may come back, as when the log's end is lost.
STATES_KEPT = 40
# Of a stream: what an approximate trim removes is a whole number of nodes.
NODE_ENTRIES = 100


def to_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def parse_id(text: Any) -> Id:
    milliseconds, _, number = to_bytes(text).partition(b"-")
    return int(milliseconds), int(number or 0)


def id_text(stream_id: Id) -> bytes:
    return b"%d-%d" % stream_id


@dataclass
class Group:
    last: Id
    pending: dict[Id, None] = field(default_factory=dict)


@dataclass
class StreamData:
    entries: dict[Id, Fields] = field(default_factory=dict)  # in the order of their ids
    last: Id = (0, 0)
    max_deleted: Id = (0, 0)
    groups: dict[bytes, Group] = field(default_factory=dict)


@dataclass
class Waiter:
    """A blocked XREADGROUP."""

    served: "asyncio.Future[Any]"
    connection: "Client"
    key: bytes
    group: bytes
    count: int


class Keys:
    """The data and the commands on it. Every command is one step, as on the server."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.now_us = now_us
        self.data: dict[bytes, Any] = {}
        self.expires_us: dict[bytes, int] = {}
        self.waiters: list[Waiter] = []
        self.published: Callable[[bytes, bytes], int] = lambda channel, payload: 0
        self.added: Callable[[bytes, Fields], None] = lambda key, fields: None
        self.trimmed: Callable[[bytes, Id], None] = lambda key, least: None

    def command(self, name: Any, *arguments: Any) -> Any:
        """Run one command given as the protocol gives it. Raises ResponseError."""
        handler = getattr(self, to_bytes(name).decode().lower())
        return handler(*map(to_bytes, arguments))

    def lose_everything(self) -> None:
        self.data.clear()
        self.expires_us.clear()
        self._unblock()

    def _unblock(self) -> None:
        """A stream on which somebody waits is gone."""
        for waiter in list(self.waiters):
            stream = self.data.get(waiter.key)
            if stream is None or waiter.group not in stream.groups:
                self.waiters.remove(waiter)
                if not waiter.served.done():
                    waiter.served.set_exception(
                        ResponseError("UNBLOCKED the stream key no longer exists")
                        if stream is None
                        else ResponseError("NOGROUP the consumer group this client was blocked on")
                    )

    def _stream(self, key: bytes) -> StreamData | None:
        return self.data.get(key)

    # Plain keys.

    def exists(self, key: bytes) -> int:
        return int(key in self.data)

    def get(self, key: bytes) -> bytes | None:
        if self.expires_us.get(key, self.now_us() + 1) <= self.now_us():
            self.data.pop(key, None)
            self.expires_us.pop(key, None)
        value: bytes | None = self.data.get(key)
        return value

    def set(self, key: bytes, value: bytes, px: bytes, milliseconds: bytes) -> bytes:
        assert px == b"PX"
        self.data[key] = value
        self.expires_us[key] = self.now_us() + int(milliseconds) * 1000
        return b"OK"

    def del_(self, *keys: bytes) -> int:
        count = sum(self.data.pop(key, None) is not None for key in keys)
        self._unblock()
        return count

    def hget(self, key: bytes, name: bytes) -> bytes | None:
        value: bytes | None = self.data.get(key, {}).get(name)
        return value

    def hgetall(self, key: bytes) -> dict[bytes, bytes]:
        return dict(self.data.get(key, {}))

    def hset(self, key: bytes, *pairs: bytes) -> int:
        hash_ = self.data.setdefault(key, {})
        before = len(hash_)
        hash_.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(hash_) - before

    def hdel(self, key: bytes, *names: bytes) -> int:
        hash_ = self.data.get(key, {})
        count = sum(hash_.pop(name, None) is not None for name in names)
        if not hash_:
            self.data.pop(key, None)
        return count

    def publish(self, channel: bytes, payload: bytes) -> int:
        return self.published(channel, payload)

    def time(self) -> list[int]:
        return [self.now_us() // 1_000_000, self.now_us() % 1_000_000]

    # Streams.

    def xlen(self, key: bytes) -> int:
        stream = self._stream(key)
        return len(stream.entries) if stream else 0

    def xadd(self, key: bytes, stream_id: bytes, *fields: bytes) -> bytes:
        stream = self.data.get(key) or StreamData()
        if stream_id == b"*":
            fresh = max((self.now_us() // 1000, 0), (stream.last[0], stream.last[1] + 1))
        else:
            fresh = parse_id(stream_id)
            if fresh <= stream.last:
                raise ResponseError(
                    "The ID specified in XADD is equal or smaller than the target stream top item"
                )
        self.data[key] = stream
        stream.entries[fresh] = list(fields)
        stream.last = fresh
        self.added(key, stream.entries[fresh])
        self._serve(key)
        return id_text(fresh)

    def xtrim(self, key: bytes, minid: bytes, about: bytes, least: bytes) -> int:
        assert (minid, about) == (b"MINID", b"~")
        stream = self._stream(key)
        if stream is None:
            return 0
        self.trimmed(key, parse_id(least))
        gone = [entry for entry in stream.entries if entry < parse_id(least)]
        if len(gone) < len(stream.entries):
            # Whole nodes only; where they begin depends on what was trimmed before.
            gone = gone[: len(gone) // NODE_ENTRIES * NODE_ENTRIES]
        for entry in gone:
            del stream.entries[entry]
        return len(gone)

    def xdel(self, key: bytes, *ids: bytes) -> int:
        stream = self._stream(key)
        gone = [i for i in map(parse_id, ids) if stream and stream.entries.pop(i, None)]
        if stream and gone:
            stream.max_deleted = max(stream.max_deleted, *gone)
        return len(gone)

    def xack(self, key: bytes, group: bytes, *ids: bytes) -> int:
        stream = self._stream(key)
        pending = stream.groups[group].pending if stream and group in stream.groups else {}
        return sum(pending.pop(i, 0) is None for i in map(parse_id, ids))

    def xrange(self, key: bytes, start: bytes, end: bytes, count: int) -> list[Any]:
        stream = self._stream(key) or StreamData()
        assert (start[:1], end) == (b"(", b"+")
        found = [(id_text(i), f) for i, f in stream.entries.items() if i > parse_id(start[1:])]
        return found[: int(count)]

    def xgroup_create(self, key: bytes, group: bytes, start: bytes) -> bytes:
        stream = self._existing(key)
        if group in stream.groups:
            raise ResponseError("BUSYGROUP Consumer Group name already exists")
        stream.groups[group] = Group(parse_id(start))
        return b"OK"

    def xgroup_setid(self, key: bytes, group: bytes, start: bytes) -> bytes:
        self._existing(key)
        self._group(key, group).last = parse_id(start)
        return b"OK"

    def xgroup_destroy(self, key: bytes, group: bytes) -> int:
        found = self._existing(key).groups.pop(group, None) is not None
        self._unblock()
        return int(found)

    def xinfo_stream(self, key: bytes) -> dict[str, Any]:
        stream = self._stream(key)
        if stream is None:
            raise ResponseError("no such key")
        return {
            "length": len(stream.entries),
            "last-generated-id": id_text(stream.last),
            "max-deleted-entry-id": id_text(stream.max_deleted),
            "groups": len(stream.groups),
        }

    def xinfo_groups(self, key: bytes) -> list[dict[str, Any]]:
        stream = self._stream(key)
        if stream is None:
            raise ResponseError("no such key")
        return [
            {
                "name": name,
                "pending": len(group.pending),
                "last-delivered-id": id_text(group.last),
                "lag": sum(entry > group.last for entry in stream.entries),
            }
            for name, group in sorted(stream.groups.items())
        ]

    def _existing(self, key: bytes) -> StreamData:
        stream = self._stream(key)
        if stream is None:
            raise ResponseError("The XGROUP subcommand requires the key to exist")
        return stream

    def _group(self, key: bytes, group: bytes) -> Group:
        stream = self._stream(key)
        if stream is None or group not in stream.groups:
            raise ResponseError(
                f"NOGROUP No such key '{key.decode()}' or consumer group '{group.decode()}' in "
                "XREADGROUP with GROUP option"
            )
        return stream.groups[group]

    def xreadgroup(self, key: bytes, group: bytes, count: int) -> list[Any] | None:
        """Give entries that this group was not given; None when there are none."""
        place = self._group(key, group)
        entries = self.data[key].entries
        # The newest are at the end: look from there.
        fresh: deque[Id] = deque()
        for entry in reversed(entries):
            if entry <= place.last:
                break
            fresh.appendleft(entry)
        given = list(fresh)[:count]
        if not given:
            return None
        place.last = given[-1]
        place.pending.update(dict.fromkeys(given))
        return [[key, [[id_text(entry), list(entries[entry])] for entry in given]]]

    def _serve(self, key: bytes) -> None:
        for waiter in list(self.waiters):
            if waiter.key == key:
                self.waiters.remove(waiter)
                client = waiter.connection
                if waiter.served.done() or client.broken or not client.process.alive:
                    continue
                waiter.served.set_result(self.xreadgroup(key, waiter.group, waiter.count))


setattr(Keys, "del", Keys.del_)


@cache
def runtime() -> Any:
    """The Lua that the scripts run in; it keeps nothing between two calls."""
    return lua.LuaRuntime(encoding=None, unpack_returned_tuples=True)


@cache
def compiled(text: bytes) -> Any:
    return runtime().eval(b"function(redis, KEYS, ARGV)\n" + text + b"\nend")


def run_script(keys: Keys, text: str, names: list[Any], arguments: list[Any]) -> Any:
    """Run a script of the product on `keys`, and return its result as the driver gives it."""
    table = runtime().table_from

    def call(name: bytes, *rest: Any) -> Any:
        result = keys.command(name, *(b"%d" % a if isinstance(a, float) else a for a in rest))
        if result is None:
            return False
        return table(result) if isinstance(result, list) else result

    result = compiled(text.encode())(
        table({b"call": call}), table(map(to_bytes, names)), table(map(to_bytes, arguments))
    )
    return _from_lua(result)


def _from_lua(value: Any) -> Any:
    if lua.lua_type(value) == "table":
        return [_from_lua(value[index]) for index in range(1, len(value) + 1)]
    if value is False:
        return None
    return int(value) if isinstance(value, int | float) else value


class RedisServer(Server):
    """The server, its subscribers, and what can befall it."""

    name = "redis"
    patience_s = adapter.ANSWER_TIMEOUT_S

    def __init__(self, *context: Any) -> None:
        super().__init__(*context)
        self.keys = Keys(self.now_us)
        self.keys.published = self._publish
        self.subscribers: list[Subscription] = []
        self.on_publish: Callable[[str, bytes], None] = lambda channel, payload: None
        self.on_loss: Callable[[], None] = lambda: None
        self._states: deque[tuple[dict[bytes, Any], dict[bytes, int]]] = deque(maxlen=STATES_KEPT)
        # Kept only when the end of the log may be lost: copies cost time.
        self.keeps_states = False
        # Whose script runs, or ran last.
        self.script_caller: Process | None = None

    def now_us(self) -> int:
        return EPOCH_US + int(self.loop.time() * 1_000_000) + self.clock_offset_us

    def connection_error(self, text: str) -> Exception:
        return ConnectionError(text)

    def timeout_error(self) -> Exception:
        return TimeoutError("Timeout reading from redis")

    def written(self) -> None:
        if self.keeps_states:
            self._states.append(copy.deepcopy((self.keys.data, self.keys.expires_us)))

    def restart(self) -> None:
        super().restart()
        for subscriber in self.subscribers:
            subscriber.cut()
        self.subscribers.clear()
        self.keys.waiters.clear()

    def lose_everything(self) -> None:
        self.on_loss()
        self.keys.lose_everything()

    def lose_tail(self) -> None:
        """Restart with an earlier state of the data."""
        self.restart()
        if self._states:
            self.on_loss()
            states = list(self._states)
            data, expires_us = states[int(self.swarm.chance.random() * len(states))]
            self.keys.data, self.keys.expires_us = copy.deepcopy((data, expires_us))
            self._states.clear()

    def client(self, url: str, answer_timeout_s: float = 0.0, key: str = "") -> "Client":
        return Client(self)

    def _publish(self, channel: bytes, payload: bytes) -> int:
        self.on_publish(channel.decode(), payload)
        reached = 0
        for subscriber in list(self.subscribers):
            if channel in subscriber.channels:
                subscriber.send(channel, payload)
                reached += 1
        return reached


# When the simulation begins, in true time.
EPOCH_US = 1_790_000_000_000_000


class Subscription:
    """A connection that has subscribed. Messages keep their order; some are lost or doubled."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.server = client.server
        self.channels: set[bytes] = set()
        self.messages: deque[Any] = deque()
        self.lost = False
        self._last_at = 0.0
        self._arrived: asyncio.Future[None] | None = None

    async def send_command(self, *words: str) -> None:
        assert words[0] == "SUBSCRIBE"

        def subscribe(_: Any) -> int:
            self.channels.update(map(to_bytes, words[1:]))
            self.server.subscribers.append(self)
            for name in words[1:]:
                self.messages.append([b"subscribe", to_bytes(name), 1])
            return len(words) - 1

        await self.server.call("SUBSCRIBE", subscribe, connection=self.client)

    async def read_response(self, timeout: float | None = None) -> Any:
        loop = self.server.loop
        if loop.over:
            raise asyncio.CancelledError
        if not self.messages and not self.lost:
            self._arrived = loop.create_future()
            timer = loop.call_later(timeout or adapter.ANSWER_TIMEOUT_S, self._wake)
            await self._arrived
            timer.cancel()
        if self.messages:
            return self.messages.popleft()
        if self.lost:
            raise ConnectionError("Connection closed by server.")
        if timeout is None:
            raise TimeoutError("Timeout reading from redis")
        return None

    def cut(self) -> None:
        self.lost = True
        self.server.loop.network_later(0.001, self._wake)

    def send(self, channel: bytes, payload: bytes) -> None:
        server = self.server
        swarm = server.swarm
        if not self.client.process.alive or self.lost:
            return
        if not server.reachable(self.client.process) or swarm.strikes("lost message"):
            return
        if swarm.strikes("cut subscription"):
            self.cut()
            server.subscribers.remove(self)
            return
        at = server.loop.time() + swarm.chance.uniform(0.0001, 0.002)
        if swarm.strikes("late message"):
            at += swarm.chance.uniform(0.05, 4.0)
        self._last_at = max(self._last_at, at)
        delay = self._last_at - server.loop.time()
        for _ in range(2 if swarm.strikes("doubled message") else 1):
            server.loop.network_later(delay, self._receive, channel, payload)

    def _receive(self, channel: bytes, payload: bytes) -> None:
        if not self.lost:
            self.messages.append([b"message", channel, payload])
            self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class Pool:
    """What `subscribe` asks for a connection."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def get_connection(self) -> Subscription:
        self._client.subscription = Subscription(self._client)
        return self._client.subscription


class Client(Connection):
    """What redis-py's client is to the adapters; it connects anew at need, and repeats nothing."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.server = server
        self.process: Process = PROCESS.get()
        self.connection_pool = Pool(self)
        self.connection = self
        self.subscription: Subscription | None = None
        self._lock = asyncio.Lock()

    def set_response_callback(self, name: str, callback: Any) -> None:
        pass

    async def initialize(self) -> None:
        pass

    async def connect(self) -> None:
        if self.server.down or not self.server.reachable(self.process):
            await asyncio.sleep(0.001 if self.server.down else adapter.CONNECT_TIMEOUT_S)
            raise ConnectionError("Connection refused")

    async def aclose(self) -> None:
        self.broken = True
        if self.subscription in self.server.subscribers:
            self.server.subscribers.remove(self.subscription)

    async def execute_command(self, *words: Any) -> Any:
        name, _, group, _, _, count, _, block_ms, _, key, last = words
        assert (name, last) == ("XREADGROUP", ">")
        key, group = to_bytes(key), to_bytes(group)

        def read(served: "asyncio.Future[Any]") -> Any:
            found = self.server.keys.xreadgroup(key, group, count)
            if found is not None:
                return found
            waiter = Waiter(served, self, key, group, count)
            self.server.keys.waiters.append(waiter)
            self.server.loop.network_later(block_ms / 1000, give_up, waiter)
            return LATER

        def give_up(waiter: Waiter) -> None:
            if waiter in self.server.keys.waiters:
                self.server.keys.waiters.remove(waiter)
                if not waiter.served.done():
                    waiter.served.set_result(None)

        return await self._call(f"XREADGROUP {group.decode()} {count}", read)

    async def script(
        self, name: str, text: str, keys: list[Any], arguments: list[Any], doubling: bool
    ) -> Any:
        def run(_: Any) -> Any:
            self.server.script_caller = self.process
            result = run_script(self.server.keys, text, keys, arguments)
            self.server.written()
            return result

        return await self._call(f"{name} {_digest(arguments)}", run, doubling=doubling)

    async def xgroup_create(self, key: str, group: str, id: str) -> Any:
        return await self._command("xgroup_create", key, group, id, writing=True)

    async def xgroup_setid(self, key: str, group: str, id: str) -> Any:
        return await self._command("xgroup_setid", key, group, id, writing=True)

    async def xgroup_destroy(self, key: str, group: str) -> Any:
        return await self._command("xgroup_destroy", key, group, writing=True)

    async def xinfo_groups(self, key: str) -> Any:
        return await self._command("xinfo_groups", key)

    async def xinfo_stream(self, key: str) -> Any:
        return await self._command("xinfo_stream", key)

    async def xadd(self, key: str, fields: Mapping[str, str], id: str = "*") -> Any:
        flat = [part for pair in fields.items() for part in pair]
        return await self._command("xadd", key, id, *flat, writing=True)

    async def xrange(self, key: str, start: str, count: int) -> Any:
        return await self._command("xrange", key, start, "+", count)

    async def xtrim(self, key: str, minid: str) -> Any:
        return await self._command("xtrim", key, "MINID", "~", minid, writing=True)

    async def hget(self, key: str, name: str) -> Any:
        return await self._command("hget", key, name)

    async def hset(self, key: str, mapping: Mapping[str, str]) -> Any:
        flat = [part for pair in mapping.items() for part in pair]
        return await self._command("hset", key, *flat, writing=True)

    async def publish(self, channel: str, payload: bytes) -> Any:
        return await self._command("publish", channel, payload)

    async def ping(self) -> Any:
        return await self._call("PING", lambda _: b"PONG")

    async def time(self) -> Any:
        return await self._command("time")

    @asynccontextmanager
    async def pipeline(self, transaction: bool) -> AsyncIterator["Pipeline"]:
        assert transaction
        yield Pipeline(self)

    async def _command(self, name: str, *arguments: Any, writing: bool = False) -> Any:
        def run(_: Any) -> Any:
            result = self.server.keys.command(name, *arguments)
            if writing:
                self.server.written()
            return result

        return await self._call(f"{name.upper()} {_digest(arguments)}", run)

    async def _call(
        self, what: str, operation: Callable[[Any], Any], doubling: bool = False
    ) -> Any:
        async with self._lock:
            self.broken = False  # connects anew
            return await self.server.call(
                what,
                operation,
                connection=self,
                doubling=doubling,
                refusal=ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
            )


class Pipeline:
    """Commands that run as one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._commands: list[tuple[Any, ...]] = []

    def hget(self, *arguments: Any) -> None:
        self._commands.append(("hget", *arguments))

    def hgetall(self, *arguments: Any) -> None:
        self._commands.append(("hgetall", *arguments))

    async def execute(self) -> Any:
        def run(_: Any) -> Any:
            return [self._client.server.keys.command(*words) for words in self._commands]

        return await self._client._call("MULTI", run)


def load_script(client: Client, name: str) -> Any:
    """Stand in for the adapter's function of this name."""
    text = script_text(name)
    # An append may be doubled on the way; so may a publication.
    return Script(client, name, text)


def script_text(name: str) -> str:
    return (Path(adapter.__file__).parent / name).read_text(encoding="utf-8")


@dataclass
class Script:
    client: Client
    name: str
    text: str

    async def __call__(self, keys: list[Any], arguments: list[Any]) -> Any:
        return await self.client.script(self.name, self.text, keys, arguments, doubling=True)


def _digest(arguments: Any) -> str:
    words = []
    for argument in arguments:
        text = to_bytes(argument).decode(errors="replace")
        words.append(text if len(text) <= 60 else f"{text[:48]}..{len(text)}")
    text = " ".join(words)
    return text if len(text) <= 300 else f"{text[:280]}..{len(text)}"
