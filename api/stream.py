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
from api.asked import Asked
from api.connections import Channel, Connection
from api.errors import ApiError, internal_error, public_error
from api.exchange import Exchange
from api.limits import too_many
from api.schemas import (
    order_json,
    printable,
    submitted_json,
)
from workers.adapters.errors import AdapterError

logger = logging.getLogger(__name__)

stream = Blueprint("stream")


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
            if message.type == "order":
                self._exchange.metrics.orders_rejected(message.error.code).inc()
            raise message.error
        match message.type:
            case "order":
                self._start(self._order(message))
            case "cancel":
                self._start(self._cancel(message))
            case "subscribe":
                self._subscribe(message)
            case "unsubscribe":
                self._unsubscribe(message)
            case "ping":
                self._answer("pong", message)

    async def _order(self, message: Asked) -> None:
        assert message.body is not None
        try:
            submitted = await trading.submit(self._exchange, message.body)
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
        channels = self._channels(message)
        self._answer_channels("subscribed", message)
        for channel in channels:
            self._exchange.relay.subscribe(self.connection, channel, message.resume_from)

    def _unsubscribe(self, message: Asked) -> None:
        for channel in self._channels(message):
            self._exchange.relay.unsubscribe(self.connection, channel)
        self._answer_channels("unsubscribed", message)

    def _channels(self, message: Asked) -> list[Channel]:
        """Return the channels that a message names. Raises ApiError (404, 503)."""
        assert message.instrument is not None
        self._exchange.instruments.get(message.instrument)
        relay = self._exchange.relay
        return [relay.channel(kind, message.instrument) for kind in message.kinds]

    # Answers out.

    def _answer_channels(self, type: str, message: Asked) -> None:
        self._answer(type, message, channels=message.kinds, instrument=message.instrument)

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
