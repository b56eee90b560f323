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
    about, candles, headers = await _read(request)
    body = {
        **about,
        "aggregates": [aggregate_json(candle) for candle in candles],
        "overall_vwap": vwap_json(candles),
    }
    return json_bytes(dump(body), headers=headers)


@candles.get("/candles")
async def read_candles(request: Request) -> HTTPResponse:
    """Return the candle of every interval with trades."""
    about, candles, headers = await _read(request)
    body = {**about, "candles": [candle_json(candle) for candle in candles]}
    return json_bytes(dump(body), headers=headers)


async def _read(request: Request) -> tuple[dict[str, object], list[Candle], dict[str, str]]:
    """Return what was asked, the intervals, and headers that say how old they may be.

    Raises ApiError (400, 404).
    """
    exchange: Exchange = request.app.ctx.exchange
    name = read_instrument(request, exchange).instrument
    start_us, end_us = read_range(request)
    interval = read_interval(request)
    candles, age_ms = await exchange.past.candles(
        name, start_us, end_us, interval, INTERVALS_MAX + 1
    )
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
    return about, candles, {} if age_ms is None else {"Data-Age-Ms": str(age_ms)}
