"""Submit and cancel, whoever asks: HTTP or WebSocket. Outcomes are values, refusals ApiErrors."""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from api.errors import ApiError, unknown_order
from api.exchange import Exchange
from api.observe import Submission
from api.schemas import OrderBody, check_sizes, order_json
from api.submit import Answer, NoReply, Repeat
from workers.adapters.errors import AdapterError
from workers.adapters.waiting import within
from workers.core.codec import Reply
from workers.core.duplicates import FirstOrder, judge
from workers.core.instruments import Instrument
from workers.core.messages import FINAL, CancelOrder, SubmitOrder
from workers.core.records import OrderRecord, TradeRecord

# The one look-up after the time is up may add so much to it: a silent database keeps nobody longer.
LOOK_S = 2.0


class Submitted(NamedTuple):
    """A durable order and the trades it made on arrival; `repeated` when it was there before.

    `sequence` is the depth that the answer is part of, 0 when any will do.
    """

    order: OrderRecord
    trades: tuple[TradeRecord, ...]
    sequence: int = 0
    repeated: bool = False


async def submit(exchange: Exchange, body: OrderBody) -> Submitted:
    """Submit an order; return when it, its fills and its ledger entries are durable.

    Runs without a pause until the order is on its way, so that orders enter the book in the order
    of the calls. Raises ApiError.
    """
    exchange.metrics.orders_received(body.type, body.side).inc()
    with Submission(exchange.metrics):
        instrument = exchange.instruments.get(body.instrument)
        check_sizes(body, instrument)
        return await _submit(exchange, instrument, _command(body))


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


async def cancel(exchange: Exchange, order_id: str, name: str | None) -> OrderRecord:
    """Cancel what remains of a resting order of instrument `name`; see `locate`.

    Runs without a pause until the cancel is on its way. Raises ApiError.
    """
    name = name or exchange.submitter.instrument_of(order_id)
    if name is None:
        raise unknown_order(order_id)
    instrument = exchange.instruments.get(name)
    try:
        return await _cancel(exchange, instrument, order_id)
    except AdapterError as error:
        raise _unknown_outcome(order_id) from error


async def locate(exchange: Exchange, order_ids: Sequence[str]) -> dict[str, str]:
    """Return the instruments of those orders that exist. Raises AdapterError."""
    orders = await exchange.lookups.orders(order_ids) if order_ids else {}
    return {order_id: order.instrument for order_id, order in orders.items()}


def make_order_id() -> str:
    """Return a time-ordered UUID (version 7): neighbours in time are neighbours in the index."""
    when = f"{time.time_ns() // 1_000_000:012x}"
    chance = os.urandom(10).hex()
    variant = "89ab"[int(chance[3], 16) & 3]
    return f"{when[:8]}-{when[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


async def _submit(exchange: Exchange, instrument: Instrument, command: SubmitOrder) -> Submitted:
    try:
        return await _send(exchange, instrument, command)
    except AdapterError as error:
        # It was sent. Whatever failed since then, nobody may call it not applied.
        raise _unknown_outcome(command.order_id) from error


async def _send(exchange: Exchange, instrument: Instrument, command: SubmitOrder) -> Submitted:
    """Send an order, and once more when Redis remembers its key and PostgreSQL does not."""
    try:
        answer = await exchange.submitter.submit(instrument, command)
        if isinstance(answer, Repeat):
            first = await within(LOOK_S, exchange.lookups.order(answer.order_id))
            if first is not None and _key(first, first.instrument) == _key(
                command, instrument.instrument
            ):
                return await _stored(exchange, instrument, command, first, repeated=True)
            # The first is still on its way, or was lost: the matcher sees whichever comes first.
            try:
                answer = await exchange.submitter.submit(instrument, command, again=True)
            except ApiError as refusal:
                # This one was not applied, but the first may be.
                raise _unknown_outcome(answer.order_id) from refusal
    except NoReply:
        answer = await within(LOOK_S, _find(exchange, instrument, command))
    if isinstance(answer, OrderRecord):
        repeated = answer.order_id != command.order_id
        return await _stored(exchange, instrument, command, answer, repeated=repeated)
    if isinstance(answer, Reply):
        if answer.outcome == "accepted" and answer.order is not None:
            return Submitted(answer.order, answer.trades, answer.sequence)
        if answer.outcome == "duplicate":
            order = await exchange.lookups.order(answer.order_id)
            if order is not None:
                return await _stored(exchange, instrument, command, order, repeated=True)
        if answer.outcome == "conflict":
            raise _conflict(command, answer.order_id)
    raise ApiError("unavailable", "this order could not be stored and was not applied")


def _key(order: OrderRecord | SubmitOrder, instrument: str) -> tuple[str, str, str]:
    """Return what an idempotency key is unique for, and the key."""
    return order.client_id, instrument, order.idempotency_key


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


async def _stored(
    exchange: Exchange,
    instrument: Instrument,
    command: SubmitOrder,
    order: OrderRecord,
    *,
    repeated: bool,
) -> Submitted:
    """Answer with an order that PostgreSQL holds under a name of `command`."""
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
    return Submitted(order, trades, repeated=repeated)


async def _cancel(exchange: Exchange, instrument: Instrument, order_id: str) -> OrderRecord:
    answer = await _send_cancel(exchange, instrument, order_id)
    if isinstance(answer, Reply) and answer.outcome == "cancelled":
        assert answer.order is not None
        return answer.order
    order = answer if isinstance(answer, OrderRecord) else await exchange.lookups.order(order_id)
    if order is None:
        raise unknown_order(order_id)
    if isinstance(answer, OrderRecord) and order.status == "cancelled":
        # No reply came, so nobody can tell whose cancel it was; this is what the caller wanted.
        return order
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


async def _send_cancel(exchange: Exchange, instrument: Instrument, order_id: str) -> Answer | None:
    try:
        return await exchange.submitter.submit(instrument, CancelOrder(order_id, 0, 0))
    except NoReply:
        order = await within(LOOK_S, exchange.lookups.order(order_id))
        if order is None or order.status in FINAL:
            return order
        raise _unknown_outcome(order_id) from None


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
