"""Past trades over HTTP, by intervals of time: analytics and candles."""

from sanic import Blueprint, HTTPResponse, Request

from api.errors import ApiError
from api.exchange import Exchange
from api.market_json import aggregate_json, candle_json, vwap_json
from api.queries import read_instrument, read_interval, read_range
from api.responses import json_bytes
from api.schemas import dump, timestamp
from workers.core.records import Candle

candles = Blueprint("candles", url_prefix="/market")

# A week of minutes, about 2 MB of JSON.
INTERVALS_MAX = 10_000


@candles.get("/analytics")
async def analytics(request: Request) -> HTTPResponse:
    """Return trade aggregates of every interval with trades, and the average over all of them."""
    about, candles = await _read(request)
    body = {
        **about,
        "aggregates": [aggregate_json(candle) for candle in candles],
        "overall_vwap": vwap_json(candles),
    }
    return json_bytes(dump(body))


@candles.get("/candles")
async def read_candles(request: Request) -> HTTPResponse:
    """Return the candle of every interval with trades."""
    about, candles = await _read(request)
    return json_bytes(dump({**about, "candles": [candle_json(candle) for candle in candles]}))


async def _read(request: Request) -> tuple[dict[str, object], list[Candle]]:
    """Return what was asked, and the intervals. Raises ApiError (400, 404)."""
    exchange: Exchange = request.app.ctx.exchange
    name = read_instrument(request, exchange).instrument
    start_us, end_us = read_range(request)
    interval = read_interval(request)
    candles = await exchange.lookups.candles(name, start_us, end_us, interval, INTERVALS_MAX + 1)
    if len(candles) > INTERVALS_MAX:
        raise ApiError(
            "invalid_request",
            f"more than {INTERVALS_MAX} intervals have trades: choose a longer interval or a "
            "shorter range",
        )
    about: dict[str, object] = {
        "instrument": name,
        "start_time": timestamp(start_us),
        "end_time": timestamp(end_us),
        "interval_minutes": interval,
    }
    return about, candles
