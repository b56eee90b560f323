"""This process's replicas of the books, kept from deltas."""

import asyncio
from collections import deque
from itertools import takewhile

from api.errors import ApiError
from api.frames import delta_frame, snapshot_frame
from api.schemas import dump, levels_json
from workers.core.depth import DepthDelta, DepthLevel, DepthReplica, DepthSnapshot

# What an order's answer shows.
TOP_LEVELS = 20
# How long an answer waits for the depth that contains it. It normally came before the reply.
CATCH_UP_S = 1.0
# Deltas kept: while a snapshot is encoded, and for those who come soon after, it is brought up to
# date with these.
DELTAS_MAX = 1_024
# A snapshot that needs more deltas than this is encoded anew.
SNAPSHOT_DELTAS_MAX = 128


class Book:
    """One instrument's replica. Out of date until the first snapshot, and after a gap."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self._replica: DepthReplica | None = None
        self._top: bytes | None = None
        self._changed: asyncio.Future[None] | None = None
        self._deltas: deque[DepthDelta] = deque(maxlen=DELTAS_MAX)
        # The sequence and the frame of the last snapshot, and the task that makes the next one.
        self._snapshot: tuple[int, bytes] = (-1, b"")
        self._encoding: asyncio.Task[None] | None = None

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
        self._deltas.clear()
        self._touch()

    def apply(self, delta: DepthDelta) -> bool:
        """Apply a delta; an old one changes nothing. False means a gap: reset this book."""
        if self._replica is None:
            return False
        before = self._replica.sequence
        if not self._replica.apply(delta):
            return False
        if self._replica.sequence != before:
            self._deltas.append(delta)
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

    async def frames(self) -> bytes:
        """Return the frames that lead a client to where this replica is at the return.

        A snapshot and the deltas since; encoded once for all who ask. Raises ApiError (503).
        """
        while True:
            self._known()
            sequence, frame = self._snapshot
            deltas = self._since(sequence)
            if deltas is not None and len(deltas) <= SNAPSHOT_DELTAS_MAX:
                return frame + b"".join(delta_frame(self.instrument, delta) for delta in deltas)
            if self._encoding is None or self._encoding.done():
                self._encoding = asyncio.create_task(self._encode())
            await asyncio.shield(self._encoding)

    async def _encode(self) -> None:
        replica = self._known()
        sequence = replica.sequence
        bids, asks = (side.top(len(side)) for side in (replica.bids, replica.asks))
        self._snapshot = (sequence, await snapshot_frame(self.instrument, sequence, bids, asks))

    def _since(self, sequence: int) -> list[DepthDelta] | None:
        """Return the deltas that lead from `sequence` to here, or None."""
        if sequence == self.sequence:
            return []
        newer = list(takewhile(lambda delta: delta.sequence > sequence, reversed(self._deltas)))
        newer.reverse()
        return newer if newer and newer[0].prev_sequence == sequence else None

    def best(self) -> tuple[DepthLevel | None, DepthLevel | None]:
        """Return the best bid and the best ask, None for an empty side. Raises ApiError (503)."""
        replica = self._known()
        bids, asks = replica.bids.top(1), replica.asks.top(1)
        return (bids[0] if bids else None, asks[0] if asks else None)

    def snapshot(self) -> DepthSnapshot:
        """Return every level of both sides, best first. Raises ApiError (503)."""
        replica = self._known()
        return DepthSnapshot(
            replica.sequence,
            replica.bids.top(len(replica.bids)),
            replica.asks.top(len(replica.asks)),
        )

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
