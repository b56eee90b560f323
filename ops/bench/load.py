"""The load: a process that sends orders and says how long each answer took.

    python -m ops.bench.load < PLAN.json > RESULT.json

It must cost little, because it shares the processors with what it measures: bodies are encoded
before the start, and of an answer only its length and its status are read. Closed loop: every
connection sends as soon as it is answered. Open loop (`rate`): orders are sent at fixed times
whatever the answers do, and an answer's time counts from when its order should have been sent.
"""

import asyncio
import base64
import itertools
import json
import os
import sys
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from random import Random
from time import perf_counter
from typing import Any, Literal, cast

import orjson
import uvloop

# Bodies made before the start; more would only cost memory.
BODIES = 4_096
BATCH_ORDERS = 100
CLIENTS = 500
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)
# How often an open loop looks at the clock.
TICK_S = 0.001
# How long the end waits for answers under way.
GRACE_S = 10.0
# Stands in a body for the number of its order, which is as long.
NUMBER = "########"

Kind = Literal["orders", "batches", "websocket"]


@dataclass(frozen=True)
class Plan:
    """What to send. `in_flight` is per WebSocket; `rate` is in orders a second, 0 for closed loop.

    `subscribers` are WebSockets that follow all channels; of `watchers` among them every trade is
    read and timed, the others only take their bytes.
    """

    port: int
    kind: Kind = "orders"
    path: str = "/orders"
    connections: int = 64
    in_flight: int = 1
    rate: float = 0.0
    warm_s: float = 2.0
    seconds: float = 10.0
    seed: int = 1
    instruments: Sequence[str] = ("BTC-USD",)
    subscribers: int = 0
    watchers: int = 10


@dataclass
class Result:
    """What came back while it was measured: orders answered, by status, and how long each took."""

    seconds: float = 0.0
    orders: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    orders_by_second: list[int] = field(default_factory=list)
    feed_messages: int = 0
    feed_delay_ms: dict[str, float] = field(default_factory=dict)
    subscribers_lost: int = 0


def order(random: Random, instruments: Sequence[str]) -> dict[str, Any]:
    """Return a random order: 70 % limit, 30 % market, around one price, of 500 clients."""
    fields: dict[str, Any] = {
        "client_id": f"client-{random.randrange(CLIENTS)}",
        "instrument": random.choice(instruments),
        "side": random.choice(("buy", "sell")),
        "type": "limit" if random.random() < 0.7 else "market",
        "quantity": f"0.{random.randint(1, 99):02}",
    }
    if fields["type"] == "limit":
        fields["price"] = f"{70_000 + random.randint(-500, 500) / 10}"
    return fields


def bodies(plan: Plan) -> list[bytes]:
    """Return what a connection sends, one after another, over and over."""
    random = Random(plan.seed)
    if plan.kind == "websocket":
        return [
            frame(orjson.dumps({"request_id": NUMBER, **order(random, plan.instruments)}))
            for _ in range(BODIES)
        ]
    if plan.kind == "batches":
        made = [
            orjson.dumps({"orders": [order(random, plan.instruments) for _ in range(BATCH_ORDERS)]})
            for _ in range(BODIES // BATCH_ORDERS)
        ]
    else:
        made = [orjson.dumps(order(random, plan.instruments)) for _ in range(BODIES)]
    head = f"POST {plan.path} HTTP/1.1\r\nHost: localhost:{plan.port}\r\n"
    return [
        f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in made
    ]


def frame(payload: bytes) -> bytes:
    """Return a text frame of a client. Its mask is zero, so the payload stays as it is."""
    length = len(payload)
    head = bytes((0x81, 0x80 | length)) if length < 126 else b"\x81\xfe" + length.to_bytes(2)
    return head + bytes(4) + payload


class Meter:
    """Counts answers while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.statuses: Counter[str] = Counter()
        self.seconds = array("d")
        self.by_second: Counter[int] = Counter()
        self.began = 0.0

    def start(self, now: float) -> None:
        self.on, self.began = True, now

    def count(self, status: str, seconds: float, now: float, orders: int = 1) -> None:
        """Count one answer."""
        if self.on:
            self.statuses[status] += orders
            self.seconds.append(seconds)
            self.by_second[int(now - self.began)] += orders


class HttpConnection(asyncio.Protocol):
    """A keep-alive connection with at most one request under way."""

    def __init__(self, meter: Meter, idle: "Callable[[HttpConnection], None]", orders: int) -> None:
        self._meter = meter
        self._idle = idle
        self._orders = orders
        self._got = b""
        self._missing = 0
        self._status = ""
        self._since = 0.0
        self._now = perf_counter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._idle(self)

    def send(self, request: bytes, since: float | None = None) -> None:
        """Send a request, which should have been sent at `since`."""
        self._since = self._now() if since is None else since
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._got += data
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._got[:end].lower(), self._got[end + 4 :]
            self._status = head[9:12].decode()
            at = head.index(b"content-length: ") + 16
            self._missing = int(head[at : (head + b"\r").index(b"\r", at)])
            self._got = b""
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = 0
            now = self._now()
            self._meter.count(self._status, now - self._since, now, self._orders)
            self._idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._meter.count("lost", 0.0, self._now())


class WebSocket(asyncio.Protocol):
    """A WebSocket that hands each text to `take`."""

    def __init__(self, port: int, take: Callable[[bytes], None] | None) -> None:
        self._port = port
        self._take = take
        self._buffer = bytearray()
        self.open = asyncio.get_running_loop().create_future()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            "GET /stream HTTP/1.1",
            f"Host: localhost:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        self.transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            self._buffer += data
            head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head:
                raise ConnectionError(head.decode(errors="replace"))
            self.open.set_result(None)
            self._buffer.clear()
            data = rest
        if self._take is None:
            # Somebody who only listens; the server's pings need no answer in so short a time.
            return
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 2:
            length, at = buffer[start + 1], start + 2
            if length == 126:
                length, at = int.from_bytes(buffer[at : at + 2]), at + 2
            elif length == 127:
                length, at = int.from_bytes(buffer[at : at + 8]), at + 8
            if len(buffer) < at + length:
                break
            if buffer[start] & 0x0F == 1:
                self._take(bytes(buffer[at : at + length]))
            start = at + length
        del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.open.done():
            self.open.set_exception(exc or ConnectionError("closed before it was open"))


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.meter = Meter()
        self._bodies = itertools.cycle(bodies(plan))
        self._stopped = False
        self._idle: list[HttpConnection] = []
        self._late: deque[float] = deque()
        self._delays = array("d")
        self._feed_messages = 0

    async def run(self) -> Result:
        """Warm up, measure, and return what came of it."""
        plan = self.plan
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_give_up)
        subscribers = [await self._subscribe(n < plan.watchers) for n in range(plan.subscribers)]
        if plan.kind == "websocket":
            for _ in range(plan.connections):
                await self._pipeline()
        else:
            for _ in range(plan.connections):
                await loop.create_connection(self._connection, "127.0.0.1", plan.port)
        pacing = asyncio.create_task(self._pace()) if plan.rate else None
        await asyncio.sleep(plan.warm_s)
        self._delays = array("d")
        self._feed_messages = 0
        self.meter.start(perf_counter())
        await asyncio.sleep(plan.seconds)
        taken = perf_counter() - self.meter.began
        if plan.rate:
            # What is late counts, too: an open loop that cannot keep up must show it.
            self._stopped = True
            end = perf_counter() + GRACE_S
            for _ in itertools.takewhile(
                lambda _: self._late and perf_counter() < end, itertools.count()
            ):
                await asyncio.sleep(TICK_S)
        self.meter.on = False
        self._stopped = True
        if pacing is not None:
            pacing.cancel()
        seconds = sorted(self.meter.seconds)
        return Result(
            seconds=taken,
            orders=sum(self.meter.statuses.values()),
            statuses=dict(self.meter.statuses),
            latency_ms=percentiles(seconds),
            orders_by_second=[self.meter.by_second[n] for n in range(int(plan.seconds))],
            feed_messages=self._feed_messages,
            feed_delay_ms=percentiles(sorted(self._delays)),
            subscribers_lost=sum(subscriber.lost for subscriber in subscribers),
        )

    def _connection(self) -> HttpConnection:
        orders = BATCH_ORDERS if self.plan.kind == "batches" else 1
        return HttpConnection(self.meter, self._ready, orders)

    def _ready(self, connection: HttpConnection) -> None:
        """Let a connection that was answered send again."""
        if not self.plan.rate:
            if not self._stopped:
                connection.send(next(self._bodies))
        elif self._late:
            connection.send(next(self._bodies), self._late.popleft())
        else:
            self._idle.append(connection)

    async def _pace(self) -> None:
        """Send at fixed times; what finds no idle connection waits for one, and its time runs."""
        began, sent = perf_counter(), 0
        while not self._stopped:
            due = int((perf_counter() - began) * self.plan.rate)
            for number in range(sent, due):
                since = began + number / self.plan.rate
                if self._idle:
                    self._idle.pop().send(next(self._bodies), since)
                else:
                    self._late.append(since)
            sent = due
            await asyncio.sleep(TICK_S)

    async def _pipeline(self) -> None:
        """Open a WebSocket and keep `in_flight` orders under way on it."""
        loop = asyncio.get_running_loop()
        numbers = itertools.count()
        since: dict[int, float] = {}

        def send() -> None:
            number = next(numbers) % 100_000_000
            since[number] = perf_counter()
            socket.transport.write(next(self._bodies).replace(NUMBER.encode(), b"%08d" % number, 1))

        def take(text: bytes) -> None:
            at = text.find(b'"request_id":"')
            if at < 0:
                return
            now = perf_counter()
            status = "201" if text.startswith(b'{"type":"order_accepted"') else text[:80].decode()
            self.meter.count(status, now - since.pop(int(text[at + 14 : at + 22])), now)
            if not self._stopped:
                send()

        _, socket = await loop.create_connection(
            lambda: WebSocket(self.plan.port, take), "127.0.0.1", self.plan.port
        )
        await socket.open
        for _ in range(self.plan.in_flight):
            send()

    async def _subscribe(self, watching: bool) -> WebSocket:
        """Open a WebSocket that follows the book and the trades."""

        def take(text: bytes) -> None:
            self._feed_messages += 1
            if b'"type":"trades"' in text[:40]:
                data = orjson.loads(text)["data"]
                happened = datetime.fromisoformat(data["timestamp"])
                self._delays.append((datetime.now(UTC) - happened).total_seconds())

        _, socket = await asyncio.get_running_loop().create_connection(
            lambda: WebSocket(self.plan.port, take if watching else None),
            "127.0.0.1",
            self.plan.port,
        )
        await socket.open
        ask = {
            "type": "subscribe",
            "channels": ["orderbook", "trades"],
            "instrument": self.plan.instruments[0],
        }
        socket.transport.write(frame(orjson.dumps(ask)))
        return socket


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the process: a measurement with an error in it is none."""
    loop.default_exception_handler(context)
    sys.stderr.flush()
    os._exit(1)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles in milliseconds of what is sorted; none of nothing."""
    if not seconds:
        return {}
    last = len(seconds) - 1
    return {
        f"{percent:g}": round(seconds[round(percent / 100 * last)] * 1000, 3)
        for percent in PERCENTILES
    }


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(Load(Plan(**json.load(sys.stdin))).run()))))
