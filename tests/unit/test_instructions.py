"""What the hot paths cost in bytecode instructions and memory: figures that no machine changes.

Each bound is about a tenth above what Python 3.13 needs today; other versions need a little more or
less for the same. `./ops/test -s tests/unit/test_instructions.py` prints the figures.
"""

import gc
import itertools
import sys
import tracemalloc
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from api.schemas import OrderBody, dump, read_json, read_order, submitted_json
from ops.bench.limits import commands, deep_book, mixed
from workers.core.batch import Batch
from workers.core.codec import (
    decode_replies,
    decode_request,
    encode_changes,
    encode_replies,
    encode_request,
)
from workers.core.depth import take_delta
from workers.core.engine import MatchingEngine
from workers.core.messages import SubmitOrder

TIME_US = 1_700_000_000_000_000
COMMANDS = 2_000
BATCH = 100
RESTING = 20_000
# Other versions of Python than the one the bounds are from have other instructions.
SLACK = 1.1 if sys.version_info[:2] == (3, 13) else 1.35

# Instructions per command or order.
ENGINE = 265
MATCHER = 1_310
EDGE_IN = 270
EDGE_OUT = 405
# Bytes that a resting order takes in the engine, and blocks of memory.
RESTING_BYTES = 500
RESTING_BLOCKS = 7


def instructions(work: Callable[[], Any]) -> int:
    """Return how many bytecode instructions `work` runs, of our own code and of libraries'."""
    return by_monitoring(work) if sys.version_info >= (3, 12) else by_tracing(work)


def by_monitoring(work: Callable[[], Any]) -> int:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
    count = 0

    def counted(code: CodeType, offset: int) -> None:
        nonlocal count
        count += 1

    monitoring.use_tool_id(tool, "budget")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, counted)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        try:
            work()
        finally:
            monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
    return count


def by_tracing(work: Callable[[], Any]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def within(what: str, figure: float, bound: float) -> None:
    print(f"\n{what}: {figure:.0f} (at most {bound * SLACK:.0f})", end="")
    assert figure <= bound * SLACK, what
    # A bound that is far away guards nothing: lower it when something has become cheaper.
    assert figure >= bound / 3, what


def test_the_engine_on_a_deep_book() -> None:
    """Half rest, two fifths are cancels, a tenth trades."""
    engine = MatchingEngine()
    for command in itertools.islice(deep_book(1), RESTING):
        engine.apply(command)
    timed = list(itertools.islice(mixed(1), COMMANDS))

    def work() -> None:
        for command in timed:
            engine.apply(command)

    within("engine, instructions per command", instructions(work) / COMMANDS, ENGINE)


def batch_of(engine: MatchingEngine, payloads: list[bytes]) -> Batch:
    batch = Batch("BTC-USD", "1-0", engine.sequence, engine.order_no, engine.trade_no)
    batch.time_us = TIME_US
    for number, payload in enumerate(payloads, 1):
        batch.add_entry(f"2-{number}")
        request = decode_request(payload, time_us=TIME_US, age_us=0)
        batch.add_events(request, engine.apply(request.command))
    return batch


def requests(orders: list[SubmitOrder]) -> list[bytes]:
    return [
        encode_request(order, ttl_ms=5_000, reply_to="replies.edge", correlation=number)
        for number, order in enumerate(orders)
    ]


def test_the_matcher_from_an_entry_to_what_it_publishes() -> None:
    """But for the commit's own parameters, which are made by one call per column."""
    engine = MatchingEngine()
    orders = commands(10 * BATCH)
    batch_of(engine, requests(orders[BATCH:]))
    take_delta(engine.book, 0, engine.sequence)
    payloads = requests(orders[:BATCH])

    def work() -> None:
        batch = batch_of(engine, payloads)
        take_delta(engine.book, batch.from_sequence, batch.sequence)
        encode_changes(batch.changes(), 1)
        for replies in batch.replies.values():
            encode_replies(replies)

    within("matcher, instructions per order", instructions(work) / BATCH, MATCHER)


def test_the_edge_from_a_body_to_its_entry_and_back() -> None:
    bodies = [
        dump(
            {
                "client_id": f"client-{number % 50}",
                "side": "buy" if number % 2 else "sell",
                "type": "limit",
                "price": 70_000 + number % 7,
                "quantity": f"0.{1 + number % 9}",
            }
        )
        for number in range(BATCH)
    ]
    read: list[OrderBody] = []

    def take_in() -> None:
        read.extend(read_order(read_json(body)) for body in bodies)

    within("edge in, instructions per order", instructions(take_in) / BATCH, EDGE_IN)

    engine = MatchingEngine()
    orders = [
        SubmitOrder(
            f"order-{number}", body.client_id, body.side, body.type, body.price or 0,
            body.quantity, "", False, TIME_US, TIME_US + 1,
        )
        for number, body in enumerate(read)
    ]  # fmt: skip
    (replies,) = batch_of(engine, requests(orders)).replies.values()
    encoded = encode_replies(replies)

    def give_out() -> None:
        for reply in decode_replies(encoded):
            assert reply.order is not None
            dump(submitted_json(reply.order, reply.trades))

    within("edge out, instructions per order", instructions(give_out) / BATCH, EDGE_OUT)


def test_what_a_resting_order_takes() -> None:
    """With ids as long as the edge makes them. And what is cancelled is given back."""
    wanted = [
        order._replace(order_id=f"{number:08x}-0000-7000-8000-{number:012x}")
        for number, order in enumerate(itertools.islice(deep_book(1), RESTING))
    ]
    payloads = requests(wanted)
    engine = MatchingEngine()
    gc.collect()
    tracemalloc.start()
    try:
        before, blocks = tracemalloc.get_traced_memory()[0], sys.getallocatedblocks()
        for payload in payloads:
            engine.apply(decode_request(payload, time_us=TIME_US, age_us=0).command)
        taken = tracemalloc.get_traced_memory()[0] - before
        taken_blocks = sys.getallocatedblocks() - blocks
    finally:
        tracemalloc.stop()
    within("engine, bytes per resting order", taken / RESTING, RESTING_BYTES)
    within("engine, blocks per resting order", taken_blocks / RESTING, RESTING_BLOCKS)
