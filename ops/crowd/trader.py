"""Brings a crowd to an exchange: through its public API, in real time, for as long as it is asked.

One WebSocket per instrument carries the feed in and orders out, in the order in which they were
decided. Whatever goes wrong ends the connection; the next one starts from what the exchange then
says: a fresh book, and a listing of the crowd's resting orders.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from ops.client.connection import Api, Backoff, Disconnected, Refused, Stream
from ops.client.entry import ANSWERS, BUSY, UNANSWERED_MAX, UNKNOWN, OrderEntry, wait, while_reading
from ops.client.feed import Feed, TapeTrade
from ops.crowd.crowd import Crowd
from ops.crowd.desk import Cancel, Decision, Submit
from workers.core.messages import FINAL
from workers.core.units import format_units, parse_units

# What is later than this is not made up for: after a pause the market goes on, it does not burst.
_LATE_MAX_S: Final = 1.0
# How long a sleep may keep a stop waiting, and how often a wait looks again.
_NAP_S: Final = 0.05
# How long the orders of a crowd that leaves are cancelled through the WebSocket, and then by name.
_LEAVE_S: Final = 3.0
_SWEEP_S: Final = 5.0
_LISTINGS_AT_ONCE: Final = 8


class Trader:
    """Runs one crowd. `say` gets a line when the connection is lost or back."""

    def __init__(self, api: Api, crowd: Crowd, say: Callable[[str], None]) -> None:
        self.crowd = crowd
        self.instrument = crowd.terms.instrument
        self.feed = Feed(self.instrument, self._tell_trade)
        self.entry: OrderEntry[Decision] = OrderEntry()
        self.refused = 0
        self.last_refusal = ""
        self._api = api
        self._say = say
        self._busy_until = 0.0
        self._busy = Backoff()

    async def run(self, stop: asyncio.Event, keep: bool) -> None:
        """Trade until told to stop; then cancel what rests, unless it is to be kept."""
        backoff = Backoff()
        down = False
        while not stop.is_set():
            answered = self.entry.answered
            try:
                async with self._api.stream() as stream:
                    if down:
                        self._say(f"{self.instrument}: connected again")
                        down = False
                    await self._visit(stream, stop, keep)
            except Disconnected as error:
                if not down:
                    self._say(f"{self.instrument}: {error}; trying again until it works")
                down = True
                if self.entry.answered > answered:
                    backoff.succeeded()
                await wait(stop, backoff.next())
        if not keep:
            await self._sweep()

    async def _visit(self, stream: Stream, stop: asyncio.Event, keep: bool) -> None:
        """Trade on one connection. Raises Disconnected when it ends before we are done."""
        try:
            await while_reading(self._read(stream), self._trade(stream, stop, keep))
        finally:
            self.feed.lose()
            self.entry.lose()

    async def _trade(self, stream: Stream, stop: asyncio.Event, keep: bool) -> None:
        await stream.subscribe(["orderbook", "trades"], self.instrument)
        self.crowd.adopt(await self._resting())
        await self._act(stream, stop)
        if not keep:
            await self._leave(stream)

    async def _resting(self) -> list[Submit]:
        """Return the crowd's resting orders, as the exchange lists them."""
        at_once = asyncio.Semaphore(_LISTINGS_AT_ONCE)

        async def of(client_id: str) -> list[dict[str, Any]]:
            async with at_once:
                return await self._api.resting(client_id, self.instrument)

        pages = await asyncio.gather(*map(of, self.crowd.resting_ids))
        return [
            Submit(
                row["order_id"],
                row["side"],
                parse_units(row["price"]),
                parse_units(row["remaining_quantity"]),
            )
            for page in pages
            for row in page
            if row["order_id"].startswith(f"{row['client_id']}.")
        ]

    # Deciding and sending.

    async def _act(self, stream: Stream, stop: asyncio.Event) -> None:
        """Let arrivals happen at their times."""
        crowd = self.crowd
        clock = time.monotonic
        began = clock() - crowd.next_at
        while not stop.is_set():
            now = clock()
            late_s = now - began - crowd.next_at
            book = self.feed.book
            if book is None or self.entry.under_way >= UNANSWERED_MAX or now < self._busy_until:
                await asyncio.sleep(_NAP_S)
            elif late_s < 0:
                await asyncio.sleep(min(-late_s, _NAP_S))
            else:
                if late_s > _LATE_MAX_S:
                    began += late_s
                for decision in crowd.act(book):
                    await self._send(stream, decision)
                await asyncio.sleep(0)  # Answers and the feed come in between.

    async def _send(self, stream: Stream, decision: Decision) -> None:
        message: dict[str, Any] = {
            "type": "cancel",
            "order_id": decision.order_id,
            "instrument": self.instrument,
        }
        if isinstance(decision, Submit):
            message |= {
                "type": "order",
                "order_type": "limit" if decision.price_ticks else "market",
                "client_id": decision.client_id,
                "side": decision.side,
                "quantity": format_units(decision.quantity_lots),
            }
            if decision.price_ticks:
                message["price"] = format_units(decision.price_ticks)
        await self.entry.send(stream, message, decision)

    async def _leave(self, stream: Stream) -> None:
        """Cancel every order, and wait for the answers for a while."""
        try:
            async with asyncio.timeout(_LEAVE_S):
                while self.crowd.desk.orders or self.entry.under_way:
                    for own in list(self.crowd.desk.orders.values()):
                        if own.resting and not own.cancelling:
                            await self._send(stream, self.crowd.desk.cancel(own))
                    await asyncio.sleep(_NAP_S)
        except TimeoutError:
            pass  # The sweep sees to the rest.

    async def _sweep(self) -> None:
        """Cancel by name whatever the exchange still lists as the crowd's."""
        backoff = Backoff()
        error: Exception | None = None
        try:
            async with asyncio.timeout(_SWEEP_S):
                while True:
                    try:
                        orders = await self._resting()
                        for order in orders:
                            await self._api.cancel(order.order_id, self.instrument)
                        if not orders:
                            return
                    except Disconnected as lost:
                        error = lost
                        await asyncio.sleep(backoff.next())
        except TimeoutError:
            self._say(
                f"{self.instrument}: orders may still rest ({error}); the next run takes them over"
            )

    # What comes back.

    async def _read(self, stream: Stream) -> None:
        async for message in stream.messages():
            kind = message["type"]
            if kind in ANSWERS:
                self._answer(message)
            elif kind == "resync":
                raise Disconnected("the exchange left out messages: we read too slowly")
            elif self.feed.take(message) == "gap":
                raise Disconnected("a message of the feed is missing")

    def _tell_trade(self, trade: TapeTrade) -> None:
        self.crowd.trade(
            trade.buy_order_id, trade.sell_order_id, trade.taker_side, trade.quantity_lots
        )

    def _answer(self, message: dict[str, Any]) -> None:
        decision = self.entry.answer(message)
        if decision is None:
            if message["type"] == "error":
                text = f"{self.instrument}: {message['message']}"
                raise (Disconnected if message["error"] in BUSY else Refused)(text)
            return
        desk = self.crowd.desk
        if message["type"] == "error":
            self._refusal(decision, message["error"], message["message"])
            return
        self._busy.succeeded()
        if message["order"]["status"] in FINAL:
            desk.gone(decision.order_id)
        else:
            desk.rests(decision.order_id)

    def _refusal(self, decision: Decision, code: str, text: str) -> None:
        desk = self.crowd.desk
        own = desk.orders.get(decision.order_id)
        if code in ("not_found", "order_finished") and isinstance(decision, Cancel):
            # It was filled while the cancel was on its way: as good an answer as another.
            self.entry.answered += 1
            desk.gone(decision.order_id)
            return
        self.refused += 1
        self.last_refusal = text
        if code in BUSY:
            self._busy_until = time.monotonic() + self._busy.next()
        if isinstance(decision, Submit) and code not in UNKNOWN:
            desk.gone(decision.order_id)
        elif own is not None:
            # It may rest: then it is cancelled some time, and if it is not there that is answered.
            own.resting, own.cancelling = True, False
