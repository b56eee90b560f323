"""Pub/sub in a Redis Cluster: each channel lives where its slot is, so no node hears of all.

One connection per node that holds any of the channels. What comes on one keeps its order; between
nodes there is none, and none is needed: all channels of an instrument have one slot.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from workers.adapters.cluster import Nodes
from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.adapters.redis import close, connect

# How often a node is asked whether it is there, when it has nothing to tell.
PING_S = 1.0
# Answers that stay away before the node is given up.
PINGS_LOST_MAX = 3
# Messages of all nodes that wait to be taken: beyond this they are left with the nodes.
WAITING_MAX = 1_024

Message = tuple[str, bytes]


async def subscribe(url: str, channels: Sequence[str]) -> AsyncGenerator[Message | None, None]:
    """Do what pubsub.subscribe does; a channel that moves to another node is an interruption."""
    arrived: asyncio.Queue[Message | Exception] = asyncio.Queue(WAITING_MAX)
    clients: list[Redis] = []
    readers: list[asyncio.Task[None]] = []
    try:
        try:
            nodes = Nodes(url)
            owners = await asyncio.to_thread(nodes.owners, channels)
            for address, theirs in owners.items():
                client = connect(nodes.url_of(address))
                clients.append(client)
                connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
                await _subscribe(connection, theirs)
                readers.append(asyncio.create_task(_read(connection, arrived)))
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis: {error}") from error
        yield None
        while True:
            message = await arrived.get()
            if isinstance(message, Exception):
                raise OutcomeUnknown(f"Redis: {message}") from message
            yield message
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for client in clients:
            await close(client)


async def _subscribe(connection: Any, channels: Sequence[str]) -> None:
    """Subscribe, with one command per slot: one may not name channels of several."""
    slots: defaultdict[int, list[str]] = defaultdict(list)
    for channel in channels:
        slots[key_slot(channel.encode())].append(channel)
    for theirs in slots.values():
        await connection.send_command("SSUBSCRIBE", *theirs)
        for _ in theirs:
            await connection.read_response()


async def _read(connection: Any, arrived: "asyncio.Queue[Message | Exception]") -> None:
    """Pass on what one node tells, until it fails."""
    try:
        lost = 0
        while True:
            message = await connection.read_response(timeout=PING_S)
            if message is None:
                if lost == PINGS_LOST_MAX:
                    raise OutcomeUnknown("the subscription fell silent")
                lost += 1
                await connection.send_command("PING")
                continue
            lost = 0
            if message[0] == b"smessage":
                await arrived.put((message[1].decode(), message[2]))
            elif message[0] == b"sunsubscribe":
                raise OutcomeUnknown(f"{message[1].decode()} has moved to another node")
    except (RedisError, OSError, OutcomeUnknown) as error:
        await arrived.put(error)
