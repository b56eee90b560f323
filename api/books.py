"""This process's replicas of the books, kept from deltas."""

import asyncio

from api.errors import ApiError
from api.schemas import dump, levels_json
from workers.core.depth import DepthDelta, DepthReplica, DepthSnapshot

# What an order's answer shows.
TOP_LEVELS = 20
# How long an answer waits for the depth that contains it. It normally came before the reply.
CATCH_UP_S = 1.0


class Book:
    """One instrument's replica. Out of date until the first snapshot, and after a gap."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self._replica: DepthReplica | None = None
        self._top: bytes | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def sequence(self) -> int:
        """The sequence that the replica is at; -1 while there is none."""
        return self._replica.sequence if self._replica else -1

    def level_counts(self) -> tuple[int, int] | None:
        """Return how many levels the bids and the asks have; None while that is not known."""
        return (len(self._replica.bids), len(self._replica.asks)) if self._replica else None

    def reset(self, snapshot: DepthSnapshot | None) -> None:
        """Start anew from `snapshot`; None means that there is no depth to show for now."""
        self._replica = DepthReplica(snapshot) if snapshot else None
        self._touch()

    def apply(self, delta: DepthDelta) -> bool:
        """Apply a delta. False means a gap: the caller must reset this book."""
        if self._replica is None or not self._replica.apply(delta):
            return False
        self._touch()
        return True

    async def reach(self, sequence: int) -> None:
        """Wait until the replica is at `sequence` or later. Raises TimeoutError."""
        if self.sequence >= sequence:
            return
        async with asyncio.timeout(CATCH_UP_S):
            while self.sequence < sequence:
                if self._changed is None:
                    self._changed = asyncio.get_running_loop().create_future()
                await asyncio.shield(self._changed)

    def top(self) -> bytes:
        """Return the encoded top of the book; encoded once per change, however many ask."""
        if self._top is None:
            replica = self._known()
            self._top = dump(
                {
                    "bids": levels_json(replica.bids.top(TOP_LEVELS)),
                    "asks": levels_json(replica.asks.top(TOP_LEVELS)),
                }
            )
        return self._top

    def depth(self, levels_max: int) -> dict[str, object]:
        """Return the sequence and the best levels of both sides. Raises ApiError (503)."""
        replica = self._known()
        return {
            "sequence": replica.sequence,
            "bids": levels_json(replica.bids.top(levels_max)),
            "asks": levels_json(replica.asks.top(levels_max)),
        }

    def _known(self) -> DepthReplica:
        if self._replica is None:
            raise ApiError(
                "unavailable",
                f"the order book of {self.instrument} is not available yet: try again shortly",
            )
        return self._replica

    def _touch(self) -> None:
        self._top = None
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None
