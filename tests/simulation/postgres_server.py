"""A PostgreSQL in memory: the functions that the matcher and the edge call, each one transaction.

tests/database/test_simulated_ledger.py holds them against the real ones. Amounts are integers in
the units that the functions take and give. What a commit derives in SQL alone (postings, balances,
positions, fees) is left out: the simulation is about what happens how often, and in which order.
"""

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout

import sql
from tests.simulation.network import Connection, Server
from tests.simulation.redis_server import EPOCH_US
from tests.simulation.scheduler import PROCESS, Process

SIDES = ("buy", "sell")
TYPES = ("limit", "market")
STATUSES = ("open", "partially_filled", "filled", "cancelled", "rejected")
FINAL = ("filled", "cancelled", "rejected")
NUMBER_MAX = 2**53 - 1
MINUTE_US = 60_000_000
YEAR_2000_US = 946_684_800_000_000


class Fenced(psycopg.DatabaseError):
    sqlstate = "EX001"


class Stale(psycopg.DatabaseError):
    sqlstate = "EX002"


class Contradiction(psycopg.DatabaseError):
    sqlstate = "EX003"


class Shard(NamedTuple):
    epoch: int = 0
    owner: str | None = None
    lease_until_us: float = float("-inf")
    last_stream_id: str = "0-0"
    sequence: int = 0
    order_no: int = 0
    trade_no: int = 0
    last_time_us: int = 0


class OrderRow(NamedTuple):
    instrument_id: int
    order_no: int
    order_id: str
    client_no: int
    side: str
    type: str
    price: int
    quantity: int
    filled: int
    value: int
    status: str
    reason: str
    key: str
    sequence: int
    created_us: int
    updated_us: int


class EventRow(NamedTuple):
    instrument_id: int
    sequence: int
    kind: str
    order_no: int
    side: str
    type: str
    price: int
    quantity: int
    reason: str
    happened_us: int


class TradeRow(NamedTuple):
    instrument_id: int
    sequence: int
    trade_no: int
    price: int
    quantity: int
    taker_side: str
    maker_order_no: int
    taker_order_no: int
    maker_client_no: int
    taker_client_no: int
    traded_us: int


class Committed(NamedTuple):
    """One commit that went through; not a table, but the checker's knowledge."""

    instrument_id: int
    epoch: int
    from_position: str
    to_position: str
    from_sequence: int
    sequence: int


class Tables:
    """The rows. Immutable themselves, so that a copy of the dictionaries is a snapshot."""

    def __init__(self, instruments: Sequence[str] = ("BTC-USD",)) -> None:
        self.instruments = dict(enumerate(instruments, 1))
        self.shard = {number: Shard() for number in self.instruments}
        self.clients: dict[str, int] = {}
        self.orders: dict[tuple[int, int], OrderRow] = {}
        self.order_ids: dict[str, tuple[int, int]] = {}
        self.keys: dict[tuple[int, int, str], tuple[int, int]] = {}
        self.resting: dict[tuple[int, int], None] = {}
        self.events: dict[tuple[int, int], EventRow] = {}
        self.trades: dict[tuple[int, int], TradeRow] = {}
        self.dead_letters: dict[tuple[int, str], tuple[bytes, str]] = {}
        self.matchers: dict[str, float] = {}

    def copy(self) -> "Tables":
        other = Tables.__new__(Tables)
        other.__dict__ = {name: dict(table) for name, table in self.__dict__.items()}
        return other


class Functions:
    """Each method is one function of sql/functions/, by the name that queries.sql gives it."""

    def __init__(self, tables: Tables, now_us: Callable[[], int]) -> None:
        self.tables = tables
        self.now_us = now_us
        self.commits: list[Committed] = []

    def call(self, name: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Run one query as one transaction. Raises psycopg.Error; then nothing has changed."""
        function = getattr(self, name)
        if isinstance(parameters, dict):
            result: list[tuple[Any, ...]] = function(**parameters)
            return result
        before = self.tables.copy()
        try:
            result = function(*parameters)
        except BaseException:
            self.tables.__dict__ = before.__dict__
            raise
        return result

    # Leases.

    def acquire_shard(
        self, instrument_id: int, owner: str, lease_ms: int, epoch_min: int
    ) -> list[Any]:
        shard = self.tables.shard.get(instrument_id)
        if shard is None or not (
            shard.owner in (None, owner)
            or not 0 <= shard.lease_until_us - self.now_us() <= lease_ms * 1000 + MINUTE_US
        ):
            return []
        shard = shard._replace(
            epoch=max(shard.epoch + 1, epoch_min),
            owner=owner,
            lease_until_us=self.now_us() + lease_ms * 1000,
        )
        self.tables.shard[instrument_id] = shard
        return [
            (
                shard.epoch, shard.last_stream_id, shard.sequence, shard.order_no, shard.trade_no,
                shard.last_time_us,
            )
        ]  # fmt: skip

    def renew_lease(self, instrument_id: int, epoch: int, lease_ms: int) -> list[Any]:
        shard = self.tables.shard.get(instrument_id)
        if shard is None or shard.epoch != epoch:
            return [(False,)]
        self.tables.shard[instrument_id] = shard._replace(
            lease_until_us=self.now_us() + lease_ms * 1000
        )
        return [(True,)]

    def release_lease(self, instrument_id: int, epoch: int, lease_ms: int = 0) -> list[Any]:
        shard = self.tables.shard.get(instrument_id)
        if shard is None or shard.epoch != epoch:
            return [(False,)]
        self.tables.shard[instrument_id] = shard._replace(owner=None, lease_until_us=float("-inf"))
        return [(True,)]

    def report_matcher(self, owner: str, alive_ms: int) -> list[Any]:
        tables, now_us = self.tables, self.now_us()
        tables.matchers[owner] = now_us + alive_ms * 1000
        living = [name for name, until_us in tables.matchers.items() if until_us > now_us]
        free = [
            number
            for number, shard in tables.shard.items()
            if shard.owner is None or not 0 <= shard.lease_until_us - now_us <= 2 * MINUTE_US
        ]
        others = [
            shard.lease_until_us - now_us
            for shard in tables.shard.values()
            if shard.owner not in (None, owner)
            and 0 <= shard.lease_until_us - now_us <= 2 * MINUTE_US
        ]
        next_free_ms = math.ceil(min(others) / 1000) if others else None
        place = sum(name < owner for name in living)
        return [(len(living), place, len(tables.shard), free, next_free_ms)]

    def retire_matcher(self, owner: str) -> list[Any]:
        self.tables.matchers.pop(owner, None)
        return [(None,)]

    def await_releases(self) -> list[Any]:
        return []

    def list_instruments(self) -> list[Any]:
        return [
            (
                number, name, *name.split("-"), Natural(1), Natural(1), "trading",
                self.tables.shard[number].owner is not None
                and self.tables.shard[number].lease_until_us > self.now_us(),
            )
            for number, name in self.tables.instruments.items()
        ]  # fmt: skip

    def current_timeline(self) -> list[Any]:
        return [(1,)]

    # The matcher's reads.

    def load_orders(self, instrument_id: int, status: str, after: int, order_nos: Any) -> list[Any]:
        names = {number: name for name, number in self.tables.clients.items()}
        if order_nos is None:
            places = sorted(place for place in self.tables.resting if place[1] > after)
        else:
            places = [(instrument_id, int(number)) for number in items(order_nos)]
        found = [
            order
            for place in places
            if place[0] == instrument_id
            and (order := self.tables.orders.get(place)) is not None
            and order.status == status
        ]
        if not found:
            return []
        numbers = [
            [o.order_no for o in found],
            [o.client_no for o in found],
            [o.created_us - YEAR_2000_US for o in found],
        ]
        texts = [
            ",".join(o.order_id for o in found),
            ",".join(names[o.client_no] for o in found),
            "".join(o.side[0] for o in found),
            ",".join(str(o.price) for o in found),
            ",".join(str(o.quantity) for o in found),
            ",".join(o.key for o in found),
        ]
        if status != "open":
            numbers.append([o.updated_us - YEAR_2000_US for o in found])
            texts.append(",".join(str(o.filled) for o in found))
            texts.append(",".join(str(o.value) for o in found))
        packed = b"".join(struct.pack(">q", number) for column in numbers for number in column)
        last = max(o.order_no for o in found)
        return [(len(found), last, packed, "\n".join(texts))]

    # No snapshots are taken here: recovery does without them.

    def list_engine_snapshots(self, instrument_id: int) -> list[Any]:
        return []

    def discard_snapshots(self, instrument_id: int, after: int) -> list[Any]:
        return [(0,)]

    def ensure_clients(self, client_ids: Any) -> list[Any]:
        wanted = sorted(set(items(client_ids)))
        for client_id in wanted:
            self.tables.clients.setdefault(client_id, len(self.tables.clients) + 1)
        return [(client_id, self.tables.clients[client_id]) for client_id in wanted]

    def find_first_orders(
        self, instrument_id: int, order_ids: Any, client_ids: Any, keys: Any
    ) -> list[Any]:
        tables = self.tables
        places: dict[tuple[int, int], None] = {}
        for order_id in items(order_ids):
            if order_id in tables.order_ids:
                places[tables.order_ids[order_id]] = None
        for client_id, key in zip(items(client_ids), items(keys), strict=True):
            place = tables.keys.get((tables.clients.get(client_id, 0), instrument_id, key))
            if place is not None:
                places[place] = None
        names = {number: name for name, number in tables.clients.items()}
        return [
            (
                o.order_id, names[o.client_no], tables.instruments[o.instrument_id], o.side,
                o.type, o.price, o.quantity, o.key,
            )
            for o in map(tables.orders.__getitem__, sorted(places))
        ]  # fmt: skip

    # The commit.

    def commit_batch(self, *arguments: Any) -> list[Any]:
        (
            instrument_id, epoch, from_id, to_id, sequence, order_no, trade_no, time_us, lease_ms,
            *columns,
        ) = arguments  # fmt: skip
        tables = self.tables
        orders = rows(columns[:12])
        updates = rows(columns[12:17])
        trades = rows(columns[17:25])
        cancels = rows(columns[25:32])
        dead = list(zip(*columns[32:], strict=True))
        for order in orders:
            _check_words((order[2], SIDES), (order[3], TYPES), (order[8], STATUSES))
        for update in updates:
            _check_words((update[3], STATUSES))
        for trade in trades:
            _check_words((trade[3], SIDES))
        for cancel in cancels:
            _check_words((cancel[3], SIDES), (cancel[4], TYPES))

        shard = tables.shard.get(instrument_id)
        if shard is None or shard.epoch != epoch:
            raise Fenced("fenced")
        if shard.last_stream_id != from_id:
            raise Stale("stale")
        events = [order[11] for order in orders] + [t[0] for t in trades] + [c[0] for c in cancels]
        sequences = sorted(map(int, events))
        if (
            order_no != shard.order_no + len(orders)
            or trade_no != shard.trade_no + len(trades)
            or sequence != shard.sequence + len(sequences)
            or time_us < shard.last_time_us
        ):
            raise Contradiction("the counters do not follow on")
        if sequences != list(range(shard.sequence + 1, sequence + 1)):
            raise Contradiction("the sequences have a hole")
        for number, order in enumerate(orders, shard.order_no + 1):
            self._insert_order(instrument_id, number, order, time_us)
        for update in updates:
            self._update_order(instrument_id, update, time_us)
        for cancel in cancels:
            place, number, quantity, side, type, price, reason = cancel
            self._insert_event(
                EventRow(
                    instrument_id,
                    int(place),
                    "cancelled",
                    int(number),
                    side,
                    type,
                    int(price),
                    int(quantity),
                    reason,
                    time_us,
                )
            )
        for number, trade in enumerate(trades, shard.trade_no + 1):
            self._insert_trade(instrument_id, number, trade, time_us)
        for stream_id, payload, error in dead:
            if (instrument_id, stream_id) in tables.dead_letters:
                raise errors.UniqueViolation("dead_letters_pkey")
            tables.dead_letters[instrument_id, stream_id] = (payload, error)
        tables.shard[instrument_id] = shard._replace(
            last_stream_id=to_id, sequence=sequence, order_no=order_no, trade_no=trade_no,
            last_time_us=time_us, lease_until_us=self.now_us() + lease_ms * 1000,
        )  # fmt: skip
        self.commits.append(
            Committed(instrument_id, epoch, from_id, to_id, shard.sequence, sequence)
        )
        return [("",)]

    def _insert_order(self, instrument_id: int, number: int, order: Any, time_us: int) -> None:
        (
            order_id, client_no, side, type, price, quantity, filled, value, status, reason, key,
            sequence,
        ) = order  # fmt: skip
        row = OrderRow(
            instrument_id, number, order_id, int(client_no), side, type, int(price), int(quantity),
            int(filled), int(value), status, reason, key, int(sequence), time_us, time_us,
        )  # fmt: skip
        self._check_order(row)
        tables = self.tables
        if order_id in tables.order_ids:
            raise errors.UniqueViolation("orders_order_id_key")
        name = (row.client_no, instrument_id, key)
        if key and name in tables.keys:
            raise errors.UniqueViolation("orders_idempotency_key")
        place = (instrument_id, number)
        tables.orders[place] = row
        tables.order_ids[order_id] = place
        if key:
            tables.keys[name] = place
        if status not in FINAL:
            tables.resting[place] = None
        rejected = status == "rejected"
        self._insert_event(
            EventRow(
                instrument_id,
                row.sequence,
                "rejected" if rejected else "accepted",
                number,
                side,
                type,
                row.price,
                row.quantity,
                reason if rejected else "",
                time_us,
            )
        )

    def _update_order(self, instrument_id: int, update: Any, time_us: int) -> None:
        number, filled, value, status, reason = update
        place = (instrument_id, int(number))
        row = self.tables.orders.get(place)
        if row is None or row.status in FINAL:
            raise Contradiction(f"order {number} is not resting")
        row = row._replace(
            filled=row.filled + int(filled), value=row.value + int(value), status=status,
            reason=reason, updated_us=time_us,
        )  # fmt: skip
        self._check_order(row)
        self.tables.orders[place] = row
        if status in FINAL:
            del self.tables.resting[place]

    def _insert_trade(self, instrument_id: int, number: int, trade: Any, time_us: int) -> None:
        sequence, price, quantity, side, maker, taker, maker_client, taker_client = trade
        row = TradeRow(
            instrument_id, int(sequence), number, int(price), int(quantity), side, int(maker),
            int(taker), int(maker_client), int(taker_client), time_us,
        )  # fmt: skip
        if row.price <= 0 or row.quantity <= 0 or row.maker_order_no >= row.taker_order_no:
            raise errors.CheckViolation("trades")
        self.tables.trades[instrument_id, row.sequence] = row

    def _insert_event(self, row: EventRow) -> None:
        self.tables.events[row.instrument_id, row.sequence] = row

    def _check_order(self, row: OrderRow) -> None:
        limit = row.type == "limit"
        fits = {
            "open": row.filled == 0 and limit,
            "partially_filled": 0 < row.filled < row.quantity and limit,
            "filled": row.filled == row.quantity,
            "cancelled": 0 <= row.filled < row.quantity,
            "rejected": row.filled == 0,
        }
        if (
            not fits[row.status]
            or (row.price == 0) is limit
            or row.price < 0
            or row.quantity <= 0
            or not 1 <= row.order_no <= NUMBER_MAX
        ):
            raise errors.CheckViolation("orders")

    # The edge's reads.

    def get_orders(self, order_ids: Any) -> list[Any]:
        tables = self.tables
        return [
            self._order(tables.orders[tables.order_ids[order_id]])
            for order_id in items(order_ids)
            if order_id in tables.order_ids
        ]

    def get_order_trades(self, order_id: str, taker_only: bool) -> list[Any]:
        tables = self.tables
        place = tables.order_ids.get(order_id)
        return [
            self._trade(trade)
            for _, trade in sorted(tables.trades.items())
            if place == (trade.instrument_id, trade.taker_order_no)
            or (not taker_only and place == (trade.instrument_id, trade.maker_order_no))
        ]

    def read_changes(self, instrument_id: int, after: int, limit: int) -> list[Any]:
        tables = self.tables
        now = tables.shard[instrument_id].sequence
        trades = [
            (now, *self._trade(trade))
            for sequence in range(after + 1, now + 1 if now - after <= limit else after + 1)
            if (trade := tables.trades.get((instrument_id, sequence)))
        ]
        return trades or [(now, *[None] * 9)]

    def read_changed_orders(self, instrument_id: int, after: int, limit: int) -> list[Any]:
        tables = self.tables
        now = tables.shard[instrument_id].sequence
        touched: dict[int, int] = {}
        for sequence in range(after + 1, now + 1 if now - after <= limit else after + 1):
            place = (instrument_id, sequence)
            if trade := tables.trades.get(place):
                touched[trade.maker_order_no] = touched[trade.taker_order_no] = sequence
            else:
                touched[tables.events[place].order_no] = sequence
        return [
            (sequence, *self._order(tables.orders[instrument_id, number]))
            for number, sequence in sorted(touched.items(), key=lambda item: (item[1], item[0]))
        ]

    def _order(self, o: OrderRow) -> tuple[Any, ...]:
        names = {number: name for name, number in self.tables.clients.items()}
        return (
            o.order_id, o.order_no, names[o.client_no], self.tables.instruments[o.instrument_id],
            o.side, o.type, o.price, o.quantity, o.filled, o.value, o.status, o.reason, o.key,
            o.created_us, o.updated_us, o.sequence,
        )  # fmt: skip

    def _trade(self, t: TradeRow) -> tuple[Any, ...]:
        orders = self.tables.orders
        maker = orders[t.instrument_id, t.maker_order_no].order_id
        taker = orders[t.instrument_id, t.taker_order_no].order_id
        buyer, seller = (taker, maker) if t.taker_side == "buy" else (maker, taker)
        return (
            t.trade_no, t.sequence, self.tables.instruments[t.instrument_id], t.price, t.quantity,
            buyer, seller, t.taker_side, t.traded_us,
        )  # fmt: skip


class Natural(int):
    """A size in units that is written as PostgreSQL writes it in natural units."""

    def __format__(self, spec: str) -> str:
        return f"0.{int(self):08d}"


def items(array: Any) -> list[str]:
    """Return the items of an array that came as a literal or as a list."""
    if not isinstance(array, str):
        return list(array)
    return [item.strip('"') for item in array[1:-1].split(",")] if array != "{}" else []


def rows(columns: Sequence[Any]) -> list[tuple[str, ...]]:
    return list(zip(*map(items, columns), strict=True))


def _check_words(*pairs: tuple[str, tuple[str, ...]]) -> None:
    for word, words in pairs:
        if word not in words:
            raise errors.InvalidTextRepresentation(word)


QUERIES = {text: name for name, text in sql.queries().items()}
# What may strike a statement; each rolls it back.
REFUSALS = (errors.DeadlockDetected, errors.SerializationFailure, errors.QueryCanceled)


class PostgresServer(Server):
    """The server, and its sessions."""

    name = "postgres"
    # By the keepalives and tcp_user_timeout of adapters/postgres.py.
    patience_s = 11.0

    def __init__(self, *context: Any, instruments: Sequence[str]) -> None:
        super().__init__(*context)
        self.functions = Functions(Tables(instruments), self.now_us)
        self.on_commit: Callable[[Process, Committed], None] = lambda process, committed: None
        # What no client of a server may do.
        self.misused: list[str] = []

    @property
    def tables(self) -> Tables:
        return self.functions.tables

    def now_us(self) -> int:
        return EPOCH_US + int(self.loop.time() * 1_000_000) + self.clock_offset_us

    def connection_error(self, text: str) -> Exception:
        return psycopg.OperationalError(text)

    def timeout_error(self) -> Exception:
        return psycopg.OperationalError("could not receive data from server: Connection timed out")

    async def connect(self, url: str, role: str) -> "Session":
        """Stand in for the adapter's function of this name."""
        from workers.adapters.errors import Unavailable

        if self.loop.over:
            raise asyncio.CancelledError
        await asyncio.sleep(self.swarm.chance.uniform(0.002, 0.006))
        if self.down or not self.reachable(PROCESS.get()):
            raise Unavailable("PostgreSQL: connection refused")
        return Session(self)

    def pool(self, url: str, role: str, length_max: int, statement_timeout_ms: int) -> "Pool":
        """Stand in for the adapter's `make_pool`."""
        return Pool(self, length_max)


class Cursor:
    def __init__(self, found: list[tuple[Any, ...]]) -> None:
        self._found = found

    async def fetchone(self) -> tuple[Any, ...] | None:
        return self._found[0] if self._found else None

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return self._found


class Session(Connection):
    """One connection. Once broken it stays so."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.server = server
        self.process: Process = PROCESS.get()
        self.closed = False
        self._generation = server.generation
        self._lock = asyncio.Lock()
        self._snapshot: Functions | None = None
        self._in_transaction = False

    async def execute(
        self, text: bytes, parameters: Any = None, prepare: Any = None, binary: bool = False
    ) -> Cursor:
        name = QUERIES[text]
        if name == "get_orders":  # made from a set
            parameters = {"order_ids": sorted(parameters["order_ids"])}
        async with self._lock:
            if self.broken or self.closed or self._generation != self.server.generation:
                self.broken = True
                raise psycopg.OperationalError("the connection is closed")
            refusal = REFUSALS[int(self.server.swarm.chance.random() * len(REFUSALS))]
            found = await self.server.call(
                f"{name} {_shown(name, parameters)}",
                lambda _: self._run(name, parameters),
                connection=self,
                doubling=name in ("commit_batch", "acquire_shard", "renew_lease", "ensure_clients"),
                refusal=refusal(f"injected {refusal.__name__}"),
            )
        return Cursor(found)

    def _run(self, name: str, parameters: Any) -> Any:
        functions = self.server.functions
        if self._in_transaction:
            if self._snapshot is None:
                self._snapshot = Functions(functions.tables.copy(), functions.now_us)
            return self._snapshot.call(name, parameters)
        commits = len(functions.commits)
        found = functions.call(name, parameters or {})
        for committed in functions.commits[commits:]:
            self.server.on_commit(self.process, committed)
        return found

    async def notifies(self, *, timeout: float, stop_after: int) -> AsyncIterator[Any]:
        """Tell of no release: a pooler may stand between, and then the time decides."""
        await asyncio.sleep(timeout)
        for nothing in ():
            yield nothing

    async def set_isolation_level(self, level: Any) -> None:
        pass

    async def set_read_only(self, value: bool) -> None:
        pass

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self._in_transaction, self._snapshot = True, None
        try:
            yield
        finally:
            self._in_transaction = False

    async def close(self) -> None:
        if self._lock.locked() and not self.server.loop.over:
            # The driver gives the descriptor back to the system while another task still watches
            # it; the next connection gets the same one, and waits for ever.
            self.server.trace.add(f"{self.process} !! closes a connection that is in use")
            self.server.misused.append(f"{self.process} closes a connection that is in use")
        self.closed = True


class Pool:
    """Connections by turns."""

    def __init__(self, server: PostgresServer, length_max: int) -> None:
        self._server = server
        self._turns = asyncio.Semaphore(length_max)
        self._closed = False

    async def open(self, wait: bool = True) -> None:
        pass

    async def close(self) -> None:
        self._closed = True

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        if self._closed:
            raise PoolClosed("the pool is closed")
        try:
            async with asyncio.timeout(2.0):
                await self._turns.acquire()
        except TimeoutError:
            raise PoolTimeout("couldn't get a connection after 2.00 sec") from None
        try:
            if self._server.down or not self._server.reachable(PROCESS.get()):
                await asyncio.sleep(2.0)
                raise PoolTimeout("couldn't get a connection after 2.00 sec")
            yield Session(self._server)
        finally:
            self._turns.release()


def _shown(name: str, parameters: Any) -> str:
    if name == "ensure_clients":  # made from a set
        return " ".join(sorted(items(parameters["client_ids"])))
    if isinstance(parameters, dict):
        return " ".join(map(str, parameters.values()))[:120]
    return " ".join(map(str, parameters))[:200] if parameters else ""
