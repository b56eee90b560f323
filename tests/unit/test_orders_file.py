"""Reading files of orders: both forms, bad lines, and any part of a file."""

import io
import sys
from pathlib import Path

import orjson
import pytest

from ops.orders_file import LINE_LENGTH_MAX, Line, Unsent, count_lines, read_orders


@pytest.fixture
def written(tmp_path: Path):
    def write(content: bytes, name: str = "orders.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def read_one(path: Path, **options: object) -> Line | Unsent:
    (line,) = read_orders(path, **options)
    return line


def test_a_json_line_is_passed_on_byte_for_byte(written):
    body = b'{ "order_id":"a", "price": 70150.10, "quantity":123456789012.12345678 }'
    assert read_one(written(body + b"\r\n")) == Line(1, "BTC-USD", "a", body, True)


@pytest.mark.parametrize(
    ("text", "order_id", "instrument", "is_cancel", "repeatable"),
    [
        (b'{"order_id":"a","instrument":"ETH-USD"}', "a", "ETH-USD", False, True),
        (b'{"idempotency_key":"k"}', None, "BTC-USD", False, True),
        (b'{"side":"buy"}', None, "BTC-USD", False, False),
        (b'{"order_id":null,"instrument":null}', None, "BTC-USD", False, False),
        (b'{"order_id":"","idempotency_key":""}', "", "BTC-USD", False, False),
        (b'{"cancel":"a","instrument":"ETH-USD"}', "a", "ETH-USD", True, True),
        (b'{"cancel":"a"}', "a", "BTC-USD", True, True),
    ],
)
def test_json_lines(written, text, order_id, instrument, is_cancel, repeatable):
    body = None if is_cancel else text
    assert read_one(written(text)) == Line(1, instrument, order_id, body, repeatable)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"order_id":"a"', "not JSON"),
        (b'{"price":NaN}', "not JSON"),
        (b'{"order_id":"\xff"}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"order_id":7}', "`order_id` is not text"),
        (b'{"instrument":[]}', "`instrument` is not text"),
        (b'{"cancel":7}', "`cancel` is not text"),
        (b'{"cancel":null}', "`cancel` names no order"),
        (b'{"note":"' + b"x" * LINE_LENGTH_MAX + b'"}', "longer than 16384 bytes"),
        (b'{"note":"' + b"x" * 5 * LINE_LENGTH_MAX + b'"}', "longer than 16384 bytes"),
    ],
)
def test_a_bad_line_says_why_and_the_next_is_read(written, text, reason):
    bad, good = read_orders(written(text + b'\n{"order_id":"good"}\n'))
    assert isinstance(bad, Unsent)
    assert (bad.number, bad.malformed) == (1, True)
    assert reason in bad.reason
    assert isinstance(good, Line)
    assert (good.number, good.order_id) == (2, "good")


def test_blank_lines_count_and_say_nothing(written):
    lines = read_orders(written(b'\n{"order_id":"a"}\n  \n\r\n{"order_id":"b"}'))
    assert [line.number for line in lines] == [2, 5]


@pytest.mark.parametrize(
    ("skip", "limit", "numbers"),
    [
        (0, None, [1, 2, 3, 4, 5]),
        (2, None, [3, 4, 5]),
        (0, 2, [1, 2]),
        (2, 2, [3, 4]),
        (4, 9, [5]),
        (9, None, []),
        (0, 0, []),
    ],
)
def test_a_part_of_a_file(written, skip, limit, numbers):
    path = written(b"".join(b'{"order_id":"%d"}\n' % number for number in range(1, 6)))
    assert [line.number for line in read_orders(path, skip=skip, limit=limit)] == numbers


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            b"34713.685155243,1,206833312,100,1186600,-1",
            {
                "client_id": "lobster-2",
                "order_id": "lobster-206833312",
                "instrument": "AAPL-USD",
                "side": "sell",
                "type": "limit",
                "price": "118.66",
                "quantity": "100",
            },
        ),
        (
            b"34713.685155243,1,7,1,5,1,null",
            {
                "client_id": "lobster-7",
                "order_id": "lobster-7",
                "instrument": "AAPL-USD",
                "side": "buy",
                "type": "limit",
                "price": "0.0005",
                "quantity": "1",
            },
        ),
        (
            b"34714.1, 4, 206833312, 40, 1186600, -1",
            {
                "client_id": "lobster-1",
                "order_id": "lobster-206833312-1",
                "instrument": "AAPL-USD",
                "side": "buy",
                "type": "market",
                "quantity": "40",
            },
        ),
        (
            b"34714.1,4,7,40,1186600,1",
            {
                "client_id": "lobster-1",
                "order_id": "lobster-7-1",
                "instrument": "AAPL-USD",
                "side": "sell",
                "type": "market",
                "quantity": "40",
            },
        ),
    ],
)
def test_lobster_rows_that_are_orders(written, row, expected):
    line = read_one(written(row, "message.csv"), instrument="AAPL-USD", clients=10)
    assert isinstance(line, Line)
    assert orjson.loads(line.body) == expected
    assert (line.order_id, line.instrument) == (expected["order_id"], "AAPL-USD")
    assert line.repeatable


def test_a_lobster_deletion_cancels_the_order_of_its_submission(written):
    path = written(b"1.0,1,5,100,10000,1\n2.0,3,5,100,10000,1\n", "message.csv")
    submission, deletion = read_orders(path, instrument="AAPL-USD")
    assert deletion == Line(2, "AAPL-USD", submission.order_id, None, True)


@pytest.mark.parametrize(
    ("row", "reason", "malformed"),
    [
        (b"1.0,2,5,100,10000,1", "LOBSTER 2, partial cancellation", False),
        (b"1.0,5,0,100,10000,1", "LOBSTER 5, hidden execution", False),
        (b"1.0,6,-1,100,10000,1", "LOBSTER 6, cross trade", False),
        (b"1.0,7,0,0,-1,-1", "LOBSTER 7, trading halt", False),
        (b"1.0,8,5,100,10000,1", "event type is not 1 to 7", True),
        (b"Time,Type,Order ID,Size,Price,Direction", "event type is not 1 to 7", True),
        (b"1.0,1,5,100,10000", "not a LOBSTER row: fewer than 6 columns", True),
        (b"1.0,1,x,100,10000,1", "order number is not a whole number above zero", True),
        (b"1.0,1,5,0,10000,1", "size is not a whole number above zero", True),
        (b"1.0,1,5,1.5,10000,1", "size is not a whole number above zero", True),
        (b"1.0,1,5,100,-1,1", "price is not a whole number above zero", True),
        (b"1.0,1,5,100,1" + b"0" * 40 + b",1", "price is not a whole number above zero", True),
        (b"1.0,1,5,100,10000,0", "direction is not 1 or -1", True),
    ],
)
def test_lobster_rows_that_are_not_sent(written, row, reason, malformed):
    line = read_one(written(row, "message.csv"))
    assert line == Unsent(1, reason, malformed)


def test_a_lobster_line_is_the_same_wherever_reading_starts(written):
    path = written(b"".join(b"1.0,4,%d,9,10000,1\n" % (no % 3 + 1) for no in range(9)), "m.csv")
    whole = list(read_orders(path))
    assert list(read_orders(path, skip=4)) == whole[4:]
    assert len({line.order_id for line in whole}) == 9


@pytest.mark.parametrize(
    ("name", "format", "content", "order_id"),
    [
        ("orders.jsonl", None, b'{"order_id":"a"}', "a"),
        ("orders.txt", None, b'{"order_id":"a"}', "a"),
        ("message.csv", None, b"1.0,3,5,1,1,1", "lobster-5"),
        ("message.CSV", None, b"1.0,3,5,1,1,1", "lobster-5"),
        ("message", None, b"34200.0,3,5,1,1,1", "lobster-5"),
        ("message.json", "lobster", b"1.0,3,5,1,1,1", "lobster-5"),
        ("orders.csv", "jsonl", b'{"order_id":"a"}', "a"),
    ],
)
def test_the_format_is_given_or_seen(written, name, format, content, order_id):
    assert read_one(written(content, name), format=format).order_id == order_id


def test_standard_input(monkeypatch):
    content = io.BytesIO(b'{"order_id":"a"}\n{"order_id":"b"}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    assert [line.order_id for line in read_orders(Path("-"))] == ["a", "b"]
    assert count_lines(Path("-")) is None


@pytest.mark.parametrize(
    ("content", "count"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2), (b"a\nb", 2)]
)
def test_lines_are_counted(written, content, count):
    assert count_lines(written(content)) == count


def test_an_empty_file(written):
    assert list(read_orders(written(b""))) == []
