"""What the matcher needs of the outside: the adapters have it, and so may a simulation."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from workers.core.batch import Batch
from workers.core.depth import DepthDelta, DepthSnapshot
from workers.core.duplicates import FirstOrder
from workers.core.messages import Order


class Ledger(Protocol):
    """See workers.adapters.ledger.Ledger."""

    async def renew(self, epoch: int) -> bool: ...
    async def load_open_orders(self) -> list[Order]: ...
    async def find_first_orders(
        self, order_ids: Sequence[str], keys: Sequence[tuple[str, str]]
    ) -> list[FirstOrder]: ...
    async def ensure_clients(self, client_ids: Iterable[str]) -> None: ...
    def parameters(self, batch: Batch, epoch: int) -> list[object]: ...
    async def commit(self, parameters: Sequence[object]) -> None: ...


class Stream(Protocol):
    """See workers.adapters.streams.OrderStream."""

    async def open(self, position: str) -> bool: ...
    async def read(self, count: int, block_ms: int) -> list[tuple[str, bytes | None]]: ...
    def age_us(self, stream_id: str, now_us: int) -> int: ...
    async def check(self, position: str) -> None: ...
    async def publish(
        self,
        position: str,
        delta: DepthDelta,
        changes: bytes,
        replies: Sequence[tuple[str, bytes]],
        entry_ids: Sequence[str],
    ) -> bool: ...
    async def publish_state(self, sequence: int, state_hash: str) -> None: ...
    async def publish_depth(self, snapshot: DepthSnapshot) -> None: ...


class Clock(Protocol):
    """Returns the time in microseconds since 1970."""

    def __call__(self) -> int: ...
