"""Submit and cancel, whoever asks: HTTP or WebSocket. Outcomes are values, refusals ApiErrors."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from api.errors import ApiError, internal_error, unknown_order
from api.exchange import Exchange
from api.observe import submitted
from api.schemas import NewOrder, check_sizes, order_json
from api.submit import Answer, NoReply, Repeat
from workers.adapters.errors import AdapterError
from workers.adapters.waiting import within
from workers.core.codec import Reply
from workers.core.duplicates import FirstOrder, judge
from workers.core.instruments import Instrument
from workers.core.messages import FINAL, CancelOrder, SubmitOrder
from workers.core.records import OrderRecord, TradeRecord

logger = logging.getLogger(__name__)

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


async def submit(exchange: Exchange, body: NewOrder) -> Submitted:
    """Submit an order; return when it, its fills and its ledger entries are durable.

    Runs without a pause until the order is on its way, so that orders enter the book in the order
    of the calls. Raises ApiError.
    """
    began = _received(exchange, body)
    try:
        instrument, command = _read(exchange, body)
        heard = exchange.heard(instrument.instrument)
        first = exchange.submitter.submit(instrument, command)
        outcome = await _submit(exchange, instrument, command, heard, first)
    except BaseException as error:
        submitted(exchange.metrics, began, error)
        raise
    submitted(exchange.metrics, began, None)
    return outcome


Result = TypeVar("Result")
# How a submitted order ended.
Outcome = Submitted | ApiError


def begin(exchange: Exchange, body: NewOrder, done: Callable[[Outcome], None]) -> None:
    """Submit an order like `submit`, without a task that waits: `done` is told how it ended.

    That is at once when it is refused at once. An order is on its way when this returns.
    """
    began = _received(exchange, body)

    def end(outcome: Outcome) -> None:
        submitted(exchange.metrics, began, outcome if isinstance(outcome, ApiError) else None)
        done(outcome)

    try:
        instrument, command = _read(exchange, body)
    except ApiError as refusal:
        end(refusal)
        return

    def at_once(answer: Answer | None) -> Submitted | None:
        if isinstance(answer, Reply) and answer.outcome == "accepted" and answer.order is not None:
            return Submitted(answer.order, answer.trades, answer.sequence)
        return None

    heard = exchange.heard(instrument.instrument)
    answer = exchange.submitter.send(instrument, command)
    find_out = partial(_submit, exchange, instrument, command, heard)
    _when_answered(exchange, answer, at_once, find_out, end)


def begin_cancel(
    exchange: Exchange,
    order_id: str,
    name: str | None,
    done: Callable[[OrderRecord | ApiError], None],
) -> None:
    """Cancel like `cancel`, in the manner of `begin`."""
    try:
        instrument = _find_instrument(exchange, order_id, name)
    except ApiError as refusal:
        done(refusal)
        return

    def at_once(answer: Answer | None) -> OrderRecord | None:
        if isinstance(answer, Reply) and answer.outcome == "cancelled":
            return answer.order
        return None

    answer = exchange.submitter.send(instrument, CancelOrder(order_id, 0, 0))
    find_out = partial(_cancel, exchange, instrument, order_id)
    _when_answered(exchange, answer, at_once, find_out, done)


def _when_answered(
    exchange: Exchange,
    answer: "asyncio.Future[Answer]",
    at_once: Callable[[Answer | None], Result | None],
    find_out: "Callable[[asyncio.Future[Answer]], Coroutine[Any, Any, Result]]",
    done: Callable[[Result | ApiError], None],
) -> None:
    """Tell `done` what comes of an answer: `at_once`, or when that is None, which is rare, what
    `find_out` does in a task.
    """

    async def finish() -> None:
        try:
            outcome: Result | ApiError = await find_out(answer)
        except ApiError as refusal:
            outcome = refusal
        except Exception:
            logger.exception("a command could not be answered")
            outcome = internal_error()
        done(outcome)

    def answered(answer: "asyncio.Future[Answer]") -> None:
        outcome = at_once(answer.result() if answer.exception() is None else None)
        if outcome is not None:
            done(outcome)
        else:
            exchange.start(finish())

    answer.add_done_callback(answered)


def _received(exchange: Exchange, body: NewOrder) -> float:
    """Count an order that came; return when it did."""
    metrics = exchange.metrics
    metrics.tally.count(metrics.orders_received(body.type, body.side))
    return time.perf_counter()


def _read(exchange: Exchange, body: NewOrder) -> tuple[Instrument, SubmitOrder]:
    """Return what an order asks for, and of whom. Raises ApiError."""
    instrument = exchange.instruments.get(body.instrument)
    check_sizes(body, instrument)
    return instrument, _command(body)


def _command(body: NewOrder) -> SubmitOrder:
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
    instrument = _find_instrument(exchange, order_id, name)
    first = exchange.submitter.submit(instrument, CancelOrder(order_id, 0, 0))
    return await _cancel(exchange, instrument, order_id, first)


def _find_instrument(exchange: Exchange, order_id: str, name: str | None) -> Instrument:
    name = name or exchange.submitter.instrument_of(order_id)
    if name is None:
        raise unknown_order(order_id)
    return exchange.instruments.get(name)


async def locate(exchange: Exchange, order_ids: Sequence[str]) -> dict[str, str]:
    """Return the instruments of those orders that exist. Raises AdapterError."""
    orders = await exchange.lookups.orders(order_ids) if order_ids else {}
    return {order_id: order.instrument for order_id, order in orders.items()}


def make_order_id() -> str:
    """Return a time-ordered UUID (version 7): neighbours in time are neighbours in the index."""
    when = f"{time.time_ns() // 1_000_000:012x}"
    chance = secrets.token_hex(10)
    variant = "89ab"[int(chance[3], 16) & 3]
    return f"{when[:8]}-{when[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


async def _submit(
    exchange: Exchange,
    instrument: Instrument,
    command: SubmitOrder,
    heard: int,
    first: Awaitable[Answer],
) -> Submitted:
    try:
        return await _answer(exchange, instrument, command, heard, first)
    except AdapterError as error:
        # It was sent. Whatever failed since then, nobody may call it not applied.
        raise _unknown_outcome(command.order_id) from error


async def _answer(
    exchange: Exchange,
    instrument: Instrument,
    command: SubmitOrder,
    heard: int,
    first: Awaitable[Answer],
) -> Submitted:
    """Find the answer of an order that was sent when sequence `heard` was known: `first`.

    It is sent once more when Redis remembers its key and PostgreSQL does not.
    """
    try:
        answer = await first
        if isinstance(answer, Repeat):
            stored = await within(LOOK_S, exchange.lookups.order(answer.order_id))
            if stored is not None and _key(stored, stored.instrument) == _key(
                command, instrument.instrument
            ):
                return await _stored(exchange, instrument, command, stored, repeated=True)
            # The first is still on its way, or was lost: the matcher sees whichever comes first.
            try:
                answer = await exchange.submitter.submit(instrument, command, again=True)
            except ApiError as refusal:
                # This one was not applied, but the first may be.
                raise _unknown_outcome(answer.order_id) from refusal
    except NoReply:
        answer = await within(LOOK_S, _find(exchange, instrument, command))
    if isinstance(answer, OrderRecord):
        repeated = answer.order_id != command.order_id or await _was_there(
            exchange, instrument, answer, heard
        )
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


async def _was_there(
    exchange: Exchange, instrument: Instrument, order: OrderRecord, heard: int
) -> bool:
    """Tell whether a stored order was accepted by sequence `heard`, which its command came after.

    Not so told is a repeat that was sent before this process could have heard of the first: then
    nobody knows which of the two was matched, and both may call the order theirs.
    """
    accepted = await exchange.lookups.accepted_sequence(order.order_id)
    if accepted is None:
        return False
    exchange.told(instrument.instrument, accepted)
    return accepted <= heard


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


async def _cancel(
    exchange: Exchange, instrument: Instrument, order_id: str, first: Awaitable[Answer]
) -> OrderRecord:
    try:
        return await _cancelled(exchange, instrument, order_id, first)
    except AdapterError as error:
        raise _unknown_outcome(order_id) from error


async def _cancelled(
    exchange: Exchange, instrument: Instrument, order_id: str, first: Awaitable[Answer]
) -> OrderRecord:
    answer = await _await_cancel(exchange, order_id, first)
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


async def _await_cancel(
    exchange: Exchange, order_id: str, first: Awaitable[Answer]
) -> Answer | None:
    try:
        return await first
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
