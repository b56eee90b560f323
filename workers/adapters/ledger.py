"""The matcher's side of PostgreSQL: leases, recovery, and the commit of a batch."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, NamedTuple, Self

import sql
from workers.adapters.client_numbers import ClientNumbers
from workers.adapters.errors import AdapterError, Contended, UnknownClients
from workers.adapters.postgres import Connection, connect, translated
from workers.core.batch import Batch
from workers.core.duplicates import FirstOrder
from workers.core.engine_snapshot import (
    BrokenSnapshot,
    Counters,
    EngineChanges,
    EngineSnapshot,
    Page,
    decode_page,
)
from workers.core.instruments import Instrument
from workers.core.messages import RESTING, Order, Status
from workers.core.units import parse_units

ROLE = "exchange_matcher"
COMMIT_TRIES_MAX = 5
# Orders that are asked for by number at once: as many as come in one page.
PAGE_ORDERS_MAX = 50_000


class Standing(NamedTuple):
    """Where an instrument stands in the database, and the epoch under which it is ours."""

    epoch: int
    position: str
    sequence: int
    order_no: int
    trade_no: int
    last_time_us: int


class Ledger:
    """One instrument's writer. Two connections: look-ups do not wait for the running commit.

    Recovery reads through the one for commits, so that the lease can be renewed meanwhile.
    """

    def __init__(
        self, instrument: Instrument, lease_ms: int, commits: Connection, lookups: Connection
    ) -> None:
        self._instrument = instrument
        self._lease_ms = lease_ms
        self._commits = commits
        self._lookups = lookups
        self._client_nos = ClientNumbers()

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

    async def acquire(self, owner: str, epoch_min: int = 0) -> Standing | None:
        """Take the lease with a later epoch, `epoch_min` or above; None while another holds it."""
        async with translated():
            cursor = await self._commits.execute(
                sql.query("acquire_shard"),
                {
                    "instrument_id": self._instrument.instrument_id,
                    "owner": owner,
                    "lease_ms": self._lease_ms,
                    "epoch_min": epoch_min,
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
        """Return every resting order, in no order."""
        return await self._decode(self._pages(0))

    async def engine_snapshots(self) -> list[EngineSnapshot]:
        """Return the engine snapshots, newest first. Raises BrokenSnapshot."""
        async with self._reading_snapshots():
            rows = await self._recovery_rows("list_engine_snapshots")
        return [
            EngineSnapshot(format, Counters(sequence, order_no, trade_no), orders, parts)
            for sequence, format, order_no, trade_no, orders, parts in rows
        ]

    async def discard_snapshots(self, after: int) -> int:
        """Delete what claims to be newer than `after`, which is committed; return how many."""
        ((count,),) = await self._recovery_rows("discard_snapshots", after=after)
        return int(count)

    async def load_snapshot(self, snapshot: EngineSnapshot) -> list[Order]:
        """Return the orders of a snapshot, as they were. Raises BrokenSnapshot."""
        async with self._reading_snapshots():
            return await self._decode(self._parts(snapshot))

    async def changes_since(self, then: Counters) -> EngineChanges:
        """Return what happened after `then`. Raises BrokenSnapshot."""
        async with self._reading_snapshots():
            rows = await self._recovery_rows(
                "changed_orders", after=then.sequence, order_no=then.order_no
            )
            ((events, orders, trades, order_nos),) = rows
            resting = await self._decode(self._pages_of(order_nos))
            resting += await self._decode(self._pages(then.order_no))
        return EngineChanges(events, orders, trades, order_nos, resting)

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
        """Number clients that were not seen before; have the numbers of all of them at hand."""
        known = self._client_nos
        wanted = set(client_ids)
        fresh = [client_id for client_id in wanted if client_id not in known]
        if not fresh:
            return
        async with translated():
            cursor = await self._lookups.execute(
                sql.query("ensure_clients"), {"client_ids": text_array(fresh)}
            )
            known.learn(await cursor.fetchall(), wanted)

    def parameters(self, batch: Batch, epoch: int) -> list[object]:
        """Return the arguments of `commit_batch` for `batch`, as it stands now.

        Raises UnknownClients: makers may have placed their orders long ago.
        """
        try:
            return self._parameters(batch, epoch)
        except KeyError:
            raise UnknownClients(batch.client_ids()) from None

    def _parameters(self, batch: Batch, epoch: int) -> list[object]:
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

    async def _decode(self, pages: AsyncIterator[Page]) -> list[Order]:
        """Return the orders of all pages. The database gets the next one ready meanwhile."""

        async def fetch() -> Page | None:
            return await anext(pages, None)

        orders: list[Order] = []
        ahead = asyncio.create_task(fetch())
        try:
            while page := await ahead:
                ahead = asyncio.create_task(fetch())
                await asyncio.sleep(0)  # let it be sent
                decoded, clients = decode_page(page)
                orders += decoded
                self._client_nos.learn([(name, number) for number, name in clients.items()])
        except BaseException as error:
            # A broken page is no reason to interrupt the server: that may strike what it is asked
            # next.
            if not isinstance(error, BrokenSnapshot):
                ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
            raise
        return orders

    async def _pages(self, after: int) -> AsyncIterator[Page]:
        """Yield all resting orders after a number."""
        for status in RESTING:
            last = after
            while rows := await self._page(status, last, None):
                ((count, last, numbers, texts),) = rows
                yield Page(status, count, numbers, texts)

    async def _pages_of(self, order_nos: Sequence[int]) -> AsyncIterator[Page]:
        """Yield those of these orders that rest."""
        for first in range(0, len(order_nos), PAGE_ORDERS_MAX):
            wanted = integer_array(order_nos[first : first + PAGE_ORDERS_MAX])
            for status in RESTING:
                for count, _, numbers, texts in await self._page(status, 0, wanted):
                    yield Page(status, count, numbers, texts)

    async def _page(self, status: Status, after: int, order_nos: str | None) -> list[Any]:
        return await self._recovery_rows(
            "load_orders", status=status, after=after, order_nos=order_nos
        )

    async def _parts(self, snapshot: EngineSnapshot) -> AsyncIterator[Page]:
        """Yield the pages that a snapshot keeps."""
        sequence = snapshot.counters.sequence
        for part in range(1, snapshot.parts + 1):
            rows = await self._recovery_rows("load_snapshot_part", sequence=sequence, part=part)
            if not rows:
                raise BrokenSnapshot(f"part {part} of {snapshot.parts} is missing")
            ((status, count, numbers, texts, digest),) = rows
            if sha256(numbers + texts.encode()).digest() != digest:
                raise BrokenSnapshot(f"part {part} is not what was stored: its digest differs")
            yield Page(status, count, numbers, texts)

    async def _recovery_rows(self, name: str, **parameters: object) -> list[tuple[Any, ...]]:
        async with translated():
            cursor = await self._commits.execute(
                sql.query(name),
                {"instrument_id": self._instrument.instrument_id, **parameters},
                binary=True,
            )
            return await cursor.fetchall()

    @asynccontextmanager
    async def _reading_snapshots(self) -> AsyncIterator[None]:
        """Turn what only snapshots suffer from into BrokenSnapshot: recovery does without them."""
        try:
            yield
        except AdapterError as error:
            if self._commits.closed:
                raise
            raise BrokenSnapshot(str(error)) from error

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
