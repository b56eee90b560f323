"""Which matchers there are, and which instruments nobody matches: PostgreSQL knows both."""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

import sql
from workers.adapters.ledger import ROLE, list_instruments
from workers.adapters.postgres import Connection, connect, translated
from workers.core.instruments import Instrument


class Roster(NamedTuple):
    """What a matcher sees when it looks around.

    `matchers` live, this one included, and `place` of them come before it by name. `free` are the
    numbers of instruments that nobody matches, of `instruments` in all. `next_free_ms` is when the
    next may become free, None when no other matcher holds any.
    """

    matchers: int
    place: int
    instruments: int
    free: list[int]
    next_free_ms: int | None


class Shards:
    """The instruments as all matchers share them. Connects at need, and anew after an error."""

    def __init__(self, url: str, owner: str) -> None:
        self._url = url
        self._owner = owner
        self._connection: Connection | None = None

    async def close(self) -> None:
        """Close the connection; never fails."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def report(self, alive_ms: int) -> Roster:
        """Say that this matcher lives, for `alive_ms`, and look around. Raises AdapterError."""
        try:
            connection = await self._connected()
            async with translated():
                cursor = await connection.execute(
                    sql.query("report_matcher"), {"owner": self._owner, "alive_ms": alive_ms}
                )
                row = await cursor.fetchone()
        except BaseException:
            await self.close()
            raise
        assert row is not None
        return Roster(*row)

    async def instruments(self, numbers: Collection[int]) -> list[Instrument]:
        """Return the instruments with these numbers. Raises AdapterError."""
        try:
            connection = await self._connected()
            async with translated():
                every = await list_instruments(connection)
        except BaseException:
            await self.close()
            raise
        return [instrument for instrument, _ in every if instrument.instrument_id in numbers]

    async def wait_for_release(self, seconds: float) -> None:
        """Return when another matcher gives an instrument back, at the latest when the time is up.

        Where the server's connections are shared by a pooler nobody is told, and the time decides.
        """
        if self._connection is None:
            await asyncio.sleep(seconds)
            return
        try:
            async with translated():
                async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                    pass
        except BaseException:
            await self.close()
            raise

    async def retire(self) -> None:
        """Say that this matcher ends. Raises AdapterError."""
        connection = await self._connected()
        async with translated():
            await connection.execute(sql.query("retire_matcher"), {"owner": self._owner})

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = await connect(self._url, ROLE)
            async with translated():
                await self._connection.execute(sql.query("await_releases"))
        return self._connection
