"""Redis pub/sub: at most once, so a reader must know when it may have missed something."""

from collections.abc import AsyncGenerator, Sequence

from redis.exceptions import RedisError

from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.adapters.redis import connect, translated
from workers.core.channels import asks_key, bids_key, depth_key
from workers.core.codec import decode_snapshot
from workers.core.depth import DepthSnapshot

# Silence for this long makes us ask whether the connection is still alive: pub/sub dies silently.
SILENCE_MAX_S = 2.0


async def subscribe(
    url: str, channels: Sequence[str]
) -> AsyncGenerator[tuple[str, bytes] | None, None]:
    """Yield None once subscribed, then (channel, payload) of each message.

    Ends only by raising: Unavailable before the first yield, OutcomeUnknown after it. It never
    reconnects by itself, because whoever missed messages must know it.
    """
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
        asked = False
        while True:
            try:
                message = await connection.read_response(
                    timeout=SILENCE_MAX_S, disconnect_on_error=False
                )
                if message is None:
                    if asked:
                        raise OutcomeUnknown("Redis: the subscription fell silent")
                    asked = True
                    await connection.send_command("PING", check_health=False)
                    continue
            except (RedisError, OSError) as error:
                raise OutcomeUnknown(f"Redis: {error}") from error
            asked = False
            if message[0] == b"message":  # else it is the answer to our ping
                yield message[1].decode(), message[2]
    finally:
        await client.aclose()


class DepthReader:
    """Reads the complete depth that the matcher keeps in Redis."""

    def __init__(self, url: str) -> None:
        self._client = connect(url)

    async def close(self) -> None:
        """Close the connection; never fails."""
        try:
            await self._client.aclose()
        except Exception:  # closing a broken connection has nothing left to say
            pass

    async def ping(self) -> None:
        """Raise Unavailable or OutcomeUnknown unless the server answers."""
        async with translated():
            await self._client.ping()

    async def snapshot(self, instrument: str) -> DepthSnapshot | None:
        """Return the depth of `instrument`; None while none is completely published."""
        async with translated(), self._client.pipeline(transaction=True) as transaction:
            transaction.hget(depth_key(instrument), "sequence")
            transaction.hgetall(bids_key(instrument))
            transaction.hgetall(asks_key(instrument))
            sequence, bids, asks = await transaction.execute()
        if sequence is None or int(sequence) < 0:
            return None
        return decode_snapshot(sequence, bids, asks)
