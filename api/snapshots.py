"""Stored depth snapshots over HTTP."""

from functools import partial

from sanic import Blueprint, HTTPResponse, Request

from api.errors import ApiError, invalid
from api.exchange import Exchange
from api.market_json import snapshot_json, summary_json
from api.queries import read_instrument, read_limit
from api.responses import json_bytes
from api.schemas import dump

snapshots = Blueprint("snapshots", url_prefix="/market/orderbook")


@snapshots.post("/snapshot")
async def store_snapshot(request: Request) -> HTTPResponse:
    """Store the book as it is committed now, and return its full depth.

    However many ask, one is taken at a time: it reads every resting order.
    """
    exchange: Exchange = request.app.ctx.exchange
    instrument_id = read_instrument(request, exchange).instrument_id
    take = partial(exchange.lookups.take_snapshot, instrument_id)
    stored = await exchange.snapshots.take(instrument_id, take)
    return json_bytes(dump(snapshot_json(stored)), 201)


@snapshots.get("/snapshots")
async def list_snapshots(request: Request) -> HTTPResponse:
    """Return the newest snapshots without their levels, newest first."""
    exchange: Exchange = request.app.ctx.exchange
    name = read_instrument(request, exchange).instrument
    summaries = await exchange.lookups.book_snapshots(name, read_limit(request))
    rows = [summary_json(summary) for summary in summaries]
    return json_bytes(dump({"instrument": name, "snapshots": rows, "count": len(rows)}))


@snapshots.get("/snapshots/<snapshot_id:str>")
async def read_snapshot(request: Request, snapshot_id: str) -> HTTPResponse:
    """Return one snapshot with all its levels."""
    exchange: Exchange = request.app.ctx.exchange
    if not (snapshot_id.isascii() and snapshot_id.isdigit() and len(snapshot_id) <= 18):
        raise invalid("snapshot_id", "must be a whole number", "path")
    snapshot = await exchange.lookups.book_snapshot(int(snapshot_id))
    if snapshot is None:
        raise ApiError("not_found", f"there is no snapshot {snapshot_id}: list them first")
    return json_bytes(dump(snapshot_json(snapshot)))
