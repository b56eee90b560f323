"""Amounts, times, orders and trades as JSON, as the public API and the Kafka mirror write them."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from workers.core.records import OrderRecord, TradeRecord, trade_id
from workers.core.units import average_price_ticks, format_units, format_value


@lru_cache(maxsize=16_384)  # the same few prices and quantities come again and again
def number(units: int) -> orjson.Fragment:
    """Return units of 1e-8 as a JSON number, exact and shortest."""
    return orjson.Fragment(format_units(units))


def value_number(value: int) -> orjson.Fragment:
    """Return units of 1e-16 as a JSON number, exact and shortest."""
    return orjson.Fragment(format_value(value))


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def timestamp(time_us: int) -> str:
    """Return ISO 8601 UTC with milliseconds."""
    seconds, microseconds = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{microseconds // 1000:03d}Z"


def order_json(order: OrderRecord) -> dict[str, Any]:
    """Return the public form of an order."""
    filled = order.filled_lots
    return {
        "order_id": order.order_id,
        "order_no": order.order_no,
        "client_id": order.client_id,
        "instrument": order.instrument,
        "side": order.side,
        "type": order.type,
        "price": number(order.price_ticks) if order.price_ticks else None,
        "quantity": number(order.quantity_lots),
        "filled_quantity": number(filled),
        "remaining_quantity": number(order.quantity_lots - filled),
        "average_price": number(average_price_ticks(order.filled_value, filled))
        if filled
        else None,
        "status": order.status,
        "status_reason": order.status_reason or None,
        "idempotency_key": order.idempotency_key or None,
        "created_at": timestamp(order.created_us),
        "updated_at": timestamp(order.updated_us),
    }


def trade_json(trade: TradeRecord) -> dict[str, Any]:
    """Return the public form of a trade."""
    return {
        "trade_id": trade_id(trade.instrument, trade.trade_no),
        "trade_no": trade.trade_no,
        "instrument": trade.instrument,
        "price": number(trade.price_ticks),
        "quantity": number(trade.quantity_lots),
        "buy_order_id": trade.buy_order_id,
        "sell_order_id": trade.sell_order_id,
        "taker_side": trade.taker_side,
        "timestamp": timestamp(trade.time_us),
        "sequence": trade.sequence,
    }
