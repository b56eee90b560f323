"""The simulated functions against the real ones: same calls, same results, errors and tables.

The simulation (tests/simulation) stands on this: where the two differed, it would prove nothing.
"""

from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pytest

import sql
from ops.verify import broken_invariants
from tests.builders import Shape, random_commands
from tests.matcher import BTC_USD
from tests.simulation.postgres_server import Functions, Tables
from workers.adapters.ledger import Ledger
from workers.core.batch import Batch, DeadLetter
from workers.core.codec import Request
from workers.core.engine import MatchingEngine
from workers.core.engine_snapshot import Page, decode_page
from workers.core.instruments import Instrument
from workers.core.messages import RESTING, CancelOrder, Order, Status, SubmitOrder

ETH_USD = Instrument(2, "ETH-USD", "ETH", "USD", 1, 1, "trading")
NOW_US = 1_700_000_000_000_000
STEPS = 250
CLIENTS = ("alice", "bob", "carol")
SHAPE = Shape("tight", spread_ticks=3, quantity_lots_max=9, cancel_share=0.2, late_share=0.05)
# Results whose rows come in no particular order.
UNORDERED = ("find_first_orders", "get_orders", "ensure_clients")

Outcome = tuple[str, Any]


class Twins:
    """A real database and a simulated one, which are asked the same things."""

    def __init__(self, real: psycopg.Connection, simulated: Functions) -> None:
        self.real = real
        self.simulated = simulated
        self.outcomes: dict[tuple[str, str], int] = {}

    def call(self, name: str, parameters: Any) -> Outcome:
        """Ask both; fail where they differ."""
        answers = self._real(name, parameters), self._simulated(name, parameters)
        assert answers[0] == answers[1], f"{name} {parameters}"
        outcome = answers[0]
        how = outcome[0] or ("rows" if outcome[1] else "nothing")
        self.outcomes[name, how] = self.outcomes.get((name, how), 0) + 1
        return outcome

    def _real(self, name: str, parameters: Any) -> Outcome:
        try:
            found = self.real.execute(sql.query(name), parameters).fetchall()
        except psycopg.Error as error:
            return str(error.sqlstate), None
        return "", plain(name, found)

    def _simulated(self, name: str, parameters: Any) -> Outcome:
        try:
            found = self.simulated.call(name, parameters)
        except psycopg.Error as error:
            return str(error.sqlstate), None
        return "", plain(name, found)


def plain(name: str, found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    result = [
        tuple(int(value) if isinstance(value, Decimal) else value for value in row) for row in found
    ]
    return sorted(result) if name in UNORDERED else result


class Writer:
    """One instrument's matcher, rebuilt from the database before every batch."""

    def __init__(self, twins: Twins, instrument: Instrument, seed: int) -> None:
        self.twins = twins
        self.instrument = instrument
        self.chance = Random(f"{seed} {instrument.instrument}")
        self.commands = iter(random_commands(seed, SHAPE, 100_000))
        self.ledger = Ledger(instrument, 3_600_000, None, None)  # type: ignore[arg-type]
        self.names = 0

    def engine(self) -> MatchingEngine:
        orders: list[Order] = []
        for status in RESTING:
            last = 0
            while rows := self.pages(status, last, None):
                ((count, last, numbers, texts),) = rows
                decoded, clients = decode_page(Page(status, count, numbers, texts))
                orders += decoded
                self.ledger._client_nos.update((name, no) for no, name in clients.items())
        some = "{" + ",".join(str(order.order_no) for order in orders[::2]) + "}"
        for status in RESTING:
            self.pages(status, 0, some)
        shard = self.twins.simulated.tables.shard[self.instrument.instrument_id]
        return MatchingEngine(shard.sequence, shard.order_no, shard.trade_no, orders)

    def pages(self, status: Status, after: int, order_nos: str | None) -> list[Any]:
        parameters = {"status": status, "after": after, "order_nos": order_nos}
        _, rows = self.twins.call(
            "load_orders", {"instrument_id": self.instrument.instrument_id} | parameters
        )
        return rows  # type: ignore[no-any-return]

    def batch(self) -> tuple[list[Any], list[str]]:
        """Return the arguments of a commit that fits."""
        chance, engine = self.chance, self.engine()
        shard = self.twins.simulated.tables.shard[self.instrument.instrument_id]
        batch = Batch(
            self.instrument.instrument, shard.last_stream_id, shard.sequence, shard.order_no,
            shard.trade_no,
        )  # fmt: skip
        batch.time_us = max(shard.last_time_us, NOW_US) + chance.randrange(3)
        milliseconds = int(shard.last_stream_id.partition("-")[0])
        for number in range(chance.choice((0, 1, 2, 5, 12))):
            batch.add_entry(f"{milliseconds + 1}-{number}")
            if chance.random() < 0.1:
                letter = DeadLetter(batch.position, bytes(chance.randbytes(5)), "not a request")
                batch.dead_letters.append(letter)
                continue
            command = self._next(engine)._replace(time_us=batch.time_us)
            batch.add_events(Request(command, "edge", number), engine.apply(command))
        if not len(batch):
            batch.add_entry(f"{milliseconds + 1}-0")
        return self.ledger.parameters(batch, shard.epoch), batch.entry_ids

    def _next(self, engine: MatchingEngine) -> SubmitOrder | CancelOrder:
        chance = self.chance
        command = next(self.commands)
        late = command.deadline_us < command.time_us
        if isinstance(command, CancelOrder):
            resting = list(engine.book.orders)
            order_id = chance.choice(resting) if resting else "nobody"
            return command._replace(order_id=order_id, deadline_us=2 * NOW_US)
        self.names += 1
        client_id = chance.choice(CLIENTS)
        _, rows = self.twins.call("ensure_clients", {"client_ids": f'{{"{client_id}"}}'})
        self.ledger._client_nos.learn(rows)
        return command._replace(
            client_id=client_id,
            order_id=f"{self.instrument.instrument}-{self.names}",
            idempotency_key=f"key-{self.names}" if chance.random() < 0.4 else "",
            price_ticks=command.price_ticks and chance.randint(5, 9),
            deadline_us=0 if late else 2 * NOW_US,
        )


def spoil(chance: Random, parameters: list[Any], tables: Tables) -> list[Any]:
    """Return arguments that are wrong in one place, or a few."""
    spoilt = list(parameters)

    def change(index: int, to: Any) -> None:
        if spoilt[index] in ("{}", []):
            return
        items = spoilt[index][1:-1].split(",")
        place = chance.randrange(len(items))
        items[place] = str(to(items[place]) if callable(to) else to)
        spoilt[index] = "{" + ",".join(items) + "}"

    stored = list(tables.orders.values()) or [None]
    match chance.randrange(18):
        case 0:
            spoilt[1] += chance.choice((-1, 1))
        case 1:
            spoilt[2] = chance.choice(("0-0", "9-9", "x"))
        case 2 | 3 | 4 as index:
            spoilt[index + 2] += chance.choice((-1, 1))
        case 5:
            spoilt[7] = 1
        case 6 if stored[0]:
            change(9, chance.choice(stored).order_id)
        case 7 if stored[0]:
            row = chance.choice([row for row in stored if row.key] or stored)
            change(10, row.client_no)
            change(19, row.key or '""')
        case 8:
            change(chance.choice((17, 24)), chance.choice(("open", "filled", "rejected")))
        case 9:
            change(chance.choice((11, 12, 17, 29)), "nonsense")
        case 10:
            change(15, lambda filled: int(filled) + chance.choice((1, 1000)))
        case 11:
            change(13, chance.choice((0, -5)))
        case 12:
            change(14, chance.choice((0, -5)))
        case 13:
            change(21, chance.choice((999, 1)))
        case 14:
            change(22, 10_000)
        case 15:
            change(chance.choice((20, 26, 34)), chance.choice((1, 10**6)))
        case 16:
            spoilt[30], spoilt[31] = spoilt[31], spoilt[30]
        case 17:
            spoilt[0] = 99
        case _:
            pass
    return spoilt


def ask_something(twins: Twins, chance: Random, writer: Writer) -> None:
    """Ask one of the other functions something."""
    tables = twins.simulated.tables
    number = writer.instrument.instrument_id
    order_ids = [row.order_id for row in tables.orders.values()] + ["nobody"]
    keys = [row.key for row in tables.orders.values()] + ["none"]
    epoch = tables.shard[number].epoch - chance.choice((0, 0, 0, 1))
    lease_ms = chance.choice((-1_000, 3_600_000))
    after = chance.randrange(-1, tables.shard[number].sequence + 2)
    window = {"instrument_id": number, "after": max(0, after), "limit": chance.choice((0, 5, 999))}
    if window["after"] > tables.shard[number].sequence:
        window["after"] = 0
    some = [chance.choice(order_ids) for _ in range(3)]
    questions: list[tuple[str, dict[str, Any]]] = [
        (
            "acquire_shard",
            {
                "instrument_id": chance.choice((number, number, number, 99)),
                "owner": chance.choice(("one", "other")),
                "lease_ms": lease_ms,
                "epoch_min": epoch + 3 if lease_ms < 0 else 0,
            },
        ),
        ("renew_lease", {"instrument_id": number, "epoch": epoch, "lease_ms": lease_ms}),
        ("release_lease", {"instrument_id": number, "epoch": epoch, "lease_ms": lease_ms}),
        ("retire_matcher", {"owner": "one"}),
        (
            "find_first_orders",
            {
                "instrument_id": number,
                "order_ids": some[: chance.randrange(4)],
                "client_ids": [chance.choice((*CLIENTS, "nobody")) for _ in range(2)],
                "keys": [chance.choice(keys) for _ in range(2)],
            },
        ),
        ("get_orders", {"order_ids": sorted(set(some))}),
        ("get_order_trades", {"order_id": some[0], "taker_only": chance.random() < 0.5}),
        ("read_changes", window),
        ("read_changed_orders", window),
        ("list_instruments", {}),
    ]
    name, parameters = chance.choice(questions)
    if name == "list_instruments":
        answers = twins._real(name, parameters)[1], twins._simulated(name, parameters)[1]
        # Sizes are shown in natural units there.
        assert [row[:4] + row[6:] for row in answers[0]] == [
            row[:4] + row[6:] for row in answers[1]
        ]
        return
    twins.call(name, parameters)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_calls_do_the_same(look: psycopg.Connection, seed: int) -> None:
    named = look.execute("SELECT instrument FROM exchange.instruments ORDER BY instrument_id")
    names = [name for (name,) in named]
    assert names[:2] == [BTC_USD.instrument, ETH_USD.instrument]
    chance = Random(seed)
    twins = Twins(look, Functions(Tables(names), lambda: NOW_US))
    writers = [Writer(twins, BTC_USD, seed), Writer(twins, ETH_USD, seed + 100)]
    for writer in writers:
        twins.call(
            "acquire_shard",
            {
                "instrument_id": writer.instrument[0],
                "owner": "one",
                "lease_ms": 3_600_000,
                "epoch_min": 0,
            },
        )
    # A commit whose amounts are wrong can be believed, by both: the matcher is who knows them.
    believed = False
    for _ in range(STEPS):
        writer = chance.choice(writers)
        what = chance.random()
        if what < 0.4:
            ask_something(twins, chance, writer)
            continue
        parameters, _ = writer.batch()
        if what < 0.65:
            spoilt = spoil(chance, parameters, twins.simulated.tables)
            if twins.call("commit_batch", spoilt)[0] == "":
                believed = True
                continue
        assert twins.call("commit_batch", parameters)[0] == ""
        if chance.random() < 0.1:
            # Twice: the second comes too late.
            assert twins.call("commit_batch", parameters)[0] == "EX002"
    compare_tables(look, twins.simulated.tables)
    assert believed or broken_invariants(look) == {}
    seen = {how for name, how in twins.outcomes if name == "commit_batch"}
    assert seen >= {"rows", "EX001", "EX002", "EX003", "23505", "23514", "22P02"}, twins.outcomes
    for name in ("acquire_shard", "find_first_orders", "read_changes", "get_order_trades"):
        assert (name, "rows") in twins.outcomes


def compare_tables(look: psycopg.Connection, tables: Tables) -> None:
    """Every row of either is a row of the other."""
    unit, value = 10**8, 10**16

    def rows(query: str) -> list[tuple[Any, ...]]:
        return plain("", look.execute(query).fetchall())

    assert rows(
        "SELECT instrument_id, epoch, owner, last_stream_id, sequence, order_no, trade_no,"
        " last_time_us FROM exchange.shard ORDER BY 1"
    ) == [(number, *shard[:2], *shard[3:]) for number, shard in sorted(tables.shard.items())]
    assert dict(rows("SELECT client_id, client_no FROM exchange.clients WHERE client_no > 0")) == (
        tables.clients
    )
    assert rows(
        "SELECT instrument_id, order_no, order_id, client_no, side::text, type::text,"
        f" coalesce(price * {unit}, 0), quantity * {unit}, filled_quantity * {unit},"
        f" filled_value * {value}, status::text, coalesce(status_reason, ''),"
        " coalesce(idempotency_key, ''), sequence, exchange.to_us(created_at),"
        " exchange.to_us(updated_at) FROM exchange.orders ORDER BY 1, 2"
    ) == [tuple(row) for _, row in sorted(tables.orders.items())]
    assert rows(
        "SELECT instrument_id, sequence, kind::text, order_no, side::text, type::text,"
        f" coalesce(price * {unit}, 0), quantity * {unit}, coalesce(reason, ''),"
        " exchange.to_us(happened_at) FROM exchange.order_events ORDER BY 1, 2"
    ) == [tuple(row) for _, row in sorted(tables.events.items())]
    assert rows(
        f"SELECT instrument_id, sequence, trade_no, price * {unit}, quantity * {unit},"
        " taker_side::text, maker_order_no, taker_order_no, maker_client_no, taker_client_no,"
        " exchange.to_us(traded_at) FROM exchange.trades ORDER BY 1, 2"
    ) == [tuple(row) for _, row in sorted(tables.trades.items())]
    assert rows(
        "SELECT instrument_id, stream_id, payload, error FROM exchange.dead_letters ORDER BY 1, 2"
    ) == sorted((*place, *letter) for place, letter in tables.dead_letters.items())
