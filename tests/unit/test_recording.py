"""Recordings: what each kind of line becomes, and which line is bad."""

from io import BytesIO
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.recording.files import open_recording
from ops.recording.steps import CancelOrder, Order, Recording, Step
from tests.lobster_day import Day
from workers.core.engine import MatchingEngine
from workers.core.messages import CancelOrder as EngineCancel
from workers.core.messages import OrderCancelled, SubmitOrder, Trade
from workers.core.units import parse_units

PATH = Path("recording")
S = 1_000_000


def opened(content: bytes, instrument: str = "AAPL-USD", clients: int = 10) -> Recording:
    return open_recording(PATH, BytesIO(content), instrument=instrument, clients=clients)


def steps(content: bytes, **options) -> list[Step]:
    return list(opened(content, **options).steps)


def limit(order_id: str, side: str, price: str, quantity: str, client: int) -> Order:
    return Order(order_id, f"lobster-{client}", "AAPL-USD", side, price, quantity)


def market(order_id: str, side: str, quantity: str, client: int) -> Order:
    return Order(order_id, f"lobster-{client}", "AAPL-USD", side, None, quantity)


class TestLobster:
    def test_rows_become_commands(self) -> None:
        assert steps(
            b"34200.000001,1,11,100,1186600,-1\n"
            b"34200.5,4,11,30,1186600,-1\n"
            b"34201,2,11,50,1186600,-1\n"
            b"34202.25,3,11,20,1186600,-1\n"
        ) == [
            Step(1, 34_200 * S + 1, (limit("11", "sell", "118.66", "100", 1),)),
            Step(2, 34_200 * S + S // 2, (market("11-2", "buy", "30", 2),)),
            Step(
                3,
                34_201 * S,
                (CancelOrder("11", "AAPL-USD"), limit("11-3", "sell", "118.66", "20", 1)),
            ),
            # The order goes by its new name since.
            Step(4, 34_202 * S + S // 4, (CancelOrder("11-3", "AAPL-USD"),)),
        ]

    def test_what_rested_before_the_file_is_placed_first(self) -> None:
        content = (
            b"1.0,4,9,30,10000,1\n"  # of an order that is older than the file
            b"2.0,1,20,5,20000,-1\n"
            b"3.0,2,9,10,10000,1\n"
            b"4.0,3,7,60,9000,1\n"
            b"5.0,3,9,1,10000,1\n"
        )
        opening, first, *_ = steps(content)
        assert opening == Step(
            0,
            S,
            # By their numbers; of order 9 as much as the file takes from it.
            (limit("7", "buy", "0.9", "60", 7), limit("9", "buy", "1", "41", 9)),
        )
        assert first.commands == (market("9-1", "sell", "30", 0),)

    def test_what_no_command_says_is_counted(self) -> None:
        recording = opened(
            b"1.0,5,0,100,10000,1\n"
            b"2.0,6,-1,100,10000,1\n"
            b"3.0,7,0,0,-1,-1\n"
            b"3.5,7,0,0,0,-1\n"
            b"4.0,1,3,5,10000,1\n"
            b"5.0,3,3,5,10000,1\n"
            b"6.0,3,3,5,10000,1\n"
        )
        assert [step.number for step in recording.steps] == [5, 6]
        assert dict(recording.unmapped) == {
            "LOBSTER 5, hidden execution": 1,
            "LOBSTER 6, cross trade": 1,
            "LOBSTER 7, trading halt": 2,
            "LOBSTER: an order that is gone": 1,
        }
        assert recording.lines == 7

    def test_a_partial_cancellation_of_all_that_is_left_is_a_cancel(self) -> None:
        (_, last) = steps(b"1.0,1,3,5,10000,1\n2.0,2,3,5,10000,1\n")
        assert last.commands == (CancelOrder("3", "AAPL-USD"),)

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (b"2.0,1,5,100,10000", "fewer than 6 columns"),
            (b"2.0,8,5,100,10000,1", "event type is not 1 to 7"),
            (b"2.0,1,x,100,10000,1", "order number is not a whole number above zero"),
            (b"2.0,2,5,1.5,10000,1", "size is not a whole number above zero"),
            (b"2.0,1,5,100,-1,1", "price is not a whole number above zero"),
            (b"2.0,1,5,100,10000,0", "direction is not 1 or -1"),
            (b"2.x,1,5,100,10000,1", "time '2.x' is not a number of seconds"),
            (b"0.5,1,5,100,10000,1", "time goes back"),
            (b"2.0,1," + b"5" * 20_000, "longer than 16384 bytes"),
        ],
    )
    def test_a_bad_row_is_named_before_anything_is_played(self, row: bytes, reason: str) -> None:
        with pytest.raises(OpsError, match="recording, line 3: ") as error:
            opened(b"1.0,1,1,100,10000,1\n\n" + row + b"\n9.0,1,2,100,10000,1\n")
        assert reason in str(error.value)


def book_after(recording: Recording) -> tuple[dict[int, int], dict[int, int]]:
    """Let the engine apply a recording; return bids and asks, in LOBSTER's units."""
    engine = MatchingEngine()
    for step in recording.steps:
        for command in step.commands:
            if isinstance(command, CancelOrder):
                (event,) = engine.apply(EngineCancel(command.order_id, 0, 0))
                assert type(event) is OrderCancelled
                continue
            price = 0 if command.price is None else parse_units(command.price)
            events = engine.apply(
                SubmitOrder(
                    command.order_id,
                    command.client_id,
                    command.side,
                    "limit" if price else "market",
                    price,
                    parse_units(command.quantity),
                    "",
                    True,
                    0,
                    0,
                )
            )
            # Executions meet the very order, and nothing else trades.
            trades = [event for event in events if isinstance(event, Trade)]
            assert len(trades) == (0 if price else 1)
            if trades:
                assert trades[0].maker.order_id.split("-")[0] == command.order_id.split("-")[0]
    bids, asks = (
        {level.price_ticks // 10**4: level.quantity_lots // 10**8 for level in side}
        for side in (engine.book.bids, engine.book.asks)
    )
    return bids, asks


@pytest.mark.parametrize("seed", range(10))
def test_a_day_rebuilds_its_book(seed: int) -> None:
    day = Day(seed, 800)
    assert book_after(opened(day.file())) == (day.levels(1), day.levels(-1))


@pytest.mark.parametrize("seed", range(10))
def test_the_second_half_of_a_day_rebuilds_what_it_tells_of(seed: int) -> None:
    day = Day(seed, 800, start=400)
    half = opened(day.file(start=400))
    told = day.touched(400)
    submitted = {int(row.split(",")[2]) for row in day.rows[400:] if row.split(",")[1] == "1"}
    bids, asks = book_after(half)
    # Orders from before, of which nothing more is heard, cannot be known; nor what is left of those
    # that were only taken from.
    assert (bids, asks) == (day.levels(1, submitted), day.levels(-1, submitted))
    assert told - submitted


class TestTables:
    def test_csv_and_json_lines_say_the_same(self) -> None:
        expected = [
            Step(0, S, (Order("a", "replay-1", "AAPL-USD", "buy", "10.50", "2"),)),
            Step(0, S, (Order("b", "bob", "ETH-USD", "sell", None, "0.5"),)),
            Step(0, 2 * S + 1, (CancelOrder("a", "AAPL-USD"),)),
        ]
        csv = (
            b"time,action,order_id,client_id,instrument,side,type,price,quantity\n"
            b"1.0,,a,,,buy,limit,10.50,2\n"
            b',submit,"b",bob,ETH-USD,sell,market,,0.5\n'
            b"2.000001,cancel,a,,,,,,\n"
        )
        json = (
            b'{"time":1.0,"order_id":"a","side":"buy","price":10.50,"quantity":2}\n'
            b'{"order_id":"b","client_id":"bob","instrument":"ETH-USD","side":"sell",'
            b'"type":"market","price":null,"quantity":"0.5"}\n'
            b'{"time":"2.000001","cancel":"a"}\n'
        )
        for content in (csv, json):
            recording = opened(content)
            times = [S, None, 2 * S + 1]
            found = list(recording.steps)
            assert [step.commands for step in found] == [step.commands for step in expected]
            assert [step.time_us for step in found] == times
            assert recording.instruments == ["AAPL-USD", "ETH-USD"]
            assert recording.lines == 3

    def test_times_may_be_dates(self) -> None:
        first, second, third = steps(
            b"time,side,quantity\n"
            b"2026-01-31T09:30:00.250Z,buy,1\n"
            b"2026-01-31T10:30:01+01:00,buy,1\n"
            b"2026-01-31 09:30:02,buy,1\n"
        )
        assert second.time_us - first.time_us == 750_000
        assert third.time_us - second.time_us == S

    def test_what_ops_generate_writes_can_be_played(self) -> None:
        (step,) = steps(
            b'{"client_id":"client-1","order_id":"g7-1","instrument":"BTC-USD","side":"buy",'
            b'"type":"limit","quantity":0.0123,"price":69990.13,"idempotency_key":"k7-1"}'
        )
        assert step.commands == (Order("g7-1", "client-1", "BTC-USD", "buy", "69990.13", "0.0123"),)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"{", "not JSON"),
            (b"[]", "not a JSON object"),
            (b'{"side":"long","quantity":1}', "side is neither buy nor sell"),
            (b'{"side":"buy","quantity":0}', "quantity must be above zero"),
            (b'{"side":"buy"}', "quantity must be a decimal number"),
            (b'{"side":"buy","quantity":1,"price":-1}', "price must be above zero"),
            (b'{"side":"buy","quantity":1,"type":"limit"}', "a limit order needs a price"),
            (b'{"side":"buy","quantity":1,"type":"stop"}', "type is neither limit nor market"),
            (b'{"side":"buy","quantity":1,"px":2}', "no field is called 'px'"),
            (b'{"side":"buy","quantity":[1]}', "quantity is neither text nor a number"),
            (b'{"side":"buy","quantity":1,"time":"noon"}', "neither seconds nor ISO 8601"),
            (b'{"side":"buy","quantity":1,"time":0.5}', "time goes back"),
            (b'{"side":"buy","quantity":1,"order_id":"%s"}' % (b"x" * 49), "order_id must be"),
            (b'{"side":"buy","quantity":1,"client_id":"a b"}', "client_id must be"),
            (b'{"cancel":""}', "order_id must be"),
            (b'{"action":"amend"}', "action is neither submit nor cancel"),
        ],
    )
    def test_a_bad_line_is_named(self, line: bytes, reason: str) -> None:
        good = b'{"time":1,"side":"buy","quantity":1}\n'
        with pytest.raises(OpsError, match="recording, line 2: ") as error:
            opened(good + line + b"\n")
        assert reason in str(error.value)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "recording is empty"),
            (b"time,bid\n1,2\n", "line 1: no column is called 'bid'"),
            (b"side,quantity\nbuy\n", "line 2: 1 columns, and the header has 2"),
            (b'side,quantity\n"buy,1\n', "line 2: not CSV"),
            (b"side,quantity\nbuy,\xff\n", "line 2: not CSV"),
        ],
    )
    def test_a_file_that_is_none_is_said(self, content: bytes, said: str) -> None:
        with pytest.raises(OpsError) as error:
            opened(content)
        assert said in str(error.value)
