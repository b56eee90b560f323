"""A market's history, the same for every seed: made by engines, committed, and remembered.

Whoever tests a question about the past asks the database, and works the answer out from this.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import NamedTuple

import psycopg

from tests.matcher import ONE, Matcher, cancel, limit
from workers.adapters.ledger import Ledger
from workers.core.depth import DepthLevel, take_snapshot
from workers.core.instruments import Instrument
from workers.core.messages import (
    Command,
    Event,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    Trade,
)

INSTRUMENTS = (
    Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading"),
    Instrument(2, "ETH-USD", "ETH", "USD", 1, 1, "trading"),
)
CLIENTS = ("ada", "bob", "cyd", "dan", "eve")
# A Monday, late enough in the day that the history crosses midnight.
BEGIN = datetime(2026, 1, 5, 20, tzinfo=UTC)
MONDAY = date(2026, 1, 5)

# Basis points of (maker, taker) by segment, on BTC-USD only; bob and cyd are in the second.
FEES = {"standard": ("1", "2.5"), "market-maker": ("-0.5", "1")}
MAKERS = ("bob", "cyd")


class Fill(NamedTuple):
    """A trade with everything that the database should say about it, in exact numbers."""

    instrument: str
    sequence: int
    trade_no: int
    at: datetime
    price: Fraction
    quantity: Fraction
    taker_side: str
    maker: str
    taker: str
    maker_order_id: str
    taker_order_id: str
    maker_fee: Fraction
    taker_fee: Fraction

    @property
    def value(self) -> Fraction:
        return self.price * self.quantity

    @property
    def buyer(self) -> str:
        return self.taker if self.taker_side == "buy" else self.maker

    @property
    def seller(self) -> str:
        return self.maker if self.taker_side == "buy" else self.taker


class Step(NamedTuple):
    """An event of an order that is not a trade."""

    instrument: str
    sequence: int
    at: datetime
    kind: str
    order_id: str
    client_id: str
    quantity: Fraction


Depth = tuple[list[DepthLevel], list[DepthLevel]]


@dataclass
class History:
    """What happened. `depths` of an instrument: the book after each sequence, best first."""

    fills: list[Fill] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    depths: dict[str, dict[int, Depth]] = field(default_factory=dict)
    times: dict[str, dict[int, datetime]] = field(default_factory=dict)
    # (kind, client, asset, amount, time) of the house's entries.
    house: list[tuple[str, str, str, Fraction, datetime]] = field(default_factory=list)
    settled_at: datetime | None = None

    @property
    def end(self) -> datetime:
        return max(fill.at for fill in self.fills) + timedelta(minutes=1)


class Recorder(Matcher):
    """A matcher that writes a history of what it does."""

    history: History

    def applied(self, events: list[Event]) -> None:
        depths = self.history.depths.setdefault(self.instrument, {0: ([], [])})
        times = self.history.times.setdefault(self.instrument, {})
        before = depths[max(depths)]
        sides = {"buy": dict(before[0]), "sell": dict(before[1])}
        for event in events:
            if not isinstance(event, Trade | OrderAccepted | OrderCancelled | OrderRejected):
                continue
            at = BEGIN + timedelta(microseconds=event.time_us - to_us(BEGIN))
            times[event.sequence] = at
            if isinstance(event, Trade):
                self.history.fills.append(self._fill(event, at))
                resting = sides[event.maker.side]
                resting[event.price_ticks] -= event.quantity_lots
                if not resting[event.price_ticks]:
                    del resting[event.price_ticks]
            else:
                self.history.steps.append(self._step(event, at))
            # Until its last event is past, an order that trades is not in the book.
            depths[event.sequence] = (
                sorted(sides["buy"].items(), reverse=True),
                sorted(sides["sell"].items()),
            )
        snapshot = take_snapshot(self.engine.book, self.engine.sequence)
        depths[self.engine.sequence] = (sorted(snapshot.bids, reverse=True), sorted(snapshot.asks))

    def _fill(self, event: Trade, at: datetime) -> Fill:
        price, quantity = units(event.price_ticks), units(event.quantity_lots)
        maker, taker = event.maker.client_id, event.taker.client_id
        return Fill(
            self.instrument, event.sequence, event.trade_no, at, price, quantity,
            event.taker.side, maker, taker, event.maker.order_id, event.taker.order_id,
            self._fee(maker, 0, price * quantity), self._fee(taker, 1, price * quantity),
        )  # fmt: skip

    def _fee(self, client_id: str, role: int, value: Fraction) -> Fraction:
        if self.instrument != "BTC-USD":
            return Fraction(0)
        bps = Fraction(FEES["market-maker" if client_id in MAKERS else "standard"][role])
        # Rounded up to 16 decimals.
        return Fraction(-(-value * bps / 10_000 * 10**16 // 1), 10**16)

    def _step(self, event: OrderAccepted | OrderCancelled | OrderRejected, at: datetime) -> Step:
        order = event.order
        cancelled = isinstance(event, OrderCancelled)
        kind = {OrderAccepted: "accepted", OrderCancelled: "cancelled", OrderRejected: "rejected"}
        lots = event.remaining_lots if cancelled else order.quantity_lots
        return Step(
            self.instrument, event.sequence, at, kind[type(event)], order.order_id,
            order.client_id, units(lots),
        )  # fmt: skip


def units(amount: int) -> Fraction:
    return Fraction(amount, 10**8)


def to_us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def make_history(
    url: str,
    *,
    seed: int,
    commands: int,
    snapshots: bool = False,
    house: bool = True,
    closing: bool = True,
) -> History:
    """Fill an empty, migrated database and return what was done.

    `snapshots` are taken on the way; `house` makes deposits and such; `closing` stores balances
    halfway, as a settlement would that has nothing to discharge.
    """
    return asyncio.run(_make(url, Random(seed), commands, snapshots, house, closing))


async def _make(
    url: str, random: Random, commands: int, snapshots: bool, house: bool, closing: bool
) -> History:
    history = History()
    with psycopg.connect(url, autocommit=True) as connection:
        _set_fees(connection)
        matchers = []
        for instrument in INSTRUMENTS:
            ledger = await Ledger.open(url, instrument, 10_000)
            standing = await ledger.acquire("history")
            assert standing is not None
            await ledger.ensure_clients(CLIENTS)
            recorder = Recorder(ledger, standing, instrument.instrument)
            recorder.history = history
            matchers.append(recorder)
        at = BEGIN
        if house:
            for client_id in CLIENTS:
                _post(connection, history, "deposit", client_id, "USD", Fraction(100_000), at)
                _post(connection, history, "deposit", client_id, "BTC", Fraction(50), at)
        done = 0
        halfway = False
        while done < commands:
            matcher = random.choice(matchers)
            length = random.randint(1, 40)
            at += timedelta(microseconds=random.randint(1, 600_000_000))
            matcher.time_us = to_us(at)
            await matcher.commit(
                await matcher.apply(*(_command(random, matcher, done + n) for n in range(length)))
            )
            done += length
            if snapshots and random.random() < 0.2:
                _snapshot(connection, matcher)
            if house and not halfway and done > commands // 2:
                halfway = True
                _post(connection, history, "withdrawal", "ada", "USD", Fraction(-1234, 100), at)
                _post(connection, history, "adjustment", "bob", "BTC", Fraction(1, 8), at)
                if closing:
                    _settle(connection, history, at)
        for matcher in matchers:
            await matcher.ledger.close()
    return history


def _command(random: Random, matcher: Matcher, number: int) -> Command:
    resting = matcher.engine.book.orders
    if resting and random.random() < 0.25:
        return cancel(random.choice(list(resting)))
    side = random.choice(("buy", "sell"))
    lots = random.choice((1, 3, ONE // 7, ONE // 2, ONE, 3 * ONE))
    price_ticks = 0 if random.random() < 0.2 else 100 * ONE + random.randint(-8, 8) * ONE // 4
    return limit(
        side, price_ticks, lots, client_id=random.choice(CLIENTS),
        order_id=f"{matcher.instrument.lower()}-{number}",
    )  # fmt: skip


def _set_fees(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO exchange.client_segments (segment) VALUES ('market-maker')")
    connection.execute(
        "INSERT INTO exchange.clients (client_id, segment_id) SELECT u, segment_id"
        " FROM unnest(%s::text[]) u, exchange.client_segments WHERE segment = 'market-maker'",
        (list(MAKERS),),
    )
    for segment, (maker, taker) in FEES.items():
        connection.execute(
            "INSERT INTO exchange.fees SELECT 1, segment_id, %s, %s"
            " FROM exchange.client_segments WHERE segment = %s",
            (maker, taker, segment),
        )


POST = """
    WITH moved AS (
        UPDATE exchange.house_book SET sequence = sequence + 1, last_posted_at = %(at)s
        RETURNING sequence
    ), noted AS (
        INSERT INTO exchange.house_entries (sequence, kind, actor, reason, idempotency_key,
                                            posted_at)
        SELECT sequence, %(kind)s::exchange.entry_kind, 'test', '', sequence::text, %(at)s
        FROM moved
    ), entered AS (
        INSERT INTO exchange.ledger_entries (instrument_id, sequence, kind, posted_at)
        SELECT 0, sequence, %(kind)s::exchange.entry_kind, %(at)s FROM moved
    ), posted AS (
        INSERT INTO exchange.postings (instrument_id, sequence, leg, client_no, asset_id, amount)
        SELECT 0, m.sequence, l.leg, l.client_no, a.asset_id, l.amount
        FROM moved m, exchange.clients c, exchange.assets a
        CROSS JOIN LATERAL (VALUES (1, c.client_no, %(amount)s), (2, -1, -%(amount)s))
            AS l(leg, client_no, amount)
        WHERE c.client_id = %(client_id)s AND a.asset = %(asset)s
        RETURNING client_no, asset_id, amount
    )
    INSERT INTO exchange.balances AS b (client_no, asset_id, instrument_id, posted)
    SELECT client_no, asset_id, 0, amount FROM posted
    ON CONFLICT (client_no, asset_id, instrument_id)
        DO UPDATE SET posted = b.posted + excluded.posted
"""

SETTLE = """
    INSERT INTO exchange.settlement_runs (day, settled_at, actor, clients)
    VALUES (%(day)s, %(at)s, 'test', 0);
    INSERT INTO exchange.settlement_bounds
    SELECT %(day)s, instrument_id, 0, sequence FROM exchange.shard
    UNION ALL SELECT %(day)s, 0, 0, sequence FROM exchange.house_book;
    INSERT INTO exchange.closing_balances
    SELECT %(day)s, client_no, asset_id, sum(posted) FROM exchange.balances GROUP BY 2, 3;
"""


def _post(
    connection: psycopg.Connection, history: History, kind: str, client_id: str, asset: str,
    amount: Fraction, at: datetime,
) -> None:  # fmt: skip
    """Post an entry of the house at a time of our choosing."""
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    connection.execute(
        POST,
        {"kind": kind, "client_id": client_id, "asset": asset, "amount": exact, "at": at},
    )
    history.house.append((kind, client_id, asset, amount, at))


def _settle(connection: psycopg.Connection, history: History, at: datetime) -> None:
    """Store a closing, as a settlement at this time would."""
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(SETTLE, {"day": MONDAY, "at": at})
    history.settled_at = at


def _snapshot(connection: psycopg.Connection, matcher: Matcher) -> None:
    depth = take_snapshot(matcher.engine.book, matcher.engine.sequence)
    bids, asks = sorted(depth.bids, reverse=True), sorted(depth.asks)
    number = next(i.instrument_id for i in INSTRUMENTS if i.instrument == matcher.instrument)
    connection.execute(
        "SELECT exchange.store_book_snapshot_v1(%s, %s, %s, %s, %s, %s)",
        (
            number, depth.sequence,
            [Decimal(p) for p, _ in bids], [Decimal(q) for _, q in bids],
            [Decimal(p) for p, _ in asks], [Decimal(q) for _, q in asks],
        ),
    )  # fmt: skip
