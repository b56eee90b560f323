"""Follows one instrument: its feed without gaps, its ticker, and how fast all of it comes."""

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final

from ops.client.connection import Api, Backoff, Disconnected, Refused, Stream
from ops.client.entry import wait, while_reading
from ops.client.feed import Feed
from ops.client.rates import Rates

# The ticker may be a second old at the exchange; asking more often would show nothing newer.
_TICKER_S: Final = 2.0
_PING_S: Final = 2.0
_DELAYS_KEPT: Final = 50
# Looking at the clock for every message would show nothing more.
_DELAY_EVERY_S: Final = 0.05


class Watcher:
    """What is known now. `status` is `live` or says why not."""

    def __init__(self, api: Api, instrument: str) -> None:
        self.feed = Feed(instrument)
        self.rates = Rates()
        # The answer of `/market/ticker`, {} before there is one.
        self.ticker: dict[str, Any] = {}
        self.status = "connecting"
        # Milliseconds from matching to here, by both clocks; and of a ping and its answer.
        self.delays_ms: deque[float] = deque(maxlen=_DELAYS_KEPT)
        self.ping_ms: float | None = None
        self._api = api
        self._pinged_at = 0.0
        self._looked_at = 0.0

    @property
    def delay_ms(self) -> float | None:
        """The median of the newest delays."""
        ordered = sorted(self.delays_ms)
        return ordered[len(ordered) // 2] if ordered else None

    def sample(self, now: float) -> None:
        """Take note of the counts, for the rates; call it about once a second."""
        feed = self.feed
        counts = {"orders": feed.orders, "trades": feed.trades, "updates": feed.updates}
        self.rates.sample(now, counts)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop. Raises Refused when there is no such instrument."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                async with self._api.stream() as stream:
                    await while_reading(self._read(stream, backoff), self._ask(stream, stop))
            except Disconnected as error:
                self.status = str(error)
                await wait(stop, backoff.next())
            finally:
                self.feed.lose()
                self.ping_ms = None
                self.delays_ms.clear()

    async def _ask(self, stream: Stream, stop: asyncio.Event) -> None:
        feed = self.feed
        await stream.subscribe(["orderbook", "orders"], feed.instrument)
        await stream.subscribe(["trades"], feed.instrument, feed.last_trade)
        if feed.last_trade is None:
            await self._recent_trades()
        while not stop.is_set():
            self._pinged_at = time.monotonic()
            await stream.send({"type": "ping"})
            await self._read_ticker()
            await wait(stop, min(_PING_S, _TICKER_S))

    async def _read_ticker(self) -> None:
        """Look at the day; what cannot be read stays as it was, because the feed may be well."""
        try:
            self.ticker = await self._api.get("/market/ticker", instrument=self.feed.instrument)
        except Disconnected:
            pass

    async def _recent_trades(self) -> None:
        """Begin the tape with what was traded before we came, if it can be read."""
        try:
            answer = await self._api.get(
                "/market/trades", instrument=self.feed.instrument, limit=self.feed.tape.maxlen or 1
            )
        except Disconnected:
            return
        self.feed.begin_tape(answer["trades"])

    async def _read(self, stream: Stream, backoff: Backoff) -> None:
        async for message in stream.messages():
            kind = message["type"]
            if kind == "pong":
                self.ping_ms = (time.monotonic() - self._pinged_at) * 1000
            elif kind == "error":
                busy = message["error"] != "not_found"
                raise (Disconnected if busy else Refused)(message["message"])
            elif self.feed.take(message) == "gap":
                self.status = "a message is missing: resync"
                await stream.unsubscribe(["orderbook"], self.feed.instrument)
                await stream.subscribe(["orderbook"], self.feed.instrument)
            elif kind == "orderbook" and self.status != "live":
                self.status = "live"
                backoff.succeeded()
            elif kind in ("trades", "orders"):
                self._look(message["data"])

    def _look(self, data: dict[str, Any]) -> None:
        """See how old news is when it comes."""
        now = time.monotonic()
        if now - self._looked_at < _DELAY_EVERY_S:
            return
        self._looked_at = now
        happened = datetime.fromisoformat(data.get("updated_at") or data["timestamp"])
        self.delays_ms.append((datetime.now(UTC) - happened).total_seconds() * 1000)
