"""The WebSocket: orders in, answers and news out. Messages are handled in the order sent."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
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
from api.middleware import is_our_page
from api.schemas import (
    order_json,
    printable,
    submitted_json,
)
from workers.adapters.errors import AdapterError
from workers.core.records import OrderRecord

logger = logging.getLogger(__name__)

stream = Blueprint("stream")

# Bytes looked at before we look whether there is room for more.
SLICE_BYTES = 4_096
# Frames per second that are no messages (pings, pongs, fragments) before a client is cut off.
IDLE_FRAMES_MAX = 200

POLICY_VIOLATION = 1008

# No history goes on from here: whoever asks for it gets a resync.
NEVER = -1


@stream.websocket("/stream")  # type: ignore[untyped-decorator]
async def serve(request: Request, ws: WebsocketImplProtocol) -> None:
    """Serve one client until the connection is gone."""
    exchange: Exchange = request.app.ctx.exchange
    if not is_our_page(request):
        await ws.close(POLICY_VIOLATION, "this page may not connect: see EXCHANGE_ORIGINS")
        return
    session = Session(exchange, ws, exchange.limiter.address(request))
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
        self.connection = Connection(ws, address)
        self._parts: list[bytes] = []
        self._inbox: list[bytes] = []
        # Orders and cancels under way.
        self._commands = 0
        self._balancing = False
        self._reader: asyncio.Task[None] | None = None
        # Bytes that wait until there is room for what they ask.
        self._unread = bytearray()
        self.connection.on_resume = self._take_unread
        # Frames that were no messages, since when; and whether there were too many.
        self._idle_frames = 0
        self._counted_since = 0.0
        self._cut_off = False

    # Frames in.

    def data_received(self, data: bytes) -> None:
        """Take in what the transport has read."""
        self._unread += data
        self._take_unread()

    async def process_events(self, events: Sequence[object]) -> None:
        """Take in frames that were read before this session was there, or with the end."""
        self._take(events)
        self._balance()

    def _take_unread(self) -> None:
        """Take in a slice after the other, as long as there is room for what it asks."""
        protocol = self._ws.ws_proto
        while self._unread and not self.connection.paused and not self._cut_off:
            piece = bytes(self._unread[:SLICE_BYTES])
            del self._unread[:SLICE_BYTES]
            protocol.receive_data(piece)
            if outgoing := protocol.data_to_send():
                self._start(self._ws.send_data(outgoing))  # type: ignore[no-untyped-call]
            self._take(protocol.events_received())
            self._balance()

    def _take(self, events: Sequence[object]) -> None:
        answered = False
        for frame in events:
            if not isinstance(frame, Frame):
                continue
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    self._inbox.append(b"".join(self._parts))
                    self._parts.clear()
                    continue
            elif frame.opcode is Opcode.PONG and frame.data in self._ws.pings and not answered:
                answered = True
                self._start(self._ws.process_pong(frame))
            if self._is_too_much():
                self._cut_off = True
                self._ws.fail_connection(POLICY_VIOLATION, "too many frames that ask nothing")
                return

    def _is_too_much(self) -> bool:
        """Count a frame that is no message: pings, pongs and fragments cost us and ask nothing."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_since > 1.0:
            self._counted_since, self._idle_frames = now, 0
        self._idle_frames += 1
        return self._idle_frames > IDLE_FRAMES_MAX

    def _balance(self) -> None:
        """See to it that what was asked is done, and that no more is read than can be done."""
        if self._inbox and (self._reader is None or self._reader.done()):
            self._reader = self._start(self._read())
        self._balancing = False
        self.connection.asked = len(self._inbox) + self._commands + len(self.connection.under_way)
        self.connection.balance()

    # Messages.

    async def _read(self) -> None:
        """Handle what has gathered, in the order sent; what comes meanwhile is the next round."""
        while self._inbox:
            messages = [Asked(payload) for payload in self._inbox]
            self._inbox.clear()
            metrics = self._exchange.metrics
            metrics.tally.count(metrics.websocket_messages, len(messages))
            refused = await self._admit(messages)
            await self._locate(messages)
            for message in messages:
                try:
                    if message.client_id in refused:
                        await self._admit_one(message)
                    self._handle(message)
                except ApiError as error:
                    self._refuse(error, message)
                except Exception:
                    logger.exception("a message could not be handled")
                    self._refuse(internal_error(), message)

    async def _admit(self, messages: Sequence[Asked]) -> set[str | None]:
        """Count messages against the limits, each client's at once.

        Return the clients whose messages were too many together: these must be counted singly.
        """
        costs = Counter(message.client_id for message in messages)
        verdicts = await self._exchange.limiter.take_all(self._address, costs)
        return {
            client_id
            for client_id, verdict in verdicts.items()
            if verdict is not None and not verdict.allowed
        }

    async def _admit_one(self, message: Asked) -> None:
        verdict = await self._exchange.limiter.take(self._address, message.client_id)
        if verdict is not None and not verdict.allowed:
            raise too_many(verdict)

    async def _locate(self, messages: Sequence[Asked]) -> None:
        """Find the instruments of the orders to cancel, all at once, before anything goes out.

        Otherwise an order could overtake a cancel that was sent before it. Orders that are on their
        way are asked for first: until they are answered PostgreSQL may not know them.
        """
        cancels = []
        for message in messages:
            if message.order_id and not message.instrument:
                message.instrument = self._exchange.submitter.instrument_of(message.order_id)
                if message.instrument is None:
                    cancels.append(message)
        try:
            found = await trading.locate(self._exchange, [cancel.order_id for cancel in cancels])
        except AdapterError as error:
            for cancel in cancels:
                cancel.error = public_error(error)
            return
        for cancel in cancels:
            cancel.instrument = found.get(cancel.order_id)

    def _handle(self, message: Asked) -> None:
        """Do what a message asks; orders and cancels are answered later. Raises ApiError."""
        if message.error is not None:
            if message.type == "order":
                self._exchange.metrics.orders_rejected(message.error.code).inc()
            raise message.error
        match message.type:
            case "order":
                assert message.body is not None
                self._commands += 1
                trading.begin(self._exchange, message.body, partial(self._ordered, message))
            case "cancel":
                self._commands += 1
                trading.begin_cancel(
                    self._exchange,
                    message.order_id,
                    message.instrument,
                    partial(self._cancelled, message),
                )
            case "subscribe":
                self._subscribe(message)
            case "unsubscribe":
                self._unsubscribe(message)
            case "ping":
                self._answer("pong", message)

    def _ordered(self, message: Asked, outcome: trading.Outcome) -> None:
        """Answer an order that ended; at once, unless the book must be waited for."""
        if isinstance(outcome, ApiError):
            self._refuse(outcome, message)
        else:
            instrument = outcome.order.instrument
            top = self._exchange.top_at_once(instrument, outcome.sequence)
            if top is None:
                self._start(self._accept_later(message, outcome))
            else:
                self._accept(message, outcome, top)
        self._ended()

    async def _accept_later(self, message: Asked, submitted: trading.Submitted) -> None:
        instrument = submitted.order.instrument
        top = await self._exchange.top_of_book(instrument, submitted.sequence)
        self._accept(message, submitted, top)

    def _accept(self, message: Asked, submitted: trading.Submitted, top: bytes | None) -> None:
        self._answer(
            "order_accepted",
            message,
            **submitted_json(submitted.order, submitted.trades),
            orderbook=orjson.Fragment(top) if top else None,
            **({"idempotent_replayed": True} if submitted.repeated else {}),
        )

    def _cancelled(self, message: Asked, outcome: OrderRecord | ApiError) -> None:
        if isinstance(outcome, ApiError):
            self._refuse(outcome, message)
        else:
            self._answer("order_cancelled", message, order=order_json(outcome))
        self._ended()

    def _ended(self) -> None:
        """Take notice that a command has been answered; once for all of this turn of the loop."""
        self._commands -= 1
        if not self._balancing:
            self._balancing = True
            asyncio.get_running_loop().call_soon(self._balance)

    def _subscribe(self, message: Asked) -> None:
        channels = self._channels(message)
        timeline = self._exchange.instruments.timeline
        self._answer_channels("subscribed", message, timeline=timeline)
        resume_from = message.resume_from
        if resume_from is not None and message.timeline not in (None, timeline):
            resume_from = NEVER
        for channel in channels:
            self._exchange.relay.subscribe(self.connection, channel, resume_from)

    def _unsubscribe(self, message: Asked) -> None:
        for channel in self._channels(message):
            self.connection.leave(channel)
        self._answer_channels("unsubscribed", message)

    def _channels(self, message: Asked) -> list[Channel]:
        """Return the channels that a message names. Raises ApiError (404, 503)."""
        assert message.instrument is not None
        self._exchange.instruments.get(message.instrument)
        relay = self._exchange.relay
        return [relay.channel(kind, message.instrument) for kind in message.kinds]

    # Answers out.

    def _answer_channels(self, type: str, message: Asked, **fields: Any) -> None:
        self._answer(type, message, channels=message.kinds, instrument=message.instrument, **fields)

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
        self._balance()
        if not task.cancelled() and task.exception() is not None:
            logger.error("a message could not be handled", exc_info=task.exception())
