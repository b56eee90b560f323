"""Recordings in files: LOBSTER messages, CSV with a header, or JSON lines.

CSV and JSON lines have the same columns or fields; those marked * must be there:

    time        when it is due: seconds (`34200.25`), or ISO 8601 (`2026-01-31T09:30:00.250Z`)
    action      `submit` (if it is not given) or `cancel`
    order_id    1 to 48 letters, digits and . _ : -; a cancel names its order
    side *      `buy` or `sell`
    type        `limit` or `market`; without it, what has a price is a limit order
    price *     of a limit order
    quantity *
    instrument  (--instrument)
    client_id   (replay-1)

`idempotency_key` is passed over: every run gives its orders names of its own, so that a file can be
played again. A cancel needs `order_id` alone. JSON lines may also be cancels as `ops replay` has
them, `{"cancel": "<order_id>"}`. In CSV, an empty cell is a column that is not there. Times never
go back; a line without one is due with the line before it.
"""

import csv
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from ops.client.messages import parse
from ops.errors import OpsError
from ops.orders_file import LINE_LENGTH_MAX, MalformedLine, numbered_lines
from ops.recording.lobster import Row, Translator, Unmapped, read_row, read_time
from ops.recording.steps import BadLine, CancelOrder, Order, Recording, Step
from workers.core.codec import IDENTIFIER
from workers.core.units import InexactNumber, parse_units

CLIENT_DEFAULT: Final = "replay-1"
FIELDS: Final = (
    "time", "action", "order_id", "client_id", "instrument", "side", "type", "price", "quantity",
)  # fmt: skip
# Order ids get the run's name in front; 64 characters are allowed in all.
_ORDER_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,48}")
_TYPES: Final = ("limit", "market")

Numbered = tuple[int, bytes]


def open_recording(path: Path, file: BinaryIO, *, instrument: str, clients: int) -> Recording:
    """Check the whole file, and return it ready to be played. Raises OpsError with a line's number.

    Nothing is sent for a file with a bad line in it. The file is read twice, and never held.
    """
    try:
        first = next(_lines(file), None)
        if first is None:
            raise OpsError(f"{path} is empty")
        if first[1][:1].isdigit():
            return _open_lobster(file, instrument, clients)
        reader = _json_reader if first[1][:1] in b"{[" else _csv_reader
        instruments: dict[str, None] = {}
        count = 0
        for step in _in_order(reader(file, instrument)):
            count += 1
            instruments[step.commands[0].instrument] = None
        return Recording(list(instruments), count, reader(file, instrument))
    except _Bad as error:
        raise OpsError(f"{path}, line {error.number}: {error}") from error


def _open_lobster(file: BinaryIO, instrument: str, clients: int) -> Recording:
    def rows() -> Iterator[Row | Unmapped]:
        return (_located(read_row, number, text) for number, text in _lines(file))

    translator = Translator(instrument, clients)
    opening, count = translator.opening(_in_order(rows()))
    steps = chain(
        [] if opening is None else [opening],
        (step for row in rows() if (step := translator.step(row)) is not None),
    )
    return Recording([instrument], count, steps, translator.unmapped)


Timed = TypeVar("Timed", bound="Step | Row | Unmapped")


def _in_order(lines: Iterator[Timed]) -> Iterator[Timed]:
    """Yield them; raise _Bad for one whose time is before that of an earlier one."""
    before = 0
    for line in lines:
        if line.time_us is not None:
            if line.time_us < before:
                raise _Bad(line.number, "time goes back")
            before = line.time_us
        yield line


class _Bad(Exception):
    """Raised for a line by its number."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def _located(read: Callable[[int, bytes], Any], number: int, text: bytes) -> Any:
    try:
        return read(number, text)
    except (BadLine, MalformedLine) as error:
        raise _Bad(number, str(error)) from error


def _lines(file: BinaryIO) -> Iterator[Numbered]:
    """Yield the lines of the whole file that are not blank."""
    file.seek(0)
    for number, text in numbered_lines(file):
        if len(text) > LINE_LENGTH_MAX:
            raise _Bad(number, f"longer than {LINE_LENGTH_MAX} bytes")
        if stripped := text.strip():
            yield number, stripped


def _json_reader(file: BinaryIO, instrument: str) -> Iterator[Step]:
    def read(number: int, text: bytes) -> Step:
        try:
            fields = parse(text)
        except ValueError as error:
            raise BadLine(f"not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise BadLine("not a JSON object")
        if "cancel" in fields:
            fields |= {"action": "cancel", "order_id": fields.pop("cancel")}
        return read_step(number, fields, instrument)

    return (_located(read, number, text) for number, text in _lines(file))


def _csv_reader(file: BinaryIO, instrument: str) -> Iterator[Step]:
    columns: list[str] = []

    def cells(text: bytes) -> list[str]:
        try:
            (row,) = csv.reader([text.decode()], strict=True)
        except (UnicodeDecodeError, csv.Error, ValueError) as error:
            raise BadLine(f"not CSV: {error}") from error
        return [cell.strip() for cell in row]

    def header(number: int, text: bytes) -> None:
        columns.extend(cells(text))
        if unknown := [name for name in columns if name not in FIELDS]:
            raise BadLine(f"no column is called {unknown[0]!r}: use {', '.join(FIELDS)}")

    def read(number: int, text: bytes) -> Step:
        row = cells(text)
        if len(row) != len(columns):
            raise BadLine(f"{len(row)} columns, and the header has {len(columns)}")
        fields = {name: cell for name, cell in zip(columns, row, strict=True) if cell}
        return read_step(number, fields, instrument)

    lines = _lines(file)
    _located(header, *next(lines))
    return (_located(read, number, text) for number, text in lines)


def read_step(number: int, fields: dict[str, Any], instrument: str) -> Step:
    """Return what a line's fields ask for. Raises BadLine."""
    for name, value in fields.items():
        if name not in (*FIELDS, "idempotency_key"):
            raise BadLine(f"no field is called {name!r}")
        if value is not None and not isinstance(value, str):
            raise BadLine(f"{name} is neither text nor a number")
    time = fields.get("time")
    time_us = None if time is None else _time(time)
    instrument = fields.get("instrument") or instrument
    order_id = fields.get("order_id") or ""
    action = fields.get("action") or "submit"
    if action not in ("submit", "cancel"):
        raise BadLine("action is neither submit nor cancel")
    if not _ORDER_ID.fullmatch(order_id) and (order_id or action == "cancel"):
        raise BadLine("order_id must be 1 to 48 letters, digits and . _ : -")
    if action == "cancel":
        return Step(number, time_us, (CancelOrder(order_id, instrument),))
    return Step(number, time_us, (_order(number, fields, order_id, instrument),))


def _order(number: int, fields: dict[str, Any], order_id: str, instrument: str) -> Order:
    side = fields.get("side")
    if side not in ("buy", "sell"):
        raise BadLine("side is neither buy nor sell")
    price = fields.get("price")
    kind = fields.get("type") or ("market" if price is None else "limit")
    if kind not in _TYPES:
        raise BadLine("type is neither limit nor market")
    if (kind == "market") != (price is None):
        raise BadLine("a limit order needs a price, and a market order has none")
    client_id = fields.get("client_id") or CLIENT_DEFAULT
    for name, value in (("client_id", client_id), ("instrument", instrument)):
        if not IDENTIFIER.fullmatch(value):
            raise BadLine(f"{name} must be 1 to 64 letters, digits and . _ : -")
    if price is not None:
        _amount(price, "price")
    quantity = _amount(fields.get("quantity") or "", "quantity")
    return Order(order_id or f"line-{number}", client_id, instrument, side, price, quantity)


def _amount(text: str, name: str) -> str:
    try:
        units = parse_units(text)
    except InexactNumber as error:
        raise BadLine(f"{name} {error}") from error
    if units <= 0:
        raise BadLine(f"{name} must be above zero")
    return text


def _time(text: str) -> int:
    if text[:1].isdigit() and "-" not in text:
        return read_time(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadLine(f"time {text!r} is neither seconds nor ISO 8601") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
