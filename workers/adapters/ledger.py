"""The matcher's side of PostgreSQL: leases, recovery, and the commit of a batch."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import sql
from workers.adapters.errors import Contended
from workers.adapters.postgres import Connection, connect, translated
from workers.core.batch import Batch
from workers.core.duplicates import FirstOrder
from workers.core.instruments import Instrument
from workers.core.messages import Order
from workers.core.units import parse_units

ROLE = "exchange_matcher"
COMMIT_TRIES_MAX = 5


class Standing(NamedTuple):
    """Where an instrument stands in the database, and the epoch under which it is ours."""

    epoch: int
    position: str
    sequence: int
    order_no: int
    trade_no: int
    last_time_us: int


class Ledger:
    """One instrument's writer. Two connections: look-ups do not wait for the running commit."""

    def __init__(
        self, instrument: Instrument, lease_ms: int, commits: Connection, lookups: Connection
    ) -> None:
        self._instrument = instrument
        self._lease_ms = lease_ms
        self._commits = commits
        self._lookups = lookups
        self._client_nos: dict[str, int] = {}

    @classmethod
    async def open(cls, url: str, instrument: Instrument, lease_ms: int) -> Self:
        """Connect. Raises Unavailable."""
        commits = await connect(url, ROLE)
        try:
            lookups = await connect(url, ROLE)
        except BaseException:
            await commits.close()
            raise
        return cls(instrument, lease_ms, commits, lookups)

    async def close(self) -> None:
        """Close both connections; never fails."""
        await self._commits.close()
        await self._lookups.close()

    async def acquire(self, owner: str) -> Standing | None:
        """Take the lease with the next epoch; None while another owner holds it."""
        async with translated():
            cursor = await self._commits.execute(
                sql.query("acquire_shard"),
                {
                    "instrument_id": self._instrument.instrument_id,
                    "owner": owner,
                    "lease_ms": self._lease_ms,
                },
            )
            row = await cursor.fetchone()
        return Standing(*row) if row else None

    async def renew(self, epoch: int) -> bool:
        """Prolong the lease; False when it has passed to another owner."""
        return await self._lease_call("renew_lease", epoch)

    async def release(self, epoch: int) -> bool:
        """Give the lease back."""
        return await self._lease_call("release_lease", epoch)

    async def load_open_orders(self) -> list[Order]:
        """Return every resting order, by order_no."""
        async with translated():
            cursor = await self._lookups.execute(
                sql.query("load_open_orders"),
                {"instrument_id": self._instrument.instrument_id},
                prepare=False,
            )
            rows = await cursor.fetchall()
        orders = []
        for (
            order_no, order_id, client_no, client_id, side, price_ticks, quantity_lots,
            filled_lots, filled_value, status, key, created_us, updated_us,
        ) in rows:  # fmt: skip
            order = Order(
                order_no, order_id, client_id, side, "limit",
                int(price_ticks), int(quantity_lots), key, created_us,
            )  # fmt: skip
            order.remaining_lots -= int(filled_lots)
            order.filled_value = int(filled_value)
            order.status = status
            order.updated_us = updated_us
            orders.append(order)
            self._client_nos[client_id] = client_no
        return orders

    async def find_first_orders(
        self, order_ids: Sequence[str], keys: Sequence[tuple[str, str]]
    ) -> list[FirstOrder]:
        """Return the orders that hold one of these order ids or (client_id, key) pairs."""
        async with translated():
            cursor = await self._lookups.execute(
                sql.query("find_first_orders"),
                {
                    "instrument_id": self._instrument.instrument_id,
                    "order_ids": text_array(order_ids),
                    "client_ids": text_array([client_id for client_id, _ in keys]),
                    "keys": text_array([key for _, key in keys]),
                },
            )
            rows = await cursor.fetchall()
        return [
            FirstOrder(order_id, client_id, instrument, side, type, int(price), int(quantity), key)
            for order_id, client_id, instrument, side, type, price, quantity, key in rows
        ]

    async def ensure_clients(self, client_ids: Iterable[str]) -> None:
        """Number clients that were not seen before. Must precede a commit that names them."""
        known = self._client_nos
        fresh = [client_id for client_id in set(client_ids) if client_id not in known]
        if not fresh:
            return
        async with translated():
            cursor = await self._lookups.execute(
                sql.query("ensure_clients"), {"client_ids": text_array(fresh)}
            )
            known.update(await cursor.fetchall())

    def parameters(self, batch: Batch, epoch: int) -> list[object]:
        """Return the arguments of `commit_batch` for `batch`, as it stands now."""
        client_nos = self._client_nos
        orders = [order for _, order in batch.orders]
        updates = batch.updates.values()
        trades = batch.trades
        cancels = batch.cancels
        dead = batch.dead_letters
        return [
            self._instrument.instrument_id,
            epoch,
            batch.from_position,
            batch.position,
            batch.sequence,
            batch.order_no,
            batch.trade_no,
            batch.time_us,
            self._lease_ms,
            text_array([order.order_id for order in orders]),
            integer_array([client_nos[order.client_id] for order in orders]),
            text_array([order.side for order in orders]),
            text_array([order.type for order in orders]),
            integer_array([order.price_ticks for order in orders]),
            integer_array([order.quantity_lots for order in orders]),
            integer_array([order.quantity_lots - order.remaining_lots for order in orders]),
            integer_array([order.filled_value for order in orders]),
            text_array([order.status for order in orders]),
            text_array([order.status_reason for order in orders]),
            text_array([order.idempotency_key for order in orders]),
            integer_array([sequence for sequence, _ in batch.orders]),
            integer_array([update.order.order_no for update in updates]),
            integer_array([update.filled_lots for update in updates]),
            integer_array([update.filled_value for update in updates]),
            text_array([update.order.status for update in updates]),
            text_array([update.order.status_reason for update in updates]),
            integer_array([trade.sequence for trade in trades]),
            integer_array([trade.price_ticks for trade in trades]),
            integer_array([trade.quantity_lots for trade in trades]),
            text_array([trade.taker.side for trade in trades]),
            integer_array([trade.maker.order_no for trade in trades]),
            integer_array([trade.taker.order_no for trade in trades]),
            integer_array([client_nos[trade.maker.client_id] for trade in trades]),
            integer_array([client_nos[trade.taker.client_id] for trade in trades]),
            integer_array([cancel.sequence for cancel in cancels]),
            integer_array([cancel.order.order_no for cancel in cancels]),
            integer_array([cancel.remaining_lots for cancel in cancels]),
            text_array([cancel.order.side for cancel in cancels]),
            text_array([cancel.order.type for cancel in cancels]),
            integer_array([cancel.order.price_ticks for cancel in cancels]),
            text_array([cancel.reason for cancel in cancels]),
            # These may hold anything, so the driver escapes them.
            [letter.stream_id for letter in dead],
            [letter.payload for letter in dead],
            [letter.error for letter in dead],
        ]

    async def commit(self, parameters: Sequence[object]) -> None:
        """Make a batch durable: all of it or nothing.

        Raises Fenced, Stale, DataRejected: nothing was stored. Raises OutcomeUnknown when the
        batch may be stored: only taking the lease anew can tell.
        """
        for tries_left in reversed(range(COMMIT_TRIES_MAX)):
            try:
                async with translated():
                    await self._commits.execute(sql.query("commit_batch"), parameters, prepare=True)
                return
            except Contended:
                # Rolled back as a whole, so the same batch may simply be sent again.
                if not tries_left:
                    raise

    async def _lease_call(self, name: str, epoch: int) -> bool:
        async with translated():
            cursor = await self._lookups.execute(
                sql.query(name),
                {
                    "instrument_id": self._instrument.instrument_id,
                    "epoch": epoch,
                    "lease_ms": self._lease_ms,
                },
            )
            row = await cursor.fetchone()
        assert row is not None
        return bool(row[0])


class Shards:
    """What nobody matches now. Connects at need, and anew after an error."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    async def close(self) -> None:
        """Close the connection; never fails."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def free(self) -> list[Instrument]:
        """Return the instruments whose lease is free or has run out. Raises AdapterError."""
        if self._connection is None:
            self._connection = await connect(self._url, ROLE)
        try:
            async with translated():
                cursor = await self._connection.execute(sql.query("free_shards"))
                free = {instrument_id for (instrument_id,) in await cursor.fetchall()}
                if not free:
                    return []
                instruments = await list_instruments(self._connection)
        except BaseException:
            await self.close()
            raise
        return [instrument for instrument, _ in instruments if instrument.instrument_id in free]


async def list_instruments(connection: Connection) -> list[tuple[Instrument, bool]]:
    """Return every instrument, and whether somebody matches it now."""
    cursor = await connection.execute(sql.query("list_instruments"))
    return [(parse_instrument(row), row[-1]) for row in await cursor.fetchall()]


def parse_instrument(row: Sequence[Any]) -> Instrument:
    """Return the instrument of a row of `list_instruments`."""
    instrument_id, instrument, base_asset, quote_asset, tick_size, lot_size, status, _ = row
    return Instrument(
        instrument_id, instrument, base_asset, quote_asset,
        parse_units(f"{tick_size:f}"), parse_units(f"{lot_size:f}"), status,
    )  # fmt: skip


# The driver's own list dumper looks at every item with a regular expression. What goes through
# these two is integers, and texts of the identifier alphabet: neither needs more than quotes.


def integer_array(values: Sequence[int]) -> str:
    """Return integers as a PostgreSQL array literal."""
    return "{" + ",".join(map(str, values)) + "}"


def text_array(values: Sequence[str]) -> str:
    """Return texts without quotes or backslashes as a PostgreSQL array literal."""
    return '{"' + '","'.join(values) + '"}' if values else "{}"
