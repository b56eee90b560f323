"""Connections to Redis, and its errors by what they mean for us."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hiredis
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError, ResponseError

from workers.adapters.cluster import Nodes, at_key
from workers.adapters.errors import OutcomeUnknown, Unavailable

CONNECT_TIMEOUT_S = 2.0
# Longer than any blocking read of ours: a server that is silent for this long is gone.
ANSWER_TIMEOUT_S = 5.0


def connect(url: str, answer_timeout_s: float = ANSWER_TIMEOUT_S, key: str = "") -> Redis:
    """Return a client on one connection that never repeats a command by itself.

    In a cluster it is for keys of the slot of `key`. The library's default retries turn one append
    whose answer was lost into two entries, and one read into silently skipped entries.
    """
    nodes = Nodes(url)
    client: Redis = Redis.from_url(
        nodes.url,
        single_connection_client=True,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
        socket_connect_timeout=min(CONNECT_TIMEOUT_S, answer_timeout_s),
        socket_timeout=answer_timeout_s,
        health_check_interval=0,
    )
    pool = client.connection_pool
    pool.connection_class = type("PackedConnection", (Packed, pool.connection_class), {})
    if nodes.known:
        pool.connection_class = at_key(pool.connection_class, nodes, key)
    return client


def connect_blocking(url: str, key: str = "", **options: Any) -> BlockingRedis:
    """Return a client for code that blocks; in a cluster, for keys of the slot of `key`."""
    nodes = Nodes(url)
    defaults = {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
    }
    client: BlockingRedis = BlockingRedis.from_url(nodes.url, **defaults | options)
    if nodes.known:
        pool = client.connection_pool
        pool.connection_class = at_key(pool.connection_class, nodes, key)
    return client


class Packed:
    """Makes a connection of redis-py write commands in C: an append has hundreds of words."""

    def pack_command(self, name: str, *words: str | int | float | bytes) -> list[bytes]:
        """Return a command as the protocol writes it. Some names are two words: `SCRIPT LOAD`."""
        return [hiredis.pack_command((*name.split(), *words))]  # type: ignore[arg-type]


async def close(client: Redis) -> None:
    """Close a client; never fails."""
    try:
        await client.aclose()
    except Exception:  # closing a broken connection has nothing left to say
        pass


def load_script(client: Redis, name: str) -> AsyncScript:
    """Return a Lua script of this folder.

    Calling it sends its digest; a server that does not know it has done nothing, gets the text,
    and is asked again.
    """
    return client.register_script((Path(__file__).parent / name).read_text(encoding="utf-8"))


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except ResponseError as error:
        raise Unavailable(f"Redis: {error}") from error
    except (RedisError, OSError, RuntimeError) as error:
        # A RuntimeError is a connection that somebody else is reading from: no answer, either.
        raise OutcomeUnknown(f"Redis: {error}") from error
