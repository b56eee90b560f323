"""Orders over HTTP: submit, one or many; cancel; read."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from sanic import Blueprint, HTTPResponse, Request

from api import trading
from api.errors import ApiError, unknown_order
from api.exchange import Exchange
from api.limits import too_many
from api.queries import read_name
from api.responses import json_bytes
from api.schemas import (
    NewOrder,
    dump,
    order_json,
    read_batch,
    read_identifier,
    read_json,
    read_order,
    submitted_json,
)
from workers.adapters.limits import Verdict

orders = Blueprint("orders")

# A batch of 100 orders with the longest names fits; other bodies stay below BODY_BYTES_MAX.
BATCH_BYTES_MAX = 64 * 1024


@orders.post("/orders", ctx_counted=False)
async def submit_order(request: Request) -> HTTPResponse:
    """Submit an order; answer when it, its fills and its ledger entries are durable."""
    exchange: Exchange = request.app.ctx.exchange
    try:
        body = read_order(read_json(request.body), request.headers.get("Idempotency-Key"))
    except ApiError as error:
        exchange.metrics.orders_rejected(error.code).inc()
        await exchange.limiter.admit(request)
        raise
    request.ctx.order_id = body.order_id  # for the log line of this request
    await exchange.limiter.admit(request, body.client_id)
    submitted = await trading.submit(exchange, body)
    request.ctx.order_id = submitted.order.order_id
    answer = submitted_json(submitted.order, submitted.trades)
    # The order is durable whatever becomes of the feed: then it is answered without the book.
    top = await exchange.top_of_book(submitted.order.instrument, submitted.sequence)
    answer["orderbook"] = orjson.Fragment(top) if top else None
    if submitted.repeated:
        return json_bytes(dump(answer), 200, {"Idempotent-Replayed": "true"})
    return json_bytes(dump(answer), 201)


@orders.post("/orders/batch", ctx_counted=False, ctx_body_bytes_max=BATCH_BYTES_MAX)
async def submit_batch(request: Request) -> HTTPResponse:
    """Submit up to 100 orders, which enter their books in this order; answer each.

    Those that fail do not stop the others.
    """
    exchange: Exchange = request.app.ctx.exchange
    try:
        bodies = read_batch(request.body)
    except ApiError:
        await exchange.limiter.admit(request)
        raise
    # Who asks for how many: what cannot be read counts for the address alone.
    costs = Counter(None if isinstance(body, ApiError) else body.client_id for body in bodies)
    limiter = exchange.limiter
    verdicts = await limiter.take_all(limiter.address(request), costs)
    if counted := [verdict for verdict in verdicts.values() if verdict is not None]:
        scarcest = min(counted, key=lambda verdict: verdict.remaining)
        request.ctx.rate_headers = limiter.headers(scarcest)
    batch = Batch(exchange, bodies, verdicts)
    return json_bytes(dump({"results": await batch.results}))


class Batch:
    """Orders that were sent together, and the result of each: what `POST /orders` would answer, but
    for the book, and its status.
    """

    def __init__(
        self,
        exchange: Exchange,
        bodies: Sequence[NewOrder | ApiError],
        verdicts: Mapping[str | None, Verdict | None],
    ) -> None:
        """Send each before the next, so that they enter their books in this order."""
        self.results: asyncio.Future[list[dict[str, Any]]]
        self.results = asyncio.get_running_loop().create_future()
        self._made: list[dict[str, Any]] = [{}] * len(bodies)
        self._missing = len(bodies)
        for index, body in enumerate(bodies):
            done = partial(self._take, index)
            verdict = None if isinstance(body, ApiError) else verdicts[body.client_id]
            if isinstance(body, ApiError):
                exchange.metrics.orders_rejected(body.code).inc()
                done(body)
            elif verdict is not None and not verdict.allowed:
                done(too_many(verdict))
            else:
                trading.begin(exchange, body, done)

    def _take(self, index: int, outcome: trading.Outcome) -> None:
        if isinstance(outcome, ApiError):
            self._made[index] = {"status": outcome.status, **outcome.body()}
        else:
            status = 200 if outcome.repeated else 201
            self._made[index] = {"status": status, **submitted_json(outcome.order, outcome.trades)}
        self._missing -= 1
        if not self._missing and not self.results.done():
            self.results.set_result(self._made)


@orders.post("/orders/<order_id:str>/cancel", name="cancel_order", unquote=True)
@orders.delete("/orders/<order_id:str>", name="delete_order", unquote=True)
async def cancel_order(request: Request, order_id: str) -> HTTPResponse:
    """Cancel what remains of a resting order."""
    exchange: Exchange = request.app.ctx.exchange
    read_identifier(order_id, "order_id", "path")
    name = read_name(request, "instrument")
    if name is None:
        name = (await trading.locate(exchange, [order_id])).get(order_id)
    order = await trading.cancel(exchange, order_id, name)
    return json_bytes(dump({"order": order_json(order)}))


@orders.get("/orders/<order_id:str>", unquote=True)
async def read_order_state(request: Request, order_id: str) -> HTTPResponse:
    """Return an order and all its trades."""
    exchange: Exchange = request.app.ctx.exchange
    read_identifier(order_id, "order_id", "path")
    found = await exchange.lookups.order_and_trades(order_id)
    if found is None:
        raise unknown_order(order_id)
    return json_bytes(dump(submitted_json(*found)))
