"""The WebSocket: orders in, answers and news out. Messages are handled in the order sent."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import orjson
from sanic import Blueprint, Request
from sanic.server.websockets.impl import WebsocketImplProtocol
from websockets.frames import Frame, Opcode

from api import frames, trading
from api.errors import ApiError, internal_error, invalid, public_error
from api.exchange import Exchange
from api.limits import too_many
from api.relay import KINDS, Channel, Connection, Kind
from api.schemas import (
    Number,
    OrderBody,
    order_json,
    printable,
    read_identifier,
    read_message,
    read_order_message,
    submitted_json,
)
from workers.adapters.errors import AdapterError
from workers.core.instruments import DEFAULT_INSTRUMENT

logger = logging.getLogger(__name__)

stream = Blueprint("stream")

REQUEST_ID_LENGTH_MAX = 64
# Messages that submit an order.
ORDER_TYPES = ("order", "limit", "market")


@stream.websocket("/stream")  # type: ignore[untyped-decorator]
async def serve(request: Request, ws: WebsocketImplProtocol) -> None:
    """Serve one client until the connection is gone."""
    exchange: Exchange = request.app.ctx.exchange
    session = Session(exchange, ws, request.client_ip)
    # Sanic's own reader spends a task and three locks on every message. Its protocol object is
    # free of I/O, so the frames can be taken as they are read.
    ws.data_received = session.data_received  # type: ignore[method-assign]
    ws.process_events = session.process_events  # type: ignore[method-assign]
    exchange.relay.add(session.connection)
    client_id = request.args.get("client_id") or str(uuid.uuid4())
    session.connection.write(frames.message("connected", client_id=printable(client_id)))
    try:
        await ws.wait_for_connection_lost()
    finally:
        exchange.relay.remove(session.connection)


class Asked:
    """One message: what was asked, or why it cannot be understood, and its request_id.

    `body` is set for an order; `order_id` for a cancel, `instrument` when it names one.
    """

    __slots__ = ("body", "error", "fields", "instrument", "order_id", "request_id")

    def __init__(self, payload: bytes) -> None:
        self.fields: dict[str, Any] = {}
        self.request_id: str | int | None = None
        self.body: OrderBody | None = None
        self.order_id = ""
        self.instrument: str | None = None
        self.error: ApiError | None = None
        try:
            self.fields = read_message(payload)
            self.request_id = _request_id(self.fields.get("request_id"))
            match self.fields.get("type"):
                case str(kind) if kind in ORDER_TYPES:
                    self.body = read_order_message(self.fields)
                case "cancel":
                    _known_fields(self.fields, "order_id", "instrument", "client_id")
                    self.order_id = read_identifier(
                        self.fields.get("order_id"), "order_id", "message"
                    )
                    name = self.fields.get("instrument")
                    if name is not None:
                        self.instrument = read_identifier(name, "instrument", "message")
        except ApiError as error:
            self.error = error


class Session:
    """The incoming half of one WebSocket, and what is under way for it."""

    def __init__(self, exchange: Exchange, ws: WebsocketImplProtocol, address: str) -> None:
        self._exchange = exchange
        self._ws = ws
        self._address = address
        self.connection = Connection(ws)
        self._parts: list[bytes] = []
        self._inbox: list[bytes] = []
        self._reader: asyncio.Task[None] | None = None

    # Frames in.

    def data_received(self, data: bytes) -> None:
        """Take in what the transport has read."""
        protocol = self._ws.ws_proto
        protocol.receive_data(data)
        if outgoing := protocol.data_to_send():
            self._start(self._ws.send_data(outgoing))  # type: ignore[no-untyped-call]
        self._take(protocol.events_received())

    async def process_events(self, events: Sequence[object]) -> None:
        """Take in frames that were read before this session was there, or with the end."""
        self._take(events)

    def _take(self, events: Sequence[object]) -> None:
        for frame in events:
            if not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.PONG:
                self._start(self._ws.process_pong(frame))
            elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    self._inbox.append(b"".join(self._parts))
                    self._parts.clear()
        if self._inbox:
            if self._reader is None or self._reader.done():
                self._reader = self._start(self._read())
            self._count()
            self.connection.hold_reading()

    # Messages.

    async def _read(self) -> None:
        """Handle what has gathered, in the order sent; what comes meanwhile is the next round."""
        while self._inbox:
            messages = [Asked(payload) for payload in self._inbox]
            self._inbox.clear()
            self._exchange.metrics.websocket_messages.inc(len(messages))
            allowed = await self._admit(messages)
            await self._locate(messages)
            for message in messages:
                try:
                    if not allowed:
                        await self._take_one(message)
                    self._handle(message)
                except ApiError as error:
                    self._refuse(error, message)
                except Exception:
                    logger.exception("a message could not be handled")
                    self._refuse(internal_error(), message)

    async def _admit(self, messages: Sequence[Asked]) -> bool:
        """Count messages against the limits, all at once; False to count them one by one."""
        costs = Counter(message.body.client_id if message.body else None for message in messages)
        verdicts = await asyncio.gather(
            *(
                self._exchange.limiter.take(self._address, client_id, cost)
                for client_id, cost in costs.items()
            )
        )
        return all(verdict is None or verdict.allowed for verdict in verdicts)

    async def _take_one(self, message: Asked) -> None:
        client_id = message.body.client_id if message.body else None
        verdict = await self._exchange.limiter.take(self._address, client_id)
        if verdict is not None and not verdict.allowed:
            raise too_many(verdict)

    async def _locate(self, messages: Sequence[Asked]) -> None:
        """Find the instruments of the orders to cancel, all at once, before anything goes out.

        Otherwise an order could overtake a cancel that was sent before it.
        """
        cancels = [message for message in messages if message.order_id and not message.instrument]
        try:
            found = await trading.locate(self._exchange, [cancel.order_id for cancel in cancels])
        except AdapterError as error:
            for cancel in cancels:
                cancel.error = public_error(error)
            return
        for cancel in cancels:
            cancel.instrument = found.get(cancel.order_id)

    def _handle(self, message: Asked) -> None:
        """Do what a message asks; orders and cancels go on in tasks. Raises ApiError."""
        if message.error is not None:
            if message.fields.get("type") in ORDER_TYPES:
                self._exchange.metrics.orders_rejected(message.error.code).inc()
            raise message.error
        if message.body is not None:
            self._start(self._order(message, message.body))
            return
        match message.fields.get("type"):
            case "cancel":
                self._start(self._cancel(message))
            case "subscribe":
                self._subscribe(message)
            case "unsubscribe":
                self._unsubscribe(message)
            case "ping":
                self._answer("pong", message)
            case _:
                raise invalid(
                    "type", "must be order, cancel, subscribe, unsubscribe or ping", "message"
                )

    async def _order(self, message: Asked, body: OrderBody) -> None:
        try:
            submitted = await trading.submit(self._exchange, body)
        except (ApiError, AdapterError) as error:
            self._refuse(public_error(error), message)
            return
        top = await self._exchange.top_of_book(submitted.order.instrument, submitted.sequence)
        self._answer(
            "order_accepted",
            message,
            **submitted_json(submitted.order, submitted.trades),
            orderbook=orjson.Fragment(top) if top else None,
            **({"idempotent_replayed": True} if submitted.repeated else {}),
        )

    async def _cancel(self, message: Asked) -> None:
        try:
            order = await trading.cancel(self._exchange, message.order_id, message.instrument)
        except (ApiError, AdapterError) as error:
            self._refuse(public_error(error), message)
            return
        self._answer("order_cancelled", message, order=order_json(order))

    def _subscribe(self, message: Asked) -> None:
        channels = self._channels(message.fields)
        resume_from = _sequence(message.fields.get("resume_from"))
        self._answer_channels("subscribed", message, channels)
        for channel in channels:
            self._exchange.relay.subscribe(self.connection, channel, resume_from)

    def _unsubscribe(self, message: Asked) -> None:
        channels = self._channels(message.fields)
        for channel in channels:
            self._exchange.relay.unsubscribe(self.connection, channel)
        self._answer_channels("unsubscribed", message, channels)

    def _channels(self, fields: dict[str, Any]) -> list[Channel]:
        """Return the channels that a message names: all of them or none. Raises ApiError."""
        _known_fields(fields, "channel", "channels", "instrument", "resume_from", "client_id")
        names = fields.get("channels", fields.get("channel"))
        if isinstance(names, str):
            names = [names]
        if not isinstance(names, list) or not names:
            raise invalid("channels", f"must be a list of {', '.join(KINDS)}", "message")
        kinds: list[Kind] = [kind for kind in KINDS if kind in names]
        if unknown := [name for name in names if name not in KINDS]:
            raise invalid(
                "channels",
                f"has no {printable(str(unknown[0]))}: use {', '.join(KINDS)}",
                "message",
            )
        name = read_identifier(
            fields.get("instrument", DEFAULT_INSTRUMENT), "instrument", "message"
        )
        self._exchange.instruments.get(name)
        return [self._exchange.relay.channel(kind, name) for kind in kinds]

    # Answers out.

    def _answer_channels(self, type: str, message: Asked, channels: Sequence[Channel]) -> None:
        self._answer(
            type,
            message,
            channels=[channel.kind for channel in channels],
            instrument=channels[0].instrument,
        )

    def _answer(self, type: str, message: Asked, /, **fields: Any) -> None:
        if message.request_id is not None:
            fields["request_id"] = message.request_id
        self.connection.write(frames.message(type, **fields))

    def _refuse(self, error: ApiError, message: Asked) -> None:
        self._answer("error", message, **error.body())

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Go on with `work` in a task; it outlives the connection."""
        task = asyncio.create_task(work)
        self.connection.under_way.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self.connection.under_way.discard(task)
        self._count()
        self.connection.go_on_reading()
        if not task.cancelled() and task.exception() is not None:
            logger.error("a message could not be handled", exc_info=task.exception())

    def _count(self) -> None:
        self.connection.asked = len(self._inbox) + len(self.connection.under_way)


def _request_id(value: object) -> str | int | None:
    """Return the client's own name of a request, to be echoed. Raises ApiError (400)."""
    if type(value) is Number and value.removeprefix("-").isdigit() and len(value) <= 16:
        return int(value)
    if value is None or (type(value) is str and len(value) <= REQUEST_ID_LENGTH_MAX):
        return printable(value) if value is not None else None
    raise invalid(
        "request_id",
        f"must be a string of at most {REQUEST_ID_LENGTH_MAX} characters or an integer",
        "message",
    )


def _sequence(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is Number and value.isascii() and value.isdigit() and len(value) <= 16:
        return int(value)
    raise invalid("resume_from", "must be a sequence: a whole number", "message")


def _known_fields(fields: dict[str, Any], *names: str) -> None:
    for name in fields:
        if name not in (*names, "type", "request_id"):
            raise invalid(printable(name), "is not a known field", "message")
