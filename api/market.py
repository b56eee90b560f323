"""Market data over HTTP."""

import time

from sanic import Blueprint, HTTPResponse, Request

from api.exchange import Exchange
from api.responses import json_bytes
from api.schemas import dump, read_count, timestamp, trade_json
from workers.core.instruments import DEFAULT_INSTRUMENT

market = Blueprint("market", url_prefix="/market")

LEVELS_MAX = 100
TRADES_MAX = 1_000


@market.get("/orderbook")
async def orderbook(request: Request) -> HTTPResponse:
    """Return the best levels of both sides, from this process's replica."""
    exchange: Exchange = request.app.ctx.exchange
    name = request.args.get("instrument", DEFAULT_INSTRUMENT)
    levels = read_count(request.args.get("levels"), "levels", 20, LEVELS_MAX)
    depth = exchange.book(name).depth(levels)
    now = timestamp(time.time_ns() // 1000)
    return json_bytes(dump({"instrument": name, **depth, "timestamp": now}))


@market.get("/trades")
async def trades(request: Request) -> HTTPResponse:
    """Return the newest trades, newest first."""
    exchange: Exchange = request.app.ctx.exchange
    name = request.args.get("instrument", DEFAULT_INSTRUMENT)
    limit = read_count(request.args.get("limit"), "limit", 50, TRADES_MAX)
    exchange.instruments.get(name)
    records = await exchange.lookups.trades(name, limit)
    rows = [trade_json(record) for record in records]
    return json_bytes(dump({"instrument": name, "trades": rows, "count": len(rows)}))
