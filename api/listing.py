"""Orders over HTTP: the listing."""

from sanic import Blueprint, HTTPResponse, Request

from api.cursors import decode_cursor, encode_cursor
from api.errors import invalid
from api.exchange import Exchange
from api.queries import read_limit, read_name, read_text
from api.responses import json_bytes
from api.schemas import dump, order_json

listing = Blueprint("listing")

STATUSES = ("open", "partially_filled", "filled", "cancelled", "rejected")


@listing.get("/orders")
async def list_orders(request: Request) -> HTTPResponse:
    """Return a page of orders, newest first, and the cursor of the next one.

    An unknown client has no orders: it is one condition of several, which nothing fulfils.
    """
    exchange: Exchange = request.app.ctx.exchange
    instrument = read_name(request, "instrument")
    if instrument is not None:
        exchange.instruments.get(instrument)
    cursor = read_text(request, "cursor")
    page = await exchange.lookups.list_orders(
        read_name(request, "client_id"),
        instrument,
        read_statuses(request),
        None if cursor is None else decode_cursor(cursor),
        read_limit(request),
    )
    body = {
        "orders": [order_json(order) for order in page.orders],
        "next_cursor": encode_cursor(page.next) if page.next else None,
    }
    return json_bytes(dump(body))


def read_statuses(request: Request) -> list[str] | None:
    """Return the statuses asked for, None for all. Raises ApiError (400)."""
    text = read_text(request, "status")
    if text is None:
        return None
    statuses = text.split(",")
    if not set(statuses) <= set(STATUSES):
        choices = ", ".join(STATUSES)
        raise invalid("status", f"must be one of {choices}, or several parted by commas", "query")
    return statuses
