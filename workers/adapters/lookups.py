"""What the edge reads from PostgreSQL, and the depth snapshots it keeps there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

import sql
from workers.adapters.errors import Unavailable
from workers.adapters.ledger import list_instruments
from workers.adapters.postgres import (
    POOL_TIMEOUT_S,
    PUBLIC_STATEMENT_TIMEOUT_MS,
    Pool,
    make_pool,
    translated,
)
from workers.adapters.waiting import within
from workers.core.instruments import Instrument
from workers.core.records import (
    BookSnapshot,
    Candle,
    Changes,
    MirrorLag,
    OrderPage,
    OrderPlace,
    OrderRecord,
    Position,
    SnapshotSummary,
    Ticker,
    TradeRecord,
)

ROLE = "exchange_edge"
# The server ends a statement before this; only a server that has fallen silent takes longer.
PUBLIC_ANSWER_S = PUBLIC_STATEMENT_TIMEOUT_MS / 1000 + 1.0

Parameters = dict[str, Any]
Row = tuple[Any, ...]


class JobState(NamedTuple):
    """How a background job stands: for how long it has been due and nobody has begun it, how many
    of its runs are under way, and failures in a row; of its worst subject.
    """

    job: str
    overdue_s: float
    running: int
    failures: int


class FeesEarned(NamedTuple):
    """Fees of an instrument's trades so far, in natural units of `asset`, rebates taken off."""

    instrument: str
    asset: str
    fees: Decimal


class Lookups:
    """Reads through a small pool. Every method raises Unavailable, TimedOut or OutcomeUnknown."""

    def __init__(self, url: str, connections_max: int) -> None:
        self._pool: Pool = make_pool(url, ROLE, connections_max, PUBLIC_STATEMENT_TIMEOUT_MS)
        # Questions about many trades take at most half of the connections: an order's own answer
        # must not wait for somebody's charts.
        self._long = asyncio.Semaphore(max(1, connections_max // 2))

    async def open(self) -> None:
        """Start connecting; does not wait for a server that is down."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def orders(self, order_ids: Sequence[str]) -> dict[str, OrderRecord]:
        """Return the orders that exist among `order_ids`, by order_id."""
        rows = await self._rows("get_orders", {"order_ids": list(order_ids)})
        return {row[0]: _order(row) for row in rows}

    async def accepted_sequence(self, order_id: str) -> int | None:
        """Return the sequence of an order's first event; None when it does not exist."""
        rows = await self._rows("get_orders", {"order_ids": [order_id]})
        return int(rows[0][-1]) if rows else None

    async def mirror_lags(self) -> list[MirrorLag]:
        """Return how far the Kafka mirror is behind, by instrument."""
        rows = await self._rows("mirror_lags", {})
        return [
            MirrorLag(instrument, events, float(seconds))
            for instrument, _, _, events, seconds in rows
        ]

    async def order(self, order_id: str) -> OrderRecord | None:
        """Return one order."""
        return (await self.orders([order_id])).get(order_id)

    async def order_id_of_key(
        self, instrument_id: int, client_id: str, idempotency_key: str
    ) -> str | None:
        """Return the order_id of the order that holds an idempotency key."""
        rows = await self._rows(
            "find_first_orders",
            {
                "instrument_id": instrument_id,
                "order_ids": [],
                "client_ids": [client_id],
                "keys": [idempotency_key],
            },
        )
        return rows[0][0] if rows else None

    async def list_orders(
        self,
        client_id: str | None,
        instrument: str | None,
        statuses: Sequence[str] | None,
        after: OrderPlace | None,
        limit: int,
    ) -> OrderPage:
        """Return up to `limit` orders after a place, newest first; None means all of a kind."""
        after_us, after_instrument_id, after_order_no = after or (None, None, None)
        rows = await self._rows(
            "list_orders",
            {
                "client_id": client_id,
                "instrument": instrument,
                "statuses": None if statuses is None else list(statuses),
                "after_us": after_us,
                "after_instrument_id": after_instrument_id,
                "after_order_no": after_order_no,
                "limit": limit + 1,
            },
        )
        orders = [_order(row[:-1]) for row in rows[:limit]]
        if len(rows) <= limit:
            return OrderPage(orders, None)
        last, instrument_id = orders[-1], rows[limit - 1][-1]
        return OrderPage(orders, OrderPlace(last.created_us, instrument_id, last.order_no))

    async def order_and_trades(
        self, order_id: str
    ) -> tuple[OrderRecord, tuple[TradeRecord, ...]] | None:
        """Return one order and all its trades, oldest first, as they stood at one moment."""
        orders, trades = await self._at_once(
            ("get_orders", {"order_ids": [order_id]}),
            ("get_order_trades", {"order_id": order_id, "taker_only": False}),
        )
        return (_order(orders[0]), tuple(map(_trade, trades))) if orders else None

    async def order_trades(self, order_id: str, *, taker_only: bool) -> tuple[TradeRecord, ...]:
        """Return an order's trades, oldest first; with `taker_only` those made on arrival."""
        rows = await self._rows(
            "get_order_trades", {"order_id": order_id, "taker_only": taker_only}
        )
        return tuple(map(_trade, rows))

    async def trades(self, instrument: str, limit: int) -> list[TradeRecord]:
        """Return the newest trades of an instrument, newest first."""
        rows = await self._rows("get_trades", {"instrument": instrument, "limit": limit})
        return list(map(_trade, rows))

    async def candles(
        self, instrument: str, from_us: int, to_us: int, interval_minutes: int, limit: int
    ) -> list[Candle]:
        """Return the first `limit` intervals with trades, oldest first; `to_us` is exclusive."""
        parameters = {
            "instrument": instrument,
            "from_us": from_us,
            "to_us": to_us,
            "interval_minutes": interval_minutes,
            "limit": limit,
        }
        async with self._long_question():
            rows = await self._rows("candles", parameters)
        return [Candle(*map(int, row)) for row in rows]

    async def ticker(self, instrument: str) -> Ticker:
        """Return the last trade and the last 24 hours of a known instrument."""
        async with self._long_question():
            (row,) = await self._rows("ticker", {"instrument": instrument})
        last, last_us, open_, high, low, quantity, value, trade_count = row
        return Ticker(
            _integer(last), last_us, _integer(open_), _integer(high), _integer(low),
            int(quantity), int(value), trade_count,
        )  # fmt: skip

    async def positions(self, client_id: str) -> list[Position]:
        """Return a client's positions, also flat ones; none for an unknown client."""
        rows = await self._rows("get_positions", {"client_id": client_id})
        return [
            Position(name, int(net), int(cost), int(realized), updated_us, _integer(last))
            for name, net, cost, realized, updated_us, last in rows
        ]

    async def knows_client(self, client_id: str) -> bool:
        """Return whether a client has ordered, or the house has entered something for it."""
        ((known,),) = await self._rows("knows_client", {"client_id": client_id})
        return bool(known)

    async def fees_earned(self) -> list[FeesEarned]:
        """Return what the trades of each instrument have earned in fees."""
        return [FeesEarned(*row) for row in await self._rows("fees_earned", {})]

    async def changes(
        self, instrument_id: int, after: int, limit: int
    ) -> tuple[int, Changes | None]:
        """Return the sequence that is committed, and what changed after sequence `after`.

        None in its place when more than `limit` events came after it, or when `after` is still to
        come.
        """
        parameters = {"instrument_id": instrument_id, "after": after, "limit": limit}
        rows, orders = await self._at_once(
            ("read_changes", parameters), ("read_changed_orders", parameters)
        )
        sequence = rows[0][0]
        if not 0 <= sequence - after <= limit:
            return sequence, None
        trades = tuple(_trade(row[1:]) for row in rows if row[1] is not None)
        touched = tuple((row[0], _order(row[1:])) for row in orders)
        return sequence, Changes(after, sequence, trades, touched)

    async def take_snapshot(self, instrument_id: int) -> BookSnapshot:
        """Keep the book as it is committed now, depth and engine state; return the depth."""
        async with self._long_question():
            rows = await self._rows("take_snapshot", {"instrument_id": instrument_id})
            ((snapshot_id, *_),) = rows
            snapshot = await self.book_snapshot(snapshot_id)
        if snapshot is None:
            raise Unavailable(f"snapshot {snapshot_id} was deleted as soon as it was taken")
        return snapshot

    async def book_snapshots(self, instrument: str, limit: int) -> list[SnapshotSummary]:
        """Return the newest depth snapshots of an instrument, newest first."""
        rows = await self._rows("list_book_snapshots", {"instrument": instrument, "limit": limit})
        return [SnapshotSummary(*row[:-2], *map(_integer, row[-2:])) for row in rows]

    async def book_snapshot(self, snapshot_id: int) -> BookSnapshot | None:
        """Return one depth snapshot with all its levels."""
        rows = await self._rows("get_book_snapshot", {"snapshot_id": snapshot_id})
        return _snapshot(rows[0]) if rows else None

    async def age_ms(self) -> int:
        """Return how old what this server shows may be: 0 for a primary.

        It is the age of the last commit that a replica has, so it is exact while there are commits;
        a matcher makes several a second. Raises Unavailable when it cannot tell.
        """
        ((age,),) = await self._rows("replica_age", {})
        if age is None:
            raise Unavailable("the replica has not received anything since it was started")
        return int(age)

    async def instruments(self) -> list[tuple[Instrument, bool]]:
        """Return every instrument, and whether somebody matches it now."""

        async def ask() -> list[tuple[Instrument, bool]]:
            async with translated(), self._pool.connection() as connection:
                return await list_instruments(connection)

        return await within(PUBLIC_ANSWER_S, ask())

    async def timeline(self) -> int:
        """Return which history the database tells: it rises when the database was restored."""
        ((timeline,),) = await self._rows("current_timeline", {})
        return int(timeline)

    async def migrated(self) -> bool:
        """Return whether the database has all that this code needs.

        A newer one has: migrations keep what the version before them calls, so the processes of
        that version go on until they are replaced.
        """
        return any(head >= sql.HEAD for (head,) in await self._rows("migration_head", {}))

    async def jobs(self) -> list[JobState]:
        """Return how each background job stands."""
        return [JobState(*row) for row in await self._rows("list_overdue", {})]

    @asynccontextmanager
    async def _long_question(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises Unavailable."""
        try:
            await asyncio.wait_for(self._long.acquire(), POOL_TIMEOUT_S)
        except TimeoutError as error:
            raise Unavailable("too many long questions are waiting") from error
        try:
            yield
        finally:
            self._long.release()

    async def _rows(self, query: str, parameters: Parameters) -> list[Row]:
        async def ask() -> list[Row]:
            async with translated(), self._pool.connection() as connection:
                cursor = await connection.execute(sql.query(query), parameters)
                return await cursor.fetchall()

        return await within(PUBLIC_ANSWER_S, ask())

    async def _at_once(self, *questions: tuple[str, Parameters]) -> list[list[Row]]:
        """Return the rows of several queries, all of one moment."""

        async def ask() -> list[list[Row]]:
            async with translated(), self._pool.connection() as connection:
                # These two only say how a transaction begins; statements outside need none.
                await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                await connection.set_read_only(True)
                async with connection.transaction():
                    return [
                        await (await connection.execute(sql.query(query), parameters)).fetchall()
                        for query, parameters in questions
                    ]

        return await within(PUBLIC_ANSWER_S, ask())


def _order(row: tuple[Any, ...]) -> OrderRecord:
    (
        order_id, order_no, client_id, instrument, side, type, price, quantity, filled, value,
        status, status_reason, idempotency_key, created_us, updated_us, _,
    ) = row  # fmt: skip
    return OrderRecord(
        order_id, order_no, client_id, instrument, side, type, int(price), int(quantity),
        int(filled), int(value), status, status_reason, idempotency_key, created_us, updated_us,
    )  # fmt: skip


def _trade(row: tuple[Any, ...]) -> TradeRecord:
    trade_no, sequence, instrument, price, quantity, *rest = row
    return TradeRecord(trade_no, sequence, instrument, int(price), int(quantity), *rest)


def _snapshot(row: tuple[Any, ...]) -> BookSnapshot:
    snapshot_id, instrument, sequence, taken_us, *sides = row
    bid_prices, bid_quantities, ask_prices, ask_quantities = (map(int, side) for side in sides)
    return BookSnapshot(
        snapshot_id, instrument, sequence, taken_us,
        list(zip(bid_prices, bid_quantities, strict=True)),
        list(zip(ask_prices, ask_quantities, strict=True)),
    )  # fmt: skip


def _integer(amount: Any) -> int | None:
    return None if amount is None else int(amount)
