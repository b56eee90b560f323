"""Clients' positions over HTTP."""

from sanic import Blueprint, HTTPResponse, Request

from api.errors import unknown_client
from api.exchange import Exchange
from api.market_json import position_json
from api.responses import json_bytes
from api.schemas import dump, read_identifier
from workers.core.records import Position
from workers.core.units import divide_half_even

positions = Blueprint("positions", url_prefix="/market/positions")


@positions.get("/<client_id:str>", unquote=True)
async def read_positions(request: Request, client_id: str) -> HTTPResponse:
    """Return a client's positions by the average-cost method, also those that are flat again.

    avg_price is total_cost / net_quantity, 0 when flat. mark_price is (best bid + best ask) / 2
    while both sides have orders, else the price of the last trade, else null. Both are rounded half
    to even to 8 decimals. unrealized_pnl is net_quantity * mark_price - total_cost. Whoever has
    ordered and not traded has no positions; whoever has not ordered is not known.
    """
    exchange: Exchange = request.app.ctx.exchange
    read_identifier(client_id, "client_id", "path")
    found = await exchange.lookups.positions(client_id)
    if not found and not await exchange.lookups.knows_client(client_id):
        raise unknown_client(client_id)
    rows = [position_json(position, mark_price_ticks(exchange, position)) for position in found]
    return json_bytes(dump({"client_id": client_id, "positions": rows}))


def mark_price_ticks(exchange: Exchange, position: Position) -> int | None:
    """Return the price at which a position is valued. Raises ApiError (503)."""
    best_bid, best_ask = exchange.replica(position.instrument).best()
    if best_bid is None or best_ask is None:
        return position.last_ticks
    return divide_half_even(best_bid[0] + best_ask[0], 2)
