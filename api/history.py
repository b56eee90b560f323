"""What happened lately to each instrument, as this process has heard it: gapless, and bounded."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from workers.core.codec import EncodedChanges
from workers.core.records import Changes

# Trades and changed orders kept per instrument, about 0.5 KB each: what a client that was away for
# a moment can ask for again.
RECORDS_MAX = 10_000
# Records that are passed on without a pause, about 150 KB for a client.
PIECE_RECORDS = 256


class History:
    """One instrument's recent changes. `sequence` is -1 until it is known where it starts."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.sequence = -1
        self._batches: deque[Changes | EncodedChanges] = deque()
        self._records = 0

    def start(self, sequence: int) -> None:
        """Begin anew at `sequence`, knowing nothing of what was before."""
        self.sequence = sequence
        self._batches.clear()
        self._records = 0

    def add(self, changes: Changes | EncodedChanges) -> bool:
        """Add what follows. False means a gap, and nothing was added."""
        if changes.prev_sequence != self.sequence:
            return False
        self.sequence = changes.sequence
        self._batches.append(changes)
        self._records += changes.length
        # The last one stays, however large: from its start a client can always go on.
        while self._records > RECORDS_MAX and len(self._batches) > 1:
            self._records -= self._batches.popleft().length
        return True

    def since(self, sequence: int) -> Changes | None:
        """Return everything after `sequence`; None when that is too long ago, or still to come."""
        start = self._batches[0].prev_sequence if self._batches else self.sequence
        if not start <= sequence <= self.sequence:
            return None
        batches = [batch.decode() for batch in self._batches if batch.sequence > sequence]
        return Changes(
            sequence,
            self.sequence,
            tuple(
                trade for batch in batches for trade in batch.trades if trade.sequence > sequence
            ),
            tuple(order for batch in batches for order in batch.orders if order[0] > sequence),
        )

    def __reversed__(self) -> Iterator[Changes]:
        """Yield the batches, newest first."""
        return (batch.decode() for batch in reversed(self._batches))


def split(changes: Changes) -> Iterator[Changes]:
    """Yield `changes` as changes that follow each other, none much longer than `PIECE_RECORDS`.

    One order can trade with thousands: what comes of it must not be one block for every client.
    """
    if changes.length <= PIECE_RECORDS:
        yield changes
        return
    sequences = sorted(
        [trade.sequence for trade in changes.trades] + [order[0] for order in changes.orders]
    )
    bounds = sorted({*sequences[PIECE_RECORDS - 1 :: PIECE_RECORDS], changes.sequence})
    trades, orders = deque(changes.trades), deque(changes.orders)
    after = changes.prev_sequence
    for bound in bounds:
        yield Changes(
            after,
            bound,
            tuple(_take_while(trades, lambda trade: trade.sequence <= bound)),  # noqa: B023
            tuple(_take_while(orders, lambda order: order[0] <= bound)),  # noqa: B023
        )
        after = bound


Item = TypeVar("Item")


def _take_while(items: deque[Item], wanted: Callable[[Item], bool]) -> Iterator[Item]:
    while items and wanted(items[0]):
        yield items.popleft()
