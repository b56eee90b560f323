"""What must hold, whatever fails. Numbered as the tests of faults number it:

I1 what was acknowledged is durable, with the same terms; I2 a stream entry moves the state once;
I6 all books are one book; I7 sequences have no hole; I8 the same name, the same order; I9 orders
trade by price, then time; I10 epochs never go down; I11 a refusal leaves no trace; I12 when the
faults end, everything is soon in order.

It looks at what the servers hold, at what they were told to do, and at what clients were told. It
knows nothing of how the product works inside.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.naive_book import NaiveBook
from tests.simulation.network import Trace
from tests.simulation.postgres_server import Committed, OrderRow, PostgresServer
from tests.simulation.redis_server import RedisServer, parse_id
from tests.simulation.scheduler import Process
from workers.core.channels import asks_key, bids_key
from workers.core.codec import decode_depth, decode_replies
from workers.core.messages import (
    CancelOrder,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    SubmitOrder,
    Trade,
)
from workers.core.records import Changes, OrderRecord

if TYPE_CHECKING:
    from tests.simulation.exchange_world import Operation, World

import orjson

FINAL = ("filled", "cancelled", "rejected")
PROBLEMS_MAX = 20


class Checker:
    """Collects what is wrong."""

    def __init__(self, trace: Trace, redis: RedisServer, postgres: PostgresServer) -> None:
        self.problems: list[str] = []
        self._trace = trace
        self._redis = redis
        self._postgres = postgres
        # The latest epoch that published, per channel, since Redis last lost data.
        self._epochs: dict[str, int] = {}
        self._stored_epochs: dict[int, int] = defaultdict(int)
        self._positions: dict[int, tuple[int, int]] = {}
        self._published_by: dict[str, Process] = {}
        redis.on_publish = self._published
        redis.on_loss = self._lost
        redis.keys.trimmed = self._trimmed
        redis.keys.added = self._added
        self._sent: set[bytes] = set()
        postgres.on_commit = self._committed

    def wrong(self, invariant: str, text: str) -> None:
        """Note something that must never be."""
        self._trace.add(f"!! {invariant} {text}")
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{invariant}: {text}")

    # While it runs.

    def _lost(self) -> None:
        self._epochs.clear()

    def _committed(self, process: Process, committed: Committed) -> None:
        number = committed.instrument_id
        now = self._postgres.tables.shard[number].epoch
        if committed.epoch < max(now, self._stored_epochs[number]):
            self.wrong("I10", f"{process} commits {committed} after a later epoch")
        self._stored_epochs[number] = max(committed.epoch, self._stored_epochs[number])
        if not parse_id(committed.from_position) < parse_id(committed.to_position):
            self.wrong("I2", f"{process} commits {committed}: the position does not move on")
        if parse_id(committed.to_position) <= self._positions.get(number, (0, 0)):
            self.wrong("I2", f"{process} commits {committed}: its entries were applied before")
        self._positions[number] = parse_id(committed.to_position)

    def _published(self, channel: str, payload: bytes) -> None:
        process = self._redis.script_caller
        tables = self._postgres.tables
        if channel.startswith("replies."):
            if payload != b"heartbeat":
                for reply in decode_replies(payload):
                    if reply.order is not None:
                        self._told(f"{process} replies", reply.order)
            return
        kind, _, name = channel.partition(".")
        number = next(n for n, i in tables.instruments.items() if f"{{{i}}}" == name)
        fields = orjson.loads(payload)
        epoch = fields["epoch"]
        if epoch < self._epochs.get(channel, 0):
            self.wrong("I10", f"{process} publishes {channel} of epoch {epoch} after a later one")
        self._epochs[channel] = max(epoch, self._epochs.get(channel, 0))
        sequence = fields["sequence"] if kind == "changes" else _sequence_of(payload)
        if sequence > tables.shard[number].sequence:
            self.wrong("I1", f"{process} publishes {channel} {sequence} before it is durable")

    def _told(self, who: str, order: OrderRecord) -> None:
        """Somebody is told of an order: it must be durable, as it is told or later."""
        tables = self._postgres.tables
        place = tables.order_ids.get(order.order_id)
        if place is None:
            self.wrong("I1", f"{who} with {order.order_id}, which is not durable")
            return
        self._compare(who, tables.orders[place], order)

    def _compare(self, who: str, row: OrderRow, told: OrderRecord) -> None:
        tables = self._postgres.tables
        terms = (
            row.order_no, _client(tables, row.client_no), tables.instruments[row.instrument_id],
            row.side, row.type, row.price, row.quantity, row.key,
        )  # fmt: skip
        if terms != (
            told.order_no, told.client_id, told.instrument, told.side, told.type,
            told.price_ticks, told.quantity_lots, told.idempotency_key,
        ):  # fmt: skip
            self.wrong("I1", f"{who} with other terms than are durable: {told} and {row}")
        if row.filled < told.filled_lots or (
            told.status in FINAL and (row.status, row.filled) != (told.status, told.filled_lots)
        ):
            self.wrong("I1", f"{who} more than is durable: {told} and {row}")

    def _added(self, key: bytes, fields: list[bytes]) -> None:
        """An entry is appended. Of one that names its request, the same is never sent again."""
        if fields[0] != b"request" or b'"correlation":' not in fields[1]:
            return
        if fields[1] in self._sent and not self._redis.repeating:
            self.wrong("I2", f"sent again: {fields[1]!r}")
        self._sent.add(fields[1])

    def _trimmed(self, key: bytes, least: tuple[int, int]) -> None:
        tables = self._postgres.tables
        for number, name in tables.instruments.items():
            if f"orders:{{{name}}}".encode() == key:
                position = parse_id(tables.shard[number].last_stream_id)
                if least > (position[0], position[1] + 1):
                    self.wrong("I1", f"{self._redis.script_caller} trims what is not applied yet")

    def acknowledged(self, operation: "Operation", result: Any) -> None:
        """An edge answers: 200, 201, or a cancelled order."""
        order: OrderRecord = result if isinstance(result, OrderRecord) else result.order
        who = f"client-{operation.client} is answered"
        self._told(who, order)
        body = operation.body
        if body is None:
            if order.order_id != operation.order_id or order.status != "cancelled":
                self.wrong("I1", f"{who} a cancel of {operation.order_id} with {order}")
            return
        asked = (
            body.client_id,
            body.instrument,
            body.side,
            body.type,
            body.price or 0,
            body.quantity,
        )
        if asked != (
            order.client_id, order.instrument, order.side, order.type, order.price_ticks,
            order.quantity_lots,
        ):  # fmt: skip
            self.wrong("I8", f"{who} {order} for {body}")
        trades = self._postgres.tables.trades
        number = self._postgres.tables.order_ids[order.order_id][0]
        for trade in result.trades:
            row = trades.get((number, trade.sequence))
            if row is None or (row.trade_no, row.price, row.quantity) != (
                trade.trade_no, trade.price_ticks, trade.quantity_lots,
            ):  # fmt: skip
                self.wrong("I1", f"{who} with {trade}, which is not durable")

    def told(self, edge: str, instrument: str, changes: Changes) -> None:
        """A WebSocket client is told of changes."""
        tables = self._postgres.tables
        number = next(n for n, name in tables.instruments.items() if name == instrument)
        if changes.sequence > tables.shard[number].sequence:
            self.wrong("I1", f"{edge} tells {instrument} {changes.sequence} before it is durable")
        for trade in changes.trades:
            row = tables.trades.get((number, trade.sequence))
            if row is None or (row.price, row.quantity) != (trade.price_ticks, trade.quantity_lots):
                self.wrong("I7", f"{edge} tells {trade}, which is not durable")
        for _, order in changes.orders:
            self._told(f"{edge} tells", order)

    # At the end.

    def unsettled(self, world: "World") -> str:
        """Return what is still on its way, or nothing."""
        tables = self._postgres.tables
        for number, name in tables.instruments.items():
            shard = tables.shard[number]
            stream = self._redis.keys.data.get(f"orders:{{{name}}}".encode())
            if stream is None or parse_id(shard.last_stream_id) < stream.last:
                return f"the stream of {name} is at {stream and stream.last}, not at {shard}"
            for edge in world.edges.values():
                book, history = edge.feed.books.get(name), edge.feed._histories.get(name)
                if not edge.process.alive or book is None or history is None:
                    return f"{edge.process} is not ready"
                if book.sequence != shard.sequence or history.sequence != shard.sequence:
                    return (
                        f"{edge.process} has {name} at {book.sequence} and {history.sequence}, "
                        f"not at {shard.sequence}"
                    )
        return ""

    def final(self, world: "World") -> None:
        """Compare everything with everything."""
        tables = self._postgres.tables
        for number, name in tables.instruments.items():
            book = self._replay(number)
            if book is not None:
                self._compare_books(world, number, name, book)
        self._same_key_same_order(world)
        if world.swarm.calm:
            for number, shard in tables.shard.items():
                # Once taken, and given back once when another matcher came.
                if shard.epoch > 2:
                    self.wrong("I12", f"{number} is in epoch {shard.epoch}, and nothing had failed")
        self._refused_left_no_trace(world)

    def _replay(self, number: int) -> NaiveBook | None:
        """Feed a slow book with the commands of the event log: it must write the same log."""
        tables = self._postgres.tables
        shard = tables.shard[number]
        book = NaiveBook()
        expected: list[tuple[Any, ...]] = []
        for sequence in range(1, shard.sequence + 1):
            event = tables.events.get((number, sequence))
            trade = tables.trades.get((number, sequence))
            if (event is None) is (trade is None):
                self.wrong(
                    "I7", f"sequence {sequence} of {number} is there {bool(event)}, {bool(trade)}"
                )
                return None
            if trade is not None:
                stored: tuple[Any, ...] = (
                    "trade", trade.maker_order_no, trade.taker_order_no, trade.price,
                    trade.quantity, trade.trade_no,
                )  # fmt: skip
            else:
                assert event is not None
                stored = (event.kind, event.order_no, event.quantity, event.reason)
                command = self._command(number, event)
                if command is not None:
                    if expected:
                        self.wrong("I9", f"before {stored}, {number} should have {expected[0]}")
                        return None
                    expected = [_plain(e) for e in book.apply(command)]
            if not expected or expected.pop(0) != stored:
                self.wrong("I9", f"sequence {sequence} of {number} is {stored}")
                return None
        if expected:
            self.wrong("I9", f"the log of {number} ends before {expected[0]}")
            return None
        counters = (shard.sequence, shard.order_no, shard.trade_no)
        if counters != (book.sequence, book.order_no, book.trade_no):
            self.wrong("I7", f"{number} has counted {counters}, the slow book {book.sequence}")
        return book

    def _command(self, number: int, event: Any) -> SubmitOrder | CancelOrder | None:
        """Return the command that this event is the first of; None when it is a consequence."""
        row = self._postgres.tables.orders[number, event.order_no]
        if event.kind == "cancelled":
            if event.reason != "client_request":
                return None
            return CancelOrder(row.order_id, 1, 1)
        late = event.kind == "rejected" and event.reason == "expired"
        return SubmitOrder(
            row.order_id, "", row.side, row.type, row.price, row.quantity, "", True,  # type: ignore[arg-type]
            1, 0 if late else 1,
        )  # fmt: skip

    def _compare_books(self, world: "World", number: int, name: str, book: NaiveBook) -> None:
        tables = self._postgres.tables
        slow = {o.order_no: (o.remaining_lots, o.filled_value) for o in book.orders}
        stored = {
            place[1]: (
                tables.orders[place].quantity - tables.orders[place].filled,
                tables.orders[place].value,
            )
            for place in tables.resting
            if place[0] == number
        }
        if slow != stored:
            self.wrong("I6", f"{name} rests {stored}, and by its log {slow}")
        depth = [book.depth("buy"), book.depth("sell")]
        keys = self._redis.keys.data
        kept = [
            {int(price): int(quantity) for price, quantity in keys.get(key.encode(), {}).items()}
            for key in (bids_key(name), asks_key(name))
        ]
        if kept != [dict(side) for side in depth]:
            self.wrong("I6", f"Redis keeps {kept} for {name}, the book is {depth}")
        for edge in world.edges.values():
            snapshot = edge.feed.books[name].snapshot()
            if [list(snapshot.bids), list(snapshot.asks)] != depth:
                self.wrong("I6", f"{edge.process} shows {snapshot} for {name}, the book is {depth}")

    def _same_key_same_order(self, world: "World") -> None:
        names: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for operation in world.operations:
            if operation.outcome == "ok" and operation.body is not None:
                body, order = operation.body, operation.answer.order
                if body.idempotency_key:
                    key = (body.client_id, body.instrument, body.idempotency_key)
                    names[key].add(order.order_id)
                if body.order_id and body.order_id != order.order_id:
                    self.wrong("I8", f"{body.order_id} was answered with {order.order_id}")
        for key, order_ids in names.items():
            if len(order_ids) > 1:
                self.wrong("I8", f"{key} was answered with {sorted(order_ids)}")

    def _refused_left_no_trace(self, world: "World") -> None:
        tables = self._postgres.tables
        outcomes: dict[str, set[str]] = defaultdict(set)
        for operation in world.operations:
            if operation.body is None:
                if operation.outcome == "ok":
                    row = tables.orders[tables.order_ids[operation.order_id or ""]]
                    if row.status != "cancelled":
                        self.wrong("I1", f"{row} was said to be cancelled")
                continue
            for name in (operation.order_id, operation.body.idempotency_key):
                if name:
                    outcomes[name].add(operation.outcome)
        known = {row.order_id for row in tables.orders.values()}
        known |= {row.key for row in tables.orders.values()}
        for name, seen in outcomes.items():
            if seen == {"refused"} and name in known:
                self.wrong("I11", f"{name} was refused, and is there")


def _sequence_of(payload: bytes) -> int:
    delta = decode_depth(payload)
    return delta if isinstance(delta, int) else delta.sequence


def _client(tables: Any, number: int) -> str:
    return next(name for name, client_no in tables.clients.items() if client_no == number)


def _plain(event: Any) -> tuple[Any, ...]:
    match event:
        case OrderAccepted(_, _, order):
            return ("accepted", order.order_no, order.quantity_lots, "")
        case OrderRejected(_, _, order, reason):
            return ("rejected", order.order_no, order.quantity_lots, reason)
        case OrderCancelled(_, _, order, remaining, reason):
            return ("cancelled", order.order_no, remaining, reason)
        case Trade():
            return (
                "trade", event.maker.order_no, event.taker.order_no, event.price_ticks,
                event.quantity_lots, event.trade_no,
            )  # fmt: skip
    raise AssertionError(event)
