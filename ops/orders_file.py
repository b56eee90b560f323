"""Files of orders, read one line at a time: JSON lines, or a LOBSTER message file.

JSON lines: each line is the body of `POST /orders`, sent byte for byte as it stands, or a cancel,
`{"cancel": "<order_id>", "instrument": "BTC-USD"}`.

LOBSTER (lobsterdata.com, "Output", message file): rows without a header of seconds after midnight,
event type, order number, size, price times 10,000 and direction (1 a buy limit order, -1 a sell
limit order; extra columns are ignored). A row becomes
    1 submission              a limit order
    3 deletion                a cancel of that order
    4 visible execution       a market order of that size on the other side, because the execution
                              of a sell limit order is a trade that a buyer started
and 2 (partial cancellation), 5 (hidden execution), 6 (cross trade) and 7 (trading halt) have no
command that says the same: they are passed over and reported.

What a line becomes depends on that line alone, so reading may start anywhere in the file.
"""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

import orjson

from workers.core.instruments import DEFAULT_INSTRUMENT
from workers.core.units import format_units

Format = Literal["jsonl", "lobster"]

# The API refuses a longer body, and a file without line ends must not fill the memory.
LINE_LENGTH_MAX: Final = 16 * 1024
LOBSTER_CLIENTS_DEFAULT: Final = 100

_FORMATS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "lobster",
}
LOBSTER_PASSED_OVER: Final = {
    b"2": "LOBSTER 2, partial cancellation",
    b"5": "LOBSTER 5, hidden execution",
    b"6": "LOBSTER 6, cross trade",
    b"7": "LOBSTER 7, trading halt",
}
_LOBSTER_SIDES: Final = {b"1": ("buy", "sell"), b"-1": ("sell", "buy")}
# Units of 1e-8 in 1, and in LOBSTER's 1/10000.
ONE_UNITS: Final = 10**8
LOBSTER_PRICE_UNITS: Final = 10**4


class Line(NamedTuple):
    """A line to send: an order with its `body`, or the cancel of `order_id` when that is None.

    `repeatable` says that the exchange recognizes the line when it is sent again.
    """

    number: int
    instrument: str
    order_id: str | None
    body: bytes | None
    repeatable: bool


class Unsent(NamedTuple):
    """A line that says nothing to send: not a command, or one the API cannot express."""

    number: int
    reason: str
    malformed: bool


class MalformedLine(ValueError):
    """Raised when a line is not a command; the text says what is wrong with it."""


def read_orders(
    path: Path,
    *,
    format: Format | None = None,
    skip: int = 0,
    limit: int | None = None,
    instrument: str = DEFAULT_INSTRUMENT,
    clients: int = LOBSTER_CLIENTS_DEFAULT,
) -> Generator[Line | Unsent, None, None]:
    """Yield what is in `limit` lines after the first `skip` ones; blank lines yield nothing.

    `path` may be `-`, standard input. Without a `format` the name decides, or else the first line.
    `instrument` and `clients` (how many take part) are what a LOBSTER file does not say.
    """

    def parse_lobster(number: int, text: bytes) -> Line | Unsent:
        return _parse_lobster(number, text, instrument, clients)

    with _open(path) as file:
        lines = numbered_lines(file)
        first = next(lines, None)
        if first is None:
            return
        chosen = format or _FORMATS.get(path.suffix.lower()) or _guess_format(first[1])
        parse = _parse_json if chosen == "jsonl" else parse_lobster
        stop = None if limit is None else skip + limit
        for number, text in islice(chain([first], lines), skip, stop):
            if text.strip():
                yield _parse(parse, number, text)


def count_lines(path: Path) -> int | None:
    """Return the number of lines of the file, or None for one that can be read only once."""
    if path == Path("-") or path.is_fifo():
        return None
    with path.open("rb") as file:
        count, last = 0, b"\n"
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _open(path: Path) -> "nullcontext[BinaryIO] | BinaryIO":
    return nullcontext(sys.stdin.buffer) if path == Path("-") else path.open("rb")


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines from number 1; of one that is too long only the beginning is kept."""
    number = 0
    while text := file.readline(LINE_LENGTH_MAX + 1):
        number += 1
        rest = text
        while len(rest) > LINE_LENGTH_MAX and not rest.endswith(b"\n"):
            rest = file.readline(LINE_LENGTH_MAX + 1)
        yield number, text


def _guess_format(first_line: bytes) -> Format:
    return "lobster" if first_line[:1].isdigit() else "jsonl"


def _parse(parse: Callable[[int, bytes], Line | Unsent], number: int, text: bytes) -> Line | Unsent:
    try:
        if len(text) > LINE_LENGTH_MAX:
            raise MalformedLine(f"longer than {LINE_LENGTH_MAX} bytes")
        return parse(number, text.strip())
    except MalformedLine as error:
        return Unsent(number, str(error), malformed=True)


def _parse_json(number: int, text: bytes) -> Line:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedLine(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedLine("not a JSON object")
    instrument = _text(fields, "instrument") or DEFAULT_INSTRUMENT
    if "cancel" in fields:
        order_id = _text(fields, "cancel")
        if not order_id:
            raise MalformedLine("`cancel` names no order")
        return Line(number, instrument, order_id, None, repeatable=True)
    order_id = _text(fields, "order_id")
    repeatable = bool(order_id or _text(fields, "idempotency_key"))
    return Line(number, instrument, order_id, text, repeatable)


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise MalformedLine(f"`{name}` is not text")


def _parse_lobster(number: int, text: bytes, instrument: str, clients: int) -> Line | Unsent:
    """Return the command of one row; clients are dealt out by the row's own numbers."""
    columns = text.split(b",")
    if len(columns) < 6:
        raise MalformedLine("not a LOBSTER row: fewer than 6 columns")
    kind = columns[1].strip()
    if kind in LOBSTER_PASSED_OVER:
        return Unsent(number, LOBSTER_PASSED_OVER[kind], malformed=False)
    if kind not in (b"1", b"3", b"4"):
        raise MalformedLine("event type is not 1 to 7")
    lobster_no = positive(columns[2], "order number")
    order_id = f"lobster-{lobster_no}"
    if kind == b"3":
        return Line(number, instrument, order_id, None, repeatable=True)
    maker_side, taker_side = lobster_sides(columns[5])
    quantity_units = positive(columns[3], "size") * ONE_UNITS
    order: dict[str, object] = {
        "client_id": f"lobster-{lobster_no % clients}",
        "order_id": order_id,
        "instrument": instrument,
        "side": maker_side,
        "type": "limit",
        "price": format_units(positive(columns[4], "price") * LOBSTER_PRICE_UNITS),
        "quantity": format_units(quantity_units),
    }
    if kind == b"4":
        # One order is executed many times: the line number makes each taker's order_id its own.
        order |= {
            "client_id": f"lobster-{number % clients}",
            "order_id": f"{order_id}-{number}",
            "side": taker_side,
            "type": "market",
        }
        del order["price"]
    return Line(number, instrument, str(order["order_id"]), orjson.dumps(order), repeatable=True)


def lobster_sides(direction: bytes) -> tuple[str, str]:
    """Return the side of the order that the row is about, and of the one that meets it."""
    sides = _LOBSTER_SIDES.get(direction.strip())
    if sides is None:
        raise MalformedLine("direction is not 1 or -1")
    return sides


def positive(column: bytes, name: str) -> int:
    column = column.strip()
    if not column.isdigit() or len(column) > 18 or not int(column):
        raise MalformedLine(f"{name} is not a whole number above zero")
    return int(column)
