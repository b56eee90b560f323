"""Redis pub/sub: at most once, so a reader must know when it may have missed something."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from redis.exceptions import RedisError

from workers.adapters import sharded
from workers.adapters.clients import Clients
from workers.adapters.cluster import is_cluster
from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.adapters.redis import close, connect, translated
from workers.core.channels import asks_key, bids_key, depth_key, state_key
from workers.core.codec import decode_snapshot
from workers.core.depth import DepthSnapshot

# A subscription on which nothing comes for this long is dead: its owner sends itself heartbeats.
SILENCE_MAX_S = 3.0


async def subscribe(
    url: str, channels: Sequence[str]
) -> AsyncGenerator[tuple[str, bytes] | None, None]:
    """Yield None once subscribed, then (channel, payload) of each message.

    Ends only by raising: Unavailable before the first yield, OutcomeUnknown after it, also when
    nothing came for `SILENCE_MAX_S`. It never reconnects by itself, because whoever missed messages
    must know it. In a cluster channels are those of slots, see sharded.py.
    """
    if is_cluster(url):
        async with aclosing(sharded.subscribe(url, channels)) as messages:
            async for message in messages:
                yield message
        return
    client = connect(url)
    try:
        try:
            pool = client.connection_pool
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
            await connection.send_command("SUBSCRIBE", *channels)
            for _ in channels:
                await connection.read_response()
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis: {error}") from error
        yield None
        while True:
            try:
                message = await connection.read_response(timeout=SILENCE_MAX_S)
            except (RedisError, OSError) as error:
                raise OutcomeUnknown(f"Redis: {error}") from error
            if message is None:
                raise OutcomeUnknown("Redis: the subscription fell silent")
            yield message[1].decode(), message[2]
    finally:
        await close(client)


class Publisher:
    """Publishes, on a connection of its own: a publication waits for nobody else's answer."""

    def __init__(self, url: str) -> None:
        self._clients = Clients(url)
        self._is_sharded = is_cluster(url)

    async def close(self) -> None:
        """Close the connection; never fails."""
        await self._clients.close()

    async def publish(self, channel: str, payload: bytes) -> None:
        """Publish one message. Raises Unavailable, OutcomeUnknown."""
        async with translated():
            client = self._clients.of(channel)
            await (client.spublish if self._is_sharded else client.publish)(channel, payload)


class DepthReader:
    """Reads what the matcher keeps in Redis of its engine: complete depth, and its last state."""

    def __init__(self, url: str) -> None:
        self._clients = Clients(url)

    async def close(self) -> None:
        """Close every connection; never fails."""
        await self._clients.close()

    async def ping(self) -> None:
        """Raise Unavailable or OutcomeUnknown unless the server answers, and every node we use."""
        async with translated():
            for client in self._clients.all():
                await client.ping()

    async def snapshot(self, instrument: str) -> DepthSnapshot | None:
        """Return the depth of `instrument`; None while none is completely published."""
        client = self._clients.of(instrument)
        async with translated(), client.pipeline(transaction=True) as transaction:
            transaction.hget(depth_key(instrument), "sequence")
            transaction.hgetall(bids_key(instrument))
            transaction.hgetall(asks_key(instrument))
            sequence, bids, asks = await transaction.execute()
        if sequence is None or int(sequence) < 0:
            return None
        return decode_snapshot(sequence, bids, asks)

    async def state(self, instrument: str) -> tuple[int, str] | None:
        """Return the sequence and the state hash at which the engine last stood still."""
        async with translated():
            client = self._clients.of(instrument)
            state: dict[Any, Any] = await client.hgetall(state_key(instrument))
        return (int(state[b"sequence"]), state[b"state_hash"].decode()) if state else None
