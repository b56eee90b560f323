"""Plays a recording against an exchange: each command when it is due, all of them in file order.

Commands go out on one WebSocket, so they enter each book in the order of the file, whatever their
number per second. Every order gets an id of this run, `<run>.<id in the file>`. When the connection
is lost, what was not answered is sent again, in its order: the exchange knows an order_id that it
has seen, so nothing happens twice. The recording's clock stands still meanwhile. What the exchange
was too busy for is sent again, too, before the rest of the file.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ops.client.connection import Api, Backoff, Disconnected, Refused, Stream
from ops.client.entry import ANSWERS, BUSY, UNANSWERED_MAX, UNKNOWN, OrderEntry, wait, while_reading
from ops.client.feed import Feed, TapeTrade
from ops.recording.steps import CancelOrder, Command, Order, Recording, Step
from workers.core.messages import FINAL
from workers.core.units import parse_units

_NAP_S: Final = 0.05
# How long a player that ends waits for answers.
_LEAVE_S: Final = 10.0
COMPLAINTS_MAX: Final = 10

# What came of a cancel that was refused, by the error.
_CANCELS: Final = {"not_found": "cancels: unknown order", "order_finished": "cancels: finished"}


# The line of cancels that are not in the file.
AT_THE_END: Final = -1


class Sent(NamedTuple):
    """A command, the line it is from, and its number: the order in which commands go out."""

    number: int
    line: int
    command: Command


class Player:
    """One run of a recording. `counts` says what came of its commands, by outcome."""

    def __init__(
        self,
        api: Api,
        recording: Recording,
        run: str,
        speed: float,
        say: Callable[[str], None],
    ) -> None:
        self.entry: OrderEntry[Sent] = OrderEntry()
        self.feeds = {name: Feed(name, self._traded) for name in recording.instruments}
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.line = 0
        # Microseconds of the recording that are played, and seconds that it is late.
        self.played_us = 0
        self.late_s = 0.0
        # What may rest, by its id in the exchange: its cancel, and the lots left of it.
        self.remaining: dict[str, tuple[CancelOrder, int]] = {}
        self._api = api
        self._steps = recording.steps
        self._run = run
        self._speed = speed
        self._say = say
        # Read from the recording, and not due yet: it outlives a connection that is lost meanwhile.
        self._step: Step | None = None
        # Due, in line; and those to be sent again, which go first, by number.
        self._queue: deque[Sent] = deque()
        self._again: list[Sent] = []
        self._taken = 0
        self._first_us: int | None = None
        self._began = 0.0
        self._busy_until = 0.0
        self._busy = Backoff()
        self._down_since: float | None = None
        self._done = False

    async def play(self, stop: asyncio.Event, keep: bool) -> None:
        """Play to the end, or until told to stop; then cancel what rests, unless it is kept."""
        backoff = Backoff()
        while not self._done:
            answered = self.entry.answered
            try:
                async with self._api.stream() as stream:
                    await while_reading(self._read(stream), self._send_all(stream, stop, keep))
            except Disconnected as error:
                if self.entry.answered > answered:
                    backoff.succeeded()
                if self._down_since is None:
                    self._down_since = time.monotonic()
                    self._say(f"{error}; trying again until it works")
                if stop.is_set():
                    self._say(f"{len(self.remaining)} orders may still rest: {error}")
                    return
                await wait(stop, backoff.next())
            finally:
                self._again = sorted(self._again + self.entry.lose())
                for feed in self.feeds.values():
                    feed.lose()

    # Out.

    async def _send_all(self, stream: Stream, stop: asyncio.Event, keep: bool) -> None:
        for instrument in self.feeds:
            feed = self.feeds[instrument]
            await stream.subscribe(["orderbook"], instrument)
            await stream.subscribe(["trades"], instrument, feed.last_trade)
        if self._down_since is not None:
            self._began += time.monotonic() - self._down_since
            self._down_since = None
            self._say("connected again")
        await self._play(stream, stop)
        if not keep:
            await self._take_back(stream)
        self._done = True

    async def _play(self, stream: Stream, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if self._is_held_up():
                await asyncio.sleep(_NAP_S)
            elif self._again:
                await self._send(stream, self._again.pop(0))
            elif self._queue:
                await self._send(stream, self._queue.popleft())
            elif self._step is not None:
                await self._until_due(self._step.time_us, stop)
                if not stop.is_set():
                    self._take(self._step)
            elif (step := next(self._steps, None)) is not None:
                self._step = step
            elif self.entry.under_way:
                await asyncio.sleep(_NAP_S / 10)
            else:
                return

    def _take(self, step: Step) -> None:
        """Put a step that is due in line."""
        self._step = None
        self.line = step.number
        for command in step.commands:
            self._taken += 1
            self._queue.append(Sent(self._taken, step.number, command))

    def _is_held_up(self) -> bool:
        return self.entry.under_way >= UNANSWERED_MAX or time.monotonic() < self._busy_until

    async def _until_due(self, time_us: int | None, stop: asyncio.Event) -> None:
        """Wait until the recording's time has come; see how late we are."""
        if time_us is None:
            await asyncio.sleep(0)
            return
        if self._first_us is None:
            self._first_us, self._began = time_us, time.monotonic()
        self.played_us = time_us - self._first_us
        if not self._speed:
            await asyncio.sleep(0)
            return
        due = self.played_us / 1e6 / self._speed
        early_s = self._began + due - time.monotonic()
        if early_s > 0:
            await wait(stop, early_s)
        else:
            await asyncio.sleep(0)  # Answers and the feed come in between.
        self.late_s = max(0.0, -early_s)

    async def _send(self, stream: Stream, sent: Sent) -> None:
        command = sent.command
        order_id = self._public(command)
        message: dict[str, Any] = {"order_id": order_id, "instrument": command.instrument}
        if isinstance(command, CancelOrder):
            message["type"] = "cancel"
        else:
            message |= {
                "type": "order",
                "order_type": "market" if command.price is None else "limit",
                "client_id": command.client_id,
                "side": command.side,
                "quantity": command.quantity,
            }
            if command.price is not None:
                message["price"] = command.price
                cancel = CancelOrder(command.order_id, command.instrument)
                self.remaining.setdefault(order_id, (cancel, parse_units(command.quantity)))
        await self.entry.send(stream, message, sent)

    async def _take_back(self, stream: Stream) -> None:
        """Cancel whatever may rest. Raises Disconnected when it is not answered."""
        gives_up_at = time.monotonic() + _LEAVE_S
        self._again.clear()
        while self.remaining or self.entry.under_way:
            if time.monotonic() > gives_up_at:
                raise Disconnected("cancels are not answered")
            if not self.entry.under_way and not self._is_held_up():
                for cancel, _ in list(self.remaining.values())[:UNANSWERED_MAX]:
                    await self._send(stream, Sent(self._taken, AT_THE_END, cancel))
                self._again.clear()
            await asyncio.sleep(_NAP_S / 10)

    def _public(self, command: Command) -> str:
        """Return the id in the exchange of the order that a command is about."""
        return f"{self._run}.{command.order_id}"

    # In.

    async def _read(self, stream: Stream) -> None:
        async for message in stream.messages():
            kind = message["type"]
            if kind in ANSWERS:
                self._answer(message)
            elif "channel" in message:
                feed = self.feeds[message["channel"].partition(":")[2]]
                if feed.take(message) == "gap":
                    await stream.unsubscribe(["orderbook"], feed.instrument)
                    await stream.subscribe(["orderbook"], feed.instrument)

    def _traded(self, trade: TapeTrade) -> None:
        for order_id in (trade.buy_order_id, trade.sell_order_id):
            if order_id in self.remaining:
                cancel, left = self.remaining.pop(order_id)
                if left > trade.quantity_lots:
                    self.remaining[order_id] = cancel, left - trade.quantity_lots

    def _answer(self, message: dict[str, Any]) -> None:
        sent = self.entry.answer(message)
        if sent is None:
            if message["type"] == "error":
                raise (Disconnected if message["error"] in BUSY else Refused)(message["message"])
            return
        if message["type"] == "error":
            self._refusal(sent, message["error"], message["message"])
            return
        self._busy.succeeded()
        status = message["order"]["status"]
        if status in FINAL:
            self.remaining.pop(self._public(sent.command), None)
        if isinstance(sent.command, Order):
            self.counts[f"orders: {status}"] += 1
            self.counts["trades"] += len(message["trades"])
        elif sent.line == AT_THE_END:
            self.counts["taken back at the end"] += 1
        else:
            self.counts["cancels: cancelled"] += 1

    def _refusal(self, sent: Sent, code: str, text: str) -> None:
        command = sent.command
        is_cancel = isinstance(command, CancelOrder)
        early = code == "not_found" and any(
            other.command.order_id == command.order_id and isinstance(other.command, Order)
            for other in (*self._again, *self.entry.unanswered())
        )
        if code in BUSY or code in UNKNOWN or (is_cancel and early):
            # Repeating is safe under the same order_id. A cancel waits for its order.
            self._busy_until = time.monotonic() + self._busy.next()
            self._again = sorted([*self._again, sent])
            self.counts["sent again"] += 1
            return
        self.remaining.pop(self._public(command), None)
        if is_cancel and code in _CANCELS:
            if sent.line != AT_THE_END:
                self.counts[_CANCELS[code]] += 1
            return
        self.counts[f"refused: {code}"] += 1
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append(f"line {sent.line}: {text}")
