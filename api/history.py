"""What happened lately to each instrument, as this process has heard it: gapless, and bounded."""

from collections import deque
from collections.abc import Iterator

from workers.core.records import Changes

# Trades and changed orders kept per instrument, about 0.5 KB each: what a client that was away for
# a moment can ask for again.
RECORDS_MAX = 10_000


class History:
    """One instrument's recent changes. `sequence` is -1 until it is known where it starts."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.sequence = -1
        self._batches: deque[Changes] = deque()
        self._records = 0

    def start(self, sequence: int) -> None:
        """Begin anew at `sequence`, knowing nothing of what was before."""
        self.sequence = sequence
        self._batches.clear()
        self._records = 0

    def add(self, changes: Changes) -> bool:
        """Add what follows. False means a gap, and nothing was added."""
        if changes.prev_sequence != self.sequence:
            return False
        self.sequence = changes.sequence
        self._batches.append(changes)
        self._records += _records(changes)
        # The last one stays, however large: from its start a client can always go on.
        while self._records > RECORDS_MAX and len(self._batches) > 1:
            self._records -= _records(self._batches.popleft())
        return True

    def since(self, sequence: int) -> Changes | None:
        """Return everything after `sequence`; None when that is too long ago, or still to come."""
        start = self._batches[0].prev_sequence if self._batches else self.sequence
        if not start <= sequence <= self.sequence:
            return None
        batches = [batch for batch in self._batches if batch.sequence > sequence]
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
        return reversed(self._batches)


def _records(changes: Changes) -> int:
    return len(changes.trades) + len(changes.orders)
