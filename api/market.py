"""Market data over HTTP: what is traded, the book, the newest trades, the ticker."""

import time

from sanic import Blueprint, HTTPResponse, Request

from api.exchange import Exchange
from api.market_json import instrument_json, ticker_json
from api.queries import read_instrument, read_limit, read_number
from api.responses import json_bytes
from api.schemas import dump, timestamp, trade_json

market = Blueprint("market")

LEVELS_MAX = 100


@market.get("/instruments")
async def instruments(request: Request) -> HTTPResponse:
    """Return what can be traded, oldest first."""
    exchange: Exchange = request.app.ctx.exchange
    rows = [instrument_json(instrument) for instrument in exchange.instruments.all()]
    return json_bytes(dump({"instruments": rows}))


@market.get("/market/orderbook")
async def orderbook(request: Request) -> HTTPResponse:
    """Return the best levels of both sides, from this process's replica."""
    exchange: Exchange = request.app.ctx.exchange
    name = read_instrument(request, exchange).instrument
    levels = read_number(request, "levels", 20, LEVELS_MAX)
    depth = exchange.book(name).depth(levels)
    now = timestamp(time.time_ns() // 1000)
    return json_bytes(dump({"instrument": name, **depth, "timestamp": now}))


@market.get("/market/trades")
async def trades(request: Request) -> HTTPResponse:
    """Return the newest trades, newest first."""
    exchange: Exchange = request.app.ctx.exchange
    name = read_instrument(request, exchange).instrument
    records = await exchange.lookups.trades(name, read_limit(request))
    rows = [trade_json(record) for record in records]
    return json_bytes(dump({"instrument": name, "trades": rows, "count": len(rows)}))


@market.get("/market/ticker")
async def ticker(request: Request) -> HTTPResponse:
    """Return the last trade, the best levels now, and the trades of the last 24 hours.

    What is read from the database may be a second old.
    """
    exchange: Exchange = request.app.ctx.exchange
    name = read_instrument(request, exchange).instrument
    record = await exchange.tickers.get(name)
    best_bid, best_ask = exchange.book(name).best()
    body = ticker_json(record, best_bid, best_ask)
    now = timestamp(time.time_ns() // 1000)
    return json_bytes(dump({"instrument": name, **body, "timestamp": now}))
