"""What the parts allow by themselves: the most that an exchange made of them could reach."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from random import Random

import orjson
from sanic import HTTPResponse, Request, Sanic
from sanic.response import raw

from ops.bench.load import order
from ops.bench.target import Target
from workers.adapters.ledger import Ledger
from workers.adapters.streams import Append, OrderStream, StreamWriter
from workers.core.batch import Batch
from workers.core.codec import decode_request, encode_request
from workers.core.engine import MatchingEngine
from workers.core.instruments import Instrument
from workers.core.messages import CancelOrder, Command, SubmitOrder
from workers.core.units import parse_units

TIME_US = 1_700_000_000_000_000
LEASE_MS = 60_000
PRICE_TICKS = 7_000_000_000_000
# Resting orders of the deep book, and the commands timed on it.
BOOK_ORDERS = 100_000
ENGINE_COMMANDS = 400_000


def echo(port: int, body: bytes) -> None:
    """Serve the answer of an order to whatever is posted, with Sanic alone."""
    app = Sanic("echo", configure_logging=False)

    @app.post("/orders")
    async def answer(request: Request) -> HTTPResponse:
        return raw(body, 201, content_type="application/json")

    app.run("127.0.0.1", port, single_process=True, access_log=False, motd=False, debug=False)


def commands(count: int, seed: int = 1) -> list[SubmitOrder]:
    """Return orders as the load sends them."""
    random = Random(seed)
    made = []
    for number in range(count):
        fields = order(random, ("BTC-USD",))
        made.append(
            SubmitOrder(
                order_id=f"{number:032x}",
                client_id=fields["client_id"],
                side=fields["side"],
                type=fields["type"],
                price_ticks=parse_units(fields["price"]) if "price" in fields else 0,
                quantity_lots=parse_units(fields["quantity"]),
                idempotency_key="",
                order_id_given=False,
                time_us=TIME_US,
                deadline_us=TIME_US + 60_000_000,
            )
        )
    return made


async def commits(target: Target, batch_length: int, seconds: float) -> float:
    """Return the orders a second that `commit_batch` alone makes durable, one batch at a time."""
    instrument = Instrument(3, "SOL-USD", "SOL", "USD", 1, 1, "trading")
    ledger = await Ledger.open(target.postgres.url, instrument, LEASE_MS)
    try:
        standing = await ledger.acquire("bench")
        assert standing is not None
        engine = MatchingEngine(standing.sequence, standing.order_no, standing.trade_no)
        position = standing.position
        stream = itertools.count(1)
        orders = itertools.cycle(commands(20_000))
        committed, spent = 0, 0.0
        while spent < seconds:
            batch = Batch("SOL-USD", position, engine.sequence, engine.order_no, engine.trade_no)
            batch.time_us = max(standing.last_time_us, time.time_ns() // 1000)
            for command in itertools.islice(orders, batch_length):
                number = next(stream)
                named = command._replace(order_id=f"bench-{engine.order_no}", time_us=batch.time_us)
                payload = encode_request(named, ttl_ms=60_000, reply_to="r", correlation=number)
                request = decode_request(payload, time_us=batch.time_us, age_us=0)
                batch.add_entry(f"{batch.time_us // 1000}-{number}")
                batch.add_events(request, engine.apply(request.command))
            await ledger.ensure_clients({o.client_id for _, o in batch.orders})
            parameters = ledger.parameters(batch, standing.epoch)
            began = time.perf_counter()
            await ledger.commit(parameters)
            spent += time.perf_counter() - began
            committed += len(batch)
            position = batch.position
        await ledger.release(standing.epoch)
        return committed / spent
    finally:
        await ledger.close()


async def stream(target: Target, batch_length: int, seconds: float) -> tuple[float, float]:
    """Return the entries a second that can be appended to a stream, and read from it."""
    url, name = target.valkey.url, "BENCH-USD"
    writer = StreamWriter(url, 10_000_000, 60_000)
    reader = OrderStream(url, name, 1)
    try:
        await reader.open("0-0")
        payloads = [
            Append(
                "order", command.order_id, command.client_id, "",
                encode_request(command, ttl_ms=5_000, reply_to="replies.bench", correlation=1),
            )
            for command in commands(batch_length)
        ]  # fmt: skip
        appended = 0
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            await writer.append(name, payloads)
            appended += batch_length
        append_rate = appended / took
        began, got = time.perf_counter(), 0
        while entries := await reader.read(batch_length, 1):
            got += len(entries)
        return append_rate, got / (time.perf_counter() - began)
    finally:
        await writer.close()
        await reader.close()


def engine(seed: int = 1) -> float:
    """Return the commands a second of the engine alone: add, cancel and match on a deep book."""
    made = MatchingEngine()
    for command in deep_book(seed):
        made.apply(command)
    timed = list(mixed(seed))
    began = time.perf_counter()
    for item in timed:
        made.apply(item)
    return len(timed) / (time.perf_counter() - began)


def deep_book(seed: int) -> Iterator[SubmitOrder]:
    """Yield orders that all rest: 2,000 levels on each side of the price."""
    random = Random(seed)
    for number in range(BOOK_ORDERS):
        side = 1 if number % 2 else -1
        yield limit(f"deep-{number}", side, PRICE_TICKS + side * random.randint(1, 2_000), 10)


def mixed(seed: int) -> Iterator[Command]:
    """Yield 50 % orders that rest, 40 % cancels, 10 % orders that trade with one or two others."""
    random = Random(seed + 1)
    placed: list[str] = []
    for number in range(ENGINE_COMMANDS):
        kind = random.random()
        side = random.choice((1, -1))
        if kind < 0.4 and placed:
            at = random.randrange(len(placed))
            placed[at], placed[-1] = placed[-1], placed[at]
            yield CancelOrder(placed.pop(), TIME_US, TIME_US + 1)
        elif kind < 0.9:
            placed.append(f"new-{number}")
            yield limit(placed[-1], side, PRICE_TICKS + side * random.randint(1, 2_000), 10)
        else:
            yield limit(f"hit-{number}", -side, PRICE_TICKS + side * 2_000, 15)


def limit(order_id: str, side: int, price_ticks: int, quantity_lots: int) -> SubmitOrder:
    """Return a limit order; `side` 1 sells above the price, -1 buys below it."""
    return SubmitOrder(
        order_id, "bench", "sell" if side > 0 else "buy", "limit", price_ticks, quantity_lots, "",
        False, TIME_US, TIME_US + 1,
    )  # fmt: skip


def measured_limits(target: Target, batch_length: int, seconds: float) -> dict[str, float]:
    """Return the rates of the parts that work in this process, in orders a second."""
    append_rate, read_rate = asyncio.run(stream(target, batch_length, seconds))
    return {
        "append": append_rate,
        "read": read_rate,
        "commit": asyncio.run(commits(target, batch_length, seconds)),
        "engine": engine(),
    }


def sample_answer() -> bytes:
    """Return an answer as long as that of an order."""
    return orjson.dumps({"order": {"padding": "x" * 1_700}})
