"""Redis Cluster: which node holds a key, and connections that find it.

A connection of ours serves keys of one slot, so it needs no routing: it asks where the slot is when
it connects, and speaks to that node alone. When the node says that the slot is elsewhere, it has
done nothing, and the connection is closed: the next one asks again. The library's own cluster
client repeats commands by itself, which orders and reads must never be (see redis.py).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisError,
)
from redis.retry import Retry

Address = tuple[str, int]

# What a node says that does not hold a key, or not any more; it has done nothing.
ELSEWHERE = (AskError, ClusterDownError, MovedError, ReadOnlyError)
# A node answers at once, or another one is asked.
ASK_TIMEOUT_S = 1.0


def is_cluster(url: str) -> bool:
    """Return whether a URL is that of a cluster: `redis://node:6379?cluster=1`."""
    return bool(Nodes(url).known)


class Nodes:
    """The nodes of a cluster, as far as they are known; none for a single server.

    `?cluster=1` in the URL makes it a cluster, and `nodes=host:port,...` names more of its nodes:
    one that answers is enough. Methods block, for a few milliseconds while the nodes are well.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        told, others = parameters.pop("cluster", "0"), parameters.pop("nodes", "")
        self.known: list[Address] = []
        self.url = url
        if told == "1":
            self.url = urlunsplit(parts._replace(query=urlencode(parameters)))
            first = (parts.hostname or "localhost", parts.port or 6379)
            self.known = [first, *map(_address, filter(None, others.split(",")))]

    def owner(self, key: str) -> Address:
        """Return who holds a key. Raises ConnectionError."""
        slot = key_slot(key.encode())
        for first, last, address in self._slots():
            if first <= slot <= last:
                return address
        raise ConnectionError(f"no node of the cluster holds {key}")

    def owners(self, keys: Iterable[str]) -> dict[Address, list[str]]:
        """Return keys by who holds them. Raises ConnectionError."""
        slots = self._slots()
        found: defaultdict[Address, list[str]] = defaultdict(list)
        for key in keys:
            slot = key_slot(key.encode())
            owner = [address for first, last, address in slots if first <= slot <= last]
            if not owner:
                raise ConnectionError(f"no node of the cluster holds {key}")
            found[owner[0]].append(key)
        return found

    def primaries(self) -> list[Address]:
        """Return every node that holds keys. Raises ConnectionError."""
        return sorted({address for _, _, address in self._slots()})

    def url_of(self, address: Address) -> str:
        """Return the URL of one node, as of a single server."""
        parts = urlsplit(self.url)
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return urlunsplit(parts._replace(netloc=f"{login}{host}:{address[1]}"))

    def _slots(self) -> list[tuple[int, int, Address]]:
        """Return ranges of slots, and who holds each, as the first node says that answers."""
        problem: Exception | None = None
        for asked in self.known:
            try:
                reply = self._ask(asked)
            except (RedisError, OSError) as error:
                problem = error
                continue
            # A node that does not know its own name means the one that was asked.
            slots = [
                (first, last, (host.decode() or asked[0], port))
                for first, last, (host, port, *_), *_ in reply
            ]
            self.known = list(dict.fromkeys((*self.known, *(address for *_, address in slots))))
            return slots
        raise ConnectionError(f"no node of the cluster answers: {problem}")

    def _ask(self, address: Address) -> list[Any]:
        with Redis.from_url(
            self.url_of(address),
            protocol=2,
            socket_connect_timeout=ASK_TIMEOUT_S,
            socket_timeout=ASK_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            # As two words: the library makes something else of the answer to `CLUSTER SLOTS`.
            reply: list[Any] = client.execute_command("CLUSTER", "SLOTS")
            return reply


def at_key(connection_class: Any, nodes: Nodes, key: str) -> Any:
    """Return a class of the library's connections that go to the node that holds `key`."""
    mixin = AtKey if asyncio.iscoroutinefunction(connection_class.connect) else BlockingAtKey
    return type("ConnectionAtKey", (mixin, connection_class), {"nodes": nodes, "key": key})


class AtKey:
    """What is mixed into connections for asyncio."""

    nodes: Nodes
    key: str
    host: str
    port: int

    async def _connect(self) -> None:
        self.host, self.port = await asyncio.to_thread(self.nodes.owner, self.key)
        await super()._connect()  # type: ignore[misc]

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read as the class does; after an answer that names another node, connect anew."""
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except ELSEWHERE:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise


class BlockingAtKey:
    """What is mixed into connections that block: of the jobs' broker, and of operators."""

    nodes: Nodes
    key: str
    host: str
    port: int

    def _connect(self) -> Any:
        self.host, self.port = self.nodes.owner(self.key)
        return super()._connect()  # type: ignore[misc]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read as the class does; after an answer that names another node, connect anew."""
        try:
            return super().read_response(*arguments, **options)  # type: ignore[misc]
        except ELSEWHERE:
            self.disconnect()  # type: ignore[attr-defined]
            raise


def _address(text: str) -> Address:
    host, _, port = text.strip().rpartition(":")
    return host.strip("[]"), int(port)
