"""The judge: what the clients heard against what PostgreSQL holds, and PostgreSQL against itself.

The names in brackets are those of the invariants:

I1 what was acknowledged is stored with the same terms. I2 one order per name and key. I3, I4, I5,
I7 the database's own invariants (`analytics.verify()`): ledger, balances, fills, gapless sequences.
I6 the book from open orders is the book from the log. I8 a repeat gives the same order; the clients
check it as they go. I9 the trades are those of price, then time, and an order that was sent after
another's answer comes after it. I10 epochs never go back in what is published. I11 a refusal leaves
no trace, and what was unknown has one outcome.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ops.faulting.history import History, OrderAsked
from ops.faulting.reference import priority_problems
from ops.verify import broken_invariants, compare_books, read_events
from workers.core.messages import FINAL

Row = tuple[Any, ...]
PROBLEMS_SHOWN = 5


@dataclass
class Verdict:
    """What a run has come to. `problems` are texts that begin with the invariant."""

    stored: int = 0
    trades: int = 0
    # As they were asked for; None for what nobody asked for.
    lost: list[OrderAsked | None] = field(default_factory=list)
    duplicated: list[OrderAsked | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check(url: str, history: History) -> Verdict:
    """Judge a run whose clients have finished and whose streams are drained."""
    verdict = Verdict(problems=[f"client: {problem}" for problem in history.problems])
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        stored = _Stored(connection)
        verdict.stored, verdict.trades = len(stored.by_id), len(stored.trades)
        lost = list(_lost(history, stored))
        verdict.lost = list({id(order): order for order, _ in lost}.values())
        doubled = list(_doubled(history, stored))
        verdict.duplicated = [order for order, _ in doubled]
        verdict.problems += [f"I1 {problem}" for _, problem in lost[:PROBLEMS_SHOWN]]
        verdict.problems += [f"I2 {problem}" for _, problem in doubled[:PROBLEMS_SHOWN]]
        verdict.problems += [f"I9 {text}" for text in _overtakers(history)][:PROBLEMS_SHOWN]
        verdict.problems += [f"I11 {text}" for text in _traces(history, stored)][:PROBLEMS_SHOWN]
        for name, rows in broken_invariants(connection).items():
            verdict.problems.append(f"I3-I7 {name}: {rows[:PROBLEMS_SHOWN]}")
        for instrument, *_, word in compare_books(connection):
            if word != "ok":
                verdict.problems.append(f"I6 {instrument}: {word}")
        for instrument_id, instrument in stored.instruments.items():
            for problem in priority_problems(read_events(connection, instrument_id)):
                verdict.problems.append(f"I9 {instrument}: {problem}")
    return verdict


class _Stored:
    """Every order and trade, by the names that clients know."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.instruments: dict[int, str] = dict(
            connection.execute("SELECT instrument_id, instrument FROM exchange.instruments")
        )
        self.by_id: dict[str, Row] = {}
        self.by_key: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
        for order_id, instrument_id, client_id, key, *terms in connection.execute(
            "SELECT order_id, instrument_id, client_id, idempotency_key, order_no, side::text,"
            " type::text, price, quantity, filled_quantity, status::text"
            " FROM exchange.orders JOIN exchange.clients USING (client_no)"
        ):
            instrument = self.instruments[instrument_id]
            self.by_id[order_id] = (instrument, client_id, *terms)
            if key:
                self.by_key[client_id, instrument, key].append(order_id)
        self.trades = {
            (self.instruments[instrument_id], trade_no): (price, quantity)
            for instrument_id, trade_no, price, quantity in connection.execute(
                "SELECT instrument_id, trade_no, price, quantity FROM exchange.trades"
            )
        }

    def of(self, order: OrderAsked) -> set[str]:
        """Return the ids of the orders that are stored under a name of this one."""
        found = set()
        if order.order_id and order.order_id in self.by_id:
            found.add(order.order_id)
        if order.key:
            found.update(self.by_key.get((order.client_id, order.instrument, order.key), ()))
        return found


def _lost(history: History, stored: _Stored) -> Iterator[tuple[OrderAsked | None, str]]:
    """Yield (order, what is wrong) of what was acknowledged and is not so."""
    by_id = {order.acked_id: order for order in history.orders if order.state == "ok"}
    for order in history.orders:
        if order.state != "ok":
            continue
        row = stored.by_id.get(order.acked_id)
        if row is None:
            yield order, f"order {order.acked_id} is not stored"
            continue
        instrument, client_id, order_no, side, type, price, quantity, filled, status = row
        asked = (order.instrument, order.client_id, order.order_no, order.side, order.type)
        if asked != (instrument, client_id, order_no, side, type) or (
            (order.price, order.quantity) != (price, quantity)
        ):
            yield order, f"order {order.acked_id} has other terms: {row}"
        elif filled < order.filled or (
            order.status in FINAL and (status, filled) != (order.status, order.filled)
        ):
            yield order, f"order {order.acked_id} was {order.status} and is {row}"
        for trade_no, trade_price, trade_quantity in order.trades:
            trade = stored.trades.get((order.instrument, trade_no))
            if trade != (trade_price, trade_quantity):
                yield order, f"trade {order.instrument} {trade_no} is {trade}"
    for cancel in history.cancels:
        if cancel.state == "ok":
            row = stored.by_id.get(cancel.order_id)
            if row is None or row[-1] not in FINAL:
                yield (
                    by_id.get(cancel.order_id),
                    f"order {cancel.order_id} was cancelled and is {row}",
                )
            elif not cancel.finished and row[-1] != "cancelled":
                yield (
                    by_id.get(cancel.order_id),
                    f"order {cancel.order_id} was cancelled and is {row[-1]}",
                )


def _doubled(history: History, stored: _Stored) -> Iterator[tuple[OrderAsked | None, str]]:
    """Yield what is stored more than once, or without having been asked for."""
    mine: Counter[str] = Counter()
    for order in history.orders:
        found = stored.of(order)
        if len(found) > 1:
            yield order, f"one order is stored as {sorted(found)}"
        mine.update(found)
    for name, requests in mine.items():
        if requests > 1:
            yield None, f"order {name} belongs to {requests} requests"
    for name in stored.by_id.keys() - mine.keys():
        yield None, f"order {name} was never asked for"


def _traces(history: History, stored: _Stored) -> Iterator[str]:
    """Yield refused orders that are stored, and orders of which nobody knows anything yet."""
    for order in history.orders:
        if order.state == "refused" and (found := stored.of(order)):
            yield f"{sorted(found)} was refused and is stored"
        elif order.state in ("unknown", "pending"):
            yield f"{order.body()} is still {order.state}"
    for cancel in history.cancels:
        if cancel.state in ("unknown", "pending"):
            yield f"the cancel of {cancel.order_id} is still {cancel.state}"


def _overtakers(history: History) -> Iterator[str]:
    """Yield orders that were sent after another one's answer and came before it all the same."""
    by_instrument: defaultdict[str, list[OrderAsked]] = defaultdict(list)
    for order in history.orders:
        if order.state == "ok":
            by_instrument[order.instrument].append(order)
    for orders in by_instrument.values():
        answered = sorted(orders, key=lambda order: order.completed)
        highest, at = None, 0
        for order in sorted(orders, key=lambda order: order.invoked):
            while at < len(answered) and answered[at].completed < order.invoked:
                if highest is None or answered[at].order_no > highest.order_no:
                    highest = answered[at]
                at += 1
            if highest is not None and order.order_no < highest.order_no:
                yield f"order {order.acked_id} was sent after {highest.acked_id} was answered"


def epoch_problems(heard: Sequence[tuple[str, int]]) -> list[str]:
    """Return where, in (channel, epoch) as published, an old epoch came after a newer one."""
    latest: dict[str, int] = {}
    problems = []
    for channel, epoch in heard:
        if epoch < latest.get(channel, 0):
            problems.append(f"I10 {channel}: epoch {epoch} after {latest[channel]}")
        latest[channel] = max(epoch, latest.get(channel, 0))
    return problems
