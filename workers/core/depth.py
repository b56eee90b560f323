"""Depth as published: deltas, and the replica that a reader keeps from them."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import NamedTuple

from workers.core.book import OrderBook

# (price_ticks, quantity_lots)
DepthLevel = tuple[int, int]


class DepthDelta(NamedTuple):
    """The changed levels that lead from `prev_sequence` to `sequence`; quantity 0 removes one."""

    prev_sequence: int
    sequence: int
    bids: list[DepthLevel]
    asks: list[DepthLevel]


class DepthSnapshot(NamedTuple):
    """Complete depth at `sequence`, in no particular order."""

    sequence: int
    bids: list[DepthLevel]
    asks: list[DepthLevel]


def take_delta(book: OrderBook, prev_sequence: int, sequence: int) -> DepthDelta:
    """Return what changed in `book` since the last call."""
    return DepthDelta(prev_sequence, sequence, book.bids.take_changes(), book.asks.take_changes())


def take_snapshot(book: OrderBook, sequence: int) -> DepthSnapshot:
    """Return the complete depth of `book`."""
    return DepthSnapshot(
        sequence,
        [(level.price_ticks, level.quantity_lots) for level in book.bids],
        [(level.price_ticks, level.quantity_lots) for level in book.asks],
    )


class DepthSide:
    """One side of a replica, best price first."""

    __slots__ = ("_quantities", "_ranks", "_sign")

    def __init__(self, sign: int, levels: Iterable[DepthLevel] = ()) -> None:
        self._sign = sign
        self._quantities = dict(levels)
        # Best rank last, as in the book.
        self._ranks = sorted(price_ticks * sign for price_ticks in self._quantities)

    def set(self, price_ticks: int, quantity_lots: int) -> None:
        """Set one level; quantity 0 removes it."""
        known = price_ticks in self._quantities
        rank = price_ticks * self._sign
        if quantity_lots:
            self._quantities[price_ticks] = quantity_lots
            if not known:
                insort(self._ranks, rank)
        elif known:
            del self._quantities[price_ticks]
            del self._ranks[bisect_left(self._ranks, rank)]

    def top(self, levels_max: int) -> list[DepthLevel]:
        """Return up to `levels_max` levels, best first."""
        best_first = reversed(self._ranks[-levels_max:])
        return [(price := rank * self._sign, self._quantities[price]) for rank in best_first]

    def __len__(self) -> int:
        return len(self._ranks)


class DepthReplica:
    """A copy of one instrument's depth, kept from a snapshot and the deltas after it."""

    __slots__ = ("asks", "bids", "sequence")

    def __init__(self, snapshot: DepthSnapshot) -> None:
        self.sequence = snapshot.sequence
        self.bids = DepthSide(1, snapshot.bids)
        self.asks = DepthSide(-1, snapshot.asks)

    def apply(self, delta: DepthDelta) -> bool:
        """Apply `delta` and return True; an old one is skipped.

        Return False on a gap: the replica is behind for good and needs a new snapshot.
        """
        if delta.sequence <= self.sequence:
            return True
        if delta.prev_sequence != self.sequence:
            return False
        for price_ticks, quantity_lots in delta.bids:
            self.bids.set(price_ticks, quantity_lots)
        for price_ticks, quantity_lots in delta.asks:
            self.asks.set(price_ticks, quantity_lots)
        self.sequence = delta.sequence
        return True
