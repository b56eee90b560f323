"""What is read from the market, to JSON. Pure."""

from typing import Any

import orjson

from api.schemas import levels_json, number, timestamp
from workers.adapters.public_json import value_number as value_number
from workers.core.depth import DepthLevel
from workers.core.instruments import Instrument
from workers.core.records import BookSnapshot, Candle, Position, SnapshotSummary, Ticker
from workers.core.units import UNITS_PER_ONE, divide_half_even


def optional_number(units: int | None) -> orjson.Fragment | None:
    """Return units of 1e-8 as a JSON number, None as null."""
    return None if units is None else number(units)


def instrument_json(instrument: Instrument) -> dict[str, Any]:
    """Return the public form of an instrument."""
    return {
        "instrument": instrument.instrument,
        "base_asset": instrument.base_asset,
        "quote_asset": instrument.quote_asset,
        "tick_size": number(instrument.tick_size_ticks),
        "lot_size": number(instrument.lot_size_lots),
        "status": instrument.status,
    }


def aggregate_json(candle: Candle) -> dict[str, Any]:
    """Return one interval of the analytics; averages are rounded half to even to 8 decimals."""
    return {
        "time_bucket": timestamp(candle.start_us),
        "trade_count": candle.trade_count,
        "total_quantity": number(candle.quantity_lots),
        "avg_price": number(divide_half_even(candle.price_sum_ticks, candle.trade_count)),
        "min_price": number(candle.low_ticks),
        "max_price": number(candle.high_ticks),
        "total_volume": value_number(candle.value),
        "vwap": number(divide_half_even(candle.value, candle.quantity_lots)),
    }


def vwap_json(candles: list[Candle]) -> orjson.Fragment | None:
    """Return the volume-weighted average price over all intervals, null without trades."""
    if not candles:
        return None
    value = sum(candle.value for candle in candles)
    return number(divide_half_even(value, sum(candle.quantity_lots for candle in candles)))


def candle_json(candle: Candle) -> dict[str, Any]:
    """Return the public form of a candle."""
    return {
        "time_bucket": timestamp(candle.start_us),
        "open": number(candle.open_ticks),
        "high": number(candle.high_ticks),
        "low": number(candle.low_ticks),
        "close": number(candle.close_ticks),
        "volume": number(candle.quantity_lots),
        "quote_volume": value_number(candle.value),
        "trade_count": candle.trade_count,
    }


def ticker_json(
    ticker: Ticker, best_bid: DepthLevel | None, best_ask: DepthLevel | None
) -> dict[str, Any]:
    """Return the public form of a ticker; null where there is nothing.

    `change` is the last price less the first of the last 24 hours, `change_percent` the same as a
    percentage of that first price, rounded half to even to 8 decimals.
    """
    change = percent = None
    if ticker.last_ticks is not None and ticker.open_ticks is not None:
        change = ticker.last_ticks - ticker.open_ticks
        percent = divide_half_even(change * 100 * UNITS_PER_ONE, ticker.open_ticks)
    bid_ticks, bid_lots = best_bid or (None, None)
    ask_ticks, ask_lots = best_ask or (None, None)
    return {
        "last_price": optional_number(ticker.last_ticks),
        "best_bid": optional_number(bid_ticks),
        "best_bid_quantity": optional_number(bid_lots),
        "best_ask": optional_number(ask_ticks),
        "best_ask_quantity": optional_number(ask_lots),
        "open": optional_number(ticker.open_ticks),
        "high": optional_number(ticker.high_ticks),
        "low": optional_number(ticker.low_ticks),
        "volume": number(ticker.quantity_lots),
        "quote_volume": value_number(ticker.value),
        "change": optional_number(change),
        "change_percent": optional_number(percent),
        "trade_count": ticker.trade_count,
    }


def position_json(position: Position, mark_ticks: int | None) -> dict[str, Any]:
    """Return the public form of a position, valued at the mark price if there is one."""
    net_lots, total_cost = position.net_lots, position.total_cost
    unrealized = None if mark_ticks is None else value_number(net_lots * mark_ticks - total_cost)
    return {
        "instrument": position.instrument,
        "net_quantity": number(net_lots),
        "total_cost": value_number(total_cost),
        "avg_price": number(divide_half_even(total_cost, net_lots) if net_lots else 0),
        "realized_pnl": value_number(position.realized_pnl),
        "unrealized_pnl": unrealized,
        "mark_price": optional_number(mark_ticks),
        "last_updated": timestamp(position.updated_us),
    }


def snapshot_json(snapshot: BookSnapshot) -> dict[str, Any]:
    """Return the public form of a stored depth snapshot."""
    return {
        "instrument": snapshot.instrument,
        "snapshot_id": snapshot.snapshot_id,
        "sequence": snapshot.sequence,
        "snapshot": {"bids": levels_json(snapshot.bids), "asks": levels_json(snapshot.asks)},
        "timestamp": timestamp(snapshot.taken_us),
    }


def summary_json(summary: SnapshotSummary) -> dict[str, Any]:
    """Return a stored depth snapshot without its levels."""
    return {
        "snapshot_id": summary.snapshot_id,
        "sequence": summary.sequence,
        "bid_levels": summary.bid_levels,
        "ask_levels": summary.ask_levels,
        "best_bid": optional_number(summary.best_bid_ticks),
        "best_ask": optional_number(summary.best_ask_ticks),
        "timestamp": timestamp(summary.taken_us),
    }
