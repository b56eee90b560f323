"""What a client keeps of one instrument's feed. Pure: messages in, the market's state out."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from ops.client import messages
from workers.core.depth import DepthReplica, DepthSnapshot
from workers.core.messages import Side
from workers.core.units import parse_units

TAPE_LENGTH: Final = 200


class TapeTrade(NamedTuple):
    """A trade as the feed tells it; `timestamp` as text."""

    sequence: int
    price_ticks: int
    quantity_lots: int
    taker_side: Side
    buy_order_id: str
    sell_order_id: str
    timestamp: str


class Feed:
    """The book, the newest trades and counts of one instrument, from the messages of `/stream`.

    `take` returns "gap" when a message is missing: the book is then gone, and there is a new one
    after subscribing again.
    """

    def __init__(
        self, instrument: str, on_trade: Callable[[TapeTrade], None] = lambda _: None
    ) -> None:
        """`on_trade` is told of each trade once."""
        self.instrument = instrument
        self._on_trade = on_trade
        self.book: DepthReplica | None = None
        # Oldest first.
        self.tape: deque[TapeTrade] = deque(maxlen=TAPE_LENGTH)
        self.updates = 0
        self.trades = 0
        # Numbers of orders are gapless, so the highest one counts them.
        self.order_no: int | None = None
        self.orders = 0
        self.gaps = 0
        self.resyncs = 0

    @property
    def last_trade(self) -> int | None:
        """The sequence of the newest trade: where to go on after a connection was lost."""
        return self.tape[-1].sequence if self.tape else None

    def lose(self) -> None:
        """Learn that the connection is lost: what is known of the book is no longer true."""
        self.book = None

    def begin_tape(self, newest_first: list[dict[str, Any]]) -> None:
        """Put trades of before on the tape; they are not counted, and what came since stays."""
        since = list(self.tape)
        before = [_tape_trade(row) for row in reversed(newest_first)]
        self.tape.clear()
        self.tape += [t for t in before if not since or t.sequence < since[0].sequence]
        self.tape += since

    def take(self, message: dict[str, Any]) -> Literal["gap"] | None:
        """Take in one message; those about something else change nothing."""
        match message["type"]:
            case "orderbook":
                return self._orderbook(message["data"])
            case "trades":
                self._trade(message["data"])
            case "orders":
                self._order(message["data"])
            case "resync":
                self._resync(message["channel"], message["data"])
        return None

    def _orderbook(self, data: dict[str, Any]) -> Literal["gap"] | None:
        depth = messages.depth(data)
        if isinstance(depth, DepthSnapshot):
            self.book = DepthReplica(depth)
            return None
        if self.book is None:
            return None
        self.updates += 1
        if self.book.apply(depth):
            return None
        self.gaps += 1
        self.book = None
        return "gap"

    def _trade(self, data: dict[str, Any]) -> None:
        trade = _tape_trade(data)
        if not self.tape or trade.sequence > self.tape[-1].sequence:
            self.tape.append(trade)
            self.trades += 1
            self._on_trade(trade)

    def _order(self, data: dict[str, Any]) -> None:
        order_no = int(data["order_no"])
        if self.order_no is None:
            self.order_no = order_no
        elif order_no > self.order_no:
            self.orders += order_no - self.order_no
            self.order_no = order_no

    def _resync(self, channel: str, data: dict[str, Any]) -> None:
        """Go on from where the server says we are; the counts lack what was left out."""
        self.resyncs += 1
        if channel.startswith("trades:"):
            for row in reversed(data["trades"]):
                self._trade(row)
        elif channel.startswith("orders:") and data["orders"]:
            self.order_no = max(int(row["order_no"]) for row in data["orders"])


def _tape_trade(row: dict[str, Any]) -> TapeTrade:
    return TapeTrade(
        int(row["sequence"]),
        parse_units(row["price"]),
        parse_units(row["quantity"]),
        row["taker_side"],
        row["buy_order_id"],
        row["sell_order_id"],
        row["timestamp"],
    )


def mid_ticks(book: DepthReplica) -> float | None:
    """Return the middle between the best levels, None when a side is empty."""
    bids, asks = book.bids.top(1), book.asks.top(1)
    return (bids[0][0] + asks[0][0]) / 2 if bids and asks else None
