"""Orders over HTTP: submit, cancel, read."""

import time
import uuid
from typing import Any

import orjson
from sanic import Blueprint, HTTPResponse, Request

from api.errors import ApiError, unknown_order
from api.exchange import Exchange
from api.observe import Submission
from api.responses import json_bytes
from api.schemas import (
    OrderBody,
    check_sizes,
    dump,
    order_json,
    read_identifier,
    read_json,
    read_order,
    trade_json,
)
from api.submit import NoReply
from workers.adapters.errors import AdapterError
from workers.core.codec import Reply
from workers.core.duplicates import FirstOrder, judge
from workers.core.instruments import Instrument
from workers.core.messages import FINAL, CancelOrder, SubmitOrder
from workers.core.records import OrderRecord, TradeRecord
from workers.metrics import Metrics

orders = Blueprint("orders")


def make_order_id() -> str:
    """Return a time-ordered UUID (version 7): neighbours in time are neighbours in the index."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = uuid.uuid4().int
    return str(
        uuid.UUID(
            int=(milliseconds & (1 << 48) - 1) << 80
            | 0x7 << 76
            | (random_bits >> 64 & 0xFFF) << 64
            | 0b10 << 62
            | random_bits & (1 << 62) - 1
        )
    )


@orders.post("/orders")
async def submit_order(request: Request) -> HTTPResponse:
    """Submit an order; answer when it, its fills and its ledger entries are durable."""
    exchange: Exchange = request.app.ctx.exchange
    metrics: Metrics = request.app.ctx.metrics
    with Submission(metrics):
        header_key = request.headers.get("Idempotency-Key")
        body = read_order(read_json(request.body), header_key)
        metrics.orders_received(body.type, body.side).inc()
        instrument = exchange.instruments.get(body.instrument)
        check_sizes(body, instrument)
        command = _command(body)
        request.ctx.order_id = command.order_id
        try:
            return await _submit(exchange, instrument, command)
        except AdapterError as error:
            # It was sent. Whatever failed since then, nobody may call it not applied.
            raise _unknown_outcome(command.order_id) from error


async def _submit(exchange: Exchange, instrument: Instrument, command: SubmitOrder) -> HTTPResponse:
    try:
        answer = await exchange.submitter.submit(instrument, command)
    except NoReply:
        answer = await _find(exchange, instrument, command)
    if isinstance(answer, OrderRecord):
        return await _found(exchange, instrument, command, answer)
    if answer.outcome == "accepted" and answer.order is not None:
        return await _answer(exchange, answer.order, answer.trades, 201, answer.sequence)
    if answer.outcome == "duplicate":
        order = await exchange.lookups.order(answer.order_id)
        if order is not None:
            trades = await exchange.lookups.order_trades(order.order_id, taker_only=True)
            return await _answer(exchange, order, trades, 200)
    if answer.outcome == "conflict":
        raise _conflict(command, answer.order_id)
    raise ApiError("unavailable", "this order could not be stored and was not applied")


@orders.post("/orders/<order_id:str>/cancel", name="cancel_order")
@orders.delete("/orders/<order_id:str>", name="delete_order")
async def cancel_order(request: Request, order_id: str) -> HTTPResponse:
    """Cancel what remains of a resting order."""
    exchange: Exchange = request.app.ctx.exchange
    read_identifier(order_id, "order_id", "path")
    name = request.args.get("instrument")
    if name is None:
        order = await exchange.lookups.order(order_id)
        if order is None:
            raise unknown_order(order_id)
        name = order.instrument
    instrument = exchange.instruments.get(name)
    try:
        return await _cancel(exchange, instrument, order_id)
    except AdapterError as error:
        raise _unknown_outcome(order_id) from error


async def _cancel(exchange: Exchange, instrument: Instrument, order_id: str) -> HTTPResponse:
    answer = await _send_cancel(exchange, instrument, order_id)
    if isinstance(answer, Reply) and answer.outcome == "cancelled":
        assert answer.order is not None
        return json_bytes(dump({"order": order_json(answer.order)}))
    order = answer if isinstance(answer, OrderRecord) else await exchange.lookups.order(order_id)
    if order is None:
        raise unknown_order(order_id)
    if isinstance(answer, OrderRecord) and order.status == "cancelled":
        # No reply came, so nobody can tell whose cancel it was; this is what the caller wanted.
        return json_bytes(dump({"order": order_json(order)}))
    if order.status in FINAL:
        raise ApiError(
            "order_finished",
            f"order {order_id} is {order.status} and can no longer be cancelled",
            extra={"order": order_json(order)},
        )
    if order.instrument != instrument.instrument:
        raise ApiError(
            "not_found",
            f"order {order_id} is an order in {order.instrument}, not in {instrument.instrument}",
        )
    raise ApiError("unavailable", f"order {order_id} was not cancelled: try again")


@orders.get("/orders/<order_id:str>")
async def read_order_state(request: Request, order_id: str) -> HTTPResponse:
    """Return an order and all its trades."""
    exchange: Exchange = request.app.ctx.exchange
    read_identifier(order_id, "order_id", "path")
    order = await exchange.lookups.order(order_id)
    if order is None:
        raise unknown_order(order_id)
    trades = await exchange.lookups.order_trades(order_id, taker_only=False)
    return json_bytes(
        dump({"order": order_json(order), "trades": [trade_json(trade) for trade in trades]})
    )


def _command(body: OrderBody) -> SubmitOrder:
    return SubmitOrder(
        order_id=body.order_id or make_order_id(),
        client_id=body.client_id,
        side=body.side,
        type=body.type,
        price_ticks=body.price or 0,
        quantity_lots=body.quantity,
        idempotency_key=body.idempotency_key or "",
        order_id_given=body.order_id is not None,
        time_us=0,
        deadline_us=0,
    )


async def _send_cancel(
    exchange: Exchange, instrument: Instrument, order_id: str
) -> Reply | OrderRecord | None:
    try:
        return await exchange.submitter.submit(instrument, CancelOrder(order_id, 0, 0))
    except NoReply:
        order = await exchange.lookups.order(order_id)
        if order is None or order.status in FINAL:
            return order
        raise _unknown_outcome(order_id) from None


async def _find(exchange: Exchange, instrument: Instrument, command: SubmitOrder) -> OrderRecord:
    """Look once for a command that got no reply. Raises ApiError (504)."""
    order = await exchange.lookups.order(command.order_id)
    if order is None and command.idempotency_key:
        order_id = await exchange.lookups.order_id_of_key(
            instrument.instrument_id, command.client_id, command.idempotency_key
        )
        order = await exchange.lookups.order(order_id) if order_id else None
    if order is None:
        raise _unknown_outcome(command.order_id)
    return order


async def _found(
    exchange: Exchange, instrument: Instrument, command: SubmitOrder, order: OrderRecord
) -> HTTPResponse:
    """Answer from PostgreSQL: this command's own order, or an earlier one with its name."""
    first = FirstOrder(
        order.order_id,
        order.client_id,
        order.instrument,
        order.side,
        order.type,
        order.price_ticks,
        order.quantity_lots,
        order.idempotency_key,
    )
    if judge(instrument.instrument, command, first) == "conflict":
        raise _conflict(command, order.order_id)
    trades = await exchange.lookups.order_trades(order.order_id, taker_only=True)
    status = 201 if order.order_id == command.order_id else 200
    return await _answer(exchange, order, trades, status)


async def _answer(
    exchange: Exchange,
    order: OrderRecord,
    trades: tuple[TradeRecord, ...],
    status: int,
    sequence: int = 0,
) -> HTTPResponse:
    try:
        book = exchange.book(order.instrument)
        await book.reach(sequence)
        top: Any = orjson.Fragment(book.top())
    except (TimeoutError, ApiError):
        # The order is durable whatever becomes of the feed; it is answered without the book.
        top = None
    body = dump(
        {
            "order": order_json(order),
            "trades": [trade_json(trade) for trade in trades],
            "orderbook": top,
        }
    )
    headers = {"Idempotent-Replayed": "true"} if status == 200 else None
    return json_bytes(body, status, headers)


def _conflict(command: SubmitOrder, first_order_id: str) -> ApiError:
    name = (
        f"order_id {command.order_id}"
        if first_order_id == command.order_id
        else f"idempotency_key {command.idempotency_key}"
    )
    return ApiError(
        "order_id_conflict" if "order_id" in name else "idempotency_conflict",
        f"{name} was used for another order: repeat the same request, or use a new one",
    )


def _unknown_outcome(order_id: str) -> ApiError:
    return ApiError(
        "unknown_outcome",
        "no answer in time: this may still be applied. Repeating the request with this order_id "
        "or the same idempotency_key is safe and gives the final result",
        extra={"order_id": order_id},
    )
