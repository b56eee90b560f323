"""WebSocket clients that follow the market all the time, and notice when something is missing.

Written against the public contract alone. One client per instrument follows its book and trades;
after a connection is lost it comes back and goes on. What must hold (I7 of the checker): a delta
follows what the client has, trades come in order without a hole, unless the server says that it
starts anew; and whenever it is asked, the client's book is the one that the API shows at the same
sequence.
"""

import asyncio
import threading
import time
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from ops.faulting.cluster import INSTRUMENTS

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
RETRY_S = 0.1
LEVELS = 100
# One is enough, and each may have many consequences.
PROBLEMS_MAX = 3
# How long one try to compare may take: the next snapshot may have gone past what was to compare.
COMPARE_S = 5.0

Book = tuple[int, dict[Any, Any], dict[Any, Any]]


class Follower:
    """What one client knows of one instrument. `sequence` is -1 while it has no book."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.sequence = -1
        self.bids: dict[Any, Any] = {}
        self.asks: dict[Any, Any] = {}
        # None: it was told that some are left out.
        self.trade_no: int | None = 0
        # The last sequence that it was told of by trades, from which it can go on.
        self.trades_at = 0
        self.connections = 0
        self.snapshots = 0
        self.resyncs = 0
        self.problems: list[str] = []
        # The book to be compared with, and whether it was the same.
        self.wanted: Book | None = None
        self.same: asyncio.Future[bool] | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Take in one message."""
        data: Any = message.get("data")
        match message["type"]:
            case "orderbook" if data["snapshot"]:
                self.snapshots += 1
                self.bids = {level["price"]: level["quantity"] for level in data["bids"]}
                self.asks = {level["price"]: level["quantity"] for level in data["asks"]}
                self.sequence = data["sequence"]
                self.compare()
            case "orderbook":
                if data["prev_sequence"] != self.sequence:
                    self._problem(f"book: {data['prev_sequence']} follows {self.sequence}")
                for side, levels in ((self.bids, data["bids"]), (self.asks, data["asks"])):
                    for level in levels:
                        # 0: it is gone, if it ever was there; some last less than a batch.
                        side[level["price"]] = level["quantity"]
                        if not level["quantity"]:
                            del side[level["price"]]
                self.sequence = data["sequence"]
                self.compare()
            case "trades":
                if self.trade_no is not None and data["trade_no"] != self.trade_no + 1:
                    self._problem(f"trade {data['trade_no']} follows {self.trade_no}")
                self.trade_no, self.trades_at = data["trade_no"], data["sequence"]
            case "resync":
                self.resyncs += 1
                self.trade_no = max((t["trade_no"] for t in data["trades"]), default=None)
                self.trades_at = data["sequence"]
            case "error" if message["error"] == "unavailable":
                raise ConnectionError("it has only just started: connect again")
            case "error":
                self._problem(str(message))

    def compare(self) -> None:
        """Compare with the wanted book when the sequence is that of it, or say that it is past."""
        if self.wanted is None or self.sequence < self.wanted[0]:
            return
        wanted, self.wanted = self.wanted, None
        same = (self.sequence, self.bids, self.asks) == wanted
        if self.sequence == wanted[0] and not same:
            self._problem(f"at {self.sequence} the book is not the API's {wanted}")
        if self.same is not None and not self.same.done():
            self.same.set_result(same)

    def _problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"I7 WebSocket {self.instrument}: {text}")


class Followers:
    """One follower per instrument, in a thread of their own."""

    def __init__(self, port: int) -> None:
        self.each = [Follower(name) for name in INSTRUMENTS]
        self.comparisons = 0
        self._url = f"http://127.0.0.1:{port}"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._locks: dict[str, asyncio.Lock] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    @property
    def problems(self) -> list[str]:
        return [problem for follower in self.each for problem in follower.problems]

    def verify(self, timeout_s: float) -> list[str]:
        """Compare each follower's book with the API's; return what is wrong, for ever or so long.

        Trading may go on meanwhile.
        """
        work = asyncio.run_coroutine_threadsafe(self._verify(timeout_s), self._loop)
        return work.result() + self.problems

    # In the thread.

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._locks = {follower.instrument: asyncio.Lock() for follower in self.each}
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            self._session = session
            tasks = [asyncio.create_task(self._follow(follower)) for follower in self.each]
            self._started.set()
            await self._ended.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, follower: Follower) -> None:
        """Be connected, again and again."""
        while True:
            try:
                await self._connection(follower)
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            except Exception as error:
                follower.problems.append(f"{follower.instrument}: {error!r}")
                return
            follower.sequence = -1
            await asyncio.sleep(RETRY_S)

    async def _connection(self, follower: Follower) -> None:
        async with self._session.ws_connect(f"{self._url}/stream", max_msg_size=0) as ws:
            follower.connections += 1
            instrument = {"type": "subscribe", "instrument": follower.instrument}
            resume = {"channels": ["trades"], "resume_from": follower.trades_at}
            await ws.send_json(instrument | {"channels": ["orderbook"]})
            await ws.send_json(instrument | resume)
            async for message in ws:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                lock = self._locks[follower.instrument]
                if lock.locked():
                    async with lock:  # somebody looks at the API: go no further than that
                        pass
                follower.take(orjson.loads(message.data))

    async def _verify(self, timeout_s: float) -> list[str]:
        end = time.monotonic() + timeout_s
        late = await asyncio.gather(*(self._verified(follower, end) for follower in self.each))
        return [
            f"I7 WebSocket {follower.instrument}: at {follower.sequence} after {timeout_s:.0f} s, "
            f"connected {follower.connections} times, not where the API is"
            for follower, is_late in zip(self.each, late, strict=True)
            if is_late
        ]

    async def _verified(self, follower: Follower, end: float) -> bool:
        """Return False as soon as the books were the same, True when the time is up."""
        while time.monotonic() < end and not follower.problems:
            follower.same = asyncio.get_running_loop().create_future()
            async with self._locks[follower.instrument]:
                follower.wanted = await self._book(follower.instrument)
                if follower.wanted is not None:
                    follower.compare()
            if follower.wanted is None and not follower.same.done():
                await asyncio.sleep(RETRY_S)
                continue
            try:
                if await asyncio.wait_for(follower.same, COMPARE_S):
                    self.comparisons += 1
                    return False
            except TimeoutError:
                pass
        return not follower.problems

    async def _book(self, instrument: str) -> Book | None:
        try:
            async with self._session.get(
                f"{self._url}/market/orderbook",
                params={"instrument": instrument, "levels": LEVELS},
            ) as response:
                if response.status != 200:
                    return None
                body = orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return (
            body["sequence"],
            {level["price"]: level["quantity"] for level in body["bids"]},
            {level["price"]: level["quantity"] for level in body["asks"]},
        )
