"""What analysts ask, against answers worked out in fractions from the same history."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import psycopg
import pytest

from tests.database.test_positions import Position
from tests.history import BEGIN, CLIENTS, MONDAY, Fill, History, make_history, units
from tests.servers import fresh_database
from workers.core.units import divide_half_even

INSTRUMENTS = ("BTC-USD", "ETH-USD")
MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC)

Row = tuple[Any, ...]


class Asked:
    """A history, and a connection that asks the database about it."""

    def __init__(self, history: History, connection: psycopg.Connection) -> None:
        self.history = history
        self.connection = connection

    def rows(self, question: str, *values: Any) -> list[Row]:
        """Return the rows of `analytics.question`, numbers as fractions."""
        rows = self.connection.execute(f"SELECT * FROM analytics.{question}", values).fetchall()  # type: ignore[arg-type]
        return [tuple(map(exact, row)) for row in rows]

    def ranges(self) -> list[tuple[datetime, datetime]]:
        """Return ranges of time: everything, nothing, and some whose ends are events' own times."""
        random = Random(3)
        times = sorted({fill.at for fill in self.history.fills})
        cut = [sorted(random.sample(times, 2)) for _ in range(4)]
        ends = (BEGIN, self.history.end)
        return [ends, (BEGIN, BEGIN), *((a, b) for a, b in cut)]

    def fills(self, begin: datetime, end: datetime, instrument: str | None = None) -> list[Fill]:
        return [
            fill
            for fill in self.history.fills
            if begin <= fill.at < end and instrument in (None, fill.instrument)
        ]


def exact(value: Any) -> Any:
    return Fraction(value) if type(value).__name__ == "Decimal" else value


def quotient(dividend: Fraction, divisor: Fraction) -> Fraction | None:
    """Return it rounded half to even to 8 decimals; fractions round so by themselves."""
    return Fraction(round(dividend / divisor * 10**8), 10**8) if divisor else None


@pytest.fixture(scope="module")
def asked(postgres_url: str, migrated_database: str) -> Iterator[Asked]:
    with fresh_database(postgres_url, migrated_database) as url:
        history = make_history(url, seed=7, commands=2_500)
        with psycopg.connect(url, autocommit=True) as connection:
            yield Asked(history, connection)


def test_the_history_has_what_it_takes(asked: Asked) -> None:
    fills = asked.history.fills
    assert len(fills) > 1_000
    assert any(fill.maker == fill.taker for fill in fills)
    assert any(fill.maker_fee < 0 for fill in fills)
    assert {fill.at.day for fill in fills} == {5, 6}
    assert asked.history.settled_at is not None
    assert any(fill.at > asked.history.settled_at for fill in fills)


def test_instruments(asked: Asked) -> None:
    counts = {row[0]: row[6:] for row in asked.rows("instruments()")}
    for instrument in INSTRUMENTS:
        steps = [step for step in asked.history.steps if step.instrument == instrument]
        trades = len(asked.fills(*asked.ranges()[0], instrument))
        orders = sum(step.kind != "cancelled" for step in steps)
        assert counts[instrument] == (orders, trades, len(steps) + trades)
    assert counts["SOL-USD"] == (0, 0, 0)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_vwap(asked: Asked, instrument: str) -> None:
    for begin, end in asked.ranges():
        fills = asked.fills(begin, end, instrument)
        value = Fraction(sum(fill.value for fill in fills))
        volume = Fraction(sum(fill.quantity for fill in fills))
        expected = (quotient(value, volume), volume, value, len(fills))
        assert asked.rows("vwap(%s, %s, %s)", instrument, begin, end) == [expected]


@pytest.mark.parametrize("minutes", [1, 7, 60, 1440])
def test_candles(asked: Asked, minutes: int) -> None:
    for begin, end in asked.ranges():
        buckets: dict[datetime, list[Fill]] = defaultdict(list)
        for fill in asked.fills(begin, end, "BTC-USD"):
            midnight = fill.at.replace(hour=0, minute=0, second=0, microsecond=0)
            length = timedelta(minutes=minutes)
            buckets[midnight + (fill.at - midnight) // length * length].append(fill)
        expected = []
        for start, fills in sorted(buckets.items()):
            prices = [fill.price for fill in fills]
            value = Fraction(sum(fill.value for fill in fills))
            volume = Fraction(sum(fill.quantity for fill in fills))
            expected.append(
                (start, prices[0], max(prices), min(prices), prices[-1], volume, value,
                 quotient(value, volume), len(fills))
            )  # fmt: skip
        asking = "candles(%s, %s, %s, %s * interval '1 minute')"
        assert asked.rows(asking, "BTC-USD", begin, end, minutes) == expected


def test_ticker(asked: Asked) -> None:
    rows = {row[0]: row[1:] for row in asked.rows("ticker()")}
    for instrument in INSTRUMENTS:
        last = asked.fills(*asked.ranges()[0], instrument)[-1]
        depths = asked.history.depths[instrument]
        bids, asks = depths[max(depths)]
        (bid, bid_lots), (ask, ask_lots) = bids[0], asks[0]
        # The history is older than 24 hours.
        assert rows[instrument] == (
            last.price, last.at, units(bid), units(bid_lots), units(ask), units(ask_lots),
            units(divide_half_even(bid + ask, 2)), None, None, None, 0, 0, None, None, 0,
        )  # fmt: skip
    assert rows["SOL-USD"] == (*[None] * 10, 0, 0, None, None, 0)
    assert [row[1:] for row in asked.rows("ticker('BTC-USD')")] == [rows["BTC-USD"]]


@pytest.mark.parametrize("instrument", [None, "BTC-USD"])
@pytest.mark.parametrize("client", [None, "bob"])
@pytest.mark.parametrize("limit", [3, 100_000])
def test_trades(asked: Asked, instrument: str | None, client: str | None, limit: int) -> None:
    for begin, end in asked.ranges():
        fills = [
            fill
            for fill in asked.fills(begin, end, instrument)
            if client in (None, fill.maker, fill.taker)
        ]
        fills.sort(key=lambda fill: fill.sequence, reverse=True)
        fills.sort(key=lambda fill: fill.instrument)
        fills.sort(key=lambda fill: fill.at, reverse=True)
        expected = [
            (f"{fill.instrument}-{fill.trade_no}", fill.instrument, fill.trade_no, fill.sequence,
             fill.at, fill.price, fill.quantity, fill.value, fill.taker_side, fill.maker,
             fill.taker, fill.maker_order_id, fill.taker_order_id, fill.maker_fee, fill.taker_fee)
            for fill in fills[:limit]
        ]  # fmt: skip
        assert asked.rows("trades(%s, %s, %s, %s, %s)", instrument, begin, end, client, limit) == (
            expected
        )


def test_positions(asked: Asked) -> None:
    for client in CLIENTS:
        model = positions_of(client, asked.history.fills)
        expected = []
        for instrument, position in sorted(model.items()):
            depths = asked.history.depths[instrument]
            bids, asks = depths[max(depths)]
            mark = units(divide_half_even(bids[0][0] + asks[0][0], 2))
            last = max(
                fill.at
                for fill in asked.history.fills
                if fill.instrument == instrument and client in (fill.maker, fill.taker)
            )
            expected.append(
                (instrument, position.net, position.cost,
                 quotient(position.cost, position.net) or 0, mark, position.net * mark,
                 position.net * mark - position.cost, position.realized, last)
            )  # fmt: skip
        assert asked.rows("positions(%s)", client) == expected


def positions_of(client: str, fills: list[Fill]) -> dict[str, Position]:
    model: dict[str, Position] = defaultdict(Position)
    for fill in fills:
        # Whoever trades with itself buys first.
        if fill.buyer == client:
            model[fill.instrument].fill(fill.quantity, fill.price)
        if fill.seller == client:
            model[fill.instrument].fill(-fill.quantity, fill.price)
    return model


def test_pnl(asked: Asked) -> None:
    for begin, end in asked.ranges():
        for client in CLIENTS:
            before = positions_of(client, asked.fills(BEGIN, begin))
            after = positions_of(client, asked.fills(BEGIN, end))
            during: dict[str, list[Fraction]] = defaultdict(list)
            fees: dict[str, Fraction] = defaultdict(Fraction)
            for fill in asked.fills(begin, end):
                if fill.buyer == client:
                    during[fill.instrument].append(fill.quantity)
                if fill.seller == client:
                    during[fill.instrument].append(-fill.quantity)
                fees[fill.instrument] += fill.maker_fee * (fill.maker == client)
                fees[fill.instrument] += fill.taker_fee * (fill.taker == client)
            expected = []
            for instrument, quantities in sorted(during.items()):
                realized = after[instrument].realized - before[instrument].realized
                expected.append(
                    (instrument, "USD", realized, fees[instrument], realized - fees[instrument],
                     sum(q for q in quantities if q > 0), -sum(q for q in quantities if q < 0),
                     len(quantities))
                )  # fmt: skip
            assert asked.rows("pnl(%s, %s, %s)", client, begin, end) == expected


def balances(history: History, at: datetime) -> dict[str, dict[str, Fraction]]:
    """Return every account's balances after all that happened up to `at`."""
    accounts: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for fill in history.fills:
        if fill.at <= at:
            base, quote = fill.instrument.split("-")
            accounts[fill.buyer][base] += fill.quantity
            accounts[fill.seller][base] -= fill.quantity
            accounts[fill.seller][quote] += fill.value
            accounts[fill.buyer][quote] -= fill.value
            for payer, fee in ((fill.maker, fill.maker_fee), (fill.taker, fill.taker_fee)):
                accounts[payer][quote] -= fee
                accounts["@fees"][quote] += fee
    for _, client, asset, amount, posted_at in history.house:
        if posted_at <= at:
            accounts[client][asset] += amount
            accounts["@world"][asset] -= amount
    return accounts


def moments(asked: Asked) -> list[datetime]:
    """Return moments before and after the closing that is stored, some of them events' times."""
    settled = asked.history.settled_at
    assert settled is not None
    random = Random(4)
    times = random.sample([fill.at for fill in asked.history.fills], 12)
    hair = timedelta(microseconds=1)
    return [*times, settled - hair, settled, settled + hair, BEGIN - hair, BEGIN, datetime.now(UTC)]


def test_balances(asked: Asked) -> None:
    for at in moments(asked):
        expected = balances(asked.history, at)
        for client in (*CLIENTS, "@fees", "@world", "@settlement"):
            found = dict(asked.rows("balances(%s, %s)", client, at))
            wanted = expected[client]
            assert {a: n for a, n in found.items() if n} == {a: n for a, n in wanted.items() if n}


def test_balances_whatever_they_are_worked_out_from(asked: Asked) -> None:
    """From the closing, before it and after it, as from the balances of now."""
    with asked.connection.transaction(force_rollback=True):
        asked.connection.execute("SET LOCAL session_replication_role = replica")
        asked.connection.execute("UPDATE exchange.settlement_runs SET settled_at = now()")
        test_balances(asked)
        test_trial_balance(asked)
        for table in ("closing_balances", "settlement_bounds", "settlement_runs"):
            asked.connection.execute(f"DELETE FROM exchange.{table}")  # type: ignore[arg-type]
        test_balances(asked)
        test_trial_balance(asked)


def test_trial_balance(asked: Asked) -> None:
    for at in moments(asked):
        expected = balances(asked.history, at)
        rows = {row[0]: row[1:] for row in asked.rows("trial_balance(%s)", at)}
        for asset in ("BTC", "ETH", "USD"):
            clients = sum(expected[client][asset] for client in CLIENTS)
            house = [expected[name][asset] for name in ("@fees", "@world", "@settlement")]
            assert rows.get(asset, (0,) * 5) == (clients, *house, 0)


def test_statements_add_up_and_follow_on(asked: Asked) -> None:
    history = asked.history
    assert history.settled_at is not None
    # Monday is settled: it ends there, and Tuesday begins there.
    ends = [history.settled_at, history.end]
    for client in CLIENTS:
        closing: dict[str, Fraction] = defaultdict(Fraction)
        for day, begin, end in (
            (MONDAY, BEGIN - timedelta(1), ends[0]),
            (MONDAY + timedelta(1), ends[0], ends[1]),
        ):
            rows = {row[0]: row[1:] for row in asked.rows("statement(%s, %s)", client, day)}
            wanted = balances(history, end)[client]
            for asset in ("BTC", "ETH", "USD"):
                opening, traded, fees, *house, closed = rows.get(asset, (0,) * 8)
                assert opening + traded + fees + sum(house) == closed == wanted[asset]
                assert opening == closing[asset]
                kinds = ("deposit", "withdrawal", "adjustment", "settlement")
                assert house == [
                    sum(
                        amount
                        for kind, owner, of, amount, at in history.house
                        if (kind, owner, of) == (wanted_kind, client, asset) and begin < at <= end
                    )
                    for wanted_kind in kinds
                ]
                closing[asset] = closed
    assert not any(
        n for row in asked.rows("statement('ada', %s)", date(2026, 1, 1)) for n in row[1:]
    )


def test_fee_revenue(asked: Asked) -> None:
    for begin, end in asked.ranges():
        sums: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [Fraction(0), Fraction(0), 0])
        for fill in asked.fills(begin, end):
            sides = (("maker", fill.maker, fill.maker_fee), ("taker", fill.taker, fill.taker_fee))
            for role, client, fee in sides:
                segment = "market-maker" if client in ("bob", "cyd") else "standard"
                entry = sums[segment, role]
                entry[0] += fee
                entry[1] += fill.value
                entry[2] += 1
        expected = {
            (segment, role, "USD", fees, value, quotient(fees * 10_000, value), n)
            for (segment, role), (fees, value, n) in sums.items()
        }
        assert set(asked.rows("fee_revenue(%s, %s)", begin, end)) == expected


def test_maker_taker(asked: Asked) -> None:
    for begin, end in asked.ranges():
        fills = asked.fills(begin, end, "BTC-USD")
        expected = set()
        for client in (None, *CLIENTS):
            made = [fill for fill in fills if client in (None, fill.maker)]
            took = [fill for fill in fills if client in (None, fill.taker)]
            volumes = [Fraction(sum(fill.quantity for fill in side)) for side in (made, took)]
            if made or took:
                expected.add(
                    (client, len(made), len(took), *volumes,
                     sum(fill.value for fill in made), sum(fill.value for fill in took),
                     sum(fill.maker_fee for fill in made), sum(fill.taker_fee for fill in took),
                     quotient(volumes[0], sum(volumes)))
                )  # fmt: skip
        total = set(asked.rows("maker_taker('BTC-USD', %s, %s)", begin, end))
        each = set(asked.rows("maker_taker('BTC-USD', %s, %s, true)", begin, end))
        assert total | each == expected


@pytest.mark.parametrize("by", ["instrument", "client", "day"])
@pytest.mark.parametrize("instrument", [None, "ETH-USD"])
def test_volume(asked: Asked, by: str, instrument: str | None) -> None:
    for begin, end in asked.ranges():
        sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [Fraction(0), Fraction(0), 0])
        for fill in asked.fills(begin, end, instrument):
            clients = {fill.maker, fill.taker} if by == "client" else {None}
            day = fill.at.date() if by == "day" else None
            for client in clients:
                entry = sums[fill.instrument, client, day]
                entry[0] += fill.quantity
                entry[1] += fill.value
                entry[2] += 1
        expected = {(*key, *entry) for key, entry in sums.items()}
        rows = asked.rows("volume(%s, %s, %s, %s)", begin, end, by, instrument)
        assert set(rows) == expected
        assert len(rows) == len(expected)


@pytest.mark.parametrize("minutes", [30, 60, 1440])
def test_active_clients(asked: Asked, minutes: int) -> None:
    def start(at: datetime) -> datetime:
        day = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return day + (at - day) // timedelta(minutes=minutes) * timedelta(minutes=minutes)

    for begin, end in asked.ranges():
        ordering: dict[datetime, set[str]] = defaultdict(set)
        trading: dict[datetime, set[str]] = defaultdict(set)
        for step in asked.history.steps:
            if step.kind != "cancelled" and begin <= step.at < end:
                ordering[start(step.at)].add(step.client_id)
        for fill in asked.fills(begin, end):
            trading[start(fill.at)] |= {fill.maker, fill.taker}
        expected = [
            (at, len(ordering[at] | trading[at]), len(ordering[at]), len(trading[at]))
            for at in sorted(ordering.keys() | trading.keys())
        ]
        assert (
            asked.rows("active_clients(%s, %s, %s * interval '1 minute')", begin, end, minutes)
            == expected
        )


def test_order_lifecycles(asked: Asked) -> None:
    steps: dict[str, list[Any]] = defaultdict(list)
    for step in asked.history.steps:
        steps[step.order_id].append(step)
    fills: dict[str, list[tuple[Fill, str]]] = defaultdict(list)
    for fill in asked.history.fills:
        fills[fill.maker_order_id].append((fill, "maker"))
        fills[fill.taker_order_id].append((fill, "taker"))
    statuses = set()
    for order_id in Random(5).sample(sorted(steps), 300):
        quantity = steps[order_id][0].quantity
        filled = Fraction(0)
        expected = []
        events = [(step.sequence, step, None) for step in steps[order_id]]
        events += [(fill.sequence, fill, role) for fill, role in fills[order_id]]  # type: ignore[misc]
        for sequence, event, role in sorted(events):
            if isinstance(event, Fill):
                filled += event.quantity
                kind = "trade"
                other = event.taker if role == "maker" else event.maker
                fee = event.maker_fee if role == "maker" else event.taker_fee
                extra = (f"{event.instrument}-{event.trade_no}", other, fee)
            else:
                kind, extra = event.kind, (None, None, None)
            done = kind in ("cancelled", "rejected")
            status = kind if done else "open"
            if not done and filled:
                status = "filled" if filled == quantity else "partially_filled"
            statuses.add(status)
            expected.append(
                (sequence, event.at, kind, role, event.quantity, *extra, filled,
                 0 if done else quantity - filled, status)
            )  # fmt: skip
        rows = asked.rows("order_lifecycle(%s)", order_id)
        assert [row[:4] + row[5:12] for row in rows] == expected, order_id
    assert statuses == {"open", "partially_filled", "filled", "cancelled", "rejected"}


def levels(depth: tuple[list[tuple[int, int]], ...], levels_max: int) -> list[Row]:
    rows: list[Row] = []
    for side, best_first in zip(("bid", "ask"), depth, strict=True):
        cumulative = Fraction(0)
        for level, (price, lots) in enumerate(best_first[:levels_max], 1):
            cumulative += units(lots)
            rows.append((side, level, units(price), units(lots), cumulative))
    return rows


@pytest.mark.parametrize("snapshots", [False, True])
def test_books_of_the_past(postgres_url: str, migrated_database: str, snapshots: bool) -> None:
    with fresh_database(postgres_url, migrated_database) as url:
        history = make_history(url, seed=11, commands=3_000, snapshots=snapshots)
        with psycopg.connect(url, autocommit=True) as connection:
            asked = Asked(history, connection)
            (stored,) = connection.execute(
                "SELECT count(*) FROM exchange.book_snapshots"
            ).fetchone()  # type: ignore[misc]
            assert (stored > 10) == snapshots
            random = Random(12)
            with_orders = 0
            for instrument in INSTRUMENTS:
                depths = history.depths[instrument]
                last = max(depths)
                assert len(depths) == last + 1
                for sequence in [0, 1, last - 1, last, *random.sample(range(last), 200)]:
                    for levels_max in (3, 10_000):
                        rows = asked.rows(
                            "book_at_sequence(%s, %s, %s)", instrument, sequence, levels_max
                        )
                        assert [row[:5] for row in rows] == levels(depths[sequence], levels_max), (
                            instrument, sequence,
                        )  # fmt: skip
                    with_orders += all(row[5] is not None for row in rows)
                times = history.times[instrument]
                for at in [BEGIN - timedelta(1), *random.sample(list(times.values()), 30)]:
                    sequence = max((n for n, then in times.items() if then <= at), default=0)
                    rows = asked.rows("book_at(%s, %s, 5)", instrument, at)
                    assert [row[:5] for row in rows] == levels(depths[sequence], 5)
                # Open orders count the same in both ways.
                now = asked.rows("book_at_sequence(%s, %s, null)", instrument, last)
                counted = connection.execute(
                    "SELECT o.price, count(*) FROM exchange.orders o JOIN exchange.instruments i"
                    " USING (instrument_id) WHERE i.instrument = %s"
                    " AND o.status IN ('open', 'partially_filled') GROUP BY o.price",
                    (instrument,),
                ).fetchall()
                if not snapshots:
                    assert {row[2]: row[5] for row in now} == {Fraction(p): n for p, n in counted}
            assert with_orders > 0


def test_depth_history(asked: Asked) -> None:
    step = timedelta(minutes=17)
    depths, times = asked.history.depths["BTC-USD"], asked.history.times["BTC-USD"]
    expected = []
    at = BEGIN - step
    while at < MIDNIGHT:
        sequence = max((n for n, then in times.items() if then <= at), default=0)
        expected += [(at, sequence, *row) for row in levels(depths[sequence], 4)]
        at += step
    rows = asked.rows("depth_history('BTC-USD', %s, %s, %s, 4)", BEGIN - step, MIDNIGHT, step)
    assert rows == expected
    assert len(expected) > 50


def test_mark_price(asked: Asked) -> None:
    connection = asked.connection

    def mark() -> Any:
        row = connection.execute("SELECT exchange.mark_price_v1(3)").fetchone()
        return row and row[0] and Fraction(row[0])

    order = (
        "INSERT INTO exchange.orders VALUES (3, %s, %s, 1, %s, 'limit', %s, 1, 0, 0, 'open', NULL,"
        " NULL, %s, now(), now())"
    )
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL session_replication_role = replica")
        assert mark() is None
        connection.execute(
            "INSERT INTO exchange.trades VALUES (3, 1, 1, 7, 1, 'buy', 1, 2, 1, 2, now())"
        )
        assert mark() == 7
        connection.execute(order, (1, "a", "buy", "1.00000001", 1))
        assert mark() == 7
        connection.execute(order, (2, "b", "sell", "1.00000002", 2))
        assert mark() == Fraction("1.00000002")
        connection.execute(order, (3, "c", "buy", "1.00000001", 3))
        connection.execute(order, (4, "d", "sell", "1.00000003", 4))
        connection.execute("UPDATE exchange.orders SET status = 'cancelled' WHERE order_id = 'b'")
        assert mark() == Fraction("1.00000002")
        connection.execute("UPDATE exchange.orders SET price = 1 WHERE order_id = 'c'")
        connection.execute("UPDATE exchange.orders SET status = 'cancelled' WHERE order_id = 'a'")
        connection.execute("UPDATE exchange.orders SET price = 1.00000001 WHERE order_id = 'd'")
        assert mark() == 1  # half to even


def test_division_is_that_of_the_core(asked: Asked) -> None:
    random = Random(6)
    pairs = [(random.randint(-(10**n), 10**n), random.randint(1, 9)) for n in range(30)]
    pairs += [(n, d) for n in range(-9, 10) for d in (-4, -2, 2, 4)]
    for dividend, divisor in pairs:
        row = asked.connection.execute(
            "SELECT exchange.divide_half_even(%s::numeric, %s::numeric, 0)", (dividend, divisor)
        ).fetchone()
        assert row is not None
        assert int(row[0]) == divide_half_even(dividend, divisor), (dividend, divisor)


BAD = [
    ("vwap('DOGE-USD')", "there is no instrument 'DOGE-USD'"),
    ("vwap(NULL)", "there is no instrument null"),
    ("vwap('BTC-USD', '2026-01-02', '2026-01-01')", "is not one"),
    ("vwap('BTC-USD', NULL)", "is not one"),
    ("candles('BTC-USD', p_interval => '30 seconds')", "is not whole minutes"),
    ("candles('BTC-USD', p_interval => '2 days')", "is not whole minutes"),
    ("ticker('X')", "there is no instrument 'X'"),
    ("trades(p_limit => 0)", "at least 1"),
    ("trades(p_client => 'nobody')", "there is no client 'nobody'"),
    ("positions('nobody')", "there is no client"),
    ("pnl('nobody')", "there is no client"),
    ("balances('nobody')", "there is no client"),
    ("statement('bob', NULL)", "which day"),
    ("settlement('2020-01-01')", "2020-01-01 is not settled"),
    ("order_lifecycle('nothing')", "there is no order 'nothing'"),
    ("book_at_sequence('BTC-USD', -1)", "there is no sequence -1"),
    ("book_at_sequence('BTC-USD', 10000000)", "there is no sequence 10000000"),
    ("book_at_sequence('BTC-USD', 1, 0)", "at least 1"),
    ("depth_history('BTC-USD', p_step => '0')", "above zero"),
    ("depth_history('BTC-USD', '2020-01-01', p_step => '1 second')", "at most 10000 steps"),
    ("volume(p_by => 'week')", "by instrument, client or day"),
    ("active_clients(p_interval => '7 hours')", "neither divides a day"),
    ("active_clients(p_interval => '1 month')", "neither divides a day"),
]


@pytest.mark.parametrize(("question", "error"), BAD)
def test_what_cannot_be_answered_says_why(asked: Asked, question: str, error: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=error):
        asked.rows(question)


def test_settled_days(postgres_url: str, migrated_database: str) -> None:
    """Deposits, fees and settlements by the exchange's own functions: it all adds up."""
    with fresh_database(postgres_url, migrated_database) as url:
        history = make_history(url, seed=8, commands=1_200, house=False)
        with psycopg.connect(url, autocommit=True) as connection:
            asked = Asked(history, connection)
            for client in CLIENTS:
                connection.execute(
                    "SELECT exchange.post_entry_v1('deposit', %s, '{USD}', '{1000}', 'me', %s, '')",
                    ([client], client),
                )
            closing: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
            begin = BEGIN
            for day in (MONDAY, MONDAY + timedelta(1)):
                end = MIDNIGHT + (day - MONDAY)
                connection.execute("SELECT exchange.settle_v1(%s, 'me')", (day,))
                moved = balances(History(fills=asked.fills(begin, end)), end)
                expected = {
                    (client, asset): -amount
                    for client, amounts in moved.items()
                    for asset, amount in amounts.items()
                    if amount
                }
                rows = asked.rows("settlement(%s)", day)
                assert {(row[2], row[4]): row[5] for row in rows} == expected
                assert len(rows) == len(expected)
                entries = {(row[2], row[3]) for row in rows}
                assert len(entries) == len({client for client, _ in entries})
                for client in (*CLIENTS, "@fees"):
                    for row in asked.rows("statement(%s, %s)", client, day):
                        asset, opening, traded, fees, deposits, _, _, settled, closed = row
                        assert opening == closing[client, asset]
                        assert settled == -(traded + fees) == expected.get((client, asset), 0)
                        paid_in = (day, asset) == (MONDAY, "USD") and client != "@fees"
                        assert deposits == 1000 * paid_in
                        assert closed == opening + deposits
                        closing[client, asset] = closed
                begin = end
            for client in CLIENTS:
                assert asked.rows("balances(%s)", client) == [
                    ("BTC", 0), ("ETH", 0), ("USD", 1000)
                ]  # fmt: skip
            assert asked.rows("trial_balance()") == [
                ("BTC", 0, 0, 0, 0, 0), ("ETH", 0, 0, 0, 0, 0), ("USD", 5000, 0, -5000, 0, 0)
            ]  # fmt: skip
            assert asked.rows("verify()") == []
