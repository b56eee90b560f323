"""What a recording is made of, whatever file it comes from: commands, each line's with its time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from workers.core.messages import Side


class Order(NamedTuple):
    """An order as the API wants it; a market order has the price None. Names are the file's own."""

    order_id: str
    client_id: str
    instrument: str
    side: Side
    price: str | None
    quantity: str


class CancelOrder(NamedTuple):
    """The cancel of an order of the recording."""

    order_id: str
    instrument: str


Command = Order | CancelOrder


class Step(NamedTuple):
    """The commands of one line, and when they are due: microseconds from any one moment.

    A line that says no time is due with the line before it.
    """

    number: int
    time_us: int | None
    commands: tuple[Command, ...]


@dataclass
class Recording:
    """An opened file. `steps` reads it anew; `unmapped` counts what no command can say."""

    instruments: list[str]
    lines: int
    steps: Iterator[Step]
    unmapped: Counter[str] = field(default_factory=Counter)


class BadLine(ValueError):
    """Raised when a line is not what it should be; the text says what is wrong with it."""
