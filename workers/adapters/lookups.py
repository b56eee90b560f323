"""What the edge reads from PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import sql
from workers.adapters.ledger import list_instruments
from workers.adapters.postgres import Pool, make_pool, translated
from workers.core.instruments import Instrument
from workers.core.records import OrderRecord, TradeRecord

ROLE = "exchange_edge"


class Lookups:
    """Reads through a small pool. Every method raises Unavailable or OutcomeUnknown."""

    def __init__(self, url: str, connections_max: int) -> None:
        self._pool: Pool = make_pool(url, ROLE, connections_max)

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

    async def instruments(self) -> list[tuple[Instrument, bool]]:
        """Return every instrument, and whether somebody matches it now."""
        async with translated(), self._pool.connection() as connection:
            return await list_instruments(connection)

    async def migrated(self) -> bool:
        """Return whether the database is the one this code was written for."""
        return await self._rows("migration_head", {}) == [(sql.HEAD,)]

    async def _rows(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        async with translated(), self._pool.connection() as connection:
            cursor = await connection.execute(sql.query(query), parameters)
            return await cursor.fetchall()


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
